//! The process of teal: what it does next, what it knows, and how it ends.

use crate::server::Part;

/// A list of steps. [`Routine::Open`] is what a process begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Routine {
    Open,
    Fence,
    Undo,
    Chunk,
    FinishPublication,
    Restore,
    Finish,
    /// Parity is proven; what lacks is copied first.
    Verify,
    Exchange,
    /// What an exchange does first that has failed.
    Failed,
    /// `settle_exchange`: it happened, and the new table has every row; it happened; it did not.
    SettleComplete,
    SettleExchanged,
    SettleNotExchanged,
    /// `carry_by_rows`, and what is left then.
    CarryByRows,
    /// Each table gets what only the other one has.
    CarryBoth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Process {
    /// There is none; somebody will run a command.
    Absent,
    Running {
        routine: Routine,
        /// The step that is next.
        at: usize,
        /// The command has failed, and ends with this routine.
        is_last: bool,
    },
    Ended(Outcome),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Done,
    /// No cut was clean within the time: the fence is undone, and the message says what to wait for.
    GaveUp,
    /// It found what it refuses to touch, or what it cannot explain.
    Refused(&'static str),
}

/// What the process has read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    /// INSERTs that are waited for, one bit each.
    pub(crate) listed: u8,
    /// The parts in the clone; for an exchange, those of the old table that are known to be in the new
    /// one too, and those that the new one had before.
    pub(crate) old: [Vec<Part>; 2],
    /// The parts that came since then.
    pub(crate) window: [Vec<Part>; 2],
    /// Those of them that are to be copied to the other side.
    pub(crate) to_copy: [Vec<Part>; 2],
    /// The rows that the new table had before late parts are attached: of a merged part that has others, the last
    /// block is a later one.
    pub(crate) blocks: crate::server::Rows,
    /// The server was started anew meanwhile: `Hold::server_start` is another one.
    pub(crate) is_server_anew: bool,
    /// The connection was lost while an entry of the journal was written: it may be there or not.
    pub(crate) is_unsure: bool,
    /// It is there, and the next one would have the same number.
    pub(crate) is_number_taken: bool,
}

/// A statement whose teal has gone, with the parts that it names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Adrift {
    pub(crate) step: crate::step::Step,
    pub(crate) parts: [Vec<Part>; 2],
}
