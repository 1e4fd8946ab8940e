//! The state of a migration: the fold of its journal.

use std::collections::BTreeMap;

use jiff::Timestamp;
use teal_plan::{Cutover, History, Migration, PastMigration, Standing};
use teal_schema::QualifiedName;

use crate::journal::phase::{
    Aborted, Aborting, Attached, Backfilled, Cleaned, CleanupBegun, CutOver, Opened, Ordering,
    Phase, Prepared, Publication, RollbackBegun, Started, Swapping, Verified,
};
use crate::repair::seen::PartsSeen;
use crate::{Entry, Event, Journal, JournalError, MigrateError, Parity, ProvenPartition};

/// A migration with the phase that it is in.
#[derive(Debug, Clone)]
pub struct Migrating {
    /// The journal's name for it.
    pub id: String,
    pub migration: Migration,
    pub phase: Phase,
    pub started: Timestamp,
    /// When the last thing happened to it.
    pub since: Timestamp,
    /// How readers and writers were moved last, also where they are back.
    pub(crate) moved_by: Option<Cutover>,
    /// When it was proven or cut over last.
    pub(crate) settled: Option<Timestamp>,
    /// How the two tables were when it began.
    pub(crate) definitions: Option<Definitions>,
    /// The parts of blue that green is known to have the rows of.
    pub(crate) seen: Option<PartsSeen>,
    /// Behind a rollback by force or of an app, until the next proof: the new table as it was before that rollback. What
    /// was changed there since was given up, and must not be taken for rows that were written.
    pub(crate) new_seen: Option<PartsSeen>,
    /// When it was attached, at the earliest, by the server's clock.
    pub(crate) fenced: Option<u32>,
    /// A removal of rows from green was begun and not journalled as done.
    pub(crate) removing: bool,
    /// For a comparison in the middle of the copy: the condition on the snapshot's rows that count as green's.
    pub(crate) uncopied: Option<String>,
    /// The sequence number of the journal's next entry.
    pub(crate) next: u32,
}

/// The statements that make the two tables.
#[derive(Debug, Clone)]
pub(crate) struct Definitions {
    pub(crate) blue: String,
    pub(crate) green: Option<String>,
    pub(crate) blue_data: String,
}

impl Migrating {
    /// Whether it began after that one.
    pub(crate) fn is_later_than(&self, other: &Self) -> bool {
        self.id != other.id && self.started > other.started
    }

    /// All migrations of a journal, the oldest first.
    ///
    /// # Errors
    /// When the entries of one do not follow each other.
    pub fn all(journal: &BTreeMap<String, Vec<Entry>>) -> Result<Vec<Self>, JournalError> {
        let mut all =
            journal.values().map(|entries| Self::fold(entries)).collect::<Result<Vec<_>, _>>()?;
        all.sort_by_key(|migrating| migrating.started);
        Ok(all)
    }

    /// The table that chunks are published to.
    pub(crate) fn published_to(&self) -> QualifiedName {
        match self.migration.keeps_order() {
            true => crate::names::history(&self.id),
            false => self.migration.green.clone(),
        }
    }

    /// Readers and writers have gone from blue to green, and what they write there does not come to blue.
    pub(crate) fn has_left_blue(&self) -> bool {
        matches!(
            &self.phase,
            Phase::CutOver(CutOver {
                cutover: Cutover::App | Cutover::Alias,
                forwards_back: false,
                ..
            })
        )
    }

    /// What this phase refuses, with what is to be done instead.
    pub fn wrong_phase(&self, wanted: &'static str) -> MigrateError {
        MigrateError::WrongPhase { migration: self.id.clone(), phase: self.phase.name(), wanted }
    }

    /// After a cutover: whether a view brings what is written to the new table to the old one.
    pub(crate) fn forwards_back(&self) -> bool {
        matches!(&self.phase, Phase::CutOver(CutOver { forwards_back: true, .. }))
    }

    /// After a cutover that left the old table as it was: whether another one may turn the view, to keep it current.
    pub fn may_be_kept_current(&self) -> bool {
        let migration = &self.migration;
        let is_exchange =
            matches!(&self.phase, Phase::CutOver(CutOver { cutover: Cutover::Exchange, .. }));
        !is_exchange && migration.can_be_kept_current()
    }

