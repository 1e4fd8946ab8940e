use serde::Serialize;
use teal_migrate::Operator;

use super::choose;
use crate::cli::{Common, Cutover};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::show;
use crate::target::Project;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    migration: String,
    phase: &'static str,
    /// The name that has the new layout's rows.
    table: String,
}

pub(crate) fn run(common: &Common, args: &Cutover) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let server = project.open()?;
    let progress = Progress::default();
    let operator = Operator::open(server.as_ref(), project.operator_options(None), &progress)?;
    let mut migrating = choose(operator.migrations()?, args.which.table.as_deref())?;
    let how = args.by.map_or(migrating.migration.cutover, Into::into);
    operator.cutover(&mut migrating, how)?;
    let table = migrating.tables_now().1.to_string();
    if common.json {
        return show::json(&Report {
            phase: migrating.phase.name(),
            table,
            migration: migrating.id,
        });
    }
    show::data(&format!(
        "{table} has the new layout; next: `teal cleanup`, when nobody needs the old one"
    ))
}
