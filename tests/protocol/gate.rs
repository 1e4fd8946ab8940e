//! The fence at the write gate, by `fence/gate.rs`, and its undoing.

use crate::journal::Entry;
use crate::step::Step;

/// What is sent at the same time. The server comes to either of them first; which one is settled by the protocol,
/// so that both are checked.
pub(crate) const AT_ONCE: [[Step; 2]; 2] =
    [[Step::CreateView, Step::CloneBlue], [Step::CloneBlue, Step::CreateView]];

/// `attach` with `cut_at_gate`.
pub(crate) fn cut(at_once: [Step; 2]) -> Vec<Step> {
    let shut = [
        Step::RefuseWhatIsNotOurs,
        Step::Record(Entry::FenceOpened),
        Step::MakeSnapshot,
        Step::ShutGate,
        Step::WaitAtGate,
    ];
    let open = [Step::OpenGate, Step::Record(Entry::Attached), Step::Advance];
    [&shut[..], &at_once, &open].concat()
}

/// `drop_view_at_gate`, and what `undo_fence` does after it.
pub(crate) fn undo() -> Vec<Step> {
    vec![
        Step::ShutGate,
        Step::WaitAtGate,
        Step::DropView,
        Step::OpenGate,
        Step::EmptyGreen,
        Step::DropSnapshot,
        Step::Record(Entry::FenceUndone),
        Step::Advance,
    ]
}
