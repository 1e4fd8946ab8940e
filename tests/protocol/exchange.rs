//! The exchange of the two tables' names: at the gate, by `cutover.rs`; and where INSERTs cannot be held,
//! by the steps that `docs/model-check.md` tells.

use crate::journal::{Entry, Phase};
use crate::protocol::Protocol;
use crate::server::{Data, Name, Part, Rows, World, Writer};
use crate::step::{Flow, Step};
use crate::verify;

/// `EXCHANGE TABLES` and nothing else.
pub(crate) fn bare() -> Vec<Step> {
    vec![
        Step::Record(Entry::CutoverOpened),
        Step::Exchange,
        Step::Record(Entry::CutOver),
        Step::Advance,
    ]
}

pub(crate) mod at_gate {
    use super::*;

    /// If the view cannot forward back, it is dropped in the same cut.
    pub(crate) fn exchange(forwards_back: bool) -> Vec<Step> {
        let shut = vec![Step::Record(Entry::CutoverOpened), Step::ShutGate, Step::WaitAtGate];
        let drop = if forwards_back { vec![] } else { vec![Step::DropView] };
        let swap =
            vec![Step::Exchange, Step::OpenGate, Step::Record(Entry::CutOver), Step::Advance];
        [shut, drop, swap].concat()
    }

    pub(crate) fn settle_exchanged() -> Vec<Step> {
        vec![Step::Record(Entry::CutOver), Step::Advance]
    }

    pub(crate) fn settle_not_exchanged() -> Vec<Step> {
        vec![
            Step::ShutGate,
            Step::WaitAtGate,
            Step::CreateView,
            Step::OpenGate,
            Step::Record(Entry::CutoverUndone),
            Step::Advance,
        ]
    }
}

pub(crate) mod on_server {
    use super::*;

    /// If the view cannot forward back, it is not made anew. That the new table has every row is
    /// known by the view, or else by an entry: the old one's parts cannot be told any more when they are
    /// merged.
    pub(crate) fn exchange(forwards_back: bool) -> Vec<Step> {
        let mut steps = begin();
        steps.extend([
            Step::DropView,
            // Whoever has found the view must not find its target after the exchange.
            Step::ListInserts,
            Step::WaitForInserts,
            // What came meanwhile, forwarded or not.
            Step::ListWindow,
            Step::ListInserts,
            Step::WaitForInserts,
            Step::ReadPartLog,
            Step::RefuseStartedAnew,
            Step::CopyAcrossFirst,
            Step::CopyAcrossOthers,
            // What came since then is not forwarded.
            Step::ListNewer,
            Step::CopyAcrossFirst,
            Step::CopyAcrossOthers,
            Step::ListNew,
            Step::Record(Entry::Swapping),
            Step::HoldMerges,
            Step::RefuseStartedAnew,
            Step::Exchange,
        ]);
        steps.extend(carry_the_rest());
        // Whoever knows the old table by the readers' name must not find the view.
        steps.extend(LATE);
        steps.extend(carry_the_rest());
        if forwards_back {
            steps.extend([
                Step::CreateView,
                Step::ListInserts,
                Step::WaitForInserts,
                Step::ListReturning,
                Step::ListInserts,
                Step::WaitForInserts,
                Step::ReadPartLogOfReturning,
                Step::RefuseStartedAnew,
                Step::CopyBackFirst,
                Step::CopyBackOthers,
            ]);
        } else {
            steps.push(Step::Record(Entry::Complete));
        }
        steps.extend(end(Entry::CutOver));
        steps
    }

    fn begin() -> Vec<Step> {
        vec![
            Step::Record(Entry::CutoverOpened),
            Step::StopMerges(Name::Blue),
            Step::StopMerges(Name::Green),
            Step::WaitForMerges(Name::Blue),
            Step::WaitForMerges(Name::Green),
            Step::ListOld,
        ]
    }

    fn carry_the_rest() -> Vec<Step> {
        [&[Step::ListLate, Step::StopMergesOfNew], &NOTED[..]].concat()
    }

    const READ: [Step; 2] = [Step::ReadPartLog, Step::RefuseStartedAnew];
    const LATE: [Step; 2] = [Step::ListInserts, Step::WaitForTheLate];
    pub(crate) const NOTED: [Step; 5] = [
        Step::ListBlocks,
        Step::RecordCarrying,
        Step::AttachLateFirst,
        Step::AttachLateOthers,
        Step::RecordCarried,
    ];

    fn end(entry: Entry) -> Vec<Step> {
        vec![
            Step::ReleaseMerges,
            Step::StartMerges(Name::Blue),
            Step::StartMerges(Name::Green),
            Step::Record(entry),
            Step::Advance,
        ]
    }

    /// After a crash, where the exchange happened and the view is not there.
    pub(crate) fn settle_exchanged(forwards_back: bool) -> Vec<Step> {
        [vec![Step::FinishLate, Step::RecordCarried], finish(forwards_back)].concat()
    }

