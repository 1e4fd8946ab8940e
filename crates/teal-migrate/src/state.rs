//! The state of a migration: the fold of its journal.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use teal_plan::{Cutover, History, Migration, PastMigration, Standing};
use teal_schema::QualifiedName;

use crate::seen::BlueSeen;
use crate::{Entry, Event, Journal, JournalError, Parity, Parked, ProvenPartition};

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
    /// How the two tables were when it began.
    pub(crate) definitions: Option<Definitions>,
    /// The parts of blue that green is known to have the rows of.
    pub(crate) seen: Option<BlueSeen>,
    /// When it was attached, at the earliest, by the server's clock.
    pub(crate) fenced: Option<u32>,
    /// A removal of rows from green was begun and not journalled as done.
    pub(crate) removing: bool,
    /// The sequence number of the journal's next entry.
    pub(crate) next: u32,
}

/// The statements that make the two tables.
#[derive(Debug, Clone)]
pub(crate) struct Definitions {
    pub(crate) blue: String,
    pub(crate) green: Option<String>,
}

#[derive(Debug, Clone)]
pub enum Phase {
    Started(Started),
    Prepared(Prepared),
    Attached(Attached),
    Backfilled(Backfilled),
    Verified(Verified),
    CutOver(CutOver),
    Cleaned(Cleaned),
    Aborting(Aborting),
    Aborted(Aborted),
}

/// The migration is in the journal; nothing has been made yet, or not all of it.
#[derive(Debug, Clone, Copy)]
pub struct Started;

/// Green exists.
#[derive(Debug, Clone, Copy)]
pub struct Prepared {
    /// A fence was opened and not journalled as done: it must be undone.
    pub fence_open: bool,
}

/// The view forwards every new INSERT; what is left to copy lies still in the snapshot.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Rows of blue at the moment of the cut.
    pub rows: u64,
    /// What the backfill reads; none after a clone, which has nothing left to copy.
    pub snapshot: Option<Snapshot>,
    /// Chunks that are in green, with the rows of each.
    pub published: BTreeMap<u32, u64>,
    /// A chunk whose publication was begun and not journalled as done.
    pub publishing: Option<Publication>,
    /// Green was about to get the history in front of its rows, which was not journalled as done.
    pub(crate) ordering: Option<Ordering>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ordering {
    /// Tells the data that green had before.
    pub(crate) green_data: String,
    /// By partition, its last block.
    pub(crate) blocks: BTreeMap<String, i64>,
}

/// The snapshot of blue, and how it is cut into chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    pub rows: u64,
    pub parts: u64,
    /// Rows of a chunk. Fixed here, so that a chunk's number means the same rows to every process.
    pub chunk_rows: u64,
    /// Bytes of a chunk, at most, where its rows are wider than others; a journal of before has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub chunk: u32,
    pub worker: usize,
    /// The uuids of the parts.
    pub parts: BTreeSet<String>,
    /// By partition, the last block that green had before.
    pub blocks: BTreeMap<String, i64>,
}

/// Green has all of blue's rows, and is kept in step by the view.
#[derive(Debug, Clone, Copy)]
pub struct Backfilled {
    /// Rows copied.
    pub rows: u64,
    /// Readers and writers were on green, and are on blue again.
    pub rolled_back: bool,
    /// Then green may have rows of theirs that blue has not got yet.
    pub rest: bool,
}

/// Parity was proven, at the time of the journal's entry.
#[derive(Debug, Clone)]
pub struct Verified {
    pub parity: Parity,
    /// The partitions that it covers and that need not be read again while they have these parts.
    pub proven: Vec<ProvenPartition>,
    pub at: Timestamp,
    /// A cutover was begun and not journalled as done.
    pub cutover_open: Option<Opened>,
    /// How far that exchange got, on a server.
    pub swapping: Option<Swapping>,
}

/// A cutover that something on the server tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    pub cutover: Cutover,
    /// Tells green's data.
    pub green_data: String,
    /// Green then. An older teal did not note that.
    pub(crate) green: Option<BlueSeen>,
}

