//! The plan as a person reads it.

use std::fmt::Write as _;

use owo_colors::OwoColorize as _;
use teal_plan::{
    AlterCost, Change, CopyStrategy, Cutover, FenceKind, Migration, Needs, Operation, Plan,
};

use crate::show;

pub(crate) fn as_text(plan: &Plan) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Plan for {}, database {}", plan.target, plan.database);
    if plan.has_nothing_to_do() {
        let _ = writeln!(out, "\n{}", nothing_to_do(plan));
    }
    for (i, operation) in plan.operations.iter().enumerate() {
        let _ = writeln!(out, "\n{}. {}", i + 1, operation_as_text(operation));
    }
    for conflict in &plan.conflicts {
        let _ = writeln!(
            out,
            "\n{} {}  ({})",
            "conflict:".red(),
            conflict.object,
            conflict.declared_at
        );
        for difference in &conflict.differences {
            let _ = writeln!(out, "   {difference}");
        }
        let _ = writeln!(out, "   instead: {}", conflict.instead);
    }
    for finding in &plan.findings {
        let word = match finding.blocks {
            true => "blocked:".red().to_string(),
            false => "mind:".yellow().to_string(),
        };
        let _ = writeln!(out, "\n{word} {}: {}", finding.about, finding.says);
        let _ = writeln!(out, "   to do: {}", finding.fix);
    }
    for later in plan.later.iter().filter(|_| !plan.has_nothing_to_do()) {
        let _ = writeln!(out, "\nlater: {later}");
    }
    for waiting in plan.waiting.iter().filter(|_| !plan.has_nothing_to_do()) {
        let _ = writeln!(out, "\nwaiting: {waiting}");
    }
    for note in &plan.notes {
        let _ = writeln!(out, "\nnote: {note}");
    }
    out.trim_end().to_owned()
}

/// Of a plan without operations and conflicts.
pub(crate) fn nothing_to_do(plan: &Plan) -> String {
    match plan.later.is_empty() {
        true => {
            let waiting = plan.waiting.iter().map(|it| format!("\n  {it}")).collect::<String>();
            format!("Nothing to do: the target has all that the models declare.{waiting}")
        }
        false => {
            let later = plan.later.iter().chain(&plan.waiting);
            let later = later.map(|later| format!("\n  {later}")).collect::<String>();
            format!(
                "Nothing to do for `teal apply`; what the models declare beside that waits:{later}"
            )
        }
    }
}

fn operation_as_text(operation: &Operation) -> String {
    match operation {
        Operation::CreateTable { table, statement, declared_at, .. } => {
            format!(
                "{} table {table}  ({declared_at})\n{}",
                "create".green(),
                indented(&statement.sql)
            )
        }
        Operation::CreateAlias { alias, target, sql, declared_at } => {
            format!(
                "{} alias {alias} of {target}  ({declared_at})\n{}",
                "create".green(),
                indented(sql)
            )
        }
        Operation::CreateView { view, statement, declared_at } => {
            format!(
                "{} view {view}  ({declared_at})\n{}",
                "create".green(),
                indented(&statement.sql)
            )
        }
        Operation::AlterTable {
            table,
            statements,
            changes,
            cost,
            rows,
            bytes,
            needs,
            declared_at,
            ..
        } => {
            let touched = match cost {
                AlterCost::Metadata => String::new(),
                AlterCost::Mutation => format!(
                    ": parts with {} rows, {}, get files of the changed columns anew, {}",
                    show::count(*rows),
                    show::bytes(*bytes),
                    time(needs)
                ),
            };
            format!(
                "{} table {table}, {cost}{touched}  ({declared_at})\n{}\n{}",
                "alter".yellow(),
                listed(changes),
                indented(
                    &statements.iter().map(|it| it.sql.as_str()).collect::<Vec<_>>().join(";\n")
                )
            )
        }
        Operation::ChangeView { view, statement, changes, declared_at, .. } => format!(
            "{} view {view}: rows that come from now on  ({declared_at})\n{}\n{}",
            "change".yellow(),
            listed(changes),
            indented(&statement.sql)
        ),
        Operation::Drop { object, sql, rows, bytes, .. } => format!(
            "{} {object}, destructive: {} rows, {}\n{}",
            "drop".red(),
            show::count(*rows),
            show::bytes(*bytes),
            indented(sql)
        ),
        Operation::Migrate { migration, needs, resumes, fence, declared_at, .. } => {
            let is_there = resumes.is_some();
            let verb = match resumes {
                Some(_) => "go on migrating",
                None => "migrate",
            };
            let what = match migration.in_place {
                true => format!("{}, changed in its model", migration.blue),
                false => format!(
                    "{} {}",
                    migration.table,
                    show::versions(&migration.from_version, &migration.to_version)
                ),
            };
            format!(
                "{} {what}  ({declared_at})\n{}{}",
                verb.cyan(),
                match migration.changes.as_slice() {
                    [] => String::new(),
                    changes => listed(changes) + "\n",
                },
                migration_as_text(migration, needs, is_there, *fence)
            )
        }
    }
}