    /// The same where rows count whose time is over by green's TTL: on the way back, green's TTL is not what says
    /// which rows there are.
    pub(crate) fn with_every_row(&self) -> Self {
        let migration = Migration { expired: None, ..self.migration.clone() };
        Self { migration, ..self.clone() }
    }

    /// The same where each row counts, also one that green's engine may fold into another.
    pub(crate) fn unfolded(&self) -> Self {
        // A row whose time is over may stand for others.
        let migration =
            Migration { fold: None, green_folds: false, expired: None, ..self.migration.clone() };
        Self { migration, ..self.clone() }
    }

    /// How readers and writers have moved, or will if nothing else is said.
    pub fn cutover(&self) -> Cutover {
        self.moved_by.unwrap_or(self.migration.cutover)
    }

    /// The names of the old layout's table and of the new one's, as they are now: an exchange swaps
    /// them.
    pub fn tables_now(&self) -> (&QualifiedName, &QualifiedName) {
        let (blue, green) = (&self.migration.blue, &self.migration.green);
        match &self.phase {
            Phase::CutOver(CutOver { cutover: Cutover::Exchange, .. })
            | Phase::Cleaned(Cleaned { cutover: Cutover::Exchange, .. }) => (green, blue),
            _ => (blue, green),
        }
    }

    pub(crate) fn start(
        journal: &Journal,
        id: &str,
        migration: Migration,
    ) -> Result<(Self, Vec<Entry>), JournalError> {
        let started = Event::Started { migration: Box::new(migration) };
        let entries = journal.append(id, 0, vec![started])?;
        Ok((Self::fold(&entries)?, entries))
    }

    /// Writes `events` to the journal and takes them in.
    pub(crate) fn record(
        &mut self,
        journal: &Journal,
        events: Vec<Event>,
    ) -> Result<Vec<Entry>, JournalError> {
        let entries = journal.append(&self.id, self.next, events)?;
        entries.iter().try_for_each(|entry| self.take(entry))?;
        Ok(entries)
    }

    fn fold(entries: &[Entry]) -> Result<Self, JournalError> {
        let Some((first, rest)) = entries.split_first() else {
            return Err(corrupt("", 0, "it has no entry"));
        };
        let Event::Started { migration } = &first.event else {
            return Err(corrupt(&first.migration, 0, "the first entry must be `started`"));
        };
        let mut state = Self {
            id: first.migration.clone(),
            migration: (**migration).clone(),
            phase: Phase::Started(Started),
            started: first.time,
            since: first.time,
            moved_by: None,
            settled: None,
            definitions: None,
            seen: None,
            new_seen: None,
            fenced: None,
            removing: false,
            uncopied: None,
            next: 1,
        };
        rest.iter().try_for_each(|entry| state.take(entry))?;
        Ok(state)
    }

    /// Takes an entry in. The transitions are those of the functions below, one for each phase, and no others.
    fn take(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let phase = std::mem::replace(&mut self.phase, Phase::Started(Started));
        let before = phase.name();
        self.phase = self.follow(phase, entry).ok_or_else(|| {
            let reason = format!("{:?} cannot follow the phase `{before}`", entry.event);
            corrupt(&entry.migration, entry.sequence, &reason)
        })?;
        self.note(&entry.event);
        if matches!(entry.event, Event::Verified { .. } | Event::CutOver { .. }) {
            self.settled = Some(entry.time);
        }
        self.since = entry.time;
        self.next = entry.sequence + 1;
        Ok(())
    }

    /// The phase that an entry leads to from another one.
    fn follow(&mut self, phase: Phase, entry: &Entry) -> Option<Phase> {
        let event = entry.event.clone();
        match phase {
            Phase::Started(_) => after_started(event),
            Phase::Prepared(state) => after_prepared(state, event),
            Phase::Attached(state) => after_attached(state, event),
            Phase::Backfilled(state) => after_backfilled(state, event),
            Phase::Verified(state) => self.after_verified(state, event, entry.time),
            Phase::CutOver(state) => self.after_cut_over(state, event, entry.time),
            Phase::Cleaned(state) => match event {
                Event::ParkedDropped => Some(Phase::Cleaned(Cleaned { parked: None, ..state })),
                _ => None,
            },
            Phase::Aborting(_) => match event {
                Event::Aborted => Some(Phase::Aborted(Aborted)),
                _ => None,
            },
            Phase::Aborted(_) => None,
        }
    }

