//! The steps of teal's routines. Each is one statement of the server, one read, or one wait; each
//! happens at one moment, and anything may come between two of them.

use crate::journal::{Entry, Phase};
use crate::protocol::Protocol;
use crate::server::{Data, Name, Part, World, Writer};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// `KILL QUERY` of what teal has sent and had no answer to: `end_statements_of_the_dead`.
    EndStatementsOfTheDead,
    /// `Operator::heal`: looks in the journal what has to be set right.
    Heal,
    /// `Operator::advance`: looks in the journal what comes next.
    Advance,
    Record(Entry),
    /// `refuse_what_is_not_ours`.
    RefuseWhatIsNotOurs,
    /// `make_own` of the snapshot.
    MakeSnapshot,
    DropSnapshot,
    StopMerges(Name),
    StartMerges(Name),
    WaitForMerges(Name),
    /// `ATTACH PARTITION ALL FROM` blue.
    CloneBlue,
    ListClone,
    /// The parts of blue, in place of those of the clone.
    ListBlueAsOld,
    CreateView,
    DropView,
    /// The two halves of `wait_for_inserts`.
    ListInserts,
    WaitForInserts,
    ListWindow,
    /// The window, listed with the newest part first.
    ListWindowBackwards,
    ReadPartLog,
    /// `refuse_started_anew`: the log that was read may lack what the server before had not written down.
    RefuseStartedAnew,
    CopyWindow,
    /// The second half of `copy_parts`: the parts that were read are there still.
    CheckWindow,
    EmptyGreen,
    ShutGate,
    WaitAtGate,
    OpenGate,
    /// `INSERT … SELECT` of all of blue: the documented recipe.
    CopyAll,

    CopyChunk,
    StopMergesBySettings,
    RecordPublishing,
    /// `ATTACH PARTITION ALL FROM` the staging table: the first part, and the others.
    AttachFirst,
    AttachOthers,
    RecordPublished,
    RestoreMerges,
    EmptyStaging,
    /// `finish_publication`, without its entry.
    FinishPublication,
    /// All of the staging table, where a part of it is missing.
    FinishPublicationAsAWhole,

    /// The clones of a comparison on a server, and what it finds.
    CloneOld,
    CloneNew,
    JudgeMissing,
    JudgeBoth,
    /// The comparison at the gate.
    Compare,
    CopyMissing,
    /// Nothing may be missing, for it could not be told what to copy.
    RefuseMissing,
    /// `carry_by_rows`: what the clone of the old table alone has, its copy, and then that all of the old table's
    /// parts are known to be in the new one.
    JudgeLost,
    CopyLost,
    ListKnown,
    RecordKnown,
    /// As `Compare`; now nothing may be missing.
    Prove,

    ListOld,
    /// Parts of the old table that have come since the last list; they are known then.
    ListNewer,
    /// By `ATTACH PARTITION ALL FROM` a table of teal's own: the first part, and the others.
    CopyAcrossFirst,
    CopyAcrossOthers,
    /// Where rows tell nothing: the parts of the old table that have come since it was listed and are not seen
    /// yet, for the log; the same, all to be copied; all that were seen are known to be in the new table.
    ListUnseen,
    ListUnforwarded,
    KnowSeen,
    /// As `ListUnseen`, where the exchange is taken back. Of merged parts it is not told.
    ListMissed,
    ListNew,
    /// Merges of both tables, by settings, and the way back.
    HoldMerges,
    ReleaseMerges,
    Exchange,
    /// `wait_for_the_late`: given up, merges of the new table go on, and it is waited for further.
    WaitForTheLate,
    /// Parts of the old table that are not known to be in the new one.
    ListLate,
    /// If there are any: merges of the new table are stopped (again).
    StopMergesOfNew,
    /// The last blocks of the new table.
    ListBlocks,
    RecordCarrying,
    AttachLateFirst,
    AttachLateOthers,
    /// What may be attached already, and is known by its uuids, which a merge drops.
    FinishLate,
    /// The same without a look at merged parts.
    FinishByUuids,
    /// All of them, where one is missing.
    FinishLateAsAWhole,
    RecordCarried,
    /// Parts of the new table that came since the exchange, and are not teal's.
    ListReturning,
    ReadPartLogOfReturning,
    CopyBackFirst,
    CopyBackOthers,
}

