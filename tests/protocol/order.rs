//! Engines that go by the order in which rows came (`backfill/order.rs`, and the fence before it): a model of its
//! own, for here it matters where in a table a row lies. All rows are of one key, and the last one is shown.
//!
//! Left out: merges of blue, which the fence stops, and which keep the order; the publication of the chunks, which
//! come in their order, each once. A part that is merged is another one than those that it was made of.

use stateright::{Model, Property};

/// The data that green has first, and that which it has behind the exchange.
const FIRST: usize = 0;
const ORDERED: usize = 1;
/// Rows of blue from before. Those of INSERTs have the numbers of these.
const HISTORY: [u8; 2] = [8, 9];

const SHOWN: &str = "what is proven shows the row that came last";
pub(crate) const TOLD: &str = "the proof refuses only where the order cannot be told";
pub(crate) const ONCE: &str = "behind the gate, green has each row once, in the order of blue";
pub(crate) const MERGES: &str = "in the end, merges of green are on";
const GOES_ON: &str = "every state can go on";
pub(crate) const DONE: &str = "it is done";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// `end_statements_of_the_dead`.
    EndStatements,
    /// `heal`: merges of green go on, but for where parts must still be told apart.
    Heal,
    /// As the journal says.
    GoOn,

    DropView,
    Empty,
    CloneBlue,
    CreateView,
    ListInserts,
    WaitForInserts,
    ShutGate,
    WaitAtGate,
    OpenGate,
    /// The parts that came meanwhile, and that the view did not forward.
    ListWindow,
    /// One statement for each.
    CopyWindow,
    /// Of a clone: then the cut is not clean.
    RefuseWindow,
    RecordAttached,

    /// The chunks, published to the history table.
    CopyHistory,
    /// `ordered`, anew; merges of it are stopped.
    MakeOrdered,
    AttachHistory,
    StopMerges,
    ListBlocks,
    RecordOrdering,
    AttachBehind,
    Exchange,
    ListLate,
    /// The first that is left.
    CarryLate,
    DropOrdered,
    DropHistory,
    StartMerges,
    RecordBackfilled,
    /// When no INSERT runs.
    Verify,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Part {
    /// In their order. They are what its hash tells.
    rows: Vec<u8>,
    /// Its last.
    block: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Insert {
    Waiting,
    Listed,
    Writing {
        target: Option<usize>,
        is_in_blue: bool,
        is_in_green: bool,
    },
    Ended {
        is_forwarded: bool,
    },
    /// With its server.
    CutOff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    Start,
    Bind,
    CommitToBlue,
    CommitToGreen,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    Prepared,
    Attached,
    /// With the last block that green had before.
    Ordering(u8),
    Backfilled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Outcome {
    Done,
    Refused { is_untold: bool },
}

/// What the process has read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Memory {
    listed: u8,
    window: Vec<u8>,
    last_block: u8,
    late: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// The rows of blue, of the snapshot and of the history table, a part each.
    blue: Vec<u8>,
    snapshot: Vec<u8>,
    history: Vec<u8>,
    /// By their data.
    tables: [Vec<Part>; 2],
    is_exchanged: bool,
    has_view: bool,
    is_gate_closed: bool,
    /// By settings.
    stopped: [bool; 2],
    inserts: Vec<Insert>,
    phase: Phase,
    /// The next step, if teal runs.
    at: Option<usize>,
    memory: Memory,
    adrift: Option<(Step, Memory)>,
    outcome: Option<Outcome>,
    crashes: u8,
    merges: u8,
    /// With which others each INSERT ran at the same time, and which were in green when it was carried there: what
    /// of their order nobody can tell.
    met: Vec<u8>,
    overtaken: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Insert(usize, Move),
    Merge { data: usize, at: usize },
    Teal(Step),
    Crash { is_sent: bool },
    Adrift(Step),
    Run,
}

#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) steps: Vec<Step>,
    pub(crate) inserts: usize,
    pub(crate) merges: u8,
    pub(crate) crashes: u8,
    /// Behind the fence, with one row forwarded.
    pub(crate) begins_attached: bool,
    /// Whether a late part is told by its hash from those that are there.
    pub(crate) tells_by_hash: bool,
    /// Whether the next process leaves merges off as long as late parts may be there.
    pub(crate) holds_merges: bool,
    pub(crate) stops_ordered: bool,
    pub(crate) keeps_history_in_order: bool,
}