    fn after_verified(&mut self, state: Verified, event: Event, at: Timestamp) -> Option<Phase> {
        Some(match event {
            Event::Verified { parity, proven } => verified(parity, proven),
            // What was proven before is not proven of the repaired table.
            Event::Repaired { .. } | Event::Stale { .. } | Event::CutoverUndone => {
                Phase::Backfilled(Backfilled::of(state.parity.blue_rows))
            }
            Event::Seen { .. } => Phase::Verified(state),
            Event::CutoverOpened { cutover, green_data, green } => {
                let cutover_open = Some(Opened { cutover, green_data, green });
                Phase::Verified(Verified { cutover_open, swapping: None, ..state })
            }
            Event::Swapping { .. } | Event::Carrying { .. } | Event::Carried => {
                let swapping = Some(Swapping::after(state.swapping, event)?);
                Phase::Verified(Verified { swapping, ..state })
            }
            Event::CutOver { cutover, forwards_back, blue_rows, old_block } => {
                self.moved_by = Some(cutover);
                let opened = Opened { cutover, ..state.cutover_open? };
                Phase::CutOver(CutOver {
                    old_block: old_block.filter(|_| !forwards_back),
                    ..CutOver::new(opened, at, forwards_back, blue_rows)
                })
            }
            Event::RolledBack { rows, rest } => {
                Phase::Backfilled(Backfilled { rows, rolled_back: true, rest })
            }
            Event::AbortOpened { green_data, force } => aborting(true, green_data, force),
            _ => return None,
        })
    }

    fn after_cut_over(&mut self, state: CutOver, event: Event, at: Timestamp) -> Option<Phase> {
        Some(Phase::CutOver(match event {
            Event::Swapping { .. } | Event::Carrying { .. } | Event::Carried => {
                let swapping = Some(Swapping::after(state.swapping, event)?);
                CutOver { swapping, ..state }
            }
            Event::Compared { old } => {
                CutOver { compared: true, old_compared: old.or(state.old_compared), ..state }
            }
            Event::StillWritten { blue_rows } => {
                CutOver { blue_rows, old_block: None, looked: at, ..state }
            }
            Event::TurnOpened { forwards_back, new } => CutOver {
                turn_open: Some(forwards_back),
                new_seen: match new {
                    Some(new) => new.telling_since(&state.new_seen),
                    None => state.new_seen,
                },
                ..state
            },
            Event::Turned { forwards_back } => CutOver { forwards_back, turn_open: None, ..state },
            Event::RollbackOpened { blue_data, blue, force: forced } => {
                let rollback = Some(RollbackBegun { blue_data, blue, forced });
                CutOver { rollback, swapping: None, ..state }
            }
            Event::RollbackUndone => CutOver { rollback: None, swapping: None, ..state },
            Event::RolledBack { rows, rest } => {
                let is_forced = state.rollback.as_ref().is_some_and(|begun| begun.forced);
                // By app, writers come back one by one, and what they leave is looked for until the next proof.
                if is_forced || state.cutover == Cutover::App {
                    self.new_seen = Some(state.new_seen);
                }
                if let Some(RollbackBegun { blue, .. }) = state.rollback {
                    self.seen = Some(blue);
                }
                return Some(Phase::Backfilled(Backfilled { rows, rolled_back: true, rest }));
            }
            Event::CleanupOpened { old_data, parked, force: forced, old, late } => {
                let cleanup = Some(CleanupBegun { old_data, parked, forced, old, late });
                CutOver { cleanup, ..state }
            }
            Event::Cleaned => {
                let CutOver { cutover, new_data, cleanup, .. } = state;
                let CleanupBegun { old_data, parked, .. } = cleanup?;
                return Some(Phase::Cleaned(Cleaned { cutover, old_data, new_data, parked }));
            }
            _ => return None,
        }))
    }

    /// Takes in what is known in every phase.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Defined { blue, green, blue_data } => {
                self.definitions = Some(Definitions {
                    blue: blue.clone(),
                    green: green.clone(),
                    blue_data: blue_data.clone(),
                });
            }
            Event::Seen { blue } => {
                if matches!(self.phase, Phase::Prepared(_)) {
                    self.fenced = Some(blue.time);
                }
                self.seen = Some(blue.clone());
                self.new_seen = None;
            }
            Event::Stale { .. } => self.removing = true,
            Event::Repaired { .. } => self.removing = false,
            _ => (),
        }
    }
}

