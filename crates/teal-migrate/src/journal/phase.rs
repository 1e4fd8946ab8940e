//! The phases of a migration, each with what is known in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use teal_plan::Cutover;

use crate::repair::seen::PartsSeen;
use crate::{Event, Parity, Parked, ProvenPartition};

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
    pub(crate) fence_open: bool,
}

/// The view forwards every new INSERT; what is left to copy lies still in the snapshot.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Rows of blue at the moment of the cut.
    pub(crate) rows: u64,
    /// What the backfill reads; none after a clone, which has nothing left to copy.
    pub(crate) snapshot: Option<Snapshot>,
    /// Chunks that are in green, with the rows of each.
    pub(crate) published: BTreeMap<u32, u64>,
    /// A chunk whose publication was begun and not journalled as done.
    pub(crate) publishing: Option<Publication>,
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
    pub(crate) rows: u64,
    pub(crate) parts: u64,
    /// Rows of a chunk. Fixed here, so that a chunk's number means the same rows to every process.
    pub(crate) chunk_rows: u64,
    /// Bytes of a chunk, at most, where its rows are wider than others.
    pub(crate) chunk_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) chunk: u32,
    pub(crate) worker: usize,
    /// The uuids of the parts.
    pub(crate) parts: BTreeSet<String>,
    /// By partition, the last block that green had before.
    pub(crate) blocks: BTreeMap<String, i64>,
}

/// Green has all of blue's rows, and is kept in step by the view.
#[derive(Debug, Clone, Copy)]
pub struct Backfilled {
    /// Rows copied.
    pub(crate) rows: u64,
    /// Readers and writers were on green, or somebody wrote there, and a rollback has brought them to blue.
    pub(crate) rolled_back: bool,
    /// Then green may have rows of theirs that blue has not got yet.
    pub(crate) rest: bool,
}

impl Backfilled {
    /// So many rows, and nobody was on green.
    pub(crate) fn of(rows: u64) -> Self {
        Self { rows, rolled_back: false, rest: false }
    }
}

/// Parity was proven, at the time of the journal's entry.
#[derive(Debug, Clone)]
pub struct Verified {
    pub(crate) parity: Parity,
    /// The partitions that it covers and that need not be read again while they have these parts.
    pub(crate) proven: Vec<ProvenPartition>,
    /// A cutover was begun and not journalled as done.
    pub(crate) cutover_open: Option<Opened>,
    /// How far that exchange got, on a server.
    pub(crate) swapping: Option<Swapping>,
}

/// A cutover that something on the server tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) cutover: Cutover,
    /// Tells green's data.
    pub(crate) green_data: String,
    /// Green then.
    pub(crate) green: PartsSeen,
}

/// Names that change places while INSERTs go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Swapping {
    /// Of what the readers' name meant, each part up to this block is in the other table;
    /// `i64::MAX` when no more can come.
    pub(crate) known: i64,
    /// When the server was started (seconds since 1970, by its own clock, give or take one).
    pub(crate) server_start: i64,
    /// The server's time when it began, where parts alone can tell what was not forwarded since.
    pub(crate) since: Option<u32>,
    /// The settings of merges that the two tables had, by their data. Merges are stopped by settings as
    /// long as the parts tell what was carried.
    pub(crate) merge_settings: BTreeMap<String, BTreeMap<String, String>>,
    /// The parts that came later and are in the other table too.
    pub(crate) carried: BTreeSet<String>,
    /// The uuids that they have there.
    pub(crate) uuids: BTreeSet<String>,
    pub(crate) carrying: Option<Carrying>,
}

/// Parts that were about to be attached to the other table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Carrying {
    pub(crate) parts: Vec<String>,
    /// That they were to have there.
    pub(crate) uuids: BTreeSet<String>,
    /// By partition, the last block there before.
    pub(crate) blocks: BTreeMap<String, i64>,
}

