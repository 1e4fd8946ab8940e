//! The proof of parity and the copy of what green lacks, at the gate: `verify_or_repair`.

use crate::journal::Entry;
use crate::protocol::Protocol;
use crate::server::{Data, Name, Part, Rows, World};
use crate::step::{Flow, Step};

pub(crate) fn at_gate() -> Vec<Step> {
    vec![
        Step::ShutGate,
        Step::WaitAtGate,
        Step::Compare,
        Step::OpenGate,
        Step::CopyMissing,
        Step::ShutGate,
        Step::WaitAtGate,
        Step::Prove,
        Step::OpenGate,
        Step::Record(Entry::Verified),
        Step::Advance,
    ]
}

/// `verify_or_repair` on a server: clones, one after another, with the INSERTs waited for between them.
pub(crate) fn on_server() -> Vec<Step> {
    let judge =
        vec![Step::JudgeMissing, Step::CopyMissing, Step::Record(Entry::Verified), Step::Advance];
    [clones(), judge].concat()
}

/// `verify` on a server, where the rows do not tell what to copy.
pub(crate) fn of_sums() -> Vec<Step> {
    let judge =
        vec![Step::JudgeMissing, Step::RefuseMissing, Step::Record(Entry::Verified), Step::Advance];
    [clones(), judge].concat()
}

/// `verify_exchange` with its `carry_both`: each table gets what only the other one has.
pub(crate) fn carry_both() -> Vec<Step> {
    let judge = vec![
        Step::JudgeBoth,
        Step::CopyBackFirst,
        Step::CopyBackOthers,
        Step::CopyMissing,
        Step::Advance,
    ];
    [clones(), judge].concat()
}

/// `carry_by_rows`. Every INSERT that may write to the old table has ended when that is cloned for the comparison:
/// it is cloned once before.
pub(crate) fn by_rows() -> Vec<Step> {
    let known = vec![Step::JudgeLost, Step::CopyLost, Step::ListKnown, Step::RecordKnown];
    [vec![Step::ListInserts, Step::WaitForInserts], clones(), known].concat()
}

fn clones() -> Vec<Step> {
    let wait = [Step::ListInserts, Step::WaitForInserts];
    [&[Step::CloneOld][..], &wait, &[Step::CloneNew], &wait].concat()
}

impl Protocol {
    pub(crate) fn execute_verify(&self, world: &mut World, step: Step) -> Flow {
        let [blue, green] =
            [Name::Blue, Name::Green].map(|name| world.parts(world.data(name)).to_vec());
        let (old, new) = (world.parts(Data::Old).to_vec(), world.parts(Data::New).to_vec());
        match step {
            Step::CloneOld => world.memory.window[0] = old,
            Step::CloneNew => world.memory.window[1] = new,
            // A row of the first clone of the old table that is not in the new one's is missing; a row of
            // the new one's that is not in the old table now is too many.
            Step::JudgeMissing | Step::JudgeBoth => {
                let [first, second] = std::mem::take(&mut world.memory.window);
                let (missing, extra) = (self.surplus(&first, &second), self.surplus(&second, &old));
                if step == Step::JudgeMissing && !extra.is_empty() {
                    return Flow::Refused("there is no parity");
                }
                world.memory.to_copy = [missing, extra];
            }
            // What both lack is not looked for.
            Step::JudgeLost => {
                let [first, second] = std::mem::take(&mut world.memory.window);
                world.memory.window[0] = self.surplus(&first, &second);
            }
            Step::CopyLost => {
                for part in std::mem::take(&mut world.memory.window[0]) {
                    self.copy(world, part, Data::New);
                }
            }
            Step::Compare => {
                if !self.surplus(&green, &blue).is_empty() {
                    return Flow::Refused("green has rows that blue lacks");
                }
                world.memory.to_copy[0] = self.surplus(&blue, &green);
            }
            Step::RefuseMissing if !world.memory.to_copy[0].is_empty() => {
                return Flow::Refused("there is no parity");
            }
            Step::RefuseMissing => world.memory.to_copy = Default::default(),
            Step::CopyMissing => {
                for part in std::mem::take(&mut world.memory.to_copy[0]) {
                    self.copy(world, part, Data::New);
                }
            }
            _ => {
                let (extra, missing) = (self.surplus(&green, &blue), self.surplus(&blue, &green));
                if !extra.is_empty() || !missing.is_empty() {
                    return Flow::Refused("there is no parity");
                }
            }
        }
        Flow::Next
    }

    /// The rows, as parts of one each, that the one has more often than the other.
    pub(crate) fn surplus(&self, one: &[Part], other: &[Part]) -> Vec<Part> {
        let mut alone = rows(one).collect::<Vec<_>>();
        alone.retain(|part| part.rows & !self.filtered_rows() != 0);
        let mut others = rows(other).map(|part| part.rows).collect::<Vec<_>>();
        // Of equal rows the very same ones first: a merged part cannot have one row twice.
        let is_same: [&dyn Fn(Rows, Rows) -> bool; 2] =
            [&|one, other| one == other, &|one, other| self.content(one) == self.content(other)];
        for is_same in is_same {
            alone.retain(|part| match others.iter().position(|other| is_same(part.rows, *other)) {
                Some(at) => {
                    others.swap_remove(at);
                    false
                }
                None => true,
            });
        }
        alone
    }
}

fn rows(parts: &[Part]) -> impl Iterator<Item = Part> {
    parts.iter().flat_map(|part| {
        let bits = (0..u16::BITS).map(|bit| 1 << bit).filter(|bit| part.rows & bit != 0);
        bits.map(|rows| Part { rows, ..*part })
    })
}
