//! What is asserted of engines that go by the order of rows: it holds, and each safeguard is needed.

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use crate::order::{DONE, MERGES, ONCE, Order, Step, TOLD};
use crate::setting::is_large;

const OPEN: [Step; 3] = [Step::EndStatements, Step::Heal, Step::GoOn];
const WAIT: [Step; 2] = [Step::ListInserts, Step::WaitForInserts];

/// A fence begins with what undoes one that was cut off.
fn on_server() -> Order {
    let undo = [&[Step::DropView][..], &WAIT, &[Step::Empty]].concat();
    let cut = [&[Step::CloneBlue, Step::CreateView][..], &WAIT, &[Step::ListWindow]].concat();
    let copy = [Step::CopyWindow, Step::RecordAttached, Step::CopyHistory];
    let front = [Step::MakeOrdered, Step::AttachHistory, Step::StopMerges, Step::ListBlocks];
    let exchange = [Step::RecordOrdering, Step::AttachBehind, Step::Exchange];
    let late = [Step::ListLate, Step::CarryLate];
    order([&OPEN[..], &undo, &cut, &copy, &front, &exchange, &WAIT, &late, &end()].concat())
}

fn at_gate() -> Order {
    let shut = [Step::ShutGate, Step::WaitAtGate];
    let undo = [&shut[..], &[Step::DropView, Step::OpenGate, Step::Empty]].concat();
    let cut = [&shut[..], &[Step::CloneBlue, Step::CreateView, Step::OpenGate]].concat();
    let copy = [Step::RecordAttached, Step::CopyHistory];
    let front = [Step::MakeOrdered, Step::AttachHistory, Step::RecordOrdering];
    let exchange = [&shut[..], &[Step::AttachBehind, Step::Exchange, Step::OpenGate]].concat();
    order([&OPEN[..], &undo, &cut, &copy, &front, &exchange, &end()].concat())
}

/// A clone into such an engine, on a server: nothing is put in front.
fn clone() -> Order {
    let mut steps = on_server().steps;
    let copy = steps.iter().position(|step| *step == Step::CopyWindow).unwrap();
    steps.splice(copy.., [Step::RefuseWindow, Step::RecordBackfilled, Step::Verify]);
    order(steps)
}

fn end() -> Vec<Step> {
    use Step::*;
    vec![DropOrdered, DropHistory, StartMerges, RecordBackfilled, Verify]
}

fn order(steps: Vec<Step>) -> Order {
    Order {
        steps,
        inserts: 2,
        merges: 1,
        crashes: 1,
        begins_attached: false,
        tells_by_hash: true,
        holds_merges: true,
        stops_ordered: true,
        keeps_history_in_order: true,
    }
}

fn lacking(mut model: Order, steps: &[Step]) -> Order {
    let before = model.steps.len();
    model.steps.retain(|step| !steps.contains(step));
    assert_eq!(model.steps.len() + steps.len(), before);
    model
}

/// Asserts that the checker finds a history which breaks this property.
#[track_caller]
fn assert_breaks(name: &str, mutant: Order, property: &'static str) {
    let found = HasDiscoveries::AllOf(BTreeSet::from([property]));
    let checker = mutant.checker().finish_when(found).spawn_bfs().join();
    eprintln!("{name}: {} states", checker.unique_state_count());
    let path = checker.discovery(property);
    let path = path.unwrap_or_else(|| panic!("{name}: nothing breaks “{property}”"));
    path.into_actions().iter().for_each(|action| eprintln!("  {action:?}"));
}

/// Explores all interleavings; panics with the shortest history that breaks a property.
#[track_caller]
fn assert_holds(name: &str, model: Order) {
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    eprintln!("{name}: {} states", checker.unique_state_count());
    let mut found = checker.discoveries();
    assert!(found.remove(DONE).is_some() || !found.is_empty(), "{name}: it is never done");
    if let Some((property, path)) = found.into_iter().next() {
        panic!("{name}: broken: {property}\n{:#?}", path.into_actions());
    }
}

#[test]
fn the_row_that_came_last_is_the_one_that_is_shown() {
    let models = [("server", on_server()), ("gate", at_gate()), ("clone", clone())];
    for (name, model) in models {
        assert_holds(name, model.clone());
        if is_large() {
            assert_holds(name, Order { crashes: 2, merges: 2, ..model.clone() });
            assert_holds(name, Order { inserts: 3, ..model });
        }
    }
}

#[test]
fn the_history_is_attached_in_front_and_in_its_order() {
    for (model, property) in [(on_server(), TOLD), (at_gate(), ONCE)] {
        let mut mutant = model.clone();
        let (front, behind) = (model.place(Step::AttachHistory), model.place(Step::AttachBehind));
        mutant.steps.swap(front, behind);
        assert_breaks("behind", mutant, property);
        let mutant = Order { keeps_history_in_order: false, ..model };
        assert_breaks("turned round", mutant, property);
    }
}

#[test]
fn what_is_late_is_carried_once() {
    assert_breaks("not carried", lacking(on_server(), &[Step::ListLate, Step::CarryLate]), TOLD);
    assert_breaks("carried twice", Order { tells_by_hash: false, ..on_server() }, TOLD);
    let mut mutant = on_server();
    let wait = mutant.place(Step::Exchange) + 1;
    mutant.steps.drain(wait..wait + WAIT.len());
    assert_breaks("not waited for", mutant, TOLD);
    assert_breaks("not told", lacking(on_server(), &[Step::RecordOrdering]), TOLD);
}

#[test]
fn merges_of_green_are_off_until_the_late_parts_are_carried() {
    let attached = || Order { begins_attached: true, ..on_server() };
    assert_holds("attached", attached());
    assert_breaks("of what was green", lacking(attached(), &[Step::StopMerges]), TOLD);
    let mutant = Order { stops_ordered: false, ..on_server() };
    assert_breaks("of what is green", mutant, TOLD);
    // By whoever comes after a crash: so it was once.
    let mutant = Order { holds_merges: false, ..on_server() };
    assert_breaks("started too early", mutant, TOLD);
    assert_breaks("never started", lacking(on_server(), &[Step::StartMerges]), MERGES);
}

#[test]
fn no_insert_comes_in_between_at_the_gate() {
    let gate = [Step::ShutGate, Step::WaitAtGate, Step::OpenGate];
    let mut mutant = at_gate();
    let from = mutant.place(Step::RecordOrdering);
    let rest = mutant.steps.split_off(from);
    mutant.steps.extend(rest.into_iter().filter(|step| !gate.contains(step)));
    assert_breaks("open", mutant, ONCE);
}

#[test]
fn a_clone_has_nothing_copied_behind_what_was_forwarded() {
    let mut mutant = clone();
    let at = mutant.place(Step::RefuseWindow);
    mutant.steps[at] = Step::CopyWindow;
    assert_breaks("copied", mutant, TOLD);
}
