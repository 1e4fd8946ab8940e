//! How the process of teal goes on: from step to step, from routine to routine, and when something fails.

use crate::backfill::next_chunk;
use crate::journal::{Entry, Phase};
use crate::protocol::Protocol;
use crate::server::{Data, World};
use crate::step::{Flow, Step};
use crate::teal::{Adrift, Memory, Outcome, Process, Routine};

fn is_in(world: &World, routine: Routine) -> bool {
    matches!(world.process, Process::Running { routine: other, .. } if other == routine)
}

impl Protocol {
    /// Whether a wait has a bound past which the cut is not clean.
    pub(crate) fn gives_up_waiting(&self, world: &World, routine: Routine) -> bool {
        let can_fail = self.routines.contains_key(&Routine::Failed) && !world.is_exchanged;
        routine == Routine::Fence || routine == Routine::Exchange && can_fail
    }

    /// teal makes its next step.
    pub(crate) fn step(&self, world: &mut World, step: Step) {
        let Process::Running { routine, at, is_last } = world.process else { return };
        let is_entry = step.is_entry();
        if is_entry && world.memory.is_unsure && self.setting.ends_when_unsure {
            self.forget(world);
            return;
        }
        if matches!(step, Step::Record(Entry::FenceOpened | Entry::CutoverOpened)) {
            world.left.cuts -= 1;
        }
        match self.execute(world, step) {
            Flow::Next => {
                world.process = Process::Running { routine, at: at + 1, is_last };
                self.settle_routine(world);
            }
            Flow::NotClean => self.not_clean(world),
            Flow::Untold(why) => self.untold(world, routine, why),
            Flow::Refused(why) => {
                world.memory = Memory::default();
                world.process = Process::Ended(Outcome::Refused(why));
            }
        }
    }

    /// Goes past the steps that only look in the journal.
    fn settle_routine(&self, world: &mut World) {
        let Process::Running { routine, at, is_last } = world.process else { return };
        match self.routines[&routine][at] {
            Step::Heal => self.heal(world, is_last),
            Step::Advance if is_last => self.forget(world),
            Step::Advance => self.advance(world),
            _ => (),
        }
    }

    pub(crate) fn begin(&self, world: &mut World, routine: Routine, is_last: bool) {
        world.process = Process::Running { routine, at: 0, is_last };
        self.settle_routine(world);
    }

    /// `Operator::heal`.
    fn heal(&self, world: &mut World, is_last: bool) {
        match world.phase {
            Phase::Prepared { is_fence_open: true } => self.begin(world, Routine::Undo, false),
            Phase::Attached { publishing: Some(_), .. } if !self.setting.is_clone => {
                self.begin(world, Routine::FinishPublication, false);
            }
            Phase::Attached { .. } if !self.setting.is_clone => {
                self.begin(world, Routine::Restore, false);
            }
            Phase::Backfilled => {
                world.empty(Data::Snapshot);
                self.advance(world);
            }
            Phase::Complete => self.begin(world, Routine::SettleComplete, is_last),
            Phase::CutoverOpened { .. } | Phase::Carrying => {
                let routine = match (world.is_exchanged, world.has_view) {
                    (true, true) if self.routines.contains_key(&Routine::SettleComplete) => {
                        Routine::SettleComplete
                    }
                    (true, _) => Routine::SettleExchanged,
                    (false, _) => Routine::SettleNotExchanged,
                };
                self.begin(world, routine, is_last);
            }
            _ => self.advance(world),
        }
    }