fn migration_as_text(
    migration: &Migration,
    needs: &Needs,
    is_there: bool,
    fence: Option<FenceKind>,
) -> String {
    let disk = match migration.strategy {
        CopyStrategy::Clone => "no disk at first (hard links)".to_owned(),
        CopyStrategy::Rewrite => {
            format!("about {} of disk until the cleanup", show::bytes(needs.disk_bytes))
        }
    };
    let back = match (migration.is_identity, migration.cutover) {
        (true, Cutover::Exchange) if migration.view_runs_back() => {
            "the view then keeps the old table current, so nothing is lost on the way back"
        }
        (true, Cutover::Exchange) if migration.can_carry_back() => {
            "the old table does not take all that the new one does, so the view is dropped: `teal rollback` carries what was written since, as far as it fits"
        }
        (true, Cutover::Exchange) => {
            "the old table does not take all that the new one does, so the view is dropped, and rows written after the cutover exist in the new layout only"
        }
        (true, Cutover::App | Cutover::Alias) if migration.can_be_kept_current() => {
            "once nobody writes to the old table any more, a view from the new one keeps it current, so nothing is lost on the way back"
        }
        (true, Cutover::App | Cutover::Alias) if migration.can_carry_back() => {
            "the old table does not take all that the new one does: `teal rollback` carries what was written since, as far as it fits"
        }
        (true, Cutover::App | Cutover::Alias) if migration.blue_computes => {
            "the old table computes a column that the new one has stored: rows written after the cutover exist in the new table only"
        }
        (true, Cutover::App | Cutover::Alias) => {
            "the new engine folds rows: those written after the cutover exist in the new table only"
        }
        (false, Cutover::App | Cutover::Alias) => {
            "the SELECT has no inverse: rows written after the cutover exist in the new table only"
        }
        (false, Cutover::Exchange) => {
            "the SELECT has no inverse: the view is dropped, and rows written after the cutover exist in the new layout only"
        }
    };
    let mut rows = Vec::new();
    if let Some(why) = &migration.why {
        rows.push(("why", why.clone()));
    }
    rows.extend([
        ("blue", migration.blue.to_string()),
        (
            "green",
            format!("{}, {}", migration.green, if is_there { "is there" } else { "to be created" }),
        ),
        (
            "view",
            match fence {
                None => format!("{}, attached at an exact cut", migration.view),
                Some(_) => format!("{}, to be attached at an exact cut", migration.view),
            },
        ),
    ]);
    rows.extend(fence.map(|fence| ("fence", format!("{fence}: {}", told_apart(fence)))));
    rows.extend([
        (
            "copy",
            format!(
                "{} rows, {}: {} ({})",
                show::count(migration.rows),
                show::bytes(migration.bytes),
                migration.strategy,
                migration.reason
            ),
        ),
        ("needs", format!("{disk}, {}", time(needs))),
        ("verify", "128-bit row hashes, per partition and bucket".to_owned()),
        ("cutover", format!("{}, by `teal cutover`; {back}", migration.cutover)),
    ]);
    let mut out = String::new();
    for (name, value) in rows {
        let _ = writeln!(out, "   {name:8} {value}");
    }
    let _ = writeln!(out, "{}", indented(&migration.create_green));
    out.push_str(&indented(&migration.create_view));
    out
}

/// What a fence does with the INSERTs that run across the cut.
fn told_apart(fence: FenceKind) -> &'static str {
    match fence {
        FenceKind::WriteGate => "new INSERTs wait for some milliseconds while the cut is made",
        FenceKind::PartLog => {
            "INSERTs go on; the log tells which of those that ran across the cut were forwarded"
        }
        FenceKind::QuietCut => {
            "without part_log, the cut is made in a moment in which no INSERT runs"
        }
    }
}

/// The time that an operation takes, where nothing slows it down.
fn time(needs: &Needs) -> String {
    format!("{} at the rate of two cores", show::roughly(needs.seconds))
}

