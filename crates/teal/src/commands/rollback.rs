use serde::Serialize;
use teal_migrate::{Operator, Phase, PhaseName};

use super::choose;
use crate::cli::{Common, Rollback};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::show;
use crate::target::Project;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    migration: String,
    phase: PhaseName,
    rows_carried_back: u64,
    /// The name that has the old layout's rows.
    table: String,
}

pub(crate) fn run(common: &Common, args: &Rollback) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let server = project.open()?;
    let progress = Progress::default();
    let operator = Operator::open(server.as_ref(), project.operator_options(None), &progress)?;
    let mut migrating =
        choose(operator.migrations()?, args.which.table.as_deref(), &project.plan.database)?;
    let by = match &migrating.phase {
        Phase::CutOver(state) => format!(" --by {}", state.cutover),
        _ => String::new(),
    };
    let rows_carried_back = operator.rollback(&mut migrating, args.force)?;
    let table = migrating.tables_now().0.to_string();
    if common.json {
        return show::json(&Report {
            phase: migrating.phase.name(),
            rows_carried_back,
            table,
            migration: migrating.id,
        });
    }
    show::data(&format!(
        "{table} has the old layout and {} rows that only the new one had; next: `teal cutover{by}` again, or `teal abort`",
        show::count(rows_carried_back)
    ))
}
