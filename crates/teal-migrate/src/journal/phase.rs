//! The phases of a migration, each with what is known in it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use teal_plan::Cutover;

use crate::repair::seen::BlueSeen;
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
    /// Readers and writers were on green, or somebody wrote there, and a rollback has brought them to blue.
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
    pub(crate) fn take(mut self, event: Event) -> Self {
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
    /// Its last block then, after an exchange, as long as no view has written to it.
    pub(crate) old_block: Option<i64>,
    /// When that was.
    pub looked: Timestamp,
    /// The view was being turned, to forward back or not, which was not journalled as done.
    pub turn_open: Option<bool>,
    /// Tells the new table's data, where the cutover noted it.
    pub(crate) new_data: Option<String>,
    /// The new table when the cutover began, or when the view was turned. What changed it since, nothing
    /// has forwarded.
    pub(crate) new_seen: Option<BlueSeen>,
    /// A cleanup was begun and not journalled as done.
    pub cleanup_open: bool,
    /// Whatever the old table has that the new one lacks.
    pub cleanup_forced: bool,
    /// Tells the data that it drops. Nothing where an older teal began it, which did not note that.
    pub old_data: Option<String>,
    /// That data is put aside, under this name.
    pub parked: Option<Parked>,
    /// The old table when the cleanup's looks at it began. What came there since, it must not drop unseen.
    pub(crate) old_at_cleanup: Option<Box<BlueSeen>>,
    /// After an exchange, both tables were found to have the same rows; or, where no view can keep the old one
    /// current, the new one to have all that had come to the old one.
    pub compared: bool,
    /// The old table at the last time that this was so.
    pub(crate) old_compared: Option<BlueSeen>,
    /// A rollback was begun and not journalled as done; this tells blue's data.
    pub rollback_open: Option<String>,
    /// Blue when it was begun.
    pub(crate) old_seen: Option<BlueSeen>,
    /// It gives up what the new table alone has.
    pub(crate) rollback_forced: bool,
    /// How far that exchange got, on a server.
    pub swapping: Option<Swapping>,
}

/// The view is gone, and blue, or it is parked.
#[derive(Debug, Clone)]
pub struct Cleaned {
    pub cutover: Cutover,
    /// Tells blue's data.
    pub old_data: Option<String>,
    /// Tells that of the new table, as it was at the cutover.
    pub(crate) new_data: Option<String>,
    pub parked: Option<Parked>,
}

/// What the migration made is being dropped, which cannot be taken back.
#[derive(Debug, Clone)]
pub struct Aborting {
    /// It had its view, and rows in green.
    pub was_attached: bool,
    /// Tells green's data. Nothing where an older teal began it, which did not note that.
    pub green_data: Option<String>,
    /// Whatever green has that blue lacks.
    pub forced: bool,
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
