//! The server's merges: two parts of a table become one.
//!
//! A merge is chosen while merges are on; from its start to its end it is in `system.merges`. One that
//! was chosen but has not started when merges are stopped does not start. One that has started may
//! still come to its end, or be cancelled.

use crate::protocol::Protocol;
use crate::server::{Data, Part, World, Writer};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Merge {
    pub(crate) data: Data,
    parts: [Part; 2],
    pub(crate) has_started: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MergeMove {
    Choose { data: Data, first: usize, second: usize },
    Start,
    End,
    Cancel,
}

impl Protocol {
    pub(crate) fn merge_moves(&self, world: &World, moves: &mut Vec<MergeMove>) {
        match &world.merge {
            Some(merge) if merge.has_started => {
                moves.push(MergeMove::End);
                if !self.may_merge(world, merge.data) {
                    moves.push(MergeMove::Cancel);
                }
            }
            Some(merge) if self.may_merge(world, merge.data) => moves.push(MergeMove::Start),
            Some(_) => moves.push(MergeMove::Cancel),
            None if world.left.merges > 0 => {
                for data in [Data::Old, Data::New] {
                    if self.may_merge(world, data) {
                        let parts = world.parts(data).len();
                        for second in 1..parts {
                            moves.extend((0..second).map(|first| MergeMove::Choose {
                                data,
                                first,
                                second,
                            }));
                        }
                    }
                }
            }
            None => (),
        }
    }

    /// A user's `OPTIMIZE … FINAL` asks no settings.
    fn may_merge(&self, world: &World, data: Data) -> bool {
        let is_users = matches!(data, Data::Old | Data::New) && self.setting.users_merge;
        world.may_merge(data) || is_users && !world.merges_stopped[data as usize]
    }

    pub(crate) fn move_merge(&self, world: &mut World, step: MergeMove) {
        match (step, world.merge.take()) {
            (MergeMove::Choose { data, first, second }, _) => {
                world.left.merges -= 1;
                let parts = [world.parts(data)[first], world.parts(data)[second]];
                world.merge = Some(Merge { data, parts, has_started: false });
            }
            (MergeMove::Start, Some(merge)) => {
                world.merge = Some(Merge { has_started: true, ..merge });
            }
            (MergeMove::End, Some(Merge { data, parts, .. })) => {
                let [first, second] = parts;
                // A part that was dropped meanwhile has cancelled the merge.
                if world.parts(data).contains(&first) && world.parts(data).contains(&second) {
                    world.remove(data, first);
                    world.remove(data, second);
                    let part = Part {
                        rows: first.rows | second.rows,
                        writer: Writer::Merge,
                        through_view: false,
                        has_uuid: false,
                    };
                    world.add(data, part, self.setting.equal_rows);
                }
            }
            _ => (),
        }
    }
}
