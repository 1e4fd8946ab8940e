use serde::Serialize;
use teal_migrate::{Operator, Phase, PhaseName};

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
    phase: PhaseName,
    /// The name that has the new layout's rows.
    table: String,
    /// Whether a view brings its rows to the old layout's table.
    old_is_kept_current: bool,
}

pub(crate) fn run(common: &Common, args: &Cutover) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let server = project.open()?;
    let progress = Progress::default();
    let operator = Operator::open(server.as_ref(), project.operator_options(None), &progress)?;
    let mut migrating =
        choose(operator.migrations()?, args.which.table.as_deref(), &project.plan.database)?;
    if let (Some(by), Phase::CutOver(state)) = (args.by, &migrating.phase)
        && state.cutover != by.into()
    {
        return Err(Failure::refused(format!(
            "{} was cut over by {}; to move in another way: `teal rollback` first",
            migrating.migration.green, state.cutover
        )));
    }
    let was_cut_over = matches!(migrating.phase, Phase::CutOver(_));
    let how = args.by.map_or(migrating.cutover(), Into::into);
    operator.cutover(&mut migrating, how)?;
    let table = migrating.tables_now().1.to_string();
    let is_kept = matches!(&migrating.phase, Phase::CutOver(state) if state.forwards_back);
    if common.json {
        return show::json(&Report {
            old_is_kept_current: is_kept,
            phase: migrating.phase.name(),
            table,
            migration: migrating.id,
        });
    }
    if how == teal_plan::Cutover::App && !was_cut_over {
        let old = migrating.tables_now().0;
        let turn = match migrating.may_be_kept_current() {
            true => "`teal cutover` once more, which keeps the old table current; then ",
            false => "",
        };
        return show::data(&format!(
            "both tables hold the same rows: let your code use {table} now. When nobody writes to {old} any more: {turn}`teal cleanup`"
        ));
    }
    let next = match !is_kept && migrating.may_be_kept_current() {
        true => {
            "`teal cutover` once more, when nobody writes to the old one any more, to keep it current; and `teal cleanup`"
        }
        false => "`teal cleanup`",
    };
    show::data(&format!("{table} has the new layout; next: {next}, when nobody needs the old one"))
}
