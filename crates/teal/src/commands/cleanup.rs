use serde::Serialize;
use teal_migrate::{Migrating, Operator, Parked, Phase, PhaseName};
use teal_plan::Migration;
use teal_schema::{QualifiedName, shell_word};

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
    /// None where only tables of earlier cleanups were dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    migration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<PhaseName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parked: Option<Parked>,
    /// The old table, unless it was parked or its name is an alias now; and tables of earlier cleanups, whose time is
    /// over.
    dropped: Vec<String>,
}

impl Report {
    /// Of tables of earlier cleanups alone.
    fn of_parked(dropped: &[QualifiedName]) -> Self {
        let dropped = dropped.iter().map(ToString::to_string).collect();
        Self { migration: None, phase: None, parked: None, dropped }
    }
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
    let (which, database) = (args.which.table.as_deref(), &project.plan.database);
    let named = match which {
        Some(_) => Some(choose(operator.migrations()?, which, database)?.migration),
        None => None,
    };
    let is_meant = |it: &Migrating| match &named {
        Some(named) => {
            let names = |of: &Migration| (of.blue.database.clone(), of.table.clone());
            names(named) == names(&it.migration)
        }
        None => it.migration.blue.database == *database,
    };
    let dropped = operator.drop_parked(is_meant, args.force)?;
    for table in dropped.iter().filter(|_| !common.json) {
        show::data(&format!("{table} was parked, and is dropped"))?;
    }
    // Who comes for these need not mean a migration that is not over.
    if !dropped.is_empty() && which.is_none() {
        for waiting in operator.migrations()? {
            let green = &waiting.migration.green;
            if matches!(waiting.phase, Phase::CutOver(_)) && green.database == *database {
                show::note(&format!(
                    "the migration of {} is as it was; to end it: `teal cleanup {}`",
                    waiting.migration.table,
                    shell_word(&green.name)
                ));
            }
        }
        return match common.json {
            true => show::json(&Report::of_parked(&dropped)),
            false => Ok(()),
        };
    }
    let mut migrating = choose(operator.migrations()?, which, database)?;
    let was_over = matches!(migrating.phase, Phase::Cleaned(_));
    if let Err(error) = operator.cleanup(&mut migrating, args.force) {
        if common.json && !dropped.is_empty() {
            show::json(&Report::of_parked(&dropped))?;
        }
        return Err(error.into());
    }
    let (parked, was_gone) = match &migrating.phase {
        Phase::Cleaned(state) => (state.parked.clone(), state.old_data.is_empty()),
        _ => (None, false),
    };
    if common.json {
        let mut dropped = Report::of_parked(&dropped).dropped;
        let old = migrating.tables_now().0;
        if parked.is_none() && !was_over && !was_gone && !operator.exists(old)? {
            dropped.push(old.to_string());
        }
        return show::json(&Report {
            phase: Some(migrating.phase.name()),
            migration: Some(migrating.id),
            parked,
            dropped,
        });
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
