use std::borrow::Cow;
use std::process::ExitCode;

use annotate_snippets::Level;
use teal_client::Server;
use teal_migrate::{Journal, Migrating, history};
use teal_models::Loaded;
use teal_plan::{Operation, Plan, PlanFileError, make_plan};
use teal_schema::Schema;

use crate::cli::{Common, Plan as Args};
use crate::diagnose;
use crate::failure::{Failure, PLAN_NOT_EMPTY};
use crate::plan_text::{as_text, explanation};
use crate::target::Project;
use crate::{secrets, show};

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
    let yaml = || {
        refuse_in_clear(&plan)?;
        plan.to_yaml().map_err(unwritable)
    };
    if let Some(file) = &args.save {
        std::fs::write(file, yaml()?)
            .map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
        let name = file.display();
        show::note(&format!("the plan is in {name}; `teal apply --plan {name}` carries it out"));
    }
    match (&args.explain, common.json, args.yaml) {
        (Some(which), ..) => show::data(&explained(&plan, &opened.loaded.schema, which)?)?,
        (None, true, _) => show::json(&plan.file().map_err(unwritable)?)?,
        (None, _, true) => show::data(yaml()?.trim_end())?,
        _ => show::data(&as_text(&plan))?,
    }
    Ok(match args.check && !plan.is_empty() {
        true => ExitCode::from(PLAN_NOT_EMPTY),
        false => ExitCode::SUCCESS,
    })
}

/// A plan that is kept has its statements as they are to be run.
fn refuse_in_clear(plan: &Plan) -> Result<(), Failure> {
    match secrets::hidden(&serde_json::to_string(plan)?) {
        Cow::Borrowed(_) => Ok(()),
        Cow::Owned(_) => Err(Failure::refused(
            "the plan file would hold a secret of the models in clear text\n  instead: keep the secret in a named collection of the server (CREATE NAMED COLLECTION), and name that in the model; or run `teal apply` without a plan file",
        )),
    }
}

/// Makes the plan from the models and the target's journal, and shows the models' warnings.
pub(crate) fn plan_for(
    loaded: &Loaded,
    server: &dyn Server,
    trials: &dyn Server,
    project: &Project,
) -> Result<Plan, Failure> {
    for warning in &loaded.warnings {
        show::note(&diagnose::render(Level::WARNING, warning, &project.directory));
    }
    let migrations = Migrating::all(&Journal::peek(server)?)?;
    let (schema, accepted) = (&loaded.schema, &loaded.accepted);
    let history = history(&migrations);
    Ok(make_plan(server, trials, schema, accepted, &history, &project.plan)?)
}

fn explained(plan: &Plan, schema: &Schema, which: &str) -> Result<String, Failure> {
    let number = which.parse::<usize>().ok();
    let named = plan.operations.iter().map(|operation| (operation, names(operation, schema)));
    let named = named.enumerate().map(|(i, (operation, names))| (i + 1, operation, names));
    let named = named.collect::<Vec<_>>();
    let found = named
        .iter()
        .filter(|(i, operation, names)| {
            let is_whole = operation.tables().any(|table| table.to_string() == which);
            number == Some(*i) || is_whole || names.contains(&which)
        })
        .map(|(_, operation, _)| explanation(operation))
        .collect::<Vec<_>>();
    if !found.is_empty() {
        return Ok(found.join("\n\n"));
    }
    let mut said = format!("the plan has no operation {which}; it has {}", named.len());
    if !named.is_empty() {
        said.push_str(", by number or name:");
    }
    for (i, _, names) in named.iter().take(SHOWN) {
        said.push_str(&format!("\n  {i}  {}", names.join(", ")));
    }
    if named.len() > SHOWN {
        said.push_str("\n  …; `teal plan` shows them all");
    }
    Err(Failure::usage(said))
}

/// Operations that an error lists.
const SHOWN: usize = 20;

/// What a person may call an operation: the tables and views that it is about, and the name that the
/// models have for them.
fn names<'p>(operation: &'p Operation, schema: &'p Schema) -> Vec<&'p str> {
    let declared = |name: &str| {
        schema.tables.iter().find(|table| table.physical_name() == name).map(|t| t.name.as_str())
    };
    let mut names = Vec::new();
    for table in operation.tables() {
        for name in declared(&table.name).into_iter().chain([table.name.as_str()]) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}
