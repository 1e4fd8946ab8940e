use std::process::ExitCode;

use annotate_snippets::Level;
use teal_client::Server;
use teal_migrate::{Journal, Migrating, history};
use teal_models::Loaded;
use teal_plan::{Operation, Plan, PlanFileError, make_plan};

use crate::cli::{Common, Plan as Args};
use crate::diagnose;
use crate::failure::{Failure, PLAN_NOT_EMPTY};
use crate::plan_text::{as_text, explanation};
use crate::show;
use crate::target::Project;

pub(crate) fn run(common: &Common, args: &Args) -> Result<ExitCode, Failure> {
    let mut project = match args.no_target {
        true => Project::without_target(common)?,
        false => Project::read(common)?,
    };
    project.plan.allow_drop.clone_from(&args.allow_drop);
    let opened = project.load_and_open()?;
    let mut plan = plan_for(&opened.loaded, opened.server.as_ref(), opened.trials(), &project)?;
    if args.no_target {
        plan.target = "an empty target".to_owned();
    }
    let unwritable = |error: PlanFileError| Failure::failed(error.to_string());
    let yaml = || plan.to_yaml().map_err(unwritable);
    if let Some(file) = &args.save {
        std::fs::write(file, yaml()?)
            .map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
    }
    match (&args.explain, common.json, args.yaml) {
        (Some(which), ..) => show::data(&explained(&plan, which)?)?,
        (None, true, _) => show::json(&plan.file().map_err(unwritable)?)?,
        (None, _, true) => show::data(yaml()?.trim_end())?,
        _ => show::data(&as_text(&plan))?,
    }
    Ok(match args.check && !plan.is_empty() {
        true => ExitCode::from(PLAN_NOT_EMPTY),
        false => ExitCode::SUCCESS,
    })
}

/// Makes the plan from the models and the target's journal, and shows the models' warnings.
pub(crate) fn plan_for(
    loaded: &Loaded,
    server: &dyn Server,
    trials: &dyn Server,
    project: &Project,
) -> Result<Plan, Failure> {
    for warning in &loaded.warnings {
        anstream::eprintln!("{}", diagnose::render(Level::WARNING, warning, &project.directory));
    }
    let migrations = Migrating::all(&Journal::peek(server)?)?;
    let (schema, accepted) = (&loaded.schema, &loaded.accepted);
    let history = history(&migrations);
    Ok(make_plan(server, trials, schema, accepted, &history, &project.plan)?)
}

fn explained(plan: &Plan, which: &str) -> Result<String, Failure> {
    let number = which.parse::<usize>().ok();
    let is_meant = |(i, operation): &(usize, &Operation)| {
        let object = operation.object();
        number == Some(i + 1) || object.name == which || object.to_string() == which
    };
    let found = plan.operations.iter().enumerate().filter(is_meant).collect::<Vec<_>>();
    match found.as_slice() {
        [] => Err(Failure::usage(format!(
            "the plan has no operation {which}; it has {} of them, named by number, table or view",
            plan.operations.len()
        ))),
        found => Ok(found
            .iter()
            .map(|(_, operation)| explanation(operation))
            .collect::<Vec<_>>()
            .join("\n\n")),
    }
}
