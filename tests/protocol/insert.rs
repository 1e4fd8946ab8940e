//! A user's INSERT.
//!
//! It is in `system.processes` first; then it finds its table by name; then, by the table's name, the
//! view; and last, by name again, the table that the view writes to. (So says ClickHouse's
//! `InsertDependenciesBuilder`.) It binds once: all its parts go the same way. Then it commits its parts one
//! after another, each to the table and, if it has found the view, to the view's table. The protocols do not
//! ask which of these two commits comes first (`Setting::either_order`), as long as the server lives. If
//! it dies between the two, the table's must have come first, as it does in ClickHouse: repair copies what
//! green lacks, and drops nothing.

use crate::journal::Phase;
use crate::protocol::Protocol;
use crate::server::{Data, Name, Part, World, Writer};
use crate::setting::InsertPlan;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Insert {
    Waiting,
    Listed,
    FoundTable(Data),
    FoundView(Data),
    Writing {
        table: Data,
        view: Option<Data>,
        done: Done,
    },
    Ended,
    /// Its server died, or it failed.
    CutOff,
}

/// Commits done: parts as a whole, and of the next part the one to the table or to the view's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Done {
    parts: u8,
    to_table: bool,
    to_view: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    Start,
    FindTable,
    FindView,
    MissView,
    FindTarget,
    CommitToTable,
    CommitToView,
    End,
    CutOff,
}

impl Insert {
    pub(crate) fn is_running(self) -> bool {
        !matches!(self, Self::Waiting | Self::Ended | Self::CutOff)
    }
}

/// The rows of a part of an INSERT.
pub(crate) fn rows_of(insert: usize, part: u8) -> u16 {
    1 << (insert * 2 + usize::from(part))
}

impl Protocol {
    pub(crate) fn insert_moves(&self, world: &World, number: usize, moves: &mut Vec<Move>) {
        let plan = self.setting.inserts[number];
        match world.inserts[number] {
            Insert::Waiting => {
                // A query id that is in use is refused.
                let is_free = (0..number).all(|other| {
                    self.setting.inserts[other].query != plan.query
                        || matches!(world.inserts[other], Insert::Ended | Insert::CutOff)
                });
                if !world.is_gate_closed && is_free {
                    moves.push(Move::Start);
                }
            }
            Insert::Listed => moves.push(Move::FindTable),
            Insert::FoundTable(data) => {
                // By the name under which the INSERT came, or by the table's name now: after an
                // exchange these are two, and the server may ask by either.
                let by_name = world.has_view;
                let by_table = world.has_view && world.data(Name::Blue) == data;
                if by_name || by_table {
                    moves.push(Move::FindView);
                }
                if !by_name || !by_table {
                    moves.push(Move::MissView);
                }
            }
            Insert::FoundView(_) => moves.push(Move::FindTarget),
            Insert::Writing { view, done, .. } => {
                if world.left.cut_offs > 0 && world.phase != Phase::CutOver {
                    moves.push(Move::CutOff);
                }
                if done.parts == plan.parts {
                    moves.push(Move::End);
                    return;
                }
                if !done.to_table {
                    moves.push(Move::CommitToTable);
                }
                if view.is_some() && !done.to_view && (done.to_table || self.setting.either_order) {
                    moves.push(Move::CommitToView);
                }
            }
            Insert::Ended | Insert::CutOff => (),
        }
    }

    pub(crate) fn move_insert(&self, world: &mut World, number: usize, step: Move) {
        world.inserts[number] = match (world.inserts[number], step) {
            (Insert::Waiting, Move::Start) => Insert::Listed,
            (Insert::Listed, Move::FindTable) => Insert::FoundTable(world.data(Name::Blue)),
            (Insert::FoundTable(table), Move::FindView) => Insert::FoundView(table),
            (Insert::FoundTable(table), Move::MissView) => {
                Insert::Writing { table, view: None, done: Done::default() }
            }
            (Insert::FoundView(table), Move::FindTarget) => {
                let view = Some(world.data(Name::Green));
                Insert::Writing { table, view, done: Done::default() }
            }
            (Insert::Writing { table, view, mut done }, Move::CommitToTable) => {
                self.commit(world, number, table, done.parts, false);
                done.to_table = true;
                Insert::Writing { table, view, done: done.settled(view) }
            }
            (Insert::Writing { table, view: Some(target), mut done }, Move::CommitToView) => {
                self.commit(world, number, target, done.parts, true);
                done.to_view = true;
                Insert::Writing { table, view: Some(target), done: done.settled(Some(target)) }
            }
            (Insert::Writing { .. }, Move::End) => Insert::Ended,
            (Insert::Writing { .. }, Move::CutOff) => {
                world.left.cut_offs -= 1;
                Insert::CutOff
            }
            (other, _) => other,
        };
    }

    fn commit(&self, world: &mut World, number: usize, data: Data, part: u8, through_view: bool) {
        let InsertPlan { query, is_filtered, .. } = self.setting.inserts[number];
        if through_view && is_filtered {
            return;
        }
        let line = &mut world.log[query];
        match data {
            Data::New => line.wrote_new = true,
            _ => line.wrote_old = true,
        }
        let writer = Writer::Insert(number as u8);
        let rows = rows_of(number, part);
        let part = Part { rows, writer, through_view, has_uuid: false };
        world.add(data, part, self.setting.equal_rows);
    }
}

impl Done {
    /// A part that is where it belongs is done.
    fn settled(self, view: Option<Data>) -> Self {
        match self.to_table && (self.to_view || view.is_none()) {
            true => Self { parts: self.parts + 1, to_table: false, to_view: false },
            false => self,
        }
    }
}
