use serde::Serialize;
use teal_migrate::Operator;

use super::choose;
use crate::cli::{Common, Which};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::show;
use crate::target::Project;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    migration: String,
    rows_copied: u64,
    phase: &'static str,
}

pub(crate) fn run(common: &Common, which: &Which) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let server = project.open()?;
    let progress = Progress::default();
    let operator = Operator::open(server.as_ref(), project.operator_options(None), &progress)?;
    let mut migrating = choose(operator.migrations()?, which.table.as_deref())?;
    let rows_copied = operator.repair(&mut migrating)?;
    operator.verify(&mut migrating)?;
    if common.json {
        let phase = migrating.phase.name();
        return show::json(&Report { migration: migrating.id, rows_copied, phase });
    }
    show::data(&format!(
        "{} rows copied that {} lacked; both tables hold the same rows",
        show::count(rows_copied),
        migrating.migration.green
    ))
}
