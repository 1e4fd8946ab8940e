//! The fence by `part_log`, by `fence/part_log.rs`, and its undoing.

use crate::journal::Entry;
use crate::server::Name;
use crate::step::Step;

/// `attach` with `cut_by_log`.
pub(crate) fn cut() -> Vec<Step> {
    vec![
        Step::RefuseWhatIsNotOurs,
        Step::Record(Entry::FenceOpened),
        Step::MakeSnapshot,
        Step::StopMerges(Name::Blue),
        Step::StopMerges(Name::Green),
        Step::WaitForMerges(Name::Blue),
        Step::CloneBlue,
        Step::ListClone,
        Step::CreateView,
        Step::ListInserts,
        Step::WaitForInserts,
        Step::ListWindow,
        Step::ListInserts,
        Step::WaitForInserts,
        Step::ReadPartLog,
        Step::RefuseStartedAnew,
        Step::CopyWindow,
        Step::CheckWindow,
        Step::StartMerges(Name::Blue),
        Step::StartMerges(Name::Green),
        Step::Record(Entry::Attached),
        Step::Advance,
    ]
}

/// `undo_by_log`, and what `undo_fence` does after it.
pub(crate) fn undo() -> Vec<Step> {
    vec![
        Step::EndStatementsOfTheDead,
        Step::DropView,
        Step::StartMerges(Name::Blue),
        Step::StartMerges(Name::Green),
        Step::ListInserts,
        Step::WaitForInserts,
        Step::EmptyGreen,
        Step::DropSnapshot,
        Step::Record(Entry::FenceUndone),
        Step::Advance,
    ]
}