impl World {
    fn green(&self) -> usize {
        usize::from(self.is_exchanged)
    }

    fn running(&self) -> u8 {
        let runs = |it: &Insert| matches!(it, Insert::Listed | Insert::Writing { .. });
        let running = self.inserts.iter().enumerate().filter(|(_, it)| runs(it));
        running.fold(0, |mask, (number, _)| mask | 1 << number)
    }

    /// A part gets its block when it comes to a table.
    fn add(&mut self, data: usize, rows: &[u8]) {
        let table = &mut self.tables[data];
        let block = table.last().map_or(1, |part| part.block + 1);
        table.push(Part { rows: rows.to_vec(), block });
    }

    fn rows(&self, data: usize) -> Vec<u8> {
        self.tables[data].iter().flat_map(|part| part.rows.iter().copied()).collect()
    }

    fn is_cut_off(&self, row: u8) -> bool {
        self.inserts.get(usize::from(row)) == Some(&Insert::CutOff)
    }

    /// Whether nobody can tell which of two rows came last.
    fn is_untold(&self, in_blue: u8, in_green: u8) -> bool {
        let is_among = |rows: &[u8]| {
            rows.get(usize::from(in_green)).is_some_and(|mask| mask & (1_u16 << in_blue) as u8 != 0)
        };
        is_among(&self.met)
            || is_among(&self.overtaken)
            || self.is_cut_off(in_blue)
            || self.is_cut_off(in_green)
    }

    /// Whether green shows what blue does, or may show another row.
    fn compare(&self) -> Option<bool> {
        let green = self.rows(self.green());
        match (self.blue.last(), green.last()) {
            (blue, green) if blue == green => None,
            (Some(blue), Some(green)) => Some(self.is_untold(*blue, *green)),
            _ => Some(false),
        }
    }

    fn is_settled(&self) -> bool {
        let have_ended = |it: &Insert| matches!(it, Insert::Ended { .. } | Insert::CutOff);
        self.outcome.is_some() && self.inserts.iter().all(have_ended)
    }
}

/// The parts that are not among the others, by their hashes. Of equal ones the first are among them.
fn without(parts: Vec<Part>, others: &[Part]) -> Vec<Part> {
    let mut others = others.iter().map(|part| &part.rows).collect::<Vec<_>>();
    let is_other = |part: &Part| match others.iter().position(|other| *other == &part.rows) {
        Some(at) => {
            others.remove(at);
            false
        }
        None => true,
    };
    parts.into_iter().filter(is_other).collect()
}

impl Order {
    pub(crate) fn place(&self, step: Step) -> usize {
        self.steps.iter().position(|one| *one == step).unwrap()
    }

    fn is_gated(&self) -> bool {
        self.steps.contains(&Step::ShutGate)
    }

    fn is_clone(&self) -> bool {
        !self.steps.contains(&Step::CopyHistory)
    }

    fn is_ready(&self, world: &World, step: Step) -> bool {
        match step {
            Step::WaitForInserts => world.memory.listed & world.running() == 0,
            Step::WaitAtGate | Step::Verify => world.running() == 0,
            _ => true,
        }
    }