/// Names that change places while INSERTs go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swapping {
    /// Of what the readers' name meant, each part up to this block is in the other table;
    /// `i64::MAX` when no more can come.
    pub known: i64,
    /// When the server was started (seconds since 1970, by its own clock, give or take one).
    pub server_start: i64,
    /// The server's time when it began, where parts alone can tell what was not forwarded since.
    pub since: Option<u32>,
    /// The settings of merges that the two tables had, by their data. Merges are stopped by settings as
    /// long as the parts tell what was carried; an older teal did not do that.
    pub merge_settings: BTreeMap<String, BTreeMap<String, String>>,
    /// The parts that came later and are in the other table too.
    pub carried: BTreeSet<String>,
    /// The uuids that they have there.
    pub uuids: BTreeSet<String>,
    pub carrying: Option<Carrying>,
}

/// Parts that were about to be attached to the other table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carrying {
    pub parts: Vec<String>,
    /// That they were to have there.
    pub uuids: BTreeSet<String>,
    /// By partition, the last block there before.
    pub blocks: Option<BTreeMap<String, i64>>,
}

impl Swapping {
    fn take(mut self, event: Event) -> Self {
        match event {
            Event::Swapping { known, server_start, since, merge_settings } => {
                (self.known, self.server_start, self.carrying) = (known, server_start, None);
                self.since = since.or(self.since);
                if !merge_settings.is_empty() {
                    self.merge_settings = merge_settings;
                }
            }
            Event::Carrying { parts, uuids, blocks } => {
                let uuids = uuids.into_iter().collect();
                self.carrying = Some(Carrying { parts, uuids, blocks });
            }
            Event::Carried => {
                let Carrying { parts, uuids, .. } = self.carrying.take().unwrap_or_default();
                self.carried.extend(parts);
                self.uuids.extend(uuids);
            }
            _ => (),
        }
        self
    }
}

/// Readers and writers are on green.
#[derive(Debug, Clone)]
pub struct CutOver {
    pub cutover: Cutover,
    pub at: Timestamp,
    /// A view keeps blue in step, so a rollback loses nothing.
    pub forwards_back: bool,
    /// Rows of blue at the cutover, or when it was looked at later.
    pub blue_rows: u64,
    /// When that was.
    pub looked: Timestamp,
    /// The view was being turned, to forward back or not, which was not journalled as done.
    pub turn_open: Option<bool>,
    /// The new table when the cutover began, or when the view was turned. What changed it since, nothing
    /// has forwarded.
    pub(crate) new_seen: Option<BlueSeen>,
    /// A cleanup was begun and not journalled as done.
    pub cleanup_open: bool,
    /// Tells the data that it drops. Nothing where an older teal began it, which did not note that.
    pub old_data: Option<String>,
    /// That data is put aside, under this name.
    pub parked: Option<Parked>,
    /// After an exchange, both tables were found to have the same rows.
    pub compared: bool,
    /// A rollback was begun and not journalled as done; this tells blue's data.
    pub rollback_open: Option<String>,
    /// Blue when it was begun.
    pub(crate) old_seen: Option<BlueSeen>,
    /// How far that exchange got, on a server.
    pub swapping: Option<Swapping>,
}

/// The view is gone, and blue, or it is parked.
#[derive(Debug, Clone)]
pub struct Cleaned {
    pub cutover: Cutover,
    /// Tells blue's data.
    pub old_data: Option<String>,
    pub parked: Option<Parked>,
}

/// What the migration made is being dropped, which cannot be taken back.
#[derive(Debug, Clone)]
pub struct Aborting {
    /// It had its view, and rows in green.
    pub was_attached: bool,
    /// Tells green's data. Nothing where an older teal began it, which did not note that.
    pub green_data: Option<String>,
}

/// All that the migration made is gone; blue is as it would be without it.
#[derive(Debug, Clone, Copy)]
pub struct Aborted;

impl Phase {
    /// The word for it, in status and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started(_) => "started",
            Self::Prepared(_) => "prepared",
            Self::Attached(_) => "attached",
            Self::Backfilled(Backfilled { rolled_back: true, .. }) => "rolled back",
            Self::Backfilled(_) => "backfilled",
            Self::Verified(_) => "verified",
            Self::CutOver(_) => "cut over",
            Self::Cleaned(_) => "cleaned",
            Self::Aborting(_) => "aborting",
            Self::Aborted(_) => "aborted",
        }
    }

    /// Whether nothing is left to be done.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Cleaned(_) | Self::Aborted(_))
    }
}

