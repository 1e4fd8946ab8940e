//! The commands on an alias migration, as the code does them: which routine follows which, and the steps of each. From
//! `cutover.rs`, `alias.rs`, `turn.rs`, `rollback.rs`, `abort.rs`, `cleanup.rs`, `retire.rs` and `Operator::heal`.

use std::collections::BTreeMap;

use crate::alias::{Alias, BLUE, GREEN, World};
use Step::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Record(Phase),
    ListInserts,
    WaitForInserts,
    /// Drops or makes the view that reads this table.
    DropView(usize),
    MakeView(usize),
    /// The alias, to this table.
    Swap(usize),
    /// A look at one table, then at the other: where they are alike, they need not be cloned.
    Look(usize),
    LookAlso(usize),
    Clone(usize),
    /// What green alone has gets into blue.
    CarryBack,
    /// Each gets what the other alone has.
    CarryBoth,
    /// Refuses if green, if blue has what the other one lacks.
    RefuseExtra,
    RefuseLacking,
    /// What blue alone has gets into green.
    CopyMissing,
    Rename(usize),
    DropRetired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Green is a copy, before a cutover or after a rollback.
    Copied,
    CutoverOpened,
    CutOver {
        is_turned: bool,
    },
    TurnOpened {
        forwards_back: bool,
    },
    RollbackOpened,
    CleanupOpened,
    Cleaned,
    Aborting,
    Aborted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Routine {
    Prove,
    Swap,
    SettleSwap,
    TakeSwapBack,
    Turn,
    SettleTurn,
    TurnBack,
    SettleTurnBack,
    CarryBoth,
    CarryBack,
    CarryRest,
    SwapBack,
    SettleSwapBack,
    TakeSwapBackBack,
    LookBeforeAbort,
    OpenAbort,
    Abort,
    LookBeforeCleanup,
    OpenCleanup,
    Cleanup,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Command {
    Cutover,
    Rollback,
    Abort,
    Cleanup,
}

impl Alias {
    /// `Operator::heal`.
    pub(crate) fn heal(world: &World) -> Option<Routine> {
        match world.phase {
            Phase::CutoverOpened if world.alias == GREEN => Some(Routine::SettleSwap),
            Phase::CutoverOpened => Some(Routine::TakeSwapBack),
            Phase::TurnOpened { forwards_back: true } => Some(Routine::SettleTurn),
            Phase::TurnOpened { .. } => Some(Routine::SettleTurnBack),
            Phase::RollbackOpened if world.alias == BLUE => Some(Routine::SettleSwapBack),
            Phase::RollbackOpened => Some(Routine::TakeSwapBackBack),
            Phase::CleanupOpened => Some(Routine::Cleanup),
            Phase::Aborting => Some(Routine::Abort),
            _ => None,
        }
    }

    /// What a command does in a phase; `None` where it refuses.
    pub(crate) fn plan(command: Command, phase: Phase) -> Option<Vec<Routine>> {
        use Routine as R;
        Some(match (command, phase) {
            (Command::Cutover, Phase::Copied) => {
                vec![R::Prove, R::Swap, R::Turn, R::CarryBoth]
            }
            (Command::Cutover, Phase::CutOver { is_turned: false }) => vec![R::Turn, R::CarryBoth],
            (Command::Cutover, Phase::CutOver { is_turned: true }) => vec![R::CarryBoth],
            (Command::Rollback, Phase::CutOver { is_turned }) => {
                let turn_back = is_turned.then_some(R::TurnBack);
                let rest = [R::CarryBack, R::SwapBack, R::CarryRest];
                turn_back.into_iter().chain(rest).collect()
            }
            (Command::Rollback, Phase::Copied) => vec![R::CarryBack],
            (Command::Abort, Phase::Copied) => vec![R::LookBeforeAbort, R::OpenAbort, R::Abort],
            (Command::Cleanup, Phase::CutOver { .. }) => {
                vec![R::LookBeforeCleanup, R::OpenCleanup, R::Cleanup]
            }
            (Command::Abort, Phase::Aborted) | (Command::Cleanup, Phase::Cleaned) => vec![],
            _ => return None,
        })
    }
}

pub(crate) fn wait() -> Vec<Step> {
    vec![ListInserts, WaitForInserts]
}

/// `compare`: one look at both, the view's target first.
fn compare(target: usize) -> Vec<Step> {
    [vec![Look(target), LookAlso(1 - target)], clones()].concat()
}

/// `seek`: for what this table alone has.
fn seek(table: usize) -> Vec<Step> {
    [vec![Look(1 - table)], wait(), vec![LookAlso(table)], clones()].concat()
}

/// A comparison by five clones.
fn clones() -> Vec<Step> {
    let clones = [BLUE, GREEN, BLUE, GREEN].map(|table| [vec![Clone(table)], wait()].concat());
    [clones.concat(), vec![Clone(BLUE)]].concat()
}

fn turn(forwards_back: bool) -> Vec<Step> {
    let (leaving, coming) = if forwards_back { (BLUE, GREEN) } else { (GREEN, BLUE) };
    let turned = Record(Phase::CutOver { is_turned: forwards_back });
    [vec![DropView(leaving)], wait(), vec![MakeView(coming)], wait(), vec![turned]].concat()
}

fn retire(table: usize) -> Vec<Step> {
    [vec![DropView(BLUE), DropView(GREEN)], wait(), vec![Rename(table), DropRetired]].concat()
}

pub(crate) fn routines() -> BTreeMap<Routine, Vec<Step>> {
    use Routine as R;
    let cut_over = Record(Phase::CutOver { is_turned: false });
    let open_turn = |forwards_back| {
        let opened = vec![Record(Phase::TurnOpened { forwards_back })];
        [wait(), opened, turn(forwards_back)].concat()
    };
    BTreeMap::from([
        (R::Prove, [compare(GREEN), vec![RefuseExtra, CopyMissing]].concat()),
        (
            R::Swap,
            [vec![Record(Phase::CutoverOpened), Swap(GREEN)], wait(), vec![cut_over]].concat(),
        ),
        (R::SettleSwap, [wait(), vec![cut_over]].concat()),
        (R::TakeSwapBack, vec![Record(Phase::Copied)]),
        (R::Turn, open_turn(true)),
        (R::SettleTurn, turn(true)),
        (R::TurnBack, open_turn(false)),
        (R::SettleTurnBack, turn(false)),
        (R::CarryBoth, [compare(BLUE), vec![CarryBoth]].concat()),
        (R::CarryBack, [seek(GREEN), vec![CarryBack]].concat()),
        (R::CarryRest, [seek(GREEN), vec![CarryBack]].concat()),
        (
            R::SwapBack,
            [vec![Record(Phase::RollbackOpened), Swap(BLUE)], wait(), vec![Record(Phase::Copied)]]
                .concat(),
        ),
        (R::SettleSwapBack, [wait(), vec![Record(Phase::Copied)]].concat()),
        (R::TakeSwapBackBack, vec![cut_over]),
        (R::LookBeforeAbort, [seek(GREEN), vec![RefuseExtra]].concat()),
        (R::OpenAbort, vec![Record(Phase::Aborting)]),
        (R::Abort, [retire(GREEN), vec![Record(Phase::Aborted)]].concat()),
        (R::LookBeforeCleanup, [seek(BLUE), vec![RefuseLacking]].concat()),
        (R::OpenCleanup, vec![Record(Phase::CleanupOpened)]),
        (R::Cleanup, [retire(BLUE), vec![Record(Phase::Cleaned)]].concat()),
    ])
}
