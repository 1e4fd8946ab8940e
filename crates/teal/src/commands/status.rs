use serde::Serialize;
use teal_migrate::{Journal, Migrating, Phase};
use teal_plan::Cutover;

use crate::cli::Common;
use crate::failure::Failure;
use crate::show;
use crate::target::Project;

/// A migration as `teal status --json` tells it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    migration: String,
    table: String,
    from: String,
    to: String,
    blue: String,
    green: String,
    strategy: String,
    phase: &'static str,
    since: String,
    /// Rows to copy, and those that are in green.
    rows: u64,
    rows_copied: u64,
    next: &'static str,
}

pub(crate) fn run(common: &Common) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let server = project.open()?;
    let migrations = Migrating::all(&Journal::peek(server.as_ref())?)?;
    let rows = migrations.iter().map(row).collect::<Vec<_>>();
    if common.json {
        return show::json(&rows);
    }
    if rows.is_empty() {
        return show::data("No migration has been started on this target.");
    }
    let lines = rows
        .into_iter()
        .map(|row| {
            vec![
                row.table,
                format!("{} → {}", row.from, row.to),
                row.phase.to_owned(),
                row.since,
                row.strategy,
                format!("{} of {}", show::count(row.rows_copied), show::count(row.rows)),
                row.next.to_owned(),
            ]
        })
        .collect();
    show::data(&show::table(
        &["table", "versions", "phase", "since", "copy", "rows", "next"],
        lines,
    ))
}

fn row(migrating: &Migrating) -> Row {
    let migration = &migrating.migration;
    let (rows, rows_copied) = match &migrating.phase {
        Phase::Started(_) | Phase::Prepared(_) => (migration.rows, 0),
        Phase::Attached(attached) => (attached.rows, attached.published.values().sum()),
        Phase::Backfilled(backfilled) => (backfilled.rows, backfilled.rows),
        Phase::Verified(verified) => (verified.parity.blue_rows, verified.parity.green_rows),
        Phase::CutOver(state) => (state.blue_rows, state.blue_rows),
        Phase::Cleaned(_) => (migration.rows, migration.rows),
        Phase::Aborting(_) | Phase::Aborted(_) => (migration.rows, 0),
    };
    let next = match &migrating.phase {
        Phase::Verified(_) => "teal cutover",
        Phase::CutOver(_) => "teal cleanup",
        Phase::Cleaned(state) if state.cutover == Cutover::App => "remove the old model",
        Phase::Cleaned(_) | Phase::Aborted(_) => "",
        Phase::Aborting(_) => "teal abort",
        Phase::Backfilled(state) if state.rolled_back => "teal cutover, or teal abort",
        _ => "teal apply",
    };
    Row {
        migration: migrating.id.clone(),
        table: migration.table.clone(),
        from: migration.from_version.clone(),
        to: migration.to_version.clone(),
        blue: migration.blue.to_string(),
        green: migration.green.to_string(),
        strategy: migration.strategy.to_string(),
        phase: migrating.phase.name(),
        since: migrating.since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        rows,
        rows_copied,
        next,
    }
}
