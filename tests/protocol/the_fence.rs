//! The fence and the backfill: what holds, and what breaks it.

use std::collections::BTreeMap;

use crate::check::{holds, is_broken};
use crate::journal::{Entry, Phase};
use crate::properties::{EXACT, MERGES, REFUSED};
use crate::protocol::Protocol;
use crate::server::Name;
use crate::setting::{InsertPlan, Setting, inserts, is_large, large, small};
use crate::step::Step;
use crate::teal::Routine;
use crate::{backfill, fence, gate, verify};

fn protocol(setting: Setting, routines: Vec<(Routine, Vec<Step>)>) -> Protocol {
    let all = [
        (Routine::Open, vec![Step::EndStatementsOfTheDead, Step::Heal]),
        (Routine::Chunk, backfill::chunk()),
        (Routine::FinishPublication, backfill::finish_publication()),
        (Routine::Restore, vec![Step::RestoreMerges, Step::Advance]),
        (Routine::Finish, backfill::finish()),
    ];
    let routines = all.into_iter().chain(routines).collect::<BTreeMap<_, _>>();
    Protocol { setting, routines, begins_in: Phase::Prepared { is_fence_open: false } }
}

fn by_part_log(setting: Setting) -> Protocol {
    let mut routines = vec![(Routine::Fence, fence::cut()), (Routine::Undo, fence::undo())];
    if setting.server_crashes {
        routines.push((Routine::Verify, verify::on_server()));
    }
    protocol(setting, routines)
}

fn at_gate(setting: Setting, at_once: [Step; 2]) -> Protocol {
    let routines = vec![
        (Routine::Fence, gate::cut(at_once)),
        (Routine::Undo, gate::undo()),
        (Routine::Verify, verify::at_gate()),
    ];
    protocol(Setting { is_embedded: true, either_order: false, ..setting }, routines)
}

/// One INSERT that nothing but the cut disturbs.
fn quiet() -> Setting {
    Setting { inserts: inserts(&[1]), crashes: 0, merges: 0, cuts: 1, ..Setting::default() }
}

#[test]
fn the_fence_by_part_log_is_exact() {
    holds("rewrite", by_part_log(Setting { crashes: 0, either_order: true, ..small(&[1, 1]) }));
    holds("crash", by_part_log(Setting { merges: 0, history: 2, ..small(&[2]) }));
    holds("clone", by_part_log(Setting { is_clone: true, cuts: 1, ..small(&[1, 1]) }));
    holds("lost", by_part_log(Setting { loses_connection: true, ..small(&[1]) }));
    holds("server", by_part_log(Setting { server_crashes: true, ..small(&[1]) }));
    if is_large() {
        for is_clone in [false, true] {
            let setting = |parts: &[u8]| Setting { is_clone, ..large(parts) };
            holds("three", by_part_log(Setting { crashes: 0, merges: 0, ..setting(&[1, 1, 1]) }));
            holds("two", by_part_log(Setting { cuts: 1, ..setting(&[2, 1]) }));
            let lost = Setting { loses_connection: true, cuts: 1, ..setting(&[1, 1]) };
            holds("lost", by_part_log(lost));
            let server = Setting { server_crashes: true, merges: 0, cuts: 1, ..setting(&[1, 1]) };
            holds("server", by_part_log(Setting { either_order: false, ..server }));
        }
    }
}

#[test]
fn the_quiet_cut_is_exact() {
    holds("quiet", by_part_log(Setting { has_part_log: false, crashes: 0, ..small(&[1, 1]) }));
}

#[test]
fn the_fence_at_the_gate_is_exact() {
    for at_once in gate::AT_ONCE {
        let holds = |name, setting| holds(name, at_gate(setting, at_once));
        holds("rewrite", Setting { merges: 0, ..small(&[1, 1]) });
        holds("clone", Setting { is_clone: true, cuts: 1, ..small(&[1, 1]) });
        for is_clone in [false, true] {
            let setting = Setting { is_clone, statements_fail: true, ..small(&[1, 1]) };
            holds("refused", Setting { merges: 0, ..setting.clone() });
            if is_large() {
                holds("refused", Setting { crashes: 2, cuts: 1, ..setting });
                holds("killed", Setting { is_clone, ..large(&[2, 1]) });
            }
        }
    }
}

#[test]
fn an_insert_whose_rows_the_select_leaves_out_is_no_matter() {
    let mut setting = Setting { merges: 0, crashes: 0, ..small(&[1, 1]) };
    setting.inserts[0].is_filtered = true;
    holds("filtered", by_part_log(setting));
}

