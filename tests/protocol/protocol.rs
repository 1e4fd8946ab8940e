//! A protocol and the setting in which it is checked: the model that the checker explores.

use std::collections::BTreeMap;

use stateright::{Model, Property};

use crate::insert::{Insert, Move, rows_of};
use crate::journal::Phase;
use crate::merger::MergeMove;
use crate::server::{Data, Left, LogLine, Part, Rows, World, Writer};
use crate::setting::Setting;
use crate::step::Step;
use crate::teal::{Process, Routine};

#[derive(Debug, Clone)]
pub(crate) struct Protocol {
    pub(crate) setting: Setting,
    pub(crate) routines: BTreeMap<Routine, Vec<Step>>,
    /// `Prepared`, `Verified`, or just behind an exchange.
    pub(crate) begins_in: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Insert(usize, Move),
    Merge(MergeMove),
    /// teal's next step.
    Teal(Step),
    /// A wait has taken too long.
    TimeOut(Step),
    /// teal is killed; what it has sent may still happen.
    Crash {
        sent: Option<Step>,
    },
    /// And what is not in its log yet, of the old and of the new table's parts.
    CrashOfServer {
        lost: [bool; 2],
        teal: Fate,
    },
    LoseConnection {
        sent: Step,
    },
    /// The server refuses teal's next statement.
    Refuse(Step),
    /// The server comes to a statement whose teal has gone.
    Adrift(Step),
    /// Somebody runs the next command.
    Run,
}

/// What becomes of teal when the server dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Dies,
    /// It reads again from the new one.
    GoesOn,
    /// Its next statement fails.
    Fails(Step),
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let inserts = vec![Insert::Waiting; self.setting.inserts.len()];
        let left = Left {
            crashes: self.setting.crashes,
            cuts: self.setting.cuts,
            merges: self.setting.merges,
            cut_offs: self.setting.cut_offs,
        };
        let mut world = World::new(inserts, self.begins_in, Process::Absent, left);
        // Or just behind an exchange whose teal was killed, with an INSERT that runs across it.
        let is_swapping = self.begins_in == (Phase::CutoverOpened { is_swapping: true });
        let is_migrated = self.begins_in == Phase::Verified || is_swapping;
        world.has_view = is_migrated && !is_swapping;
        if is_swapping {
            world.is_exchanged = true;
            world.merges_stopped = [true; 2];
            world.stopped_by_settings = [true; 2];
            world.inserts[0] = Insert::FoundTable(Data::Old);
        }
        for row in 0..self.setting.history {
            let rows = 1 << (8 + row);
            let part = Part { rows, writer: Writer::History, through_view: false, has_uuid: false };
            world.add(Data::Old, part, self.setting.equal_rows);
            if is_migrated {
                world.add(Data::New, part, self.setting.equal_rows);
            }
        }
        if is_swapping {
            world.memory.old[0] = world.parts(Data::Old).to_vec();
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let mut moves = Vec::new();
        for number in 0..world.inserts.len() {
            self.insert_moves(world, number, &mut moves);
            actions.extend(moves.drain(..).map(|step| Action::Insert(number, step)));
        }
        let mut merges = Vec::new();
        self.merge_moves(world, &mut merges);
        actions.extend(merges.into_iter().map(Action::Merge));
        if let Some(adrift) = &world.adrift {
            actions.push(Action::Adrift(adrift.step));
        }
        let may_crash = world.left.crashes > 0;
        match world.process {
            Process::Absent => actions.push(Action::Run),
            Process::Running { routine, at, .. } => {
                let step = self.routines[&routine][at];
                match self.is_ready(world, step) {
                    true => actions.push(Action::Teal(step)),
                    false if step == Step::WaitForTheLate && !world.may_merge(Data::New) => {
                        actions.push(Action::TimeOut(step));
                    }
                    false if self.gives_up_waiting(world, routine) => {
                        actions.push(Action::TimeOut(step));
                    }
                    false => (),
                }
                if may_crash {
                    actions.push(Action::Crash { sent: None });
                    if step.is_statement() && self.setting.statements_fail {
                        actions.push(Action::Refuse(step));
                    }
                    if step.is_statement() && world.adrift.is_none() && !self.setting.is_embedded {
                        actions.push(Action::Crash { sent: Some(step) });
                        if self.setting.loses_connection {
                            actions.push(Action::LoseConnection { sent: step });
                        }
                    }
                }
            }
            Process::Ended(_) => (),
        }
        if may_crash && self.setting.server_crashes {
            self.crashes_of_server(world, actions);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Insert(number, step) => self.move_insert(&mut world, number, step),
            Action::Merge(step) => self.move_merge(&mut world, step),
            Action::Teal(step) => self.step(&mut world, step),
            Action::TimeOut(Step::WaitForTheLate) => {
                world.merges_stopped[1] = false;
                world.stopped_by_settings[1] = false;
            }
            Action::TimeOut(_) => self.not_clean(&mut world),
            Action::Crash { sent } => {
                world.left.crashes -= 1;
                if let Some(step) = sent {
                    self.set_adrift(&mut world, step);
                }
                self.forget(&mut world);
                if self.setting.is_embedded {
                    cut_off(&mut world);
                }
            }
            Action::CrashOfServer { lost: [old, new], teal } => {
                world.left.crashes -= 1;
                cut_off(&mut world);
                for line in &mut world.log {
                    line.wrote_old &= !old;
                    line.wrote_new &= !new;
                }
                world.memory.is_server_anew = true;
                match teal {
                    Fate::GoesOn => (),
                    Fate::Fails(step) => self.fail(&mut world, step),
                    Fate::Dies => match world.process {
                        Process::Ended(_) => world.memory.is_server_anew = false,
                        _ => self.forget(&mut world),
                    },
                }
            }
            Action::LoseConnection { sent } => {
                world.left.crashes -= 1;
                self.set_adrift(&mut world, sent);
                self.fail(&mut world, sent);
            }
            Action::Refuse(step) => {
                world.left.crashes -= 1;
                world.is_gate_closed = false;
                self.fail(&mut world, step);
            }
            Action::Adrift(_) => self.execute_adrift(&mut world),
            Action::Run => self.begin(&mut world, Routine::Open, false),
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::properties::all()
    }
}