    /// `Operator::advance`, and the cutover behind it.
    fn advance(&self, world: &mut World) {
        match world.phase {
            Phase::Prepared { .. } if world.left.cuts == 0 => {
                world.memory = Memory::default();
                world.process = Process::Ended(Outcome::GaveUp);
            }
            Phase::Prepared { .. } => self.begin(world, Routine::Fence, false),
            Phase::Attached { .. } if self.setting.is_clone => {
                world.phase = world.phase.after(Entry::Backfilled);
                self.advance(world);
            }
            Phase::Attached { published, .. } => match next_chunk(published) {
                Some(_) => self.begin(world, Routine::Chunk, false),
                None => self.begin(world, Routine::Finish, false),
            },
            Phase::Backfilled if self.routines.contains_key(&Routine::Verify) => {
                self.begin(world, Routine::Verify, false);
            }
            Phase::Verified
                if world.left.cuts > 0 && self.routines.contains_key(&Routine::Exchange) =>
            {
                self.begin(world, Routine::Exchange, false);
            }
            Phase::CutOver
                if self.routines.contains_key(&Routine::CarryBoth)
                    && !is_in(world, Routine::CarryBoth) =>
            {
                self.begin(world, Routine::CarryBoth, false);
            }
            Phase::Backfilled | Phase::Verified | Phase::CutOver => {
                world.memory = Memory::default();
                world.process = Process::Ended(Outcome::Done);
            }
            Phase::CutoverOpened { .. } | Phase::Carrying | Phase::Complete | Phase::Corrupt => {
                world.process = Process::Ended(Outcome::Refused("the journal"));
            }
        }
    }

    /// Parts were merged that had to be told apart: the rows must tell.
    fn untold(&self, world: &mut World, routine: Routine, why: &'static str) {
        match routine {
            _ if !self.routines.contains_key(&Routine::CarryByRows) => {
                world.memory = Memory::default();
                world.process = Process::Ended(Outcome::Refused(why));
            }
            Routine::Exchange => self.not_clean(world),
            Routine::SettleExchanged => {
                world.memory.window = Default::default();
                self.begin(world, Routine::CarryByRows, false);
            }
            // The command fails, and the next one does it.
            _ => self.forget(world),
        }
    }

    /// The cut is undone and tried again.
    pub(crate) fn not_clean(&self, world: &mut World) {
        match is_in(world, Routine::Exchange) {
            true => {
                let known = std::mem::take(&mut world.memory.old[0]);
                world.memory = Memory::default();
                world.memory.old[0] = known;
                self.begin(world, Routine::Failed, false);
            }
            false => {
                world.memory = Memory::default();
                world.is_gate_closed = false;
                self.begin(world, Routine::Undo, false);
            }
        }
    }

    /// A statement has failed. Within the cut, `try_cut` undoes it before the command ends.
    pub(crate) fn fail(&self, world: &mut World, step: Step) {
        let Process::Running { routine, .. } = world.process else { return };
        let is_entry = step.is_entry();
        match routine {
            Routine::Fence if !is_entry => {
                world.memory = Memory::default();
                self.begin(world, Routine::Undo, true);
            }
            // What an exchange has begun is settled at once.
            Routine::Exchange if self.routines.contains_key(&Routine::Failed) && !is_entry => {
                self.begin(world, Routine::Failed, true);
            }
            // `cut_by_log` tries once more.
            Routine::Undo => {
                world.memory.is_unsure = is_entry;
                self.begin(world, Routine::Undo, true);
            }
            _ => self.forget(world),
        }
    }

    /// The process has ended.
    pub(crate) fn forget(&self, world: &mut World) {
        world.process = Process::Absent;
        let memory = std::mem::take(&mut world.memory);
        // Of what the process knows, the journal has this, or what it has sent has it.
        if self.setting.lists_survive
            && matches!(world.phase, Phase::CutoverOpened { .. } | Phase::Carrying)
        {
            world.memory.old[0] = memory.old.into_iter().next().unwrap_or_default();
            let is_sent = world.adrift.as_ref().is_some_and(|it| it.step == Step::RecordCarrying);
            if world.phase == Phase::Carrying || is_sent {
                world.memory.to_copy[0] = memory.to_copy.into_iter().next().unwrap_or_default();
                world.memory.blocks = memory.blocks;
            }
        }
    }

    pub(crate) fn set_adrift(&self, world: &mut World, step: Step) {
        let parts = match step {
            Step::CopyWindow
            | Step::CopyAcrossFirst
            | Step::CopyAcrossOthers
            | Step::CopyBackFirst
            | Step::CopyBackOthers
            | Step::CopyMissing
            | Step::RecordCarrying
            | Step::AttachLateFirst
            | Step::AttachLateOthers
            | Step::FinishLate
            | Step::FinishLateAsAWhole
            | Step::RecordCarried => world.memory.to_copy.clone(),
            _ => Default::default(),
        };
        world.adrift = Some(Adrift { step, parts });
    }
}
