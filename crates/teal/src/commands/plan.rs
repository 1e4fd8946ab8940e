use std::fmt::Write as _;
use std::process::ExitCode;

use annotate_snippets::Level;
use owo_colors::OwoColorize as _;
use teal_client::Server;
use teal_migrate::{Journal, Migrating, history};
use teal_models::Loaded;
use teal_plan::{Migration, Operation, Plan, make_plan};

use crate::cli::{Common, Plan as Args};
use crate::diagnose;
use crate::failure::{Failure, PLAN_NOT_EMPTY};
use crate::show;
use crate::target::Project;

pub(crate) fn run(common: &Common, args: &Args) -> Result<ExitCode, Failure> {
    let project = match args.no_target {
        true => Project::without_target(common)?,
        false => Project::read(common)?,
    };
    let (loaded, server) = project.load_and_open(&common.project)?;
    let mut plan = plan_for(server.as_ref(), &loaded, &project)?;
    if args.no_target {
        plan.target = "an empty target".to_owned();
    }
    let yaml = || plan.to_yaml().map_err(|error| Failure::failed(error.to_string()));
    if let Some(file) = &args.save {
        std::fs::write(file, yaml()?)
            .map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
    }
    match (common.json, args.yaml) {
        (true, _) => show::json(&plan)?,
        (_, true) => show::data(yaml()?.trim_end())?,
        _ => show::data(&as_text(&plan))?,
    }
    Ok(match args.check && !plan.is_empty() {
        true => ExitCode::from(PLAN_NOT_EMPTY),
        false => ExitCode::SUCCESS,
    })
}

/// Makes the plan from the models and the target's journal, and shows the models' warnings.
pub(crate) fn plan_for(
    server: &dyn Server,
    loaded: &Loaded,
    project: &Project,
) -> Result<Plan, Failure> {
    for warning in &loaded.warnings {
        anstream::eprintln!("{}", diagnose::render(Level::WARNING, warning, &project.directory));
    }
    let migrations = Migrating::all(&Journal::peek(server)?)?;
    let history = history(&migrations);
    Ok(make_plan(server, &loaded.schema, &loaded.accepted, &history, &project.plan)?)
}

/// The plan as a person reads it.
pub(crate) fn as_text(plan: &Plan) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Plan for {}, database {}", plan.target, plan.database);
    if plan.is_empty() {
        let _ = writeln!(out, "\nNothing to do: the target has all that the models declare.");
    }
    for (i, operation) in plan.operations.iter().enumerate() {
        let number = i + 1;
        match operation {
            Operation::CreateTable { table, sql, declared_at } => {
                let _ = writeln!(
                    out,
                    "\n{number}. {} table {table}  ({declared_at})",
                    "create".green()
                );
                let _ = writeln!(out, "{}", indented(sql));
            }
            Operation::CreateView { view, sql, declared_at } => {
                let _ =
                    writeln!(out, "\n{number}. {} view {view}  ({declared_at})", "create".green());
                let _ = writeln!(out, "{}", indented(sql));
            }
            Operation::Migrate { migration, resumes, declared_at } => {
                let verb = match resumes {
                    Some(_) => "go on migrating",
                    None => "migrate",
                };
                let _ = writeln!(
                    out,
                    "\n{number}. {} {} {} → {}  ({declared_at})",
                    verb.cyan(),
                    migration.table,
                    migration.from_version,
                    migration.to_version
                );
                out.push_str(&migration_as_text(migration));
            }
        }
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
    for note in &plan.notes {
        let _ = writeln!(out, "\nnote: {note}");
    }
    out.trim_end().to_owned()
}

fn migration_as_text(migration: &Migration) -> String {
    let disk = match migration.strategy {
        teal_plan::CopyStrategy::Clone => "no disk (hard links)".to_owned(),
        teal_plan::CopyStrategy::Rewrite => {
            format!("about {} of disk until the cleanup", show::bytes(migration.bytes))
        }
    };
    let back = match migration.is_identity {
        true => "the view then keeps the old table current, so nothing is lost on the way back",
        false => {
            "the SELECT has no inverse: rows written after the cutover exist in the new table only"
        }
    };
    let rows = vec![
        vec!["   blue".to_owned(), migration.blue.to_string()],
        vec!["   green".to_owned(), format!("{}, created", migration.green)],
        vec![
            "   view".to_owned(),
            format!("{}, attached with the write gate closed", migration.view),
        ],
        vec![
            "   copy".to_owned(),
            format!(
                "{} rows, {}: {} ({})",
                show::count(migration.rows),
                show::bytes(migration.bytes),
                migration.strategy,
                migration.reason
            ),
        ],
        vec!["   needs".to_owned(), disk],
        vec!["   verify".to_owned(), "128-bit row hashes, per partition and bucket".to_owned()],
        vec!["   cutover".to_owned(), format!("{}, by `teal cutover`; {back}", migration.cutover)],
    ];
    let mut out = String::new();
    for row in rows {
        let _ =
            writeln!(out, "{:11} {}", row.first().map_or("", |s| s), row.get(1).map_or("", |s| s));
    }
    let _ = writeln!(out, "{}", indented(&migration.create_green));
    let _ = writeln!(out, "{}", indented(&migration.create_view));
    out
}

fn indented(sql: &str) -> String {
    sql.lines()
        .map(|line| format!("     {line}").dimmed().to_string())
        .collect::<Vec<_>>()
        .join("\n")
}
