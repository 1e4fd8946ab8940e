//! The exchange: what holds, and what breaks it.

use std::collections::BTreeMap;

use crate::check::{holds, is_broken};
use crate::exchange::{at_gate, bare, on_server};
use crate::journal::{Entry, Phase};
use crate::properties::{EXACT, REFUSED};
use crate::protocol::Protocol;
use crate::server::Name;
use crate::setting::{Setting, inserts, is_large, large, small};
use crate::step::Step;
use crate::teal::Routine;
use crate::verify;

fn protocol(setting: Setting, routines: Vec<(Routine, Vec<Step>)>) -> Protocol {
    let open = (Routine::Open, vec![Step::EndStatementsOfTheDead, Step::Heal]);
    let routines = routines.into_iter().chain([open]).collect::<BTreeMap<_, _>>();
    Protocol { setting, routines, begins_in: Phase::Verified }
}

fn on_server(setting: Setting) -> Protocol {
    let forwards_back = setting.forwards_back;
    let mut routines = vec![
        (Routine::Exchange, on_server::exchange(forwards_back)),
        (Routine::Failed, vec![Step::EndStatementsOfTheDead, Step::Heal]),
        (Routine::SettleExchanged, on_server::settle_exchanged(forwards_back)),
        (Routine::CarryByRows, on_server::carry_by_rows(forwards_back)),
        (Routine::SettleComplete, on_server::settle_complete()),
        (Routine::SettleNotExchanged, on_server::settle_not_exchanged()),
        (Routine::Verify, verify::on_server()),
    ];
    if forwards_back {
        routines.push((Routine::CarryBoth, verify::carry_both()));
    }
    protocol(setting, routines)
}

/// As if rows told nothing: to see what must not come to that.
fn by_parts(setting: Setting) -> Protocol {
    let mut protocol = on_server(setting);
    protocol.routines.remove(&Routine::CarryByRows);
    protocol
}

/// Of a table whose engine adds rows up.
fn of_sums(setting: Setting) -> Protocol {
    let routines = vec![
        (Routine::Exchange, on_server::exchange_of_sums()),
        (Routine::Failed, vec![Step::EndStatementsOfTheDead, Step::Heal]),
        (Routine::SettleExchanged, on_server::settle_exchanged_of_sums()),
        (Routine::SettleComplete, on_server::settle_complete_of_sums()),
        (Routine::SettleNotExchanged, on_server::undo_of_sums()),
        (Routine::Verify, verify::of_sums()),
    ];
    protocol(Setting { rows_tell: false, ..setting }, routines)
}

fn at_gate(setting: Setting) -> Protocol {
    let routines = vec![
        (Routine::Exchange, at_gate::exchange(setting.forwards_back)),
        (Routine::SettleExchanged, at_gate::settle_exchanged()),
        (Routine::SettleNotExchanged, at_gate::settle_not_exchanged()),
        (Routine::Verify, verify::at_gate()),
    ];
    protocol(Setting { is_embedded: true, either_order: false, ..setting }, routines)
}

/// One INSERT that nothing but the exchange disturbs.
fn quiet() -> Setting {
    Setting { inserts: inserts(&[1]), crashes: 0, merges: 0, cuts: 1, ..Setting::default() }
}

/// The same with a merge, and a crash or a lost connection.
fn busy() -> Setting {
    Setting { crashes: 1, merges: 1, loses_connection: true, ..quiet() }
}

#[test]
fn the_exchange_at_the_gate_is_exact() {
    for forwards_back in [true, false] {
        holds("at the gate", at_gate(Setting { forwards_back, ..small(&[1, 1]) }));
        if is_large() {
            holds("at the gate", at_gate(Setting { forwards_back, ..large(&[2, 1]) }));
        }
    }
}

#[test]
fn the_exchange_on_a_server_is_exact() {
    for forwards_back in [true, false] {
        let setting = |parts| Setting { forwards_back, cuts: 1, ..small(parts) };
        holds("lost", on_server(Setting { loses_connection: true, ..setting(&[1]) }));
        holds("two", on_server(Setting { crashes: 0, ..setting(&[1, 1]) }));
        if is_large() {
            let setting = |parts| Setting { forwards_back, cuts: 1, ..large(parts) };
            holds("two", on_server(setting(&[2, 1])));
            holds("lost", on_server(Setting { loses_connection: true, ..setting(&[1, 1]) }));
            holds("three", on_server(Setting { crashes: 0, merges: 0, ..setting(&[1, 1, 1]) }));
        }
    }
}

