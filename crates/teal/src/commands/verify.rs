use serde::Serialize;
use teal_migrate::{MigrateError, Operator, Parity, Phase};

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
    holds: bool,
    parity: Parity,
}

pub(crate) fn run(common: &Common, which: &Which) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let server = project.open()?;
    let progress = Progress::default();
    let operator = Operator::open(server.as_ref(), project.operator_options(None), &progress)?;
    let migrating = choose(operator.migrations()?, which.table.as_deref())?;
    let wrong = |wanted| MigrateError::WrongPhase {
        migration: migrating.id.clone(),
        phase: migrating.phase.name(),
        wanted,
    };
    match &migrating.phase {
        Phase::Backfilled(_) | Phase::Verified(_) => (),
        Phase::CutOver(state) if state.forwards_back => (),
        Phase::CutOver(_) => {
            return Err(wrong("the old table gets no new rows any more, so the two differ").into());
        }
        Phase::Cleaned(_) => return Err(wrong("the old table is gone").into()),
        Phase::Aborting(_) | Phase::Aborted(_) => {
            return Err(wrong("the new table is gone").into());
        }
        _ => return Err(wrong("run `teal apply` first, which copies").into()),
    }
    let parity = operator.compare(&migrating)?;
    let (blue, green) = (migrating.migration.blue.clone(), migrating.migration.green.clone());
    let holds = parity.holds();
    if common.json {
        show::json(&Report { migration: migrating.id, holds, parity: parity.clone() })?;
    } else if holds {
        show::data(&format!("{blue} and {green} hold the same rows: {parity}"))?;
    }
    match holds {
        true => Ok(()),
        false => Err(MigrateError::NoParity { blue, green, parity: Box::new(parity) }.into()),
    }
}