impl Migrating {
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

    /// After a cutover that left the old table as it was: whether another one may turn the view, to keep it current.
    pub fn may_be_kept_current(&self) -> bool {
        let migration = &self.migration;
        let is_exchange =
            matches!(&self.phase, Phase::CutOver(CutOver { cutover: Cutover::Exchange, .. }));
        !is_exchange && migration.can_carry_back() && migration.view_runs_back()
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
            definitions: None,
            seen: None,
            fenced: None,
            removing: false,
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
            (P::Verified(verified), E::CutOver { cutover, forwards_back, blue_rows }) => {
                P::CutOver(CutOver {
                    cutover,
                    at: entry.time,
                    forwards_back,
                    blue_rows,
                    looked: entry.time,
                    turn_open: None,
                    new_seen: verified.cutover_open.and_then(|opened| opened.green),
                    cleanup_open: false,
                    old_data: None,
                    parked: None,
                    compared: false,
                    rollback_open: None,
                    old_seen: None,
                    swapping: None,
                })
            }
            (P::CutOver(state), E::Compared) => P::CutOver(CutOver { compared: true, ..state }),
            (P::CutOver(state), E::StillWritten { blue_rows }) => {
                P::CutOver(CutOver { blue_rows, looked: entry.time, ..state })
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
            (P::CutOver(state), E::RollbackOpened { blue_data, blue }) => P::CutOver(CutOver {
                rollback_open: Some(blue_data),
                old_seen: blue,
                swapping: None,
                ..state
            }),
            (P::CutOver(state), E::RollbackUndone) => {
                P::CutOver(CutOver { rollback_open: None, old_seen: None, swapping: None, ..state })
            }
            (P::CutOver(CutOver { old_seen: Some(seen), .. }), E::RolledBack { rows, rest }) => {
                self.seen = Some(seen);
                P::Backfilled(Backfilled { rows, rolled_back: true, rest })
            }
            (P::CutOver(_) | P::Backfilled(_) | P::Verified(_), E::RolledBack { rows, rest }) => {
                P::Backfilled(Backfilled { rows, rolled_back: true, rest })
            }
            (P::CutOver(state), E::CleanupOpened { old_data, parked }) => {
                P::CutOver(CutOver { cleanup_open: true, old_data, parked, ..state })
            }
            (P::CutOver(CutOver { cutover, old_data, parked, .. }), E::Cleaned) => {
                P::Cleaned(Cleaned { cutover, old_data, parked })
            }
            (P::Cleaned(state), E::ParkedDropped) => P::Cleaned(Cleaned { parked: None, ..state }),
            (
                P::Started(_) | P::Prepared(Prepared { fence_open: false }),
                E::AbortOpened { green_data },
            ) => P::Aborting(Aborting { was_attached: false, green_data }),
            (P::Attached(_) | P::Backfilled(_) | P::Verified(_), E::AbortOpened { green_data }) => {
                P::Aborting(Aborting { was_attached: true, green_data })
            }
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
        self.since = entry.time;
        self.next = entry.sequence + 1;
        Ok(())
    }

    /// Takes in what is known in every phase.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Defined { blue, green } => {
                self.definitions = Some(Definitions { blue: blue.clone(), green: green.clone() });
            }
            Event::Seen { blue } => {
                if matches!(self.phase, Phase::Prepared(_)) {
                    self.fenced = Some(blue.time);
                }
                self.seen = Some(blue.clone());
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
            begun: migrating.migration.clone(),
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
        assert_eq!(event(r#"{"kind":"abortOpened"}"#), Event::AbortOpened { green_data: None });
        let opened = |old_data| Event::CleanupOpened { old_data, parked: None };
        assert_eq!(event(r#"{"kind":"cleanupOpened"}"#), opened(None));
        let noted = event(r#"{"kind":"cleanupOpened","oldData":"a"}"#);
        assert_eq!(noted, opened(Some("a".to_owned())));
    }
}