/// How a step went.
pub(crate) enum Flow {
    Next,
    NotClean,
    /// Parts do not tell it any more.
    Untold(&'static str),
    Refused(&'static str),
}

impl Step {
    /// Whether the server may still be at it when its teal has gone.
    pub(crate) fn is_statement(self) -> bool {
        !matches!(
            self,
            Self::EndStatementsOfTheDead
                | Self::Heal
                | Self::Advance
                | Self::RefuseWhatIsNotOurs
                | Self::WaitForMerges(_)
                | Self::ListClone
                | Self::ListBlueAsOld
                | Self::ListInserts
                | Self::WaitForInserts
                | Self::ListWindow
                | Self::ListWindowBackwards
                | Self::ReadPartLog
                | Self::RefuseStartedAnew
                | Self::CheckWindow
                | Self::ShutGate
                | Self::WaitAtGate
                | Self::OpenGate
                | Self::ListOld
                | Self::ListNewer
                | Self::ListUnseen
                | Self::ListUnforwarded
                | Self::KnowSeen
                | Self::ListMissed
                | Self::RefuseMissing
                | Self::JudgeLost
                | Self::ListKnown
                // Ended before anything else is done: as when teal is killed before them or behind them.
                | Self::CopyLost
                | Self::RecordKnown
                | Self::WaitForTheLate
                | Self::ListBlocks
                | Self::ListNew
                | Self::ListLate
                | Self::ListReturning
                | Self::ReadPartLogOfReturning
                | Self::CloneOld
                | Self::CloneNew
                | Self::JudgeMissing
                | Self::JudgeBoth
                | Self::Compare
                | Self::Prove
        )
    }

    /// Whether it writes to the journal.
    pub(crate) fn is_entry(self) -> bool {
        matches!(
            self,
            Self::Record(_)
                | Self::RecordPublishing
                | Self::RecordPublished
                | Self::RecordCarrying
                | Self::RecordCarried
                | Self::RecordKnown
        )
    }
}

impl Protocol {
    /// Whether a wait is over.
    pub(crate) fn is_ready(&self, world: &World, step: Step) -> bool {
        match step {
            Step::WaitForMerges(name) => !world
                .merge
                .as_ref()
                .is_some_and(|merge| merge.has_started && merge.data == world.data(name)),
            Step::WaitForInserts | Step::WaitForTheLate => {
                world.memory.listed & world.running() == 0
            }
            Step::WaitAtGate => world.running() == 0,
            _ => true,
        }
    }

    pub(crate) fn execute(&self, world: &mut World, step: Step) -> Flow {
        let (blue, green) = (world.data(Name::Blue), world.data(Name::Green));
        match step {
            Step::EndStatementsOfTheDead => world.adrift = None,
            Step::Record(entry) => self.record(world, entry),
            Step::RefuseWhatIsNotOurs => {
                if world.has_view {
                    return Flow::Refused("a view that is not ours");
                }
                if !world.parts(green).is_empty() {
                    return Flow::Refused("rows in green that are not ours");
                }
            }
            Step::MakeSnapshot | Step::DropSnapshot => world.empty(Data::Snapshot),
            Step::StopMerges(name) => self.set_merges_stopped(world, name, true),
            Step::StartMerges(name) => self.set_merges_stopped(world, name, false),
            Step::CloneBlue => {
                for part in world.parts(blue).to_vec() {
                    world.add(self.clone_of_blue(), part, self.setting.equal_rows);
                }
            }
            Step::ListClone => {
                world.memory.old[0] = world.parts(self.clone_of_blue()).to_vec();
            }
            Step::ListBlueAsOld => world.memory.old[0] = world.parts(blue).to_vec(),
            Step::CreateView => world.has_view = true,
            Step::DropView => world.has_view = false,
            Step::ListInserts => world.memory.listed = world.running(),
            Step::WaitForInserts | Step::WaitForTheLate => world.memory.listed = 0,
            Step::ListWindow | Step::ListWindowBackwards => {
                let mut parts = world.parts(blue).to_vec();
                if step == Step::ListWindowBackwards {
                    parts.reverse();
                }
                match self.window(&world.memory.old[0], &parts) {
                    Some(window) => world.memory.window[0] = window,
                    None => return Flow::NotClean,
                }
                // Before an exchange, what is listed here is not listed again.
                world.memory.old[0] = match self.begins_in {
                    Phase::Verified => parts,
                    _ => Vec::new(),
                };
            }
            Step::ReadPartLog => return self.read_part_log(world),
            Step::RefuseStartedAnew if world.memory.is_server_anew => return Flow::NotClean,
            Step::CopyWindow => {
                let named = std::mem::take(&mut world.memory.to_copy[0]);
                self.copy_window(world, &named);
                world.memory.to_copy[0] = named;
            }
            Step::CheckWindow => {
                let is_there = |part| world.parts(blue).contains(part);
                if self.setting.has_nets && !world.memory.to_copy[0].iter().all(is_there) {
                    return Flow::NotClean;
                }
                // Not needed any more, so that states do not differ by it.
                world.memory = Default::default();
            }
            // Part by part, with looks before; what goes with the first of them, no later step needs.
            Step::EmptyGreen => world.empty(green),
            Step::ShutGate => world.is_gate_closed = true,
            Step::OpenGate => world.is_gate_closed = false,
            Step::CopyAll => {
                for part in world.parts(blue).to_vec() {
                    self.copy(world, part, green);
                }
            }
            Step::RefuseStartedAnew
            | Step::Heal
            | Step::Advance
            | Step::WaitForMerges(_)
            | Step::WaitAtGate => {}
            _ => return self.execute_later(world, step),
        }
        Flow::Next
    }

    /// The steps that come after the fence.
    fn execute_later(&self, world: &mut World, step: Step) -> Flow {
        match step {
            Step::CopyChunk
            | Step::StopMergesBySettings
            | Step::RecordPublishing
            | Step::AttachFirst
            | Step::AttachOthers
            | Step::RecordPublished
            | Step::RestoreMerges
            | Step::EmptyStaging
            | Step::FinishPublication
            | Step::FinishPublicationAsAWhole => self.execute_backfill(world, step),
            Step::CloneOld
            | Step::CloneNew
            | Step::JudgeMissing
            | Step::JudgeBoth
            | Step::Compare
            | Step::Prove
            | Step::RefuseMissing
            | Step::CopyMissing
            | Step::JudgeLost
            | Step::CopyLost => self.execute_verify(world, step),
            _ => self.execute_exchange(world, step),
        }
    }

    /// The effect of a statement whose teal has gone.
    pub(crate) fn execute_adrift(&self, world: &mut World) {
        let Some(adrift) = world.adrift.take() else { return };
        let process = std::mem::replace(&mut world.memory.to_copy, adrift.parts);
        self.execute(world, adrift.step);
        world.memory.to_copy = process;
        world.memory.is_number_taken = world.memory.is_unsure && adrift.step.is_entry();
    }

    pub(crate) fn record(&self, world: &mut World, entry: Entry) {
        let is_under_way = world.adrift.as_ref().is_some_and(|adrift| adrift.step.is_entry());
        world.phase = match world.memory.is_number_taken || is_under_way {
            true => Phase::Corrupt,
            false => world.phase.after(entry),
        };
    }

    fn set_merges_stopped(&self, world: &mut World, name: Name, stopped: bool) {
        match world.data(name) {
            Data::New => world.merges_stopped[1] = stopped,
            _ => world.merges_stopped[0] = stopped,
        }
    }

    pub(crate) fn clone_of_blue(&self) -> Data {
        match self.setting.is_clone {
            true => Data::New,
            false => Data::Snapshot,
        }
    }

    /// What identifies the rows of a part: `hash_of_all_files`.
    fn hash(&self, part: Part) -> u16 {
        self.content(part.rows)
    }

    /// The parts that are not among the old ones; none when the cut is not clean. Of equal parts, the
    /// first that are listed are the old ones.
    pub(crate) fn window(&self, old: &[Part], parts: &[Part]) -> Option<Vec<Part>> {
        let mut old = old.iter().map(|part| self.hash(*part)).collect::<Vec<_>>();
        let mut window = Vec::new();
        for part in parts {
            match old.iter().position(|hash| *hash == self.hash(*part)) {
                Some(at) => {
                    old.swap_remove(at);
                }
                None if part.is_merged() && self.setting.has_nets => return None,
                None => window.push(*part),
            }
        }
        (old.is_empty() || !self.setting.has_nets).then_some(window)
    }

    fn read_part_log(&self, world: &mut World) -> Flow {
        let window = std::mem::take(&mut world.memory.window[0]);
        if window.is_empty() {
            return Flow::Next;
        }
        if !self.setting.has_part_log {
            return Flow::NotClean;
        }
        for part in &window {
            match part.writer {
                Writer::Insert(number) => {
                    let query = self.setting.inserts[usize::from(number)].query;
                    let line = world.log[query];
                    if !line.wrote_old {
                        return Flow::NotClean;
                    }
                    if !line.wrote_new {
                        world.memory.to_copy[0].push(*part);
                    }
                }
                // No entry of a part that was written before the cut began.
                _ if self.setting.has_nets => return Flow::NotClean,
                _ => world.memory.to_copy[0].push(*part),
            }
        }
        Flow::Next
    }

    fn copy_window(&self, world: &mut World, named: &[Part]) {
        let blue = world.data(Name::Blue);
        for part in named {
            if world.parts(blue).contains(part) {
                let copy = Part { writer: Writer::Teal, ..*part };
                world.add(self.clone_of_blue(), copy, self.setting.equal_rows);
            }
        }
    }

    /// Copies a part through the SELECT.
    pub(crate) fn copy(&self, world: &mut World, part: Part, into: Data) {
        let rows = part.rows & !self.filtered_rows();
        if rows != 0 {
            let copy = Part { rows, writer: Writer::Teal, through_view: false, has_uuid: false };
            world.add(into, copy, self.setting.equal_rows);
        }
    }
}
