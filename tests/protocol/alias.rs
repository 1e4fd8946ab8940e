//! An alias migration behind its copy: the cutover by alias with the turn of the view (`alias.rs`, `turn.rs`), the rollback
//! (`rollback.rs`), `abort.rs` and `cleanup.rs` (both by `retire.rs`), on a server. A model of its own, as that of
//! the turn: INSERTs come by the alias or by either table's name, and the user may run any command at any time.
//!
//! Rows have values, and INSERTs may write equal ones: a comparison tells only how often each value is where.

use std::collections::{BTreeMap, VecDeque};

use stateright::{Model, Property};

use crate::alias_commands::{Command, Phase, Routine, Step};

pub(crate) const BLUE: usize = 0;
pub(crate) const GREEN: usize = 1;
pub(crate) const EXACT: &str = "what users wrote is where they read, once, when a command is done";
pub(crate) const KEPT: &str = "when the view is turned, the old table has it too";
pub(crate) const IN_STEP: &str = "after a rollback the new table has it too";
pub(crate) const FAILS: &str = "no INSERT fails, and the alias is one of a table that is there";
pub(crate) const GOES_ON: &str = "every state can go on";
pub(crate) const QUIET: &str = "in a quiet moment only what would be lost is a reason to refuse";
pub(crate) const ENDS: [&str; 4] = ["cut over", "rolled back", "cleaned", "aborted"];

/// The name by which an INSERT comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Alias,
    Name(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Insert {
    Waiting,
    Listed,
    Found(usize),
    Asked {
        table: usize,
        is_forwarded: bool,
    },
    /// So many tables from this one on, of which it has written to some.
    Writing {
        table: usize,
        tables: u8,
        done: u8,
    },
    Ended,
    /// There is no table of that name.
    Refused,
    /// It knew a view whose table has gone.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Process {
    command: Option<Command>,
    routines: VecDeque<Routine>,
    at: usize,
    listed: u8,
    /// How often each value was in each clone, or look.
    clones: Vec<Vec<u8>>,
    /// No INSERT has been running since it began.
    is_quiet: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) alias: usize,
    views: [bool; 2],
    is_there: [bool; 2],
    inserts: Vec<Insert>,
    /// How often each value is in each table.
    rows: [Vec<u8>; 2],
    pub(crate) phase: Phase,
    process: Option<Process>,
    /// A statement whose teal has gone, with the clones it was made of.
    adrift: Option<(Step, Vec<Vec<u8>>)>,
    /// The command that ended well, if the last one did.
    done: Option<Command>,
    refused_for_nothing: bool,
    /// INSERTs that the last command need not have seen, if they came by the name of the other table: they had not begun
    /// when it did.
    late: u8,
    commands: u8,
    crashes: u8,
}

impl World {
    fn has_done(&self, command: Command) -> bool {
        Alias::is_settled(self) && self.done == Some(command)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Insert(usize),
    Run(Command),
    Teal(Step),
    Crash { sent: Option<Step> },
    Adrift(Step),
}

#[derive(Clone)]
pub(crate) struct Alias {
    /// The INSERTs, each with the value of its row.
    pub(crate) inserts: Vec<(By, usize)>,
    pub(crate) routines: BTreeMap<Routine, Vec<Step>>,
    pub(crate) begins_cut_over: bool,
    pub(crate) commands: u8,
    pub(crate) crashes: u8,
    /// The next command ends what the one before has sent.
    pub(crate) ends_statements: bool,
}

enum Flow {
    Next,
    /// The routine has nothing left to do.
    Over,
    Refused,
}

impl Alias {
    fn values(&self) -> usize {
        self.inserts.iter().map(|(_, value)| value + 1).max().unwrap_or(0)
    }

    fn running(world: &World) -> u8 {
        let is_running = |it: &Insert| {
            !matches!(it, Insert::Waiting | Insert::Ended | Insert::Refused | Insert::Failed)
        };
        let running = world.inserts.iter().enumerate().filter(|(_, it)| is_running(it));
        running.fold(0, |mask, (number, _)| mask | 1 << number)
    }