/// The server has died: INSERTs and merges that ran are cut off, stopped merges are on again.
fn cut_off(world: &mut World) {
    for insert in &mut world.inserts {
        if insert.is_running() {
            *insert = Insert::CutOff;
        }
    }
    world.merge = None;
    world.merges_stopped = [false; 2];
    world.adrift = None;
    world.is_gate_closed = false;
}

impl Protocol {
    fn crashes_of_server(&self, world: &World, actions: &mut Vec<Action>) {
        let mut fates = vec![Fate::Dies];
        if let Process::Running { routine, at, .. } = world.process {
            fates.push(Fate::GoesOn);
            let step = self.routines[&routine][at];
            fates.extend(step.is_statement().then_some(Fate::Fails(step)));
        }
        let (old, new) = (|line: &LogLine| line.wrote_old, |line: &LogLine| line.wrote_new);
        let may_lose = [world.log.iter().any(old), world.log.iter().any(new)];
        for lost in [[false; 2], [true, false], [false, true], [true; 2]] {
            if (0..2).all(|side| may_lose[side] || !lost[side]) {
                actions.extend(fates.iter().map(|&teal| Action::CrashOfServer { lost, teal }));
            }
        }
    }

    pub(crate) fn filtered_rows(&self) -> Rows {
        let filtered = self.setting.inserts.iter().enumerate().filter(|(_, plan)| plan.is_filtered);
        filtered.fold(0, |rows, (number, _)| rows | rows_of(number, 0) | rows_of(number, 1))
    }

    /// What the rows are, whoever wrote them.
    pub(crate) fn content(&self, rows: Rows) -> Rows {
        let (first, second) = (rows_of(0, 0), rows_of(1, 0));
        match self.setting.equal_rows && rows & second != 0 {
            true => rows & !second | first,
            false => rows,
        }
    }
}
