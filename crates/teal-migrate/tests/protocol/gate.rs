//! The fence at the write gate, by `fence/gate.rs`, and its undoing.

use crate::journal::Entry;
use crate::step::Step;

/// `attach` with `cut_at_gate`.
pub(crate) fn cut() -> Vec<Step> {
    vec![
        Step::RefuseWhatIsNotOurs,
        Step::Record(Entry::FenceOpened),
        Step::MakeSnapshot,
        Step::ShutGate,
        Step::WaitAtGate,
        Step::CreateView,
        Step::CloneBlue,
        Step::OpenGate,
        Step::Record(Entry::Attached),
        Step::Advance,
    ]
}

/// `undo_at_gate`, and what `undo_fence` does after it.
pub(crate) fn undo() -> Vec<Step> {
    vec![
        Step::ShutGate,
        Step::WaitAtGate,
        Step::DropView,
        Step::TruncateGreen,
        Step::OpenGate,
        Step::DropSnapshot,
        Step::Record(Entry::FenceUndone),
        Step::Advance,
    ]
}