    fn is_settled(world: &World) -> bool {
        world.process.is_none() && world.adrift.is_none() && Self::is_over(world)
    }

    fn is_over(world: &World) -> bool {
        Self::running(world) == 0 && !world.inserts.contains(&Insert::Waiting)
    }

    fn is_done(world: &World) -> bool {
        Self::is_settled(world) && world.done.is_some()
    }

    fn next_step(&self, world: &World) -> Option<Step> {
        let process = world.process.as_ref()?;
        Some(self.routines[process.routines.front()?][process.at])
    }

    /// Goes to the next routine, or ends.
    fn settle(&self, world: &mut World) {
        while let Some(process) = &mut world.process {
            if let Some(routine) = process.routines.front() {
                if process.at < self.routines[routine].len() {
                    return;
                }
                process.routines.pop_front();
                (process.at, process.listed) = (0, 0);
                process.clones.clear();
                if process.routines.is_empty() && process.command.is_none() {
                    world.process = None;
                }
                continue;
            }
            let Some(command) = process.command.take() else { return };
            match Self::plan(command, world.phase) {
                Some(routines) => {
                    world.done = Some(command);
                    process.routines = routines.into();
                    if process.routines.is_empty() {
                        world.process = None;
                    }
                }
                None => world.process = None,
            }
        }
    }

    fn execute(&self, world: &mut World, step: Step, clones: &[Vec<u8>]) -> Flow {
        match step {
            Step::Record(phase) => world.phase = phase,
            Step::DropView(reads) => world.views[reads] = false,
            Step::MakeView(reads) => world.views[reads] = true,
            Step::Swap(to) => world.alias = to,
            Step::Rename(table) => world.is_there[table] = false,
            Step::LookAlso(table) if clones[0] == world.rows[table] => {
                return Flow::Over;
            }
            Step::CarryBack
            | Step::CarryBoth
            | Step::RefuseExtra
            | Step::RefuseLacking
            | Step::CopyMissing => {
                return Self::judge(world, step, clones);
            }
            _ => (),
        }
        Flow::Next
    }

    /// By five clones, as `verify/mod.rs` says.
    fn judge(world: &mut World, step: Step, clones: &[Vec<u8>]) -> Flow {
        let [blue_0, green_0, blue_1, green_1, blue_2] = clones else { return Flow::Refused };
        let (mut missing, mut extra, mut is_unsure) = (blue_1.clone(), blue_1.clone(), false);
        for value in 0..blue_1.len() {
            let [b0, g0, b1, g1, b2] =
                [blue_0, green_0, blue_1, green_1, blue_2].map(|it| it[value]);
            missing[value] = b1.saturating_sub(g1);
            extra[value] = g1.saturating_sub(b2);
            let is_alike = (b0 >= g0 || b1 >= g1) && (b1 <= g0 || b2 <= g1);
            is_unsure |= missing[value] + extra[value] == 0 && !is_alike;
        }
        let has = |rows: &[u8]| rows.iter().any(|count| *count > 0);
        let mut carry = |into: usize, rows: &[u8]| {
            rows.iter().zip(&mut world.rows[into]).for_each(|(more, count)| *count += more);
        };
        let is_refused = match step {
            Step::CarryBack => {
                carry(BLUE, &extra);
                is_unsure
            }
            Step::CarryBoth => {
                carry(BLUE, &extra);
                carry(GREEN, &missing);
                is_unsure
            }
            Step::CopyMissing => {
                carry(GREEN, &missing);
                false
            }
            Step::RefuseExtra => has(&extra) || is_unsure,
            _ => has(&missing) || is_unsure,
        };
        if is_refused { Flow::Refused } else { Flow::Next }
    }

    fn is_statement(step: Step) -> bool {
        !matches!(
            step,
            Step::ListInserts
                | Step::WaitForInserts
                | Step::Look(_)
                | Step::LookAlso(_)
                | Step::Clone(_)
                | Step::RefuseExtra
                | Step::RefuseLacking
        )
    }

