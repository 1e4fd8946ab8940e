//! What is asserted of the alias migration: it holds, and each safeguard is needed.

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use crate::alias::{Alias, BLUE, By, ENDS, EXACT, FAILS, GREEN, IN_STEP, KEPT};
use crate::alias_commands::Step::{DropView, Look, LookAlso, MakeView};
use crate::alias_commands::{Routine, Step, routines, wait};

fn alias(inserts: &[(By, usize)]) -> Alias {
    Alias {
        inserts: inserts.to_vec(),
        routines: routines(),
        begins_cut_over: true,
        commands: 2,
        crashes: 1,
        ends_statements: true,
    }
}

const ANY: (By, usize) = (By::Alias, 0);
/// Who has not moved from the old table, to the new one.
const OLD: (By, usize) = (By::Name(BLUE), 1);
const NEW: (By, usize) = (By::Name(GREEN), 0);

/// All that is broken, or just this.
#[track_caller]
fn check(name: &str, model: Alias, this: Option<&'static str>) -> Vec<&'static str> {
    let until = match this {
        Some(property) => HasDiscoveries::AllOf(BTreeSet::from([property])),
        None => HasDiscoveries::AnyFailures,
    };
    let checker = model.checker().finish_when(until).spawn_bfs().join();
    eprintln!("{name}: {} states", checker.unique_state_count());
    let found = checker.discoveries();
    for (property, path) in found.iter().filter(|(property, _)| !ENDS.contains(property)) {
        let actions = path.clone().into_actions();
        let actions = actions.iter().map(|action| format!("  {action:?}")).collect::<Vec<_>>();
        eprintln!("{property}:\n{}", actions.join("\n"));
    }
    found.into_keys().collect()
}

#[track_caller]
fn is_broken(name: &str, property: &'static str, model: Alias) {
    let found = check(name, model, Some(property));
    assert!(found.contains(&property), "{name}: nothing breaks “{property}”");
}

#[track_caller]
fn holds(inserts: &[(By, usize)], begins_cut_over: bool) {
    let (commands, crashes) = if crate::setting::is_large() { (3, 2) } else { (2, 1) };
    let model = Alias { begins_cut_over, commands, crashes, ..alias(inserts) };
    let mut found = check("alias", model, None);
    found.sort_unstable();
    let mut ends = ENDS.to_vec();
    ends.sort_unstable();
    assert_eq!(found, ends, "{inserts:?}, cut over: {begins_cut_over}");
}

impl Alias {
    fn without(mut self, routine: Routine, steps: &[Step]) -> Self {
        let all = self.routines.get_mut(&routine).unwrap();
        let before = all.len();
        all.retain(|step| !steps.contains(step));
        assert!(all.len() < before, "{routine:?} has no {steps:?}");
        self
    }

    fn without_waits(self, routine: Routine) -> Self {
        self.without(routine, &wait())
    }

    fn without_routine(mut self, routine: Routine) -> Self {
        self.routines.insert(routine, Vec::new());
        self
    }

    /// The two looks at one moment.
    fn at_once(mut self, routine: Routine) -> Self {
        self.routines.get_mut(&routine).unwrap().drain(1..3);
        self
    }

    /// The table that is sought in is looked at first.
    fn reversed(mut self, routine: Routine) -> Self {
        let steps = self.routines.get_mut(&routine).unwrap();
        let [Look(other), LookAlso(this)] = [steps[0], steps[3]] else { panic!("{steps:?}") };
        (steps[0], steps[3]) = (Look(this), LookAlso(other));
        self
    }
}

#[test]
fn an_alias_migration_that_is_cut_over_is_exact_whatever_is_run() {
    holds(&[ANY, ANY], true);
    holds(&[ANY, OLD], true);
    if crate::setting::is_large() {
        holds(&[ANY, NEW], true);
        holds(&[NEW, OLD], true);
    }
}

#[test]
fn an_alias_migration_that_is_copied_is_exact_whatever_is_run() {
    holds(&[ANY, NEW], false);
    if crate::setting::is_large() {
        holds(&[ANY, ANY], false);
        holds(&[ANY, OLD], false);
        holds(&[NEW, OLD], false);
    }
}

#[test]
fn what_is_written_until_the_swap_back_is_carried_behind_it() {
    is_broken("no rest", EXACT, alias(&[ANY]).without_routine(Routine::CarryRest));
    // The clones wait too; neither wait is one too few.
    for routine in [Routine::SwapBack, Routine::SettleSwapBack] {
        let model = alias(&[ANY]).without_waits(routine);
        is_broken(
            "not waited",
            EXACT,
            model.without_waits(Routine::CarryRest).without_waits(Routine::CarryBack),
        );
    }
}

#[test]
fn a_rollback_turns_the_view_first() {
    is_broken("not turned", IN_STEP, alias(&[ANY]).without_routine(Routine::TurnBack));
    is_broken("no view", IN_STEP, alias(&[ANY]).without(Routine::TurnBack, &[MakeView(BLUE)]));
}

#[test]
fn an_abort_does_not_drop_what_green_alone_has() {
    // A rollback was killed before it had carried all.
    is_broken("no look", EXACT, alias(&[ANY]).without_routine(Routine::LookBeforeAbort));
    let written = Alias { begins_cut_over: false, ..alias(&[NEW]) };
    is_broken("somebody's", EXACT, written.without_routine(Routine::LookBeforeAbort));
}

#[test]
fn a_cleanup_does_not_drop_what_blue_alone_has() {
    is_broken("no look", EXACT, alias(&[OLD]).without_routine(Routine::LookBeforeCleanup));
    // One that is under way when the look begins.
    is_broken("not waited", EXACT, alias(&[OLD]).without_waits(Routine::LookBeforeCleanup));
}

/// The view is dropped first, and who knows it is waited for: else his INSERT fails.
#[test]
fn a_table_that_goes_is_no_views_target() {
    let copied = || Alias { begins_cut_over: false, ..alias(&[ANY]) };
    is_broken("aborted", FAILS, copied().without_waits(Routine::Abort));
    is_broken("cleaned", FAILS, alias(&[ANY]).without_waits(Routine::Cleanup));
    let views = [DropView(BLUE), DropView(GREEN)];
    is_broken("aborted with its view", FAILS, copied().without(Routine::Abort, &views));
    is_broken("cleaned with its view", FAILS, alias(&[ANY]).without(Routine::Cleanup, &views));
}

/// An INSERT that is in the view's source only makes up for an equal row that is in its target only.
#[test]
fn a_look_at_both_tables_does_not_tell_what_only_the_views_target_has() {
    use Routine as R;
    for change in [Alias::at_once, Alias::reversed] {
        is_broken("carried", EXACT, change(alias(&[ANY, ANY]), R::CarryBack));
        is_broken("the rest", EXACT, change(alias(&[ANY, ANY]), R::CarryRest));
        let copied = Alias { begins_cut_over: false, ..alias(&[ANY, NEW]) };
        is_broken("aborted", EXACT, change(copied, R::LookBeforeAbort));
    }
    is_broken("cleaned", EXACT, alias(&[OLD]).at_once(R::LookBeforeCleanup));
}

#[test]
fn what_a_dead_teal_has_sent_is_ended_first() {
    let model = Alias { ends_statements: false, ..alias(&[ANY]) };
    is_broken("goes on", EXACT, model);
}

#[test]
fn the_old_table_is_kept_current_by_a_turn_that_carries() {
    let copied = Alias { begins_cut_over: false, ..alias(&[ANY]) };
    is_broken("not carried", KEPT, copied.without_routine(Routine::CarryBoth));
}