    /// What a step does to the server.
    fn execute(&self, world: &mut World, step: Step) {
        let green = world.green();
        match step {
            Step::EndStatements => world.adrift = None,
            // At the gate no part is late.
            Step::Heal if world.is_exchanged && self.holds_merges && !self.is_gated() => (),
            Step::Heal | Step::StartMerges => world.stopped[green] = false,
            Step::DropView => world.has_view = false,
            Step::Empty => {
                world.tables[green].clear();
                world.snapshot.clear();
            }
            Step::CloneBlue if self.is_clone() => {
                world.blue.clone().into_iter().for_each(|row| world.add(green, &[row]));
            }
            Step::CloneBlue => world.snapshot = world.blue.clone(),
            Step::CreateView => world.has_view = true,
            Step::ListInserts => world.memory.listed = world.running(),
            Step::WaitForInserts => world.memory.listed = 0,
            Step::ShutGate => world.is_gate_closed = true,
            Step::OpenGate => world.is_gate_closed = false,
            Step::ListWindow => {
                let cloned =
                    if self.is_clone() { world.rows(green) } else { world.snapshot.clone() };
                let was_forwarded = |row: u8| {
                    world.inserts[usize::from(row)] == Insert::Ended { is_forwarded: true }
                        || matches!(
                            world.inserts[usize::from(row)],
                            Insert::Writing { target: Some(_), .. }
                        )
                };
                let window = world.blue.iter().copied().filter(|row| !cloned.contains(row));
                world.memory.window = window.filter(|row| !was_forwarded(*row)).collect();
            }
            Step::CopyWindow => {
                for row in std::mem::take(&mut world.memory.window) {
                    match self.is_clone() {
                        true => world.add(green, &[row]),
                        false => world.snapshot.push(row),
                    }
                }
            }
            Step::RecordAttached => world.phase = Phase::Attached,
            Step::CopyHistory => {
                world.history = world.snapshot.clone();
                if !self.keeps_history_in_order {
                    world.history.reverse();
                }
            }
            Step::MakeOrdered => {
                world.tables[ORDERED].clear();
                world.stopped[ORDERED] = self.stops_ordered;
            }
            Step::AttachHistory => {
                world.history.clone().into_iter().for_each(|row| world.add(ORDERED, &[row]));
            }
            Step::StopMerges => world.stopped[green] = true,
            Step::ListBlocks => {
                world.memory.last_block = world.tables[green].last().map_or(0, |it| it.block);
            }
            Step::RecordOrdering => world.phase = Phase::Ordering(world.memory.last_block),
            Step::AttachBehind => {
                world.tables[FIRST].clone().iter().for_each(|it| world.add(ORDERED, &it.rows));
            }
            Step::Exchange => world.is_exchanged = true,
            Step::ListLate => {
                let Phase::Ordering(last) = world.phase else { return };
                let history = world.history.iter().map(|row| Part { rows: vec![*row], block: 0 });
                let history = history.collect::<Vec<_>>();
                let there = without(world.tables[ORDERED].clone(), &history);
                let mut late = match self.tells_by_hash {
                    true => without(world.tables[FIRST].clone(), &there),
                    false => world.tables[FIRST].clone(),
                };
                late.retain(|part| part.block > last);
                world.memory.late = late;
            }
            Step::CarryLate if world.memory.late.is_empty() => (),
            Step::CarryLate => {
                let part = world.memory.late.remove(0);
                let there = world.rows(ORDERED);
                for row in part.rows.iter().filter(|row| !there.contains(row)) {
                    let mask = there.iter().fold(0_u16, |mask, row| mask | 1 << row);
                    world.overtaken[usize::from(*row)] = mask as u8;
                }
                world.add(ORDERED, &part.rows);
            }
            Step::DropOrdered => world.tables[1 - green].clear(),
            Step::DropHistory => world.history.clear(),
            Step::RecordBackfilled => world.phase = Phase::Backfilled,
            Step::GoOn | Step::RefuseWindow | Step::WaitAtGate | Step::Verify => (),
        }
    }

