//! The turn of the view (`turn.rs`), on a server, and its way back: a model of its own, for other INSERTs
//! matter here than elsewhere: those into either table, and each may be forwarded along a chain of views.

use stateright::{Checker, HasDiscoveries, Model, Property};

const BLUE: usize = 0;
const GREEN: usize = 1;
const KEPT: &str = "what was written to the new table is in both, once, when the turn is done";
const EXACT: &str = "each row is in both tables once, when one more command has looked";
const ONE_VIEW: &str = "the two views are never there both";
const GOES_ON: &str = "every state can go on";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// `turnOpened`.
    Opened,
    DropOld,
    ListInserts,
    WaitForInserts,
    MakeNew,
    /// `turned`.
    Turned,
    /// `compare`: if the two are alike at a moment, nothing is carried.
    Compare,
    CloneBlue,
    CloneGreen,
    /// Each table gets what the clone of the other one alone had.
    Carry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Insert {
    Waiting,
    Listed,
    /// It has asked for its table's view.
    Asked {
        is_forwarded: bool,
    },
    /// The tables that it writes to, of which it has done so many.
    Writing {
        tables: u8,
        done: u8,
    },
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// From blue to green, and from green to blue.
    views: [bool; 2],
    inserts: Vec<Insert>,
    /// How often each INSERT's row is in each table.
    rows: [Vec<u8>; 2],
    clones: [Vec<u8>; 2],
    listed: u8,
    is_open: bool,
    is_turned: bool,
    /// The next step, if teal runs.
    at: Option<usize>,
    /// Commands that have ended.
    done: u8,
    crashes: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Insert(usize),
    Teal(Step),
    Crash,
    /// The next command, which heals first.
    Run,
}

struct Turn {
    /// The table of each INSERT of a user.
    into: Vec<usize>,
    steps: Vec<Step>,
    /// The turn back, that of a rollback.
    is_back: bool,
    crashes: u8,
}

fn steps() -> Vec<Step> {
    use Step::*;
    let views = [
        Opened,
        DropOld,
        ListInserts,
        WaitForInserts,
        MakeNew,
        ListInserts,
        WaitForInserts,
        Turned,
    ];
    let clones = [CloneBlue, ListInserts, WaitForInserts, CloneGreen, ListInserts, WaitForInserts];
    [&views[..], &[Compare], &clones, &[Carry]].concat()
}

fn turn(into: &[usize], is_back: bool) -> Turn {
    Turn { into: into.to_vec(), steps: steps(), is_back, crashes: 1 }
}

impl Turn {
    fn place(&self, step: Step) -> usize {
        self.steps.iter().position(|one| *one == step).unwrap()
    }

    /// The tables that an INSERT writes to, one after the other.
    fn chain(&self, number: usize, tables: u8) -> Vec<usize> {
        (0..usize::from(tables)).map(|at| (self.into[number] + at) % 2).collect()
    }

    fn running(world: &World) -> u8 {
        let runs = |it: &Insert| !matches!(it, Insert::Waiting | Insert::Ended);
        let running = world.inserts.iter().enumerate().filter(|(_, it)| runs(it));
        running.fold(0, |mask, (number, _)| mask | 1 << number)
    }

    fn step(&self, world: &mut World, step: Step) {
        let (leaving, coming) = if self.is_back { (1, 0) } else { (0, 1) };
        let mut next = world.at.map(|at| at + 1);
        match step {
            Step::Opened => world.is_open = true,
            Step::DropOld => world.views[leaving] = false,
            Step::MakeNew => world.views[coming] = true,
            Step::ListInserts => world.listed = Self::running(world),
            Step::WaitForInserts => world.listed = 0,
            Step::Turned => (world.is_open, world.is_turned) = (false, true),
            Step::Compare if world.rows[BLUE] == world.rows[GREEN] => next = Some(self.steps.len()),
            Step::Compare => (),
            Step::CloneBlue => world.clones[BLUE] = world.rows[BLUE].clone(),
            Step::CloneGreen => world.clones[GREEN] = world.rows[GREEN].clone(),
            Step::Carry => {
                let [blue, green] = std::mem::take(&mut world.clones);
                let later = world.rows[BLUE].clone();
                for row in 0..blue.len() {
                    world.rows[GREEN][row] += blue[row].saturating_sub(green[row]);
                    world.rows[BLUE][row] += green[row].saturating_sub(later[row]);
                }
            }
        }
        world.at = next.filter(|at| *at < self.steps.len());
        if world.at.is_none() {
            world.done += 1;
        }
    }

    fn is_settled(world: &World) -> bool {
        world.at.is_none() && world.inserts.iter().all(|it| *it == Insert::Ended)
    }

    fn is_once(world: &World, number: usize) -> bool {
        world.rows[BLUE][number] == 1 && world.rows[GREEN][number] == 1
    }
}