#[test]
fn the_exchange_of_sums_on_a_server_is_exact() {
    let setting = |parts| Setting { cuts: 2, ..small(parts) };
    holds("sums, lost", of_sums(Setting { loses_connection: true, ..setting(&[1]) }));
    holds("sums, two", of_sums(Setting { crashes: 0, cuts: 1, ..setting(&[1, 1]) }));
    if is_large() {
        let setting = |parts| Setting { cuts: 2, ..large(parts) };
        holds("sums, killed twice", of_sums(Setting { crashes: 2, ..setting(&[1]) }));
        holds("sums, two", of_sums(Setting { loses_connection: true, ..setting(&[2, 1]) }));
    }
}

#[test]
fn what_an_exchange_of_sums_has_copied_is_in_the_journal() {
    let mut mutant = of_sums(busy());
    let steps = mutant.routines.get_mut(&Routine::Exchange).unwrap();
    for _ in 0..2 {
        let at = steps.iter().position(|step| *step == Step::RecordCarrying).unwrap();
        let noted = at - 1..at - 1 + on_server::NOTED.len();
        steps.splice(noted, [Step::CopyAcrossFirst, Step::CopyAcrossOthers]);
    }
    is_broken("copied, and not noted", REFUSED, mutant);
}

#[test]
fn what_an_exchange_of_sums_lacks_is_copied_when_it_is_taken_back() {
    is_broken("not looked for", REFUSED, of_sums(busy()).without(Step::ListMissed));
}

#[test]
fn sums_that_may_be_missed_are_not_called_current() {
    let mut mutant = of_sums(busy());
    let settle = mutant.routines.get_mut(&Routine::SettleComplete).unwrap();
    settle.retain(|step| *step != Step::DropView);
    is_broken("the view is kept", EXACT, mutant);
}

/// What an INSERT that fails leaves in one table alone, before the exchange or in its midst, is in both.
#[test]
fn what_an_insert_that_was_cut_off_has_written_is_in_both_tables() {
    let setting = |parts: &[u8]| Setting { cut_offs: 1, cuts: 1, merges: 0, ..small(parts) };
    holds("cut off", on_server(Setting { crashes: 0, ..setting(&[2]) }));
    holds("cut off and killed", on_server(setting(&[1])));
    if is_large() {
        holds("cut off and killed", on_server(setting(&[2])));
        holds("cut off of two", on_server(Setting { crashes: 0, ..setting(&[2, 1]) }));
    }
    let mut mutant = on_server(setting(&[1]));
    let steps = mutant.routines.get_mut(&Routine::CarryBoth).unwrap();
    steps.retain(|step| *step != Step::CopyMissing);
    is_broken("carried back only", EXACT, mutant);
}

#[test]
fn a_bare_exchange_is_broken() {
    is_broken("bare", EXACT, protocol(quiet(), vec![(Routine::Exchange, bare())]));
}

#[test]
fn an_exchange_that_was_taken_back_is_not_trusted_without_a_new_proof() {
    let setting = Setting { crashes: 1, forwards_back: false, ..quiet() };
    let mut mutant = at_gate(setting);
    mutant.routines.insert(Routine::Verify, vec![Step::Record(Entry::Verified), Step::Advance]);
    is_broken("not proven", EXACT, mutant);
}

/// Without the comparison of the rows, which would find what they leave behind, or could not explain it.
#[test]
fn every_wait_of_the_exchange_is_needed() {
    // All but the second: an entry of `part_log` may come after its part, which the model leaves out.
    for wait in [0, 2, 3, 4] {
        let mut mutant = on_server(quiet()).without_wait(Routine::Exchange, wait);
        mutant.routines.remove(&Routine::CarryBoth);
        is_broken(&format!("wait {wait}"), EXACT, mutant);
    }
}

#[test]
fn the_view_is_not_there_while_the_names_change_places() {
    let mut mutant = on_server(quiet()).without(Step::DropView);
    mutant.routines.remove(&Routine::CarryBoth);
    is_broken("the view stays", EXACT, mutant);
}