    /// Where parts do not tell what the new table has.
    pub(crate) fn carry_by_rows(forwards_back: bool) -> Vec<Step> {
        [verify::by_rows(), finish(forwards_back)].concat()
    }

    /// `finish_swap`.
    fn finish(forwards_back: bool) -> Vec<Step> {
        let mut steps = [&LATE[..], &carry_the_rest()].concat();
        steps.push(match forwards_back {
            true => Step::CreateView,
            false => Step::Record(Entry::Complete),
        });
        steps.extend(end(Entry::CutOver));
        steps
    }

    /// Where an engine adds rows up: the parts tell everything, also what an exchange lacks that is taken back.
    pub(crate) fn exchange_of_sums() -> Vec<Step> {
        let wait = [Step::ListInserts, Step::WaitForInserts];
        let drop = vec![Step::Record(Entry::Swapping), Step::DropView];
        let window = [&wait[..], &[Step::ListUnseen], &wait, &READ, &NOTED].concat();
        let newer = [&[Step::ListUnforwarded], &NOTED[..]].concat();
        let swap = [
            Step::KnowSeen,
            Step::ListNew,
            Step::Record(Entry::Swapping),
            Step::HoldMerges,
            Step::RefuseStartedAnew,
            Step::Exchange,
        ]
        .to_vec();
        let rest = [&carry_the_rest()[..], &LATE, &carry_the_rest()].concat();
        let back = [
            &[Step::Record(Entry::Complete), Step::CreateView][..],
            &wait,
            &[Step::ListReturning],
            &wait,
            &[Step::ReadPartLogOfReturning, Step::RefuseStartedAnew],
            &[Step::CopyBackFirst, Step::CopyBackOthers],
        ]
        .concat();
        [begin(), drop, window, newer, swap, rest, back, end(Entry::CutOver)].concat()
    }

    /// After a crash, where it happened: the old table may lack rows, so no view keeps it current.
    pub(crate) fn settle_exchanged_of_sums() -> Vec<Step> {
        [vec![Step::DropView], settle_exchanged(false)].concat()
    }

    pub(crate) fn settle_complete_of_sums() -> Vec<Step> {
        let give_up = vec![Step::DropView, Step::ListInserts, Step::WaitForInserts];
        [give_up, end(Entry::CutOver)].concat()
    }

    /// Where it did not happen: what was not forwarded is told by the log, and copied.
    pub(crate) fn undo_of_sums() -> Vec<Step> {
        let wait = [Step::ListInserts, Step::WaitForInserts];
        let attached = [Step::FinishLate, Step::RecordCarried];
        let missed = [&[Step::ListMissed][..], &wait, &READ, &NOTED].concat();
        let view = [&[Step::CreateView][..], &wait, &attached].concat();
        [view, missed, end(Entry::CutoverUndone)].concat()
    }

    /// Where the new table has every row: what the old one lacks is found by comparing the rows.
    pub(crate) fn settle_complete() -> Vec<Step> {
        end(Entry::CutOver)
    }

    /// Where it did not happen: what the new table lacks is found by comparing the rows, when whoever
    /// does not know the view has ended.
    pub(crate) fn settle_not_exchanged() -> Vec<Step> {
        let view = vec![Step::CreateView, Step::ListInserts, Step::WaitForInserts];
        [view, end(Entry::CutoverUndone)].concat()
    }
}

