use teal_migrate::Operator;
use teal_plan::Plan;

use super::plan::plan_for;
use crate::cli::{Apply, Common};
use crate::failure::Failure;
use crate::plan_text::as_text;
use crate::progress::Progress;
use crate::show;
use crate::target::Project;

pub(crate) fn run(common: &Common, args: &Apply) -> Result<(), Failure> {
    let mut project = Project::read(common)?;
    project.plan.allow_drop.clone_from(&args.allow_drop);
    let (loaded, server) = project.load_and_open(&common.project)?;
    let progress = Progress::default();
    // The lock, and with it the healing, comes before the plan: the plan sees a settled target.
    let operator =
        Operator::open(server.as_ref(), project.operator_options(Some(&args.migrate)), &progress)?;
    let plan = plan_for(server.as_ref(), &loaded, &project)?;
    refuse_blocked(&plan)?;
    let applied = operator.apply(&plan)?;
    if common.json {
        return show::json(&applied);
    }
    if plan.is_empty() {
        return show::data("Nothing to do: the target has all that the models declare.");
    }
    let named = |verb: &str, names: &[String]| {
        names.iter().map(|name| format!("{verb} {name}")).collect::<Vec<_>>()
    };
    let mut lines = named("created", &applied.created);
    lines.extend(named("changed", &applied.changed));
    lines.extend(named("dropped", &applied.dropped));
    lines.extend(applied.migrated.iter().map(|migrated| {
        format!(
            "migrated {} to {}: {} rows, {}; next: `teal cutover`",
            migrated.table,
            migrated.green,
            show::count(migrated.rows),
            migrated.phase
        )
    }));
    show::data(&lines.join("\n"))
}

/// Nothing is done of a plan of which a part cannot be.
fn refuse_blocked(plan: &Plan) -> Result<(), Failure> {
    match plan.is_blocked() {
        false => Ok(()),
        true => Err(Failure::refused(format!(
            "something stands in the way of the plan; nothing was changed\n{}",
            as_text(plan)
        ))),
    }
}