#[test]
fn late_parts_are_carried_twice_over() {
    // By the time that the first are carried, INSERTs may still write to the old table.
    let mut mutant = on_server(quiet());
    let steps = mutant.routines.get_mut(&Routine::Exchange).unwrap();
    let last = steps.iter().rposition(|step| *step == Step::ListLate).unwrap();
    steps.drain(last..last + 2 + on_server::NOTED.len());
    mutant.routines.remove(&Routine::CarryBoth);
    is_broken("carried once", EXACT, mutant);
}

#[test]
fn what_is_known_and_what_is_carried_is_in_the_journal() {
    is_broken("forgotten", REFUSED, by_parts(Setting { lists_survive: false, ..busy() }));
}

#[test]
fn merges_are_stopped_until_nobody_has_to_tell_the_parts_apart() {
    let setting = || Setting { forwards_back: false, ..busy() };
    holds("by parts", by_parts(setting()));
    is_broken("no entry", REFUSED, by_parts(setting()).without(Step::Record(Entry::Complete)));
    let mut mutant = by_parts(busy());
    let failed = mutant.routines.get_mut(&Routine::Failed).unwrap();
    let start =
        [Step::ReleaseMerges, Step::StartMerges(Name::Blue), Step::StartMerges(Name::Green)];
    failed.splice(0..0, start);
    is_broken("started when it fails", REFUSED, mutant);
    let setting = || Setting { server_crashes: true, ..busy() };
    holds("by a new server", by_parts(setting()));
    let mutant = by_parts(setting()).without(Step::HoldMerges);
    is_broken("started by a new server", REFUSED, mutant);
}

/// It may have lost entries of its log, and has begun merges.
#[test]
fn an_exchange_is_within_one_life_of_the_server() {
    let setting = || Setting { server_crashes: true, ..busy() };
    for (number, property) in [REFUSED, REFUSED, EXACT].into_iter().enumerate() {
        let mut mutant = by_parts(setting());
        let steps = mutant.routines.get_mut(&Routine::Exchange).unwrap();
        let mut looks = (0..steps.len()).filter(|at| steps[*at] == Step::RefuseStartedAnew);
        let at = looks.nth(number).unwrap();
        steps.remove(at);
        is_broken(&format!("look {number}"), property, mutant);
    }
}

/// The ATTACH of two late parts stops behind the first.
#[test]
fn an_attach_of_late_parts_that_is_half_done_is_finished_by_what_is_missing() {
    let setting = || Setting { inserts: inserts(&[2]), merges: 0, ..busy() };
    holds("half", on_server(setting()));
    let whole = || on_server(setting()).replace(Step::FinishLate, Step::FinishLateAsAWhole);
    is_broken("as a whole", EXACT, whole());
    let setting = || Setting { server_crashes: true, ..setting() };
    holds("half, with the server", on_server(setting()));
    holds("half of sums", of_sums(Setting { inserts: inserts(&[2]), merges: 0, ..busy() }));
}

/// Users merge what must be told apart. The rows tell then, if no two are equal.
#[test]
fn what_was_attached_is_told_from_what_was_not_whoever_merges() {
    let setting = || Setting { server_crashes: true, users_merge: true, ..busy() };
    holds("by rows", on_server(setting()));
    is_broken(
        "by uuids",
        EXACT,
        on_server(setting()).replace(Step::FinishLate, Step::FinishByUuids),
    );
}

/// Of equal rows, one in the old table alone and one in the new table alone, rows do not tell that each lacks one. So
/// parts must: what the server has merged before has none of what is attached, which the blocks tell.
#[test]
fn a_part_that_was_merged_before_has_none_of_what_is_attached() {
    let exchanged = |parts: &[u8]| {
        let setting = Setting { equal_rows: true, inserts: inserts(parts), ..busy() };
        let begins_in = Phase::CutoverOpened { is_swapping: true };
        Protocol { begins_in, ..on_server(setting) }
    };
    holds("blocks", exchanged(&[1, 1]));
    if is_large() {
        holds("blocks", exchanged(&[2, 1]));
    }
    is_broken("without blocks", EXACT, exchanged(&[1, 1]).without(Step::ListBlocks));
    let mut mutant = exchanged(&[1, 1]);
    let steps = mutant.routines.get_mut(&Routine::SettleExchanged).unwrap();
    let noted = steps.iter().position(|step| *step == Step::ListBlocks).unwrap();
    let noted = noted..noted + on_server::NOTED.len();
    steps.splice(noted, [Step::CopyAcrossFirst, Step::CopyAcrossOthers]);
    is_broken("not noted", EXACT, mutant);
}