    fn step(&self, world: &mut World, step: Step) {
        let at = world.at.unwrap_or_default();
        self.execute(world, step);
        let next = match step {
            Step::GoOn => match world.phase {
                Phase::Prepared => at + 1,
                Phase::Attached => self.place(Step::CopyHistory),
                Phase::Ordering(_) if world.is_exchanged => self.place(Step::Exchange) + 1,
                Phase::Ordering(_) => self.place(Step::MakeOrdered),
                Phase::Backfilled => self.place(Step::Verify),
            },
            Step::RefuseWindow if !world.memory.window.is_empty() => self.place(Step::DropView),
            Step::CarryLate if !world.memory.late.is_empty() => at,
            _ => at + 1,
        };
        world.at = Some(next);
        if step == Step::Verify {
            let outcome = match world.compare() {
                None => Outcome::Done,
                Some(is_untold) => Outcome::Refused { is_untold },
            };
            (world.at, world.memory, world.outcome) = (None, Memory::default(), Some(outcome));
        }
    }

    fn insert_moves(&self, world: &World, number: usize) -> Vec<Move> {
        match world.inserts[number] {
            Insert::Waiting if !world.is_gate_closed => vec![Move::Start],
            Insert::Listed => vec![Move::Bind],
            Insert::Writing { target, is_in_blue, is_in_green } => {
                let mut moves = Vec::new();
                if !is_in_blue {
                    moves.push(Move::CommitToBlue);
                }
                if target.is_some() && !is_in_green {
                    moves.push(Move::CommitToGreen);
                }
                if moves.is_empty() {
                    moves.push(Move::End);
                }
                moves
            }
            _ => Vec::new(),
        }
    }

    fn move_insert(&self, world: &mut World, number: usize, step: Move) {
        let row = number as u8;
        world.inserts[number] = match (world.inserts[number], step) {
            (_, Move::Start) => {
                let running = world.running();
                for other in (0..self.inserts).filter(|other| running & 1 << other != 0) {
                    world.met[number] |= 1 << other;
                    world.met[other] |= 1 << number;
                }
                Insert::Listed
            }
            (_, Move::Bind) => {
                let target = world.has_view.then(|| world.green());
                Insert::Writing { target, is_in_blue: false, is_in_green: false }
            }
            (Insert::Writing { target, is_in_green, .. }, Move::CommitToBlue) => {
                world.blue.push(row);
                Insert::Writing { target, is_in_blue: true, is_in_green }
            }
            (Insert::Writing { target, is_in_blue, .. }, Move::CommitToGreen) => {
                target.iter().for_each(|data| world.add(*data, &[row]));
                Insert::Writing { target, is_in_blue, is_in_green: true }
            }
            (Insert::Writing { target, .. }, _) => Insert::Ended { is_forwarded: target.is_some() },
            (other, _) => other,
        };
    }

    fn crash(&self, world: &mut World, is_sent: bool) {
        world.crashes -= 1;
        let memory = std::mem::take(&mut world.memory);
        let at = world.at.take().unwrap_or_default();
        if is_sent {
            world.adrift = Some((self.steps[at], memory));
        }
        // The server is the same process.
        if self.is_gated() {
            world.is_gate_closed = false;
            let running = world.running();
            for number in (0..self.inserts).filter(|number| running & 1 << number != 0) {
                world.inserts[number] = Insert::CutOff;
            }
        }
    }

    /// Each row of an INSERT that was not cut off once, and of two that did not run at the same time the first
    /// one first.
    fn is_in_order(&self, world: &World) -> bool {
        let green = world.rows(world.green());
        let places = |row: u8| (0..green.len()).filter(move |at| green[*at] == row);
        let blue = world.blue.iter().copied().filter(|row| !world.is_cut_off(*row));
        let mut last: Vec<(u8, usize)> = Vec::new();
        for row in blue {
            let mut at = places.clone()(row);
            let (Some(place), None) = (at.next(), at.next()) else { return false };
            if last.iter().any(|(other, at)| *at > place && !world.is_untold(*other, row)) {
                return false;
            }
            last.push((row, place));
        }
        true
    }
}

