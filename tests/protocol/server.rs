//! The server: tables of parts, the view, merges, the log of parts.

use crate::insert::Insert;
use crate::journal::Phase;
use crate::merger::Merge;
use crate::teal::{Adrift, Memory, Process};

/// A set of rows, one bit each.
pub(crate) type Rows = u16;

/// A table's data, whatever its name. An exchange swaps the names of the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Data {
    /// Blue's, the old layout.
    Old,
    /// Green's, the new layout.
    New,
    Snapshot,
    Staging,
}

/// A name that users and the view know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    Blue,
    Green,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Writer {
    History,
    /// An INSERT of a user, by its place in the setting.
    Insert(u8),
    Merge,
    Teal,
}

/// An active part. Its rows name it within its table; a part that came there through the view
/// beside the same part written directly is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Part {
    pub(crate) rows: Rows,
    pub(crate) writer: Writer,
    pub(crate) through_view: bool,
    /// Of a staging table, kept by a clone and dropped by a merge.
    pub(crate) has_uuid: bool,
}

impl Part {
    pub(crate) fn is_merged(self) -> bool {
        self.writer == Writer::Merge
    }
}

/// What `part_log` knows of an INSERT. It is written some seconds late: what a server had not written down when it
/// died, is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct LogLine {
    /// It wrote a part of this table.
    pub(crate) wrote_old: bool,
    pub(crate) wrote_new: bool,
}

/// What may still happen, so that there is an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Left {
    /// Crashes of teal and lost connections.
    pub(crate) crashes: u8,
    /// Times that teal begins a cut.
    pub(crate) cuts: u8,
    pub(crate) merges: u8,
    /// INSERTs that end in their midst.
    pub(crate) cut_offs: u8,
}

/// Everything that there is: the state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    tables: [Vec<Part>; 4],
    pub(crate) is_exchanged: bool,
    pub(crate) has_view: bool,
    /// The write gate.
    pub(crate) is_gate_closed: bool,
    pub(crate) inserts: Vec<Insert>,
    /// By query id.
    pub(crate) log: Vec<LogLine>,
    pub(crate) merge: Option<Merge>,
    /// By `SYSTEM STOP MERGES`, of the old and of the new layout.
    pub(crate) merges_stopped: [bool; 2],
    /// By the tables' settings, which survive everything.
    pub(crate) stopped_by_settings: [bool; 2],
    pub(crate) phase: Phase,
    pub(crate) process: Process,
    /// What the process knows; a crash forgets it.
    pub(crate) memory: Memory,
    /// A statement that goes on at the server, whose teal has crashed or lost its connection.
    pub(crate) adrift: Option<Adrift>,
    pub(crate) left: Left,
}

impl World {
    pub(crate) fn new(inserts: Vec<Insert>, phase: Phase, process: Process, left: Left) -> Self {
        Self {
            tables: Default::default(),
            is_exchanged: false,
            has_view: false,
            is_gate_closed: false,
            log: vec![LogLine::default(); inserts.len()],
            inserts,
            merge: None,
            merges_stopped: [false; 2],
            stopped_by_settings: [false; 2],
            phase,
            process,
            memory: Memory::default(),
            adrift: None,
            left,
        }
    }

    pub(crate) fn data(&self, name: Name) -> Data {
        match (name, self.is_exchanged) {
            (Name::Blue, false) | (Name::Green, true) => Data::Old,
            (Name::Green, false) | (Name::Blue, true) => Data::New,
        }
    }

    /// In the order of their names, which is that of their commits where the setting asks for it.
    pub(crate) fn parts(&self, data: Data) -> &[Part] {
        &self.tables[data as usize]
    }

    /// Adds a part. Where the order of commits does not matter, the parts are sorted, so that two
    /// orders are one state.
    pub(crate) fn add(&mut self, data: Data, part: Part, is_in_order: bool) {
        let parts = &mut self.tables[data as usize];
        let at = match is_in_order {
            true => parts.len(),
            false => parts.partition_point(|other| *other <= part),
        };
        parts.insert(at, part);
    }

    pub(crate) fn remove(&mut self, data: Data, part: Part) -> bool {
        let parts = &mut self.tables[data as usize];
        match parts.iter().position(|other| *other == part) {
            Some(at) => {
                parts.remove(at);
                true
            }
            None => false,
        }
    }

    pub(crate) fn empty(&mut self, data: Data) {
        self.tables[data as usize].clear();
    }

    pub(crate) fn may_merge(&self, data: Data) -> bool {
        match data {
            Data::Old | Data::New => {
                let side = data as usize;
                !self.merges_stopped[side] && !self.stopped_by_settings[side]
            }
            // Teal's own tables have merges off.
            Data::Snapshot | Data::Staging => false,
        }
    }

    /// The INSERTs of users in `system.processes`, one bit each.
    pub(crate) fn running(&self) -> u8 {
        let running = self.inserts.iter().enumerate().filter(|(_, insert)| insert.is_running());
        running.fold(0, |mask, (number, _)| mask | 1 << number)
    }
}

/// How often each row is there.
pub(crate) fn counts(parts: &[Part]) -> [u8; Rows::BITS as usize] {
    let mut counts = [0; Rows::BITS as usize];
    for part in parts {
        for (row, count) in counts.iter_mut().enumerate() {
            *count += u8::from(part.rows & 1 << row != 0);
        }
    }
    counts
}
