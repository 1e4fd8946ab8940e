use serde::Serialize;
use teal_migrate::{Operator, Parked, Phase};

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
    #[serde(skip_serializing_if = "Option::is_none")]
    parked: Option<Parked>,
    /// Tables of earlier cleanups, whose time is over.
    dropped: Vec<String>,
}

pub(crate) fn run(common: &Common, args: &Cleanup) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let server = project.open()?;
    let progress = Progress::default();
    let mut options = project.operator_options(None);
    if let Some(TimeSpan(kept)) = args.retention {
        options.retention = kept;
    }
    if let Some(TimeSpan(time)) = args.park {
        options.park = Some(time);
    }
    let operator = Operator::open(server.as_ref(), options, &progress)?;
    let dropped = operator.drop_parked()?;
    for table in dropped.iter().filter(|_| !common.json) {
        show::data(&format!("{table} was parked, and is dropped"))?;
    }
    let mut migrating = choose(operator.migrations()?, args.which.table.as_deref())?;
    operator.cleanup(&mut migrating, args.force)?;
    let parked = match &migrating.phase {
        Phase::Cleaned(state) => state.parked.clone(),
        _ => None,
    };
    if common.json {
        let dropped = dropped.iter().map(ToString::to_string).collect();
        let phase = migrating.phase.name();
        return show::json(&Report { migration: migrating.id, phase, parked, dropped });
    }
    show::data(&format!("the migration of {} is over", migrating.migration.table))?;
    match parked {
        Some(Parked { table, until }) => show::data(&format!(
            "{table} is what was there before; `teal cleanup` drops it from {} on",
            until.strftime("%Y-%m-%d %H:%M UTC")
        )),
        None => Ok(()),
    }
}