fn is_statement(step: Step) -> bool {
    matches!(
        step,
        Step::DropView
            | Step::Empty
            | Step::CloneBlue
            | Step::CreateView
            | Step::CopyWindow
            | Step::RecordAttached
            | Step::MakeOrdered
            | Step::AttachHistory
            | Step::StopMerges
            | Step::RecordOrdering
            | Step::AttachBehind
            | Step::Exchange
            | Step::CarryLate
            | Step::DropOrdered
            | Step::RecordBackfilled
    )
}

impl Model for Order {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let [first, second] = HISTORY;
        let (snapshot, phase, forwarded) = match self.begins_attached {
            true => (vec![first], Phase::Attached, vec![Part { rows: vec![second], block: 1 }]),
            false => (Vec::new(), Phase::Prepared, Vec::new()),
        };
        vec![World {
            blue: HISTORY.to_vec(),
            snapshot,
            history: Vec::new(),
            tables: [forwarded, Vec::new()],
            is_exchanged: false,
            has_view: self.begins_attached,
            is_gate_closed: false,
            stopped: [false; 2],
            inserts: vec![Insert::Waiting; self.inserts],
            phase,
            at: None,
            memory: Memory::default(),
            adrift: None,
            outcome: None,
            crashes: self.crashes,
            merges: self.merges,
            met: vec![0; self.inserts],
            overtaken: vec![0; self.inserts],
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for number in 0..self.inserts {
            let moves = self.insert_moves(world, number).into_iter();
            actions.extend(moves.map(|step| Action::Insert(number, step)));
        }
        for data in [FIRST, ORDERED] {
            if world.merges > 0 && !world.stopped[data] {
                let pairs = world.tables[data].len().saturating_sub(1);
                actions.extend((0..pairs).map(|at| Action::Merge { data, at }));
            }
        }
        actions.extend(world.adrift.iter().map(|(step, _)| Action::Adrift(*step)));
        match world.at {
            Some(at) => {
                let step = self.steps[at];
                if self.is_ready(world, step) {
                    actions.push(Action::Teal(step));
                }
                if world.crashes > 0 {
                    actions.push(Action::Crash { is_sent: false });
                    if is_statement(step) && !self.is_gated() && world.adrift.is_none() {
                        actions.push(Action::Crash { is_sent: true });
                    }
                }
            }
            None if world.outcome.is_none() => actions.push(Action::Run),
            None => (),
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Insert(number, step) => self.move_insert(&mut world, number, step),
            Action::Merge { data, at } => {
                world.merges -= 1;
                let second = world.tables[data].remove(at + 1);
                let first = &mut world.tables[data][at];
                first.rows.extend(second.rows);
                first.block = second.block;
            }
            Action::Teal(step) => self.step(&mut world, step),
            Action::Crash { is_sent } => self.crash(&mut world, is_sent),
            Action::Adrift(_) => {
                let (step, memory) = world.adrift.take()?;
                let own = std::mem::replace(&mut world.memory, memory);
                self.execute(&mut world, step);
                world.memory = own;
            }
            Action::Run => world.at = Some(0),
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SHOWN, |_, world: &World| {
                let is_proven = world.outcome == Some(Outcome::Done) && world.is_settled();
                !is_proven || world.compare() != Some(false)
            }),
            Property::always(TOLD, |_, world: &World| {
                world.outcome != Some(Outcome::Refused { is_untold: false })
            }),
            Property::always(ONCE, |model: &Order, world: &World| {
                !model.is_gated() || !world.is_settled() || model.is_in_order(world)
            }),
            Property::always(MERGES, |_, world: &World| {
                world.outcome.is_none() || !world.stopped[world.green()]
            }),
            Property::always(GOES_ON, |model: &Order, world: &World| {
                let mut actions = Vec::new();
                model.actions(world, &mut actions);
                world.outcome.is_some() || !actions.is_empty()
            }),
            Property::sometimes(DONE, |_, world: &World| world.outcome == Some(Outcome::Done)),
        ]
    }
}
