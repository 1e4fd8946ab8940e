use serde::Serialize;
use teal_migrate::Operator;

use super::choose;
use crate::cli::{Cleanup, Common};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::show;
use crate::target::Project;
use crate::time_span::TimeSpan;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    migration: String,
    phase: &'static str,
}

pub(crate) fn run(common: &Common, args: &Cleanup) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let server = project.open()?;
    let progress = Progress::default();
    let mut options = project.operator_options(None);
    if let Some(TimeSpan(kept)) = args.retention {
        options.retention = kept;
    }
    let operator = Operator::open(server.as_ref(), options, &progress)?;
    let mut migrating = choose(operator.migrations()?, args.which.table.as_deref())?;
    operator.cleanup(&mut migrating, args.force)?;
    if common.json {
        return show::json(&Report { phase: migrating.phase.name(), migration: migrating.id });
    }
    show::data(&format!("the migration of {} is over", migrating.migration.table))
}