impl Swapping {
    /// How far an exchange got, by a further entry of it. Nothing where the entry cannot follow.
    pub(crate) fn after(before: Option<Self>, event: Event) -> Option<Self> {
        match event {
            Event::Swapping { .. } => Some(before.unwrap_or_default().take(event)),
            _ => Some(before?.take(event)),
        }
    }

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
    pub(crate) at: Timestamp,
    /// A view keeps blue in step, so a rollback loses nothing.
    pub forwards_back: bool,
    /// Rows of blue at the cutover, or when it was looked at later.
    pub(crate) blue_rows: u64,
    /// Its last block then, after an exchange, as long as no view has written to it.
    pub(crate) old_block: Option<i64>,
    /// When that was.
    pub(crate) looked: Timestamp,
    /// The view was being turned, to forward back or not, which was not journalled as done.
    pub(crate) turn_open: Option<bool>,
    /// Tells the new table's data.
    pub(crate) new_data: String,
    /// The new table when the cutover began, or when the view was turned. What changed it since, nothing
    /// has forwarded.
    pub(crate) new_seen: PartsSeen,
    /// A cleanup that was not journalled as done.
    pub(crate) cleanup: Option<CleanupBegun>,
    /// After an exchange, both tables were found to have the same rows; or, where no view can keep the old one
    /// current, the new one to have all that had come to the old one.
    pub(crate) compared: bool,
    /// The old table at the last time that this was so.
    pub(crate) old_compared: Option<PartsSeen>,
    /// A rollback that was not journalled as done.
    pub(crate) rollback: Option<RollbackBegun>,
    /// How far its exchange got, on a server.
    pub(crate) swapping: Option<Swapping>,
}

#[derive(Debug, Clone)]
pub(crate) struct CleanupBegun {
    /// Tells the data that it drops.
    pub(crate) old_data: String,
    /// That data is put aside, under this name.
    pub(crate) parked: Option<Parked>,
    /// Whatever the old table has that the new one lacks.
    pub(crate) forced: bool,
    /// The old table when the looks at it began; none by force. What came there since, it must not drop unseen.
    pub(crate) old: Option<Box<PartsSeen>>,
    /// Such rows were found: no later command takes them for others.
    pub(crate) late: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct RollbackBegun {
    /// Tells blue's data.
    pub(crate) blue_data: String,
    /// Blue then.
    pub(crate) blue: PartsSeen,
    /// It gives up what the new table alone has.
    pub(crate) forced: bool,
}

impl CutOver {
    /// Just made, as `opened`; nothing has happened since.
    pub(crate) fn new(opened: Opened, at: Timestamp, forwards_back: bool, blue_rows: u64) -> Self {
        let Opened { cutover, green_data, green } = opened;
        Self {
            cutover,
            at,
            forwards_back,
            blue_rows,
            old_block: None,
            looked: at,
            turn_open: None,
            new_data: green_data,
            new_seen: green,
            cleanup: None,
            compared: false,
            old_compared: None,
            rollback: None,
            swapping: None,
        }
    }
}

/// The view is gone, and blue, or it is parked.
#[derive(Debug, Clone)]
pub struct Cleaned {
    pub(crate) cutover: Cutover,
    /// Tells blue's data; empty where it was gone before.
    pub old_data: String,
    /// Tells that of the new table, as it was at the cutover.
    pub(crate) new_data: String,
    pub parked: Option<Parked>,
}

/// What the migration made is being dropped, which cannot be taken back.
#[derive(Debug, Clone)]
pub struct Aborting {
    /// It had its view, and rows in green.
    pub(crate) was_attached: bool,
    /// Tells green's data.
    pub(crate) green_data: String,
    /// Whatever green has that blue lacks.
    pub(crate) forced: bool,
}

/// All that the migration made is gone; blue is as it would be without it.
#[derive(Debug, Clone, Copy)]
pub struct Aborted;

/// The word for a phase, in status and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PhaseName {
    Started,
    Prepared,
    Attached,
    Backfilled,
    #[serde(rename = "rolled back")]
    RolledBack,
    Verified,
    #[serde(rename = "cut over")]
    CutOver,
    Cleaned,
    Aborting,
    Aborted,
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Phase {
    pub fn name(&self) -> PhaseName {
        match self {
            Self::Started(_) => PhaseName::Started,
            Self::Prepared(_) => PhaseName::Prepared,
            Self::Attached(_) => PhaseName::Attached,
            Self::Backfilled(Backfilled { rolled_back: true, .. }) => PhaseName::RolledBack,
            Self::Backfilled(_) => PhaseName::Backfilled,
            Self::Verified(_) => PhaseName::Verified,
            Self::CutOver(_) => PhaseName::CutOver,
            Self::Cleaned(_) => PhaseName::Cleaned,
            Self::Aborting(_) => PhaseName::Aborting,
            Self::Aborted(_) => PhaseName::Aborted,
        }
    }

    /// Whether nothing is left to be done.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Cleaned(_) | Self::Aborted(_))
    }
}
