use serde::Serialize;
use teal_migrate::Operator;

use super::choose;
use crate::cli::{Abort, Common};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::show;
use crate::target::Project;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    migration: String,
    phase: &'static str,
}

pub(crate) fn run(common: &Common, args: &Abort) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let server = project.open()?;
    let progress = Progress::default();
    let operator = Operator::open(server.as_ref(), project.operator_options(None), &progress)?;
    let mut migrating = choose(operator.migrations()?, args.which.table.as_deref())?;
    operator.abort(&mut migrating, args.force)?;
    if common.json {
        return show::json(&Report { phase: migrating.phase.name(), migration: migrating.id });
    }
    show::data(&format!(
        "the migration of {} was given up; {} is as it was. `teal plan` will show it again while the models declare it",
        migrating.migration.table, migrating.migration.blue
    ))
}