/// Why an operation is as it is, what it does, what it costs, and the way back.
pub(crate) fn explanation(operation: &Operation) -> String {
    let mut said = vec![operation_as_text(operation), String::new()];
    let mut say = |topic: &str, text: &str| said.push(format!("   {topic:8} {text}"));
    match operation {
        Operation::CreateTable { .. } => {
            say("why", "the models declare it, and the target has no table of this name");
            say("back", "drop it, while nobody has written to it");
        }
        Operation::CreateAlias { .. } => {
            say(
                "why",
                "readers and writers use this name whatever version is behind it, and the cutover swaps it",
            );
            say("back", "drop it; the table behind it stays");
        }
        Operation::CreateView { .. } => {
            say("why", "the models declare it, and the target has no view of this name");
            say(
                "mind",
                "a materialized view gets the rows of INSERTs that start when it is there; what is in its source already does not reach its target",
            );
            say("back", "drop it");
        }
        Operation::AlterTable { cost, .. } => {
            say(
                "why",
                "ClickHouse can make these changes in place: the statements were tried on an empty copy of the table, which then was as declared",
            );
            match cost {
                AlterCost::Metadata => {
                    say("cost", "none of them made a mutation there, so no part is rewritten")
                }
                AlterCost::Mutation => say(
                    "cost",
                    "they made a mutation there, so parts are rewritten in the background, the changed columns of each; reads and writes go on, and the command waits for its end",
                ),
            }
            say(
                "resume",
                "each statement is one step: after a crash the same plan goes on behind the last one that was done",
            );
            say(
                "back",
                "change the model back; values of a column that was dropped, or made ALIAS or EPHEMERAL, are gone",
            );
        }
        Operation::ChangeView { .. } => {
            say(
                "why",
                "its SELECT is another one now; each INSERT is forwarded by the old one or by the new one",
            );
            say("mind", "rows that the old one wrote stay as they are");
            say("back", "change the model back");
        }
        Operation::Drop { .. } => {
            say("why", "it is in no model, and --allow-drop names it");
            say("back", "none");
        }
        Operation::Migrate { migration, .. } => explain_migration(migration, &mut say),
    }
    said.join("\n")
}

fn explain_migration(migration: &Migration, say: &mut dyn FnMut(&str, &str)) {
    say(
        "why",
        &match &migration.why {
            Some(why) => format!("ALTER cannot do it: {why}"),
            None => format!(
                "the models declare {} and a view that fills it from {}",
                migration.green, migration.blue
            ),
        },
    );
    say(
        "copy",
        &match migration.strategy {
            CopyStrategy::Clone => format!(
                "the parts of blue become parts of green by hard links: {}",
                migration.reason
            ),
            CopyStrategy::Rewrite => format!(
                "rows are read from a snapshot of blue and written anew: {}",
                migration.reason
            ),
        },
    );
    say(
        "exact",
        "the view is attached and blue's parts are cloned at one cut: every row is either forwarded by the view or in the clone, and never both (docs/fence.md)",
    );
    say(
        "users",
        "blue stays as it is, for reads and writes, until the cutover; the view makes an INSERT into blue write green as well",
    );
    say(
        "proof",
        "the verification compares both tables, row by row as hashes, before the cutover and again in it",
    );
    say(
        "cutover",
        match migration.cutover {
            Cutover::App => "readers and writers move when your code names the new version",
            Cutover::Exchange => {
                "the two tables exchange their names: on the embedded engine with new INSERTs held for some milliseconds, on a server while INSERTs go on"
            }
            Cutover::Alias => {
                "the alias that readers and writers use is swapped to green; the view stays, so green misses nothing"
            }
        },
    );
    say(
        "resume",
        "every step is in the target's journal: after a crash of teal or of the server, the same command goes on",
    );
    say(
        "back",
        match (migration.is_identity, migration.cutover) {
            (true, Cutover::Exchange) if migration.view_runs_back() => {
                "until `teal cleanup` the old table is there, and kept current"
            }
            (true, Cutover::Exchange) if migration.can_carry_back() => {
                "until `teal cleanup` the old table is there; `teal rollback` carries to it what only the new one has, as far as it fits"
            }
            (true, Cutover::App | Cutover::Alias) if migration.can_be_kept_current() => {
                "until `teal cleanup` the old table is there, and kept current once nobody writes to it any more; `teal rollback` carries to it what only the new one has"
            }
            (true, Cutover::App | Cutover::Alias) if migration.can_carry_back() => {
                "until `teal cleanup` the old table is there; `teal rollback` carries to it what only the new one has, as far as it fits"
            }
            _ => {
                "until `teal cleanup` the old table is there, without the rows written after the cutover"
            }
        },
    );
}

fn listed(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("   {change}")).collect::<Vec<_>>().join("\n")
}

fn indented(sql: &str) -> String {
    sql.lines()
        .map(|line| format!("     {line}").dimmed().to_string())
        .collect::<Vec<_>>()
        .join("\n")
}
