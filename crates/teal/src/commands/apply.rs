use serde::Serialize;
use teal_client::Server;
use teal_migrate::{Goal, Migrating, Operator, Phase};
use teal_plan::{Migration, Operation, Plan};

use super::plan::{as_text, plan_for};
use crate::cli::{Apply, Common};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::show;
use crate::target::Project;

/// What `apply` did, for `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Applied {
    pub(crate) created: Vec<String>,
    pub(crate) migrated: Vec<Migrated>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Migrated {
    pub(crate) migration: String,
    pub(crate) table: String,
    pub(crate) green: String,
    pub(crate) phase: &'static str,
    /// Rows in green at the verification.
    pub(crate) rows: u64,
}

pub(crate) fn run(common: &Common, args: &Apply) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let (loaded, server) = project.load_and_open(&common.project)?;
    let progress = Progress::default();
    // The lock, and with it the healing, comes before the plan: the plan sees a settled target.
    let operator =
        Operator::open(server.as_ref(), project.operator_options(Some(&args.migrate)), &progress)?;
    let plan = plan_for(server.as_ref(), &loaded, &project)?;
    refuse_conflicts(&plan)?;
    let applied = apply_plan(&operator, server.as_ref(), &plan)?;
    if common.json {
        return show::json(&applied);
    }
    if plan.is_empty() {
        return show::data("Nothing to do: the target has all that the models declare.");
    }
    let created = applied.created.iter().map(|name| format!("created {name}"));
    let migrated = applied.migrated.iter().map(|migrated| {
        format!(
            "migrated {} to {}: {} rows, {}; next: `teal cutover`",
            migrated.table,
            migrated.green,
            show::count(migrated.rows),
            migrated.phase
        )
    });
    show::data(&created.chain(migrated).collect::<Vec<_>>().join("\n"))
}

/// Nothing is done of a plan of which a part cannot be.
pub(crate) fn refuse_conflicts(plan: &Plan) -> Result<(), Failure> {
    match plan.conflicts.is_empty() {
        true => Ok(()),
        false => Err(Failure::refused(format!(
            "the models and the target are in conflict; nothing was changed\n{}",
            as_text(plan)
        ))),
    }
}

/// Does what the plan says, in its order. Safe to repeat after any end.
pub(crate) fn apply_plan(
    operator: &Operator<'_>,
    server: &dyn Server,
    plan: &Plan,
) -> Result<Applied, Failure> {
    let mut session = server.session(&[])?;
    let mut applied = Applied { created: Vec::new(), migrated: Vec::new() };
    for operation in &plan.operations {
        match operation {
            Operation::CreateTable { table: name, sql, .. }
            | Operation::CreateView { view: name, sql, .. } => {
                session.command(sql)?;
                applied.created.push(name.to_string());
            }
            Operation::Migrate { migration, resumes, .. } => {
                let mut migrating = match resumes {
                    Some(id) => unchanged(find(operator, id)?, migration)?,
                    None => operator.start((**migration).clone())?,
                };
                operator.advance(&mut migrating, Goal::Verified)?;
                applied.migrated.push(Migrated {
                    table: migrating.migration.table.clone(),
                    green: migrating.migration.green.to_string(),
                    phase: migrating.phase.name(),
                    rows: match &migrating.phase {
                        Phase::Verified(verified) => verified.parity.green_rows,
                        _ => 0,
                    },
                    migration: migrating.id,
                });
            }
        }
    }
    Ok(applied)
}

/// A migration goes on as it began. Models that say something else meanwhile are not what it does.
fn unchanged(begun: Migrating, planned: &Migration) -> Result<Migrating, Failure> {
    let declared = |migration: &Migration| {
        (migration.select.clone(), migration.create_green.clone(), migration.columns.clone())
    };
    match declared(&begun.migration) == declared(planned) {
        true => Ok(begun),
        false => Err(Failure::refused(format!(
            "the models of {} have changed since its migration began
  began with: {} … {}
  now: {} … {}
  instead: bring the models back to what they were, let the migration end, and declare the change as a further version",
            planned.green,
            begun.migration.create_green,
            begun.migration.select,
            planned.create_green,
            planned.select
        ))),
    }
}

fn find(operator: &Operator<'_>, id: &str) -> Result<Migrating, Failure> {
    let all = operator.migrations()?;
    all.into_iter()
        .find(|migrating| migrating.id == id)
        .ok_or_else(|| Failure::failed(format!("migration {id} is not in the journal any more")))
}