/// What people do today: the view first, then a copy of everything; or the other way round.
#[test]
fn the_documented_recipe_is_broken_in_either_order() {
    let recipe = |steps: [Step; 2]| {
        let end = [Step::Record(Entry::Attached), Step::Record(Entry::Backfilled), Step::Advance];
        let steps = steps.into_iter().chain(end).collect();
        protocol(quiet(), vec![(Routine::Fence, steps)])
    };
    is_broken("view, copy", EXACT, recipe([Step::CreateView, Step::CopyAll]));
    is_broken("copy, view", EXACT, recipe([Step::CopyAll, Step::CreateView]));
}

#[test]
fn every_wait_for_inserts_of_the_fence_is_needed() {
    for wait in 0..2 {
        is_broken("cut", EXACT, by_part_log(quiet()).without_wait(Routine::Fence, wait));
    }
    // An INSERT that knows the view writes to green after it was emptied.
    let setting = Setting { crashes: 1, cuts: 2, ..quiet() };
    let mutant = by_part_log(setting).without_wait(Routine::Undo, 0);
    is_broken("undo", EXACT, mutant);
}

/// A cut is refused where a part was merged or went. That alone keeps it exact; so do stopped merges.
#[test]
fn a_cut_amid_merges_is_broken_without_its_nets() {
    let setting = || Setting { merges: 1, has_nets: false, ..quiet() };
    holds("merges stopped", by_part_log(setting()));
    let stops = [Step::StopMerges(Name::Blue), Step::StopMerges(Name::Green)];
    let unstopped = |setting| stops.into_iter().fold(by_part_log(setting), Protocol::without);
    let unwaited = |setting| by_part_log(setting).without(Step::WaitForMerges(Name::Blue));
    is_broken("merges go on", EXACT, unstopped(setting()));
    is_broken("not waited for", EXACT, unwaited(setting()));
    let netted = || Setting { has_nets: true, cuts: 2, ..setting() };
    holds("only nets", unstopped(netted()));
    holds("only nets", unwaited(netted()));
}

#[test]
fn the_list_of_old_parts_is_that_of_the_clone() {
    // Listed before the clone, a part may come in between: it is cloned, and forwarded or copied too.
    let mut mutant = by_part_log(quiet());
    let steps = mutant.routines.get_mut(&Routine::Fence).unwrap();
    let at = steps.iter().position(|step| *step == Step::CloneBlue).unwrap();
    steps.splice(at..at + 2, [Step::ListBlueAsOld, Step::CloneBlue]);
    is_broken("listed before", EXACT, mutant);
}

#[test]
fn the_view_is_not_there_when_blue_is_cloned() {
    let mut mutant = by_part_log(quiet());
    let steps = mutant.routines.get_mut(&Routine::Fence).unwrap();
    let at = steps.iter().position(|step| *step == Step::CloneBlue).unwrap();
    let view = steps.remove(at + 2);
    steps.insert(at, view);
    is_broken("view first", EXACT, mutant);
}

#[test]
fn merges_are_started_again_by_whoever_comes_next() {
    let setting = || Setting { crashes: 1, ..quiet() };
    let mutant = by_part_log(setting()).without(Step::StartMerges(Name::Blue));
    is_broken("never started", MERGES, mutant);
    let mut mutant = by_part_log(setting());
    mutant
        .routines
        .get_mut(&Routine::Undo)
        .unwrap()
        .retain(|step| !matches!(step, Step::StartMerges(_)));
    is_broken("not by the undo", MERGES, mutant);
}

#[test]
fn the_journal_tells_that_a_fence_is_open() {
    let setting = Setting { crashes: 1, cuts: 2, ..quiet() };
    let mutant = by_part_log(setting).without(Step::Record(Entry::FenceOpened));
    is_broken("not told", REFUSED, mutant);
}

#[test]
fn what_was_sent_is_ended_before_anything_is_undone() {
    let setting = || Setting { crashes: 1, cuts: 2, loses_connection: true, ..quiet() };
    let mut mutant = by_part_log(setting());
    mutant.routines.insert(Routine::Open, vec![Step::Heal]);
    mutant.routines.get_mut(&Routine::Undo).unwrap().remove(0);
    is_broken("after a crash", EXACT, mutant);
    let mut mutant = by_part_log(setting());
    mutant.routines.get_mut(&Routine::Undo).unwrap().remove(0);
    is_broken("after a lost connection", REFUSED, mutant);
}

