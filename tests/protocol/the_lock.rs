//! The lock (`lock.rs`) on a server: a model of its own, with time, for the lock is a lease there.
//!
//! A few processes take it, once each. Each may be held up for any time between any two of its statements, and
//! what it has sent may run for half a lease. Where an owner's death can be seen (`is_gone`) the lease does not
//! matter, so nobody dies here but by silence.
//!
//! Where a machine's clock may stand still without its knowing, an owner writes what it may not; but no entry of the
//! journal, which the server fences. That it looks and writes in one statement is taken for one step.

use std::collections::BTreeMap;

use stateright::{Checker, HasDiscoveries, Model, Property};

/// In ticks.
const LEASE: u8 = 4;
const HALF: u8 = LEASE / 2;

/// Of the journal.
const ENTRIES: u8 = 2;

const ALONE: &str = "nobody writes while what another has sent may run";
const FREE: &str = "who comes when all have ended gets the lock";
const TAKEN: &str = "the lock of a silent owner is taken";
const NUMBERED: &str = "no two entries of the journal have one number";
const BOTH: &str = "two have it one after the other";

/// A table `lock_<generation>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Table {
    owner: usize,
    until: u8,
    is_released: bool,
}

type Tables = BTreeMap<u8, Table>;

/// Where a process is. `now` is the server's time as it knows it, `renewed` its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum At {
    Start,
    Timed {
        now: u8,
        renewed: u8,
    },
    Listed {
        now: u8,
        renewed: u8,
        generation: u8,
    },
    Made {
        renewed: u8,
        generation: u8,
    },
    ListedAgain {
        renewed: u8,
        generation: u8,
        seen: Tables,
    },
    /// About to drop the older ones.
    Sure {
        renewed: u8,
        generation: u8,
        seen: Tables,
    },
    Holds {
        renewed: u8,
        generation: u8,
        is_lost: bool,
        renewal: Renewal,
    },
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Renewal {
    None,
    Timed {
        began: u8,
        now: u8,
    },
    /// The first of the two statements is done.
    Half {
        began: u8,
        now: u8,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    now: u8,
    tables: Tables,
    processes: Vec<At>,
    /// When each has sent a statement last; of one that has released the lock, none runs.
    sent: Vec<Option<u8>>,
    had_it: Vec<bool>,
    took_over: bool,
    is_broken: bool,
    /// How far the clock of a process is behind, since its machine was paused.
    slept: Vec<u8>,
    /// Entries of the journal, and how many there were when a process read it, with its own.
    journal: u8,
    read: Vec<u8>,
    is_corrupt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Tick,
    /// The next statement of taking it.
    Take(usize),
    /// The next statement of a renewal.
    Renew(usize),
    /// A check, and then a statement that writes.
    Write(usize),
    /// A tick that this process's clock does not count.
    Sleep(usize),
    /// A check, and then an entry of the journal.
    Record(usize),
    Release(usize),
}

/// What keeps it to one; each can be taken away.
#[derive(Debug, Clone)]
struct Leases {
    processes: usize,
    /// The last tick.
    ends: u8,
    /// A process reads its own clock before the server's.
    clock_first: bool,
    /// It lists the tables once more when it has made its own.
    lists_again: bool,
    /// It looks then for an owner who has come back.
    looks_back: bool,
    /// A renewal marks the table before it lists them.
    marks_first: bool,
    released_stays: bool,
    gives_up_after: u8,
    /// The machine of the first one is paused.
    sleeps: bool,
    /// The server takes an entry of the highest generation alone.
    fences: bool,
}

fn leases(processes: usize, ends: u8) -> Leases {
    Leases {
        processes,
        ends,
        clock_first: true,
        lists_again: true,
        looks_back: true,
        marks_first: true,
        released_stays: true,
        gives_up_after: HALF,
        sleeps: false,
        fences: true,
    }
}

impl Leases {
    fn take(&self, world: &mut World, number: usize) {
        let own = world.now - world.slept[number];
        let (now, tables) = (world.now, &mut world.tables);
        let next = match world.processes[number].clone() {
            At::Start => At::Timed { now, renewed: own },
            At::Timed { now: then, renewed } => match tables.last_key_value() {
                Some((_, table)) if !table.is_released && table.until >= then => At::Ended,
                last => {
                    let generation = last.map_or(1, |(generation, _)| generation + 1);
                    let renewed = if self.clock_first { renewed } else { own };
                    At::Listed { now: then, renewed, generation }
                }
            },
            At::Listed { generation, .. } if tables.contains_key(&generation) => At::Ended,
            At::Listed { now: then, renewed, generation } => {
                let table = Table { owner: number, until: then + LEASE, is_released: false };
                tables.insert(generation, table);
                match self.lists_again {
                    true => At::Made { renewed, generation },
                    false => At::Sure { renewed, generation, seen: tables.clone() },
                }
            }
            At::Made { renewed, generation } => {
                At::ListedAgain { renewed, generation, seen: tables.clone() }
            }
            At::ListedAgain { renewed, generation, seen } => {
                let is_back = |(other, table): (&u8, &Table)| {
                    *other < generation && !table.is_released && table.until >= now
                };
                let is_later = seen.keys().any(|other| *other > generation);
                match is_later || (self.looks_back && seen.iter().any(is_back)) {
                    true => {
                        tables.remove(&generation);
                        At::Ended
                    }
                    false => At::Sure { renewed, generation, seen },
                }
            }
            At::Sure { renewed, generation, seen } => {
                for older in seen.keys().filter(|other| **other < generation) {
                    let table = tables.remove(older);
                    world.took_over |= table.is_some_and(|table| !table.is_released);
                }
                world.had_it[number] = true;
                world.read[number] = world.journal;
                At::Holds { renewed, generation, is_lost: false, renewal: Renewal::None }
            }
            other => other,
        };
        world.processes[number] = next;
    }

    fn renew(&self, world: &mut World, number: usize) {
        let own = world.now - world.slept[number];
        let (now, tables) = (world.now, &mut world.tables);
        let At::Holds { renewed, generation, is_lost, renewal } = &mut world.processes[number]
        else {
            return;
        };
        let mark = |tables: &mut Tables, then: u8| match tables.get_mut(generation) {
            Some(table) => {
                table.until = then + LEASE;
                true
            }
            None => false,
        };
        let is_last = |tables: &Tables| tables.keys().next_back() == Some(generation);
        let is_ours = match *renewal {
            Renewal::None => {
                *renewal = Renewal::Timed { began: own, now };
                return;
            }
            Renewal::Timed { began, now: then } => {
                *renewal = Renewal::Half { began, now: then };
                if self.marks_first { mark(tables, then) } else { is_last(tables) }
            }
            Renewal::Half { began, now: then } => {
                *renewal = Renewal::None;
                let is_ours = if self.marks_first { is_last(tables) } else { mark(tables, then) };
                if is_ours {
                    *renewed = began;
                }
                is_ours
            }
        };
        *is_lost |= !is_ours;
    }

    /// `Lock::check`.
    fn may_write(&self, world: &World, number: usize) -> bool {
        match world.processes[number] {
            At::Holds { renewed, is_lost, .. } => {
                let own = world.now - world.slept[number];
                !is_lost && own - renewed <= self.gives_up_after
            }
            _ => false,
        }
    }

    fn record(&self, world: &mut World, number: usize) {
        let At::Holds { generation, is_lost, .. } = &mut world.processes[number] else { return };
        let is_highest = world.tables.keys().next_back() == Some(generation);
        if self.fences && !is_highest {
            *is_lost = true;
            return;
        }
        world.is_corrupt |= world.read[number] != world.journal;
        world.journal += 1;
        world.read[number] += 1;
    }
}

impl Model for Leases {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        // One was held and released before.
        let released = Table { owner: usize::MAX, until: 0, is_released: true };
        vec![World {
            now: 0,
            tables: BTreeMap::from([(1, released)]),
            processes: vec![At::Start; self.processes],
            sent: vec![None; self.processes],
            had_it: vec![false; self.processes],
            took_over: false,
            is_broken: false,
            slept: vec![0; self.processes],
            journal: 0,
            read: vec![0; self.processes],
            is_corrupt: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.now < self.ends {
            actions.push(Action::Tick);
            if self.sleeps {
                actions.push(Action::Sleep(0));
            }
        }
        for (number, at) in world.processes.iter().enumerate() {
            match at {
                At::Ended => (),
                At::Holds { is_lost: true, .. } => (),
                At::Holds { renewal, .. } => {
                    actions.push(Action::Renew(number));
                    if self.may_write(world, number) {
                        match self.sleeps {
                            // What it writes besides is known to be more than it may.
                            true if world.journal < ENTRIES => actions.push(Action::Record(number)),
                            true => (),
                            false => actions.push(Action::Write(number)),
                        }
                    }
                    // The thread has ended before.
                    if *renewal == Renewal::None {
                        actions.push(Action::Release(number));
                    }
                }
                _ => actions.push(Action::Take(number)),
            }
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Tick => world.now += 1,
            Action::Sleep(number) => {
                world.now += 1;
                world.slept[number] += 1;
            }
            Action::Record(number) => self.record(&mut world, number),
            Action::Take(number) => self.take(&mut world, number),
            Action::Renew(number) => self.renew(&mut world, number),
            Action::Write(number) => {
                let others = world.sent.iter().enumerate().filter(|(other, _)| *other != number);
                let may_run = |sent: &Option<u8>| sent.is_some_and(|at| at + HALF >= world.now);
                world.is_broken |= others.map(|(_, sent)| sent).any(may_run);
                world.sent[number] = Some(world.now);
            }
            Action::Release(number) => {
                if let At::Holds { generation, .. } = world.processes[number] {
                    match self.released_stays {
                        true => {
                            let table = world.tables.get_mut(&generation);
                            table.into_iter().for_each(|table| table.is_released = true);
                        }
                        false => drop(world.tables.remove(&generation)),
                    }
                }
                world.processes[number] = At::Ended;
                world.sent[number] = None;
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let free = |model: &Self, world: &World| {
            let has_ended = |at: &At| matches!(at, At::Ended | At::Holds { .. });
            let silent = world.tables.values().map(|table| table.until).max().unwrap_or_default();
            let all_ended = world.processes.iter().all(has_ended);
            let mut later = World { now: world.now.max(silent) + 1, ..world.clone() };
            later.processes[0] = At::Start;
            (0..6).for_each(|_| model.take(&mut later, 0));
            !all_ended || matches!(later.processes[0], At::Holds { .. })
        };
        vec![
            Property::always(ALONE, |model: &Self, world: &World| model.sleeps || !world.is_broken),
            Property::always(NUMBERED, |_, world: &World| !world.is_corrupt),
            Property::always(FREE, free),
            Property::sometimes(TAKEN, |model: &Self, world: &World| {
                world.took_over || model.ends <= LEASE
            }),
            Property::sometimes(BOTH, |_, world: &World| {
                world.had_it.iter().filter(|had| **had).count() > 1
            }),
        ]
    }
}

/// What is broken; and what never comes to pass.
#[track_caller]
fn found(name: &str, model: Leases) -> Vec<&'static str> {
    let checker = model.checker().finish_when(HasDiscoveries::All).spawn_bfs().join();
    let found = checker.discoveries();
    eprintln!("{name}: {} states", checker.unique_state_count());
    let is_hope = |property: &&str| [TAKEN, BOTH].contains(property);
    for (property, path) in found.iter().filter(|(property, _)| !is_hope(property)) {
        eprintln!("{property}: {:?}", path.clone().into_actions());
    }
    let hopes = [TAKEN, BOTH].into_iter().filter(|hope| !found.contains_key(hope));
    found.keys().copied().filter(|property| !is_hope(property)).chain(hopes).collect()
}

#[test]
fn the_lock_is_one_processs_at_a_time() {
    assert_eq!(found("leases", leases(2, LEASE + 3)), [""; 0]);
    assert_eq!(found("generations", leases(3, 0)), [""; 0]);
    if crate::setting::is_large() {
        assert_eq!(found("leases", leases(2, 2 * LEASE + 3)), [""; 0]);
        assert_eq!(found("three", leases(3, LEASE + 2)), [""; 0]);
    }
}

/// A process that is held up between the two clocks would count its lease from a later moment than the others.
#[test]
fn the_own_clock_is_read_before_the_servers() {
    let mutant = Leases { clock_first: false, ..leases(2, LEASE + 3) };
    assert!(found("clock later", mutant).contains(&ALONE));
}

/// The interleaving that `lock.rs` fears.
#[test]
fn a_generation_that_was_dropped_is_not_won_again() {
    let mutant = Leases { lists_again: false, ..leases(3, 0) };
    assert!(found("one list", mutant).contains(&ALONE));
    // Either of the two would do.
    let goes = Leases { released_stays: false, ..leases(3, 0) };
    assert_eq!(found("released goes", goes.clone()), [""; 0]);
    let mutant = Leases { looks_back: false, ..goes };
    assert!(found("released goes, no look back", mutant).contains(&ALONE));
}

#[test]
fn an_owner_whose_clock_stood_still_writes_no_entry() {
    let asleep = Leases { sleeps: true, ..leases(2, LEASE + 1) };
    assert_eq!(found("asleep", asleep.clone()), [""; 0]);
    let mutant = Leases { fences: false, ..asleep };
    assert!(found("asleep, no fence", mutant).contains(&NUMBERED));
}

#[test]
fn a_silent_owner_who_comes_back_is_seen_or_sees() {
    let mutant = Leases { looks_back: false, ..leases(2, LEASE + 3) };
    assert!(found("no look back", mutant).contains(&ALONE));
    let mutant = Leases { marks_first: false, ..leases(2, LEASE + 3) };
    assert!(found("lists first", mutant).contains(&ALONE));
}

#[test]
fn an_owner_gives_up_while_what_it_has_sent_may_still_run() {
    let mutant = Leases { gives_up_after: LEASE, ..leases(2, LEASE + 3) };
    assert!(found("no margin", mutant).contains(&ALONE));
}
