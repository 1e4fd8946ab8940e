use std::path::Path;

use teal_client::Server;
use teal_migrate::{Applied, Operator, history};
use teal_plan::{Plan, check, preflight};
use teal_schema::shell_word;

use super::plan::plan_for;
use crate::cli::{Apply, Common};
use crate::failure::Failure;
use crate::plan_text::{as_text, nothing_to_do};
use crate::progress::Progress;
use crate::show;
use crate::target::Project;

pub(crate) fn run(common: &Common, args: &Apply) -> Result<(), Failure> {
    let mut project = Project::read(common)?;
    project.makes_data = true;
    let progress = Progress::default();
    let options = project.operator_options(Some(&args.migrate));
    let (plan, applied, open) = match &args.plan {
        Some(file) => {
            let mut plan = read_plan(file)?;
            let server = project.open_or_make()?;
            refuse_other_target(&plan, server.as_ref(), &project)?;
            let operator = Operator::open(server.as_ref(), options, &progress)?;
            if look_again(&mut plan, server.as_ref(), &operator)? {
                refuse_blocked(&plan)?;
            }
            tell_findings(&plan);
            let applied = operator.apply(&plan)?;
            let open = open_migrations(&operator, &plan.database)?;
            (plan, applied, open)
        }
        None => {
            project.plan.allow_drop.clone_from(&args.allow_drop);
            let opened = project.load_and_open()?;
            let server = opened.server.as_ref();
            // The lock, and with it the healing, comes before the plan: the plan sees a settled
            // target.
            let operator = Operator::open(server, options, &progress)?;
            let plan = plan_for(&opened.loaded, server, opened.trials(), &project)?;
            refuse_blocked(&plan)?;
            tell_findings(&plan);
            let applied = operator.apply(&plan)?;
            let open = open_migrations(&operator, &plan.database)?;
            (plan, applied, open)
        }
    };
    if common.json {
        return show::json(&applied);
    }
    show::data(&done_as_text(&plan, &applied, open))
}

/// What a person would have read in the plan.
fn tell_findings(plan: &Plan) {
    for finding in &plan.findings {
        show::warning(&format!("{}: {}\n  to do: {}", finding.about, finding.says, finding.fix));
    }
}

/// How many migrations a command without a name may mean.
fn open_migrations(operator: &Operator<'_>, database: &str) -> Result<usize, Failure> {
    let open = operator.migrations()?.into_iter().filter(|it| !it.phase.is_over());
    Ok(open.filter(|it| it.migration.green.database == database).count())
}

/// Puts what stands in the plan's way now in the place of what did when it was saved. Where the target
/// has drifted there is none (`false`): that is what `Operator::apply` will say.
fn look_again(
    plan: &mut Plan,
    server: &dyn Server,
    operator: &Operator<'_>,
) -> Result<bool, Failure> {
    let history = history(&operator.migrations()?);
    let check = check(server, plan, &history)?;
    if check.drift.is_empty() {
        preflight(server, plan, &check, &history)?;
    }
    Ok(check.drift.is_empty())
}

fn read_plan(file: &Path) -> Result<Plan, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    Plan::from_yaml(&text).map_err(|error| Failure::refused(format!("{}: {error}", file.display())))
}

fn refuse_other_target(plan: &Plan, server: &dyn Server, project: &Project) -> Result<(), Failure> {
    let (target, database) = (server.describe(), &project.plan.database);
    match plan.target == target && plan.database == *database {
        true => Ok(()),
        false => Err(Failure::refused(format!(
            "the plan is for another target; nothing was changed
  plan:   {}, database {}
  target: {target}, database {database}",
            plan.target, plan.database
        ))),
    }
}

fn done_as_text(plan: &Plan, applied: &Applied, open: usize) -> String {
    if plan.has_nothing_to_do() {
        return nothing_to_do(plan);
    }
    let named = |verb: &str, names: &[String]| {
        names.iter().map(|name| format!("{verb} {name}")).collect::<Vec<_>>()
    };
    let mut lines = named("created", &applied.created);
    lines.extend(named("changed", &applied.changed));
    lines.extend(named("dropped", &applied.dropped));
    let is_one_of_many = open > 1;
    lines.extend(applied.migrated.iter().map(|migrated| {
        let which = if is_one_of_many {
            format!(" {}", shell_word(&migrated.green))
        } else {
            String::new()
        };
        format!(
            "migrated {} to {}: {} rows, {}; next: `teal cutover{which}`",
            migrated.table,
            migrated.green,
            show::count(migrated.rows),
            migrated.phase
        )
    }));
    if lines.is_empty() {
        lines.push("Nothing to do: the plan has been carried out.".to_owned());
    }
    lines.extend(plan.later.iter().map(|later| format!("later: {later}")));
    lines.join("\n")
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
