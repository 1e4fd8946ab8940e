//! The state of a migration: the fold of its journal.

use std::collections::BTreeMap;

use jiff::Timestamp;
use teal_plan::{Cutover, History, Migration, PastMigration, Standing};
use teal_schema::QualifiedName;

use crate::journal::phase::{
    Aborted, Aborting, Attached, Backfilled, Cleaned, CutOver, Opened, Ordering, Phase, Prepared,
    Publication, Started, Verified,
};
use crate::repair::seen::BlueSeen;
use crate::{Entry, Event, Journal, JournalError};

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
    pub(crate) seen: Option<BlueSeen>,
    /// Behind a rollback by force or of an app, until the next proof: the new table as it was before that rollback. What
    /// was changed there since was given up, and must not be taken for rows that were written.
    pub(crate) new_seen: Option<BlueSeen>,
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
    pub(crate) blue_data: Option<String>,
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

    /// Takes an entry in. The transitions are these and no others.
    fn take(&mut self, entry: &Entry) -> Result<(), JournalError> {
        use {Event as E, Phase as P};

        let phase = std::mem::replace(&mut self.phase, P::Started(Started));
        let before = phase.name();
        self.phase = match (phase, entry.event.clone()) {
            (P::Started(_), E::Prepared) => P::Prepared(Prepared { fence_open: false }),
            (P::Prepared(_), E::FenceOpened) => P::Prepared(Prepared { fence_open: true }),
            (P::Prepared(_), E::FenceUndone) => P::Prepared(Prepared { fence_open: false }),
            (P::Prepared(_), E::Attached { snapshot, rows, .. }) => P::Attached(Attached {
                rows,
                snapshot,
                published: BTreeMap::new(),
                publishing: None,
                ordering: None,
            }),
            (P::Attached(attached), E::Publishing { chunk, worker, parts, blocks }) => {
                let parts = parts.into_iter().collect();
                P::Attached(Attached {
                    publishing: Some(Publication { chunk, worker, parts, blocks }),
                    ..attached
                })
            }
            (P::Attached(mut attached), E::Published { chunk, rows }) => {
                attached.published.insert(chunk, rows);
                P::Attached(Attached { publishing: None, ..attached })
            }
            (P::Attached(attached), E::Ordering { green_data, blocks }) => P::Attached(Attached {
                ordering: Some(Ordering { green_data, blocks }),
                ..attached
            }),
            (P::Attached(_), E::Backfilled { rows }) => {
                P::Backfilled(Backfilled { rows, rolled_back: false, rest: false })
            }
            (P::Backfilled(_) | P::Verified(_), E::Verified { parity, proven }) => {
                P::Verified(Verified {
                    parity,
                    proven,
                    at: entry.time,
                    cutover_open: None,
                    swapping: None,
                })
            }
            // What was proven before is not proven of the repaired table.
            (P::Backfilled(state), E::Repaired { .. } | E::Stale { .. }) => P::Backfilled(state),
            (P::Verified(verified), E::Repaired { .. } | E::Stale { .. }) => {
                P::Backfilled(Backfilled {
                    rows: verified.parity.blue_rows,
                    rolled_back: false,
                    rest: false,
                })
            }
            (phase @ (P::Started(_) | P::Prepared(_)), E::Defined { .. })
            | (phase @ (P::Prepared(_) | P::Verified(_)), E::Seen { .. }) => phase,
            (P::Verified(verified), E::CutoverOpened { cutover, green_data, green }) => {
                let cutover_open = Some(Opened { cutover, green_data, green });
                P::Verified(Verified { cutover_open, swapping: None, ..verified })
            }
            (P::Verified(mut verified), event @ E::Swapping { .. }) => {
                verified.swapping = Some(verified.swapping.unwrap_or_default().take(event));
                P::Verified(verified)
            }
            (P::Verified(mut verified), event @ (E::Carrying { .. } | E::Carried))
                if verified.swapping.is_some() =>
            {
                verified.swapping = verified.swapping.map(|swapping| swapping.take(event));
                P::Verified(verified)
            }
            (P::CutOver(mut state), event @ E::Swapping { .. }) => {
                state.swapping = Some(state.swapping.unwrap_or_default().take(event));
                P::CutOver(state)
            }
            (P::CutOver(mut state), event @ (E::Carrying { .. } | E::Carried))
                if state.swapping.is_some() =>
            {
                state.swapping = state.swapping.map(|swapping| swapping.take(event));
                P::CutOver(state)
            }
            (P::Verified(verified), E::CutoverUndone) => P::Backfilled(Backfilled {
                rows: verified.parity.blue_rows,
                rolled_back: false,
                rest: false,
            }),
            (
                P::Verified(verified),
                E::CutOver { cutover, forwards_back, blue_rows, old_block },
            ) => {
                let opened = verified.cutover_open.map(|it| (it.green_data, it.green));
                let (new_data, new_seen) = opened.unzip();
                self.moved_by = Some(cutover);
                P::CutOver(CutOver {
                    cutover,
                    at: entry.time,
                    forwards_back,
                    blue_rows,
                    old_block: old_block.filter(|_| !forwards_back),
                    looked: entry.time,
                    turn_open: None,
                    new_data,
                    new_seen: new_seen.flatten(),
                    cleanup_open: false,
                    cleanup_forced: false,
                    old_data: None,
                    parked: None,
                    old_at_cleanup: None,
                    compared: false,
                    old_compared: None,
                    rollback_open: None,
                    old_seen: None,
                    rollback_forced: false,
                    swapping: None,
                })
            }
            (P::CutOver(state), E::Compared { old }) => P::CutOver(CutOver {
                compared: true,
                old_compared: old.or(state.old_compared),
                ..state
            }),
            (P::CutOver(state), E::StillWritten { blue_rows }) => {
                P::CutOver(CutOver { blue_rows, old_block: None, looked: entry.time, ..state })
            }
            (P::CutOver(state), E::TurnOpened { forwards_back, new }) => P::CutOver(CutOver {
                turn_open: Some(forwards_back),
                new_seen: match (new, &state.new_seen) {
                    (Some(new), before) => Some(new.telling_since(before.as_ref(), state.at)),
                    (None, before) => before.clone(),
                },
                ..state
            }),
            (P::CutOver(state), E::Turned { forwards_back }) => {
                P::CutOver(CutOver { forwards_back, turn_open: None, ..state })
            }
            (P::CutOver(state), E::RollbackOpened { blue_data, blue, force }) => {
                P::CutOver(CutOver {
                    rollback_open: Some(blue_data),
                    old_seen: blue,
                    rollback_forced: force,
                    swapping: None,
                    ..state
                })
            }
            (P::CutOver(state), E::RollbackUndone) => P::CutOver(CutOver {
                rollback_open: None,
                old_seen: None,
                rollback_forced: false,
                swapping: None,
                ..state
            }),
            (P::CutOver(state), E::RolledBack { rows, rest }) => {
                // By app, writers come back one by one, and what they leave is looked for until the next proof.
                if state.rollback_forced || state.cutover == Cutover::App {
                    self.new_seen = state.new_seen;
                }
                self.seen = state.old_seen.or_else(|| self.seen.take());
                P::Backfilled(Backfilled { rows, rolled_back: true, rest })
            }
            (P::Backfilled(_) | P::Verified(_), E::RolledBack { rows, rest }) => {
                P::Backfilled(Backfilled { rows, rolled_back: true, rest })
            }
            (P::CutOver(state), E::CleanupOpened { old_data, parked, force, old }) => {
                P::CutOver(CutOver {
                    cleanup_open: true,
                    cleanup_forced: force,
                    old_data,
                    parked,
                    old_at_cleanup: old,
                    ..state
                })
            }
            (P::CutOver(CutOver { cutover, old_data, new_data, parked, .. }), E::Cleaned) => {
                P::Cleaned(Cleaned { cutover, old_data, new_data, parked })
            }
            (P::Cleaned(state), E::ParkedDropped) => P::Cleaned(Cleaned { parked: None, ..state }),
            (
                P::Started(_) | P::Prepared(Prepared { fence_open: false }),
                E::AbortOpened { green_data, force: forced },
            ) => P::Aborting(Aborting { was_attached: false, green_data, forced }),
            (
                P::Attached(_) | P::Backfilled(_) | P::Verified(_),
                E::AbortOpened { green_data, force: forced },
            ) => P::Aborting(Aborting { was_attached: true, green_data, forced }),
            (P::Aborting(_), E::Aborted) => P::Aborted(Aborted),
            (_, event) => {
                return Err(corrupt(
                    &entry.migration,
                    entry.sequence,
                    &format!("{event:?} cannot follow the phase `{before}`"),
                ));
            }
        };
        self.note(&entry.event);
        if matches!(entry.event, E::Verified { .. } | E::CutOver { .. }) {
            self.settled = Some(entry.time);
        }
        self.since = entry.time;
        self.next = entry.sequence + 1;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_teal_began_to_drop_is_read_as_not_noted() {
        let event = |body: &str| serde_json::from_str::<Event>(body).unwrap();
        let aborted = Event::AbortOpened { green_data: None, force: false };
        assert_eq!(event(r#"{"kind":"abortOpened"}"#), aborted);
        let opened =
            |old_data| Event::CleanupOpened { old_data, parked: None, force: false, old: None };
        assert_eq!(event(r#"{"kind":"cleanupOpened"}"#), opened(None));
        let noted = event(r#"{"kind":"cleanupOpened","oldData":"a"}"#);
        assert_eq!(noted, opened(Some("a".to_owned())));
    }
}