impl Model for Turn {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let none = vec![0; self.into.len()];
        vec![World {
            views: [!self.is_back, self.is_back],
            inserts: vec![Insert::Waiting; self.into.len()],
            rows: [none.clone(), none],
            clones: Default::default(),
            listed: 0,
            is_open: false,
            is_turned: false,
            at: None,
            done: 0,
            crashes: self.crashes,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let live = world.inserts.iter().enumerate().filter(|(_, it)| **it != Insert::Ended);
        actions.extend(live.map(|(number, _)| Action::Insert(number)));
        match world.at {
            Some(at) => {
                let step = self.steps[at];
                if step != Step::WaitForInserts || world.listed & Self::running(world) == 0 {
                    actions.push(Action::Teal(step));
                }
                if world.crashes > 0 {
                    actions.push(Action::Crash);
                }
            }
            // One more command looks for what a straggler has written since.
            None if world.done == 0 || world.done == 1 && Self::is_settled(world) => {
                actions.push(Action::Run);
            }
            None => (),
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Teal(step) => self.step(&mut world, step),
            Action::Crash => {
                (world.at, world.listed, world.clones) = (None, 0, Default::default());
                world.crashes -= 1;
            }
            Action::Run if world.is_turned => world.at = Some(self.place(Step::Compare)),
            Action::Run if world.is_open => world.at = Some(self.place(Step::Opened) + 1),
            Action::Run => world.at = Some(0),
            Action::Insert(number) => {
                let into = self.into[number];
                world.inserts[number] = match world.inserts[number] {
                    Insert::Waiting => Insert::Listed,
                    Insert::Listed => Insert::Asked { is_forwarded: world.views[into] },
                    // Then it asks for the view of the table that it is forwarded to.
                    Insert::Asked { is_forwarded } => {
                        let comes_back = is_forwarded && world.views[1 - into];
                        let tables = 1 + u8::from(is_forwarded) + u8::from(comes_back);
                        Insert::Writing { tables, done: 0 }
                    }
                    Insert::Writing { tables, done } if done < tables => {
                        let table = self.chain(number, tables)[usize::from(done)];
                        world.rows[table][number] += 1;
                        Insert::Writing { tables, done: done + 1 }
                    }
                    _ => Insert::Ended,
                };
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(KEPT, |model: &Turn, world: &World| {
                let source = if model.is_back { BLUE } else { GREEN };
                let written = (0..model.into.len()).filter(|number| model.into[*number] == source);
                let is_done = Turn::is_settled(world) && world.done > 0;
                !is_done || written.into_iter().all(|number| Turn::is_once(world, number))
            }),
            Property::always(EXACT, |model: &Turn, world: &World| {
                world.done < 2 || (0..model.into.len()).all(|number| Turn::is_once(world, number))
            }),
            Property::always(ONE_VIEW, |_, world: &World| world.views != [true, true]),
            Property::always(GOES_ON, |model: &Turn, world: &World| {
                let mut actions = Vec::new();
                model.actions(world, &mut actions);
                world.done == 2 || !actions.is_empty()
            }),
            Property::sometimes("it is done", |_, world: &World| world.done == 2),
        ]
    }
}

#[track_caller]
fn broken(name: &str, model: Turn) -> Vec<&'static str> {
    let checker = model.checker().finish_when(HasDiscoveries::All).spawn_bfs().join();
    eprintln!("{name}: {} states", checker.unique_state_count());
    let found = checker.discoveries();
    assert!(found.contains_key("it is done"), "{name}: it is never done");
    for (property, path) in &found {
        eprintln!("{property}: {:?}", path.clone().into_actions());
    }
    found.into_keys().filter(|property| *property != "it is done").collect()
}

fn without(mut model: Turn, number: usize) -> Turn {
    let mut waits = (0..model.steps.len()).filter(|at| model.steps[*at] == Step::WaitForInserts);
    let at = waits.nth(number).unwrap();
    model.steps.drain(at - 1..=at);
    model
}

#[test]
fn a_turn_and_its_way_back_are_exact() {
    for is_back in [false, true] {
        for into in [&[GREEN, BLUE][..], &[GREEN, GREEN], &[BLUE, BLUE]] {
            let found = broken("turn", turn(into, is_back));
            assert_eq!(found, [""; 0], "{into:?}, back: {is_back}");
        }
        if crate::setting::is_large() {
            let model = Turn { crashes: 2, ..turn(&[GREEN, BLUE, GREEN], is_back) };
            assert_eq!(broken("turn", model), [""; 0], "back: {is_back}");
        }
    }
}

#[test]
fn every_wait_of_a_turn_is_needed() {
    for is_back in [false, true] {
        // Who knows the view that is dropped must not find the other one.
        let found = broken("no first wait", without(turn(&[GREEN, BLUE], is_back), 0));
        assert!(found.contains(&EXACT), "{found:?}");
        // Who does not know the new one must be seen when the rows are compared.
        let found = broken("no second wait", without(turn(&[GREEN, BLUE], is_back), 1));
        assert!(found.contains(&KEPT), "{found:?}");
        // Which of the waits between and behind the clones is needed depends on the table that an INSERT writes
        // to first. The comparison, which must do for both, has both.
        let (name, wait) = if is_back { ("between clones", 2) } else { ("behind clones", 3) };
        let found = broken(name, without(turn(&[GREEN, BLUE], is_back), wait));
        assert!(found.contains(&EXACT), "{found:?}");
    }
}

#[test]
fn the_other_view_is_not_made_before_the_first_one_is_dropped() {
    let mut model = turn(&[GREEN, BLUE], false);
    let (dropped, made) = (model.place(Step::DropOld), model.place(Step::MakeNew));
    model.steps.swap(dropped, made);
    let found = broken("both views", model);
    assert!(found.contains(&ONE_VIEW), "{found:?}");
}

#[test]
fn a_turn_that_was_cut_off_is_done_again_from_its_start() {
    let mut model = turn(&[GREEN, BLUE], false);
    // As if the entry were written when the new view is there.
    model.steps.retain(|step| *step != Step::Turned);
    let drop = model.place(Step::DropOld);
    model.steps.insert(drop + 1, Step::Turned);
    let found = broken("turned too early", model);
    assert!(!found.is_empty());
    let mut model = turn(&[GREEN, BLUE], false);
    model.steps.pop();
    let found = broken("not carried", model);
    assert!(found.contains(&KEPT), "{found:?}");
}