    fn move_insert(&self, world: &mut World, number: usize) {
        let (by, value) = self.inserts[number];
        world.inserts[number] = match world.inserts[number] {
            Insert::Waiting => Insert::Listed,
            Insert::Listed => {
                let table = match by {
                    By::Alias => world.alias,
                    By::Name(table) => table,
                };
                match (world.is_there[table], by) {
                    (true, _) => Insert::Found(table),
                    (false, By::Name(_)) => Insert::Refused,
                    (false, By::Alias) => Insert::Failed,
                }
            }
            Insert::Found(table) => Insert::Asked { table, is_forwarded: world.views[table] },
            Insert::Asked { table, is_forwarded } => {
                if is_forwarded && !world.is_there[1 - table] {
                    Insert::Failed
                } else {
                    let comes_back = is_forwarded && world.views[1 - table];
                    let tables = 1 + u8::from(is_forwarded) + u8::from(comes_back);
                    Insert::Writing { table, tables, done: 0 }
                }
            }
            Insert::Writing { table, tables, done } if done < tables => {
                world.rows[(table + usize::from(done)) % 2][value] += 1;
                Insert::Writing { table, tables, done: done + 1 }
            }
            _ => Insert::Ended,
        };
    }

    /// How often a table must have each value, and how often it may. `is_compared`: the last command has looked for
    /// what came by the other table's name.
    fn has_its_rows(&self, world: &World, table: usize, is_compared: bool) -> bool {
        (0..self.values()).all(|value| {
            let mut range = (0, 0);
            for (number, (by, of)) in self.inserts.iter().enumerate() {
                if *of == value && world.inserts[number] == Insert::Ended {
                    let is_late = world.late & 1 << number != 0;
                    let is_sought = is_compared && (*by == By::Name(world.alias) || !is_late);
                    let must = *by == By::Alias || *by == By::Name(table) || is_sought;
                    range = (range.0 + u8::from(must), range.1 + 1);
                }
            }
            (range.0..=range.1).contains(&world.rows[table][value])
        })
    }
}

impl Model for Alias {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let none = vec![0; self.values()];
        vec![World {
            alias: if self.begins_cut_over { GREEN } else { BLUE },
            views: [!self.begins_cut_over, self.begins_cut_over],
            is_there: [true, true],
            inserts: vec![Insert::Waiting; self.inserts.len()],
            rows: [none.clone(), none],
            phase: match self.begins_cut_over {
                true => Phase::CutOver { is_turned: true },
                false => Phase::Copied,
            },
            process: None,
            adrift: None,
            done: None,
            refused_for_nothing: false,
            late: 0,
            commands: self.commands,
            crashes: self.crashes,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let is_live = |it: &Insert| !matches!(it, Insert::Ended | Insert::Refused | Insert::Failed);
        let live = world.inserts.iter().enumerate().filter(|(_, it)| is_live(it));
        actions.extend(live.map(|(number, _)| Action::Insert(number)));
        actions.extend(world.adrift.as_ref().map(|(step, _)| Action::Adrift(*step)));
        match self.next_step(world) {
            Some(step) => {
                let listed = world.process.as_ref().map_or(0, |process| process.listed);
                if step != Step::WaitForInserts || listed & Self::running(world) == 0 {
                    actions.push(Action::Teal(step));
                }
                if world.crashes > 0 {
                    actions.push(Action::Crash { sent: None });
                    let sent = Self::is_statement(step) && world.adrift.is_none();
                    actions.extend(sent.then_some(Action::Crash { sent: Some(step) }));
                }
            }
            None if world.commands > 0 => {
                let all = [Command::Cutover, Command::Rollback, Command::Abort, Command::Cleanup];
                let is_open = Self::heal(world).is_some();
                let can =
                    |command: &Command| is_open || Self::plan(*command, world.phase).is_some();
                actions.extend(all.into_iter().filter(can).map(Action::Run));
            }
            None => (),
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Insert(number) => {
                self.move_insert(&mut world, number);
                if let Some(process) = &mut world.process {
                    process.is_quiet = false;
                }
            }
            Action::Adrift(_) => {
                let (step, clones) = world.adrift.take()?;
                let _ = self.execute(&mut world, step, &clones);
            }
            Action::Crash { sent } => {
                let process = world.process.take()?;
                world.adrift = sent.map(|step| (step, process.clones)).or(world.adrift);
                (world.done, world.crashes) = (None, world.crashes - 1);
            }
            Action::Run(command) => {
                if self.ends_statements {
                    world.adrift = None;
                }
                world.commands -= 1;
                world.done = None;
                let is_late = |it: &Insert| match command {
                    // It carries what has ended when it looks.
                    Command::Cutover => *it != Insert::Ended,
                    _ => *it == Insert::Waiting,
                };
                let late = world.inserts.iter().enumerate().filter(|(_, it)| is_late(it));
                let late = late.fold(0, |mask, (number, _)| mask | 1 << number);
                use Phase::{Aborted, Aborting, Cleaned, CleanupOpened};
                let has_looked =
                    matches!(world.phase, Aborting | Aborted | CleanupOpened | Cleaned);
                world.late = if has_looked { world.late } else { late };
                let is_quiet = Self::running(&world) == 0;
                world.process = Some(Process {
                    command: Some(command),
                    routines: Self::heal(&world).into_iter().collect(),
                    at: 0,
                    listed: 0,
                    clones: Vec::new(),
                    is_quiet,
                });
                self.settle(&mut world);
            }
            Action::Teal(step) => {
                let mut process = world.process.take()?;
                process.at += 1;
                match step {
                    Step::ListInserts => process.listed = Self::running(&world),
                    Step::WaitForInserts => process.listed = 0,
                    Step::Clone(table) | Step::Look(table) => {
                        process.clones.push(world.rows[table].clone());
                    }
                    _ => (),
                }
                let routine = &self.routines[process.routines.front()?];
                let left = match self.execute(&mut world, step, &process.clones) {
                    Flow::Next => Some(process.at),
                    Flow::Over => Some(routine.len()),
                    Flow::Refused => None,
                };
                if matches!(step, Step::LookAlso(_)) {
                    process.clones.clear();
                }
                if let Some(at) = left {
                    process.at = at;
                    world.process = Some(process);
                    self.settle(&mut world);
                } else {
                    let would_lose = world.done != Some(Command::Rollback)
                        && world.rows[BLUE] != world.rows[GREEN];
                    world.refused_for_nothing = process.is_quiet && !would_lose;
                    world.done = None;
                }
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let [cut_over, rolled_back, cleaned, aborted] = ENDS;
        vec![
            Property::always(EXACT, |model: &Alias, world: &World| {
                !Alias::is_done(world) || model.has_its_rows(world, world.alias, true)
            }),
            Property::always(KEPT, |model: &Alias, world: &World| {
                let is_turned = world.phase == (Phase::CutOver { is_turned: true });
                !(Alias::is_done(world) && is_turned) || model.has_its_rows(world, BLUE, true)
            }),
            Property::always(IN_STEP, |model: &Alias, world: &World| {
                !world.has_done(Command::Rollback) || model.has_its_rows(world, GREEN, false)
            }),
            Property::always(FAILS, |_, world: &World| {
                world.is_there[world.alias] && !world.inserts.contains(&Insert::Failed)
            }),
            Property::always(GOES_ON, |model: &Alias, world: &World| {
                let mut actions = Vec::new();
                model.actions(world, &mut actions);
                let is_over = matches!(world.phase, Phase::Cleaned | Phase::Aborted);
                world.commands == 0 && Alias::is_over(world) || is_over || !actions.is_empty()
            }),
            Property::always(QUIET, |_, world: &World| !world.refused_for_nothing),
            Property::sometimes(cut_over, |_, world: &World| world.has_done(Command::Cutover)),
            Property::sometimes(rolled_back, |_, world: &World| world.has_done(Command::Rollback)),
            Property::sometimes(cleaned, |_, world: &World| world.has_done(Command::Cleanup)),
            Property::sometimes(aborted, |_, world: &World| world.has_done(Command::Abort)),
        ]
    }
}
