use serde::Serialize;
use teal_migrate::{Leave, Operator, PhaseName};

use super::choose;
use crate::cli::{Common, Repair};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::show;
use crate::target::Project;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    migration: String,
    rows_removed: u64,
    rows_copied: u64,
    phase: PhaseName,
}

pub(crate) fn run(common: &Common, args: &Repair) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let server = project.open()?;
    let progress = Progress::default();
    let operator = Operator::open(server.as_ref(), project.operator_options(None), &progress)?;
    let mut migrating =
        choose(operator.migrations()?, args.which.table.as_deref(), &project.plan.database)?;
    let leave = if args.drop_extra { Leave::ByUser } else { Leave::ByCause };
    let repaired = operator.repair(&mut migrating, leave)?;
    operator.prove(&mut migrating)?;
    if common.json {
        let phase = migrating.phase.name();
        return show::json(&Report {
            migration: migrating.id,
            rows_removed: repaired.removed,
            rows_copied: repaired.copied,
            phase,
        });
    }
    let removed = match repaired.removed {
        0 => String::new(),
        rows => format!("{} rows removed that blue lacks, ", show::count(rows)),
    };
    show::data(&format!(
        "{removed}{} rows copied that {} lacked; both tables hold the same rows",
        show::count(repaired.copied),
        migrating.migration.green
    ))
}