impl Protocol {
    pub(crate) fn execute_exchange(&self, world: &mut World, step: Step) -> Flow {
        let old = world.parts(Data::Old).to_vec();
        let new = world.parts(Data::New).to_vec();
        match step {
            Step::HoldMerges => world.stopped_by_settings = [true; 2],
            Step::ReleaseMerges => world.stopped_by_settings = [false; 2],
            Step::Exchange => world.is_exchanged = !world.is_exchanged,
            Step::ListOld => world.memory.old[0] = old,
            Step::ListNew => world.memory.old[1] = new,
            Step::ListNewer => {
                let newer = unknown(&old, &world.memory.old[0]);
                if newer.iter().any(|part| part.is_merged()) {
                    return Flow::NotClean;
                }
                world.memory.to_copy[0] = newer;
                world.memory.old[0] = old;
            }
            Step::ListUnseen | Step::ListUnforwarded => {
                let seen = [&world.memory.old[0][..], &world.memory.window[1]].concat();
                let unseen = unknown(&old, &seen);
                if unseen.iter().any(|part| part.is_merged()) {
                    return Flow::NotClean;
                }
                world.memory.window[1].extend(&unseen);
                match step {
                    Step::ListUnseen => world.memory.window[0] = unseen,
                    _ => world.memory.to_copy[0] = unseen,
                }
            }
            Step::KnowSeen => {
                let seen = std::mem::take(&mut world.memory.window[1]);
                let unknown = unknown(&seen, &world.memory.old[0]);
                world.memory.old[0].extend(unknown);
                world.memory.old[0].sort_unstable();
            }
            // The view was not dropped yet.
            Step::ListMissed if world.phase == (Phase::CutoverOpened { is_swapping: false }) => (),
            Step::ListMissed => {
                let missed = unknown(&old, &world.memory.old[0]);
                if !missed.iter().any(|part| part.is_merged()) {
                    world.memory.window[0] = missed;
                }
            }
            Step::CopyAcrossFirst => self.attach_first(world, 0, Data::New),
            Step::CopyAcrossOthers => {
                self.attach_others(world, 0, Data::New);
                world.memory.to_copy[0].clear();
            }
            Step::ListLate => {
                let late = unknown(&old, &world.memory.old[0]);
                if late.iter().any(|part| part.is_merged()) {
                    return Flow::Untold("a late part that was merged");
                }
                world.memory.to_copy[0] = late;
            }
            Step::StopMergesOfNew | Step::ListBlocks if world.memory.to_copy[0].is_empty() => (),
            Step::StopMergesOfNew => {
                (world.merges_stopped[1], world.stopped_by_settings[1]) = (true, true);
            }
            Step::ListBlocks => world.memory.blocks = rows_of(&new),
            Step::RecordCarrying if world.memory.to_copy[0].is_empty() => (),
            Step::RecordCarrying => self.record(world, Entry::Carrying),
            // Only what the journal says is attached.
            Step::AttachLateFirst
            | Step::AttachLateOthers
            | Step::FinishLate
            | Step::FinishByUuids
            | Step::FinishLateAsAWhole
            | Step::RecordCarried
                if world.phase != Phase::Carrying =>
            {
                world.memory.to_copy[0].clear();
                world.memory.blocks = 0;
            }
            Step::AttachLateFirst => self.attach_first(world, 0, Data::New),
            Step::AttachLateOthers => self.attach_others(world, 0, Data::New),
            Step::FinishLate | Step::FinishByUuids | Step::FinishLateAsAWhole => {
                let mut missing = world.memory.to_copy[0].clone();
                missing.retain(|part| !new.contains(&attached(*part)));
                // A merged part of a later block may have been made of them.
                let blocks = world.memory.blocks;
                let mut merged = new.iter().filter(|part| part.is_merged());
                if step != Step::FinishByUuids
                    && !missing.is_empty()
                    && merged.any(|part| part.rows & !blocks != 0)
                {
                    return Flow::Untold("parts that were carried are merged");
                }
                if step == Step::FinishLateAsAWhole && !missing.is_empty() {
                    missing = world.memory.to_copy[0].clone();
                }
                missing.into_iter().for_each(|part| self.attach(world, part, Data::New));
            }
            Step::RecordCarried => {
                self.record(world, Entry::Carried);
                let carried = std::mem::take(&mut world.memory.to_copy[0]);
                world.memory.old[0].extend(carried);
                world.memory.old[0].sort_unstable();
                world.memory.blocks = 0;
            }
            Step::ListKnown => world.memory.window[1] = old,
            Step::RecordKnown => {
                self.record(world, Entry::Swapping);
                world.memory.old[0] = std::mem::take(&mut world.memory.window[1]);
                world.memory.to_copy[0].clear();
                world.memory.blocks = 0;
            }
            Step::ListReturning => {
                let mut window = unknown(&new, &world.memory.old[1]);
                window.retain(|part| part.writer != Writer::Teal);
                if window.iter().any(|part| part.is_merged()) {
                    return Flow::NotClean;
                }
                world.memory.window[1] = window;
            }
            Step::ReadPartLogOfReturning => {
                for part in std::mem::take(&mut world.memory.window[1]) {
                    if let Writer::Insert(number) = part.writer {
                        let query = self.setting.inserts[usize::from(number)].query;
                        let line = world.log[query];
                        if !line.wrote_new {
                            return Flow::NotClean;
                        }
                        if !line.wrote_old {
                            world.memory.to_copy[1].push(part);
                        }
                    }
                }
            }
            Step::CopyBackFirst => self.attach_first(world, 1, Data::Old),
            Step::CopyBackOthers => {
                self.attach_others(world, 1, Data::Old);
                world.memory.to_copy[1].clear();
            }
            _ => (),
        }
        Flow::Next
    }

    /// An ATTACH of several parts may stop in its midst.
    fn attach_first(&self, world: &mut World, side: usize, into: Data) {
        if let Some(part) = world.memory.to_copy[side].first().copied() {
            self.attach(world, part, into);
        }
    }

    fn attach_others(&self, world: &mut World, side: usize, into: Data) {
        for part in world.memory.to_copy[side].clone().into_iter().skip(1) {
            self.attach(world, part, into);
        }
    }

    /// By a table of teal's own and `ATTACH`: no view forwards what is attached.
    fn attach(&self, world: &mut World, part: Part, into: Data) {
        world.add(into, attached(part), self.setting.equal_rows);
    }
}

fn attached(part: Part) -> Part {
    Part { writer: Writer::Teal, has_uuid: true, ..part }
}

fn rows_of(parts: &[Part]) -> Rows {
    parts.iter().fold(0, |rows, part| rows | part.rows)
}

fn unknown(parts: &[Part], known: &[Part]) -> Vec<Part> {
    parts.iter().filter(|part| !known.contains(part)).copied().collect()
}