fn after_started(event: Event) -> Option<Phase> {
    Some(match event {
        Event::Defined { .. } => Phase::Started(Started),
        Event::Prepared => Phase::Prepared(Prepared { fence_open: false }),
        Event::AbortOpened { green_data, force } => aborting(false, green_data, force),
        _ => return None,
    })
}

fn after_prepared(state: Prepared, event: Event) -> Option<Phase> {
    Some(match event {
        Event::Defined { .. } | Event::Seen { .. } => Phase::Prepared(state),
        Event::FenceOpened => Phase::Prepared(Prepared { fence_open: true }),
        Event::FenceUndone => Phase::Prepared(Prepared { fence_open: false }),
        Event::Attached { snapshot, rows, .. } => Phase::Attached(Attached {
            rows,
            snapshot,
            published: BTreeMap::new(),
            publishing: None,
            ordering: None,
        }),
        Event::AbortOpened { green_data, force } if !state.fence_open => {
            aborting(false, green_data, force)
        }
        _ => return None,
    })
}

fn after_attached(mut state: Attached, event: Event) -> Option<Phase> {
    Some(match event {
        Event::Publishing { chunk, worker, parts, blocks } => {
            let parts = parts.into_iter().collect();
            let publishing = Some(Publication { chunk, worker, parts, blocks });
            Phase::Attached(Attached { publishing, ..state })
        }
        Event::Published { chunk, rows } => {
            state.published.insert(chunk, rows);
            Phase::Attached(Attached { publishing: None, ..state })
        }
        Event::Ordering { green_data, blocks } => {
            let ordering = Some(Ordering { green_data, blocks });
            Phase::Attached(Attached { ordering, ..state })
        }
        Event::Backfilled { rows } => Phase::Backfilled(Backfilled::of(rows)),
        Event::AbortOpened { green_data, force } => aborting(true, green_data, force),
        _ => return None,
    })
}

fn after_backfilled(state: Backfilled, event: Event) -> Option<Phase> {
    Some(match event {
        Event::Verified { parity, proven } => verified(parity, proven),
        Event::Repaired { .. } | Event::Stale { .. } => Phase::Backfilled(state),
        Event::RolledBack { rows, rest } => {
            Phase::Backfilled(Backfilled { rows, rolled_back: true, rest })
        }
        Event::AbortOpened { green_data, force } => aborting(true, green_data, force),
        _ => return None,
    })
}

fn verified(parity: Parity, proven: Vec<ProvenPartition>) -> Phase {
    Phase::Verified(Verified { parity, proven, cutover_open: None, swapping: None })
}

fn aborting(was_attached: bool, green_data: String, forced: bool) -> Phase {
    Phase::Aborting(Aborting { was_attached, green_data, forced })
}

/// What a plan needs to know of the migrations.
pub fn history(migrations: &[Migrating]) -> History {
    let migrations = migrations
        .iter()
        // One that was aborted is as if it had never been.
        .filter(|migrating| !matches!(migrating.phase, Phase::Aborted(_)))
        .map(|migrating| PastMigration {
            id: migrating.id.clone(),
            blue: migrating.migration.blue.clone(),
            declared_blue: migrating.migration.declared_blue(),
            green: migrating.migration.green.clone(),
            view: migrating.migration.view.clone(),
            in_place: migrating.migration.in_place,
            standing: match &migrating.phase {
                Phase::Verified(_) => Standing::Verified,
                Phase::CutOver(state) => Standing::CutOver(state.cutover),
                Phase::Cleaned(state) => Standing::Cleaned(state.cutover),
                _ => Standing::UnderWay,
            },
            is_moving: matches!(
                &migrating.phase,
                Phase::Verified(Verified { cutover_open: Some(_), .. })
            ),
            is_left: migrating.has_left_blue(),
            begun: migrating.migration.clone(),
            blue_definition: migrating.definitions.as_ref().map(|it| it.blue.clone()),
            parked: match &migrating.phase {
                Phase::Cleaned(state) => state.parked.as_ref().map(|it| it.table.clone()),
                _ => None,
            },
        })
        .collect();
    History { migrations }
}

fn corrupt(migration: &str, sequence: u32, reason: &str) -> JournalError {
    JournalError::Corrupt { migration: migration.to_owned(), sequence, reason: reason.to_owned() }
}