#[test]
fn after_an_entry_of_unknown_fate_the_process_writes_no_other() {
    let setting = Setting { crashes: 1, cuts: 1, loses_connection: true, ..quiet() };
    holds("ends", by_part_log(setting.clone()));
    let setting = Setting { ends_when_unsure: false, crashes: 2, ..setting };
    is_broken("goes on", REFUSED, by_part_log(setting));
}

#[test]
fn a_publication_is_told_by_uuids_that_no_merge_drops() {
    let setting = || Setting { merges: 1, crashes: 1, history: 1, ..quiet() };
    let mutant = by_part_log(setting()).without(Step::StopMergesBySettings);
    is_broken("merged", EXACT, mutant);
    let mutant = by_part_log(setting()).without(Step::RestoreMerges);
    is_broken("not restored", MERGES, mutant);
    let mutant = by_part_log(setting()).without(Step::RecordPublishing);
    is_broken("not told", EXACT, mutant);
}

/// Where teal goes on with a server that was started anew, the log may have an INSERT's part of blue alone.
#[test]
fn a_log_that_died_with_its_server_tells_nothing() {
    let setting = || Setting { server_crashes: true, crashes: 1, cuts: 2, ..quiet() };
    holds("started anew", by_part_log(setting()));
    let mutant = by_part_log(setting()).without(Step::RefuseStartedAnew);
    is_broken("read nevertheless", REFUSED, mutant);
}

/// What it wrote to blue alone the log takes for forwarded, where it wrote to green before; that is for the proof to find.
#[test]
fn an_insert_that_is_cut_off_in_the_fence_doubles_nothing() {
    let setting = Setting { cut_offs: 1, crashes: 0, ..small(&[2]) };
    let mut proven = by_part_log(setting);
    proven.routines.insert(Routine::Verify, verify::on_server());
    holds("cut off", proven);
}

/// The ATTACH of a chunk of two parts stops behind the first.
#[test]
fn a_publication_that_is_half_done_is_finished_by_what_is_missing() {
    let setting = || Setting { crashes: 1, history: 3, ..quiet() };
    holds("half", by_part_log(setting()));
    let whole = Step::FinishPublicationAsAWhole;
    let mutant = by_part_log(setting()).replace(Step::FinishPublication, whole);
    is_broken("as a whole", EXACT, mutant);
}

#[test]
fn the_gate_is_needed() {
    for at_once in gate::AT_ONCE {
        let mutant = at_gate(quiet(), at_once).without(Step::WaitAtGate);
        is_broken("not waited", EXACT, mutant);
        // The fence alone, without the proof, which would find what it leaves behind.
        let gate = [Step::ShutGate, Step::WaitAtGate, Step::OpenGate];
        let mut mutant = at_gate(quiet(), at_once);
        mutant.routines.remove(&Routine::Verify);
        mutant.routines.get_mut(&Routine::Fence).unwrap().retain(|step| !gate.contains(step));
        is_broken("open", EXACT, mutant);
    }
}

#[test]
fn what_one_of_two_statements_at_the_gate_has_done_is_undone() {
    for (at_once, undoing) in gate::AT_ONCE.into_iter().zip([Step::DropView, Step::EmptyGreen]) {
        let setting = || Setting { is_clone: true, crashes: 1, cuts: 2, ..quiet() };
        let mutant = at_gate(setting(), at_once).without(undoing);
        is_broken("killed", REFUSED, mutant);
        let refused = Setting { statements_fail: true, ..setting() };
        is_broken("refused", REFUSED, at_gate(refused, at_once).without(undoing));
    }
}

/// Two INSERTs of equal rows make parts of equal hashes.
#[test]
fn of_equal_parts_the_older_ones_are_the_old_ones() {
    let setting = || Setting { equal_rows: true, inserts: inserts(&[1, 1]), ..quiet() };
    holds("oldest first", by_part_log(setting()));
    let mutant = by_part_log(setting()).replace(Step::ListWindow, Step::ListWindowBackwards);
    is_broken("newest first", EXACT, mutant);
}

/// A client may use the id of an INSERT that has ended for another one. Where the first was not forwarded and
/// the second was, the first is taken for forwarded: the cut is not exact then. The proof of parity finds
/// that, and what lacks is copied.
#[test]
fn a_query_id_that_comes_again_is_made_good_by_the_proof() {
    let plan = InsertPlan { parts: 1, is_filtered: false, query: 0 };
    let setting = || Setting { inserts: vec![plan; 2], ..quiet() };
    is_broken("cut", EXACT, by_part_log(setting()));
    let mut proven = by_part_log(setting());
    proven.routines.insert(Routine::Verify, verify::on_server());
    holds("proof", proven);
}
