use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use owo_colors::OwoColorize as _;
use teal_client::{ClientError, Format, Server, Session};
use teal_migrate::{Interrupt, Migrating, Operator, OperatorOptions, Step};
use teal_models::Loading;
use teal_plan::{Cutover, Migration, Operation, Plan};
use teal_schema::{QualifiedName, shell_word};

use super::data;
use super::proof;
use super::report::{Cost, Gate, Query, Report, Seconds};
use super::traffic::{Traffic, question};
use crate::cli::{Common, Demo, Recipe};
use crate::commands::{fetch, plan_for};
use crate::failure::Failure;
use crate::passing::{self, PassingDirectory};
use crate::progress::Progress;
use crate::show;
use crate::target::Project;

pub(crate) fn run(common: &Common, args: &Demo) -> Result<(), Failure> {
    if common.url.is_some() || common.data.is_some() {
        show::warning(
            &"the demo plays on an embedded engine of its own: --url and --data are of no account; --path DIR says where it plays",
        );
    }
    let file = fetch(&teal_fetch::FLIGHTS)?;
    let (directory, made) = stage(args)?;
    let common = Common {
        project: directory.clone(),
        target: "default".to_owned(),
        data: None,
        engine_config: common.engine_config.clone(),
        url: None,
        model_timeout: common.model_timeout,
        json: common.json,
    };
    let report = play(&common, args, &file)?;
    match common.json {
        true => show::json(&report)?,
        false => show::data(&format!("\n{}", report.as_text()))?,
    }
    match made {
        _ if args.keep => show::note(&format!(
            "\nkept: teal -C {} status",
            shell_word(&directory.to_string_lossy())
        )),
        Made::Passing(temporary) => drop(temporary),
        Made::Whole => std::fs::remove_dir_all(&directory)?,
        Made::Within => passing::remove_within(&directory, data::is_of_project)?,
    }
    let exact = report.is_exact();
    match (args.recipe, exact) {
        (Recipe::Teal, false) => {
            Err(Failure::failed("the demo did not end as it must: see the table above"))
        }
        // What the documented recipe loses is what it is there to show.
        _ => Ok(()),
    }
}

/// Of both tables and what lies beside them at the most, and as much again.
const BYTES_OF_A_ROW: u64 = 200;

/// What of the directory to play in goes with the demo.
enum Made {
    Passing(PassingDirectory),
    Whole,
    /// It was there before, empty: what the demo makes in it.
    Within,
}

/// Makes the directory to play in, with the project.
fn stage(args: &Demo) -> Result<(PathBuf, Made), Failure> {
    let (directory, made) = match &args.path {
        Some(path) => {
            let is_free = std::fs::read_dir(path).map_or(true, |mut files| files.next().is_none());
            if !is_free {
                return Err(Failure::refused(format!(
                    "{} is not empty, and the demo begins with an empty directory",
                    path.display()
                )));
            }
            (path.clone(), if path.exists() { Made::Within } else { Made::Whole })
        }
        // Not `teal-demo-`: what has that name is removed when its process has ended.
        None if args.keep => {
            (tempfile::Builder::new().prefix("teal-kept-").tempdir()?.keep(), Made::Whole)
        }
        None => {
            let bytes = args.rows.saturating_mul(BYTES_OF_A_ROW);
            let temporary = PassingDirectory::in_memory("teal-demo-", bytes)?;
            (temporary.path().to_owned(), Made::Passing(temporary))
        }
    };
    data::write_project(&directory).map_err(|error| {
        Failure::failed(format!("cannot play in {}: {error}", directory.display()))
    })?;
    Ok((directory, made))
}

fn play(common: &Common, args: &Demo, file: &Path) -> Result<Report, Failure> {
    let mut project = Project::read(common)?;
    project.plan.cutover = Cutover::Exchange;
    let at = common.project.display();
    say(&match args.path.is_none() && !args.keep {
        true => {
            let place = passing::place(&common.project);
            format!("teal demo in {at}, {place}; --path DIR plays it elsewhere")
        }
        false => format!("teal demo in {at}"),
    });
    let opened = project.load_and_open()?;
    let engine = opened.server.as_ref();
    let plan = plan_for(&opened.loaded, engine, engine, &project)?;
    let migration = first_migration(&plan)?;
    let blue = migration.blue.clone();
    create_blue(engine, &plan, &blue)?;
    load(engine, file, &blue, args.rows)?;
    let before = measure(engine, &blue)?;

    let traffic = Traffic::default();
    let progress = Progress::default();
    let outcome = thread::scope(|scope| {
        let (writers, readers) = (args.writers, args.readers);
        say(&format!("\n{writers} writers and {readers} readers are at work on {blue}"));
        let threads = traffic.start(scope, engine, &blue, (writers, readers), args.seed);
        thread::sleep(Duration::from_secs_f64(args.seconds_before.max(0.0)));
        let outcome = match args.recipe {
            Recipe::Teal => follow_teal(common, &project, args, engine, &progress, &traffic),
            Recipe::Documented => follow_documentation(args, engine, &migration),
        };
        // Whatever came of it, the traffic must end before the scope can.
        traffic.stop();
        for thread in threads {
            match thread.join() {
                Ok(ended) => ended?,
                Err(_) => return Err(Failure::failed("a thread of the traffic ended in a panic")),
            }
        }
        outcome
    })?;

    say("\nthe traffic has stopped; every row is counted");
    let mut session = engine.session(&[])?;
    proof::add_written(session.as_mut(), &traffic.ledger.batches())?;
    let difference = proof::difference(session.as_mut(), &outcome.table)?;
    let mut report = Report {
        recipe: match args.recipe {
            Recipe::Teal => "teal",
            Recipe::Documented => "documented",
        },
        rows: args.rows,
        rows_written: traffic.ledger.rows(),
        rows_in_blue: outcome.rows_in_blue,
        rows_in_green: outcome.rows_in_green,
        difference,
        inserts: 0,
        failed_inserts: 0,
        reads: 0,
        failed_reads: 0,
        reads_backwards: 0,
        longest_insert: 0.0,
        longest_read: 0.0,
        gate: Gate::new(engine.write_gate().map(teal_client::WriteGate::stats).unwrap_or_default()),
        rows_per_second: outcome.rows_copied as f64 / outcome.seconds.backfill.max(1e-9),
        seconds: outcome.seconds,
        query: Query { sql: question(&blue), before, after: measure(engine, &outcome.table)? },
        errors: Vec::new(),
    };
    report.take_in(traffic.seen());
    Ok(report)
}

/// How a recipe ended.
struct Outcome {
    /// The name that has the new layout.
    table: QualifiedName,
    rows_copied: u64,
    rows_in_blue: u64,
    rows_in_green: u64,
    seconds: Seconds,
}

/// plan → apply → verify → cutover → more traffic → cleanup.
fn follow_teal(
    common: &Common,
    project: &Project,
    args: &Demo,
    engine: &dyn Server,
    progress: &Progress,
    traffic: &Traffic,
) -> Result<Outcome, Failure> {
    let began = Instant::now();
    // Loaded once more: the models are a part of what `teal apply` takes.
    let loaded = Loading::start(&common.project, &project.load)?.finish(engine)?;
    let models = began.elapsed();
    // Nobody goes on with it: Ctrl-C ends it at once.
    let options =
        OperatorOptions { interrupt: Interrupt::default(), ..project.operator_options(None) };
    let operator = Operator::open(engine, options, progress)?;
    let plan = plan_for(&loaded, engine, engine, project)?;
    let planned = began.elapsed() - models;
    say(&format!("\nteal apply, after {} rows written", show::count(traffic.ledger.rows())));
    say(&format!(
        "  {:9} {:>8}  {} of {}",
        "models".green(),
        show::duration(models),
        "flights 0.0 and 0.1",
        common.project.display()
    ));
    say(&format!(
        "  {:9} {:>8}  {} operation(s)",
        "plan".green(),
        show::duration(planned),
        plan.operations.len()
    ));
    operator.apply(&plan)?;
    let apply = began.elapsed();
    let verify = progress.took(Step::Verify);
    say(&format!("  {:9} {:>8}", "in all".bold(), show::duration(apply)));

    say("\nteal cutover");
    let mut migrating = last(&operator)?;
    operator.cutover(&mut migrating, Cutover::Exchange)?;
    thread::sleep(Duration::from_secs_f64(args.seconds_after.max(0.0)));

    say("\nteal cleanup");
    let parity = operator.compare(&migrating)?;
    operator.cleanup(&mut migrating, false)?;
    // The alias and the name that everyone knows are the same table now, traffic and all.
    thread::sleep(Duration::from_secs_f64(args.seconds_after.clamp(0.0, 0.5)));
    let seconds = |step| progress.took(step).as_secs_f64();
    Ok(Outcome {
        table: migrating.tables_now().1.clone(),
        rows_copied: progress.rows_copied(),
        rows_in_blue: parity.blue_rows,
        rows_in_green: parity.green_rows,
        seconds: Seconds {
            apply: apply.as_secs_f64(),
            models: models.as_secs_f64(),
            plan: planned.as_secs_f64(),
            fence: seconds(Step::Fence),
            backfill: seconds(Step::Backfill),
            verify: verify.as_secs_f64(),
            cutover: seconds(Step::Cutover),
            cleanup: seconds(Step::Cleanup),
        },
    })
}

/// What documentation usually gives: create the new table and the view, then one INSERT … SELECT.
fn follow_documentation(
    args: &Demo,
    engine: &dyn Server,
    migration: &Migration,
) -> Result<Outcome, Failure> {
    let mut session = engine.session(&[])?;
    let began = Instant::now();
    session.command(&migration.create_green)?;
    session.command(&migration.create_view)?;
    let rows_copied = rows(session.as_mut(), &migration.blue)?;
    let copying = Instant::now();
    session.command(&format!("INSERT INTO {} {}", migration.green.sql(), migration.select))?;
    let (apply, backfill) = (began.elapsed(), copying.elapsed());
    say(&format!(
        "\nthe documented recipe: view created, then one INSERT … SELECT, in {}",
        show::duration(apply)
    ));
    thread::sleep(Duration::from_secs_f64(args.seconds_after.max(0.0)));
    Ok(Outcome {
        table: migration.green.clone(),
        rows_copied,
        rows_in_blue: rows(session.as_mut(), &migration.blue)?,
        rows_in_green: rows(session.as_mut(), &migration.green)?,
        seconds: Seconds {
            apply: apply.as_secs_f64(),
            backfill: backfill.as_secs_f64(),
            ..Seconds::default()
        },
    })
}

fn first_migration(plan: &Plan) -> Result<Migration, Failure> {
    plan.operations
        .iter()
        .find_map(|operation| match operation {
            Operation::Migrate { migration, .. } => Some((**migration).clone()),
            _ => None,
        })
        .ok_or_else(|| Failure::failed("the demo's models have no migration"))
}

fn create_blue(engine: &dyn Server, plan: &Plan, blue: &QualifiedName) -> Result<(), Failure> {
    let mut session = engine.session(&[])?;
    for operation in &plan.operations {
        if let Operation::CreateTable { table, statement, .. } = operation
            && table == blue
        {
            session.command(&statement.sql)?;
        }
    }
    Ok(())
}

fn load(engine: &dyn Server, file: &Path, blue: &QualifiedName, rows: u64) -> Result<(), Failure> {
    let began = Instant::now();
    let mut session = engine.session(&[])?;
    let bar = ProgressBar::new(rows);
    data::load(session.as_mut(), file, blue, rows, |done| bar.set_position(done))?;
    bar.finish_and_clear();
    proof::keep_base(session.as_mut(), blue)?;
    say(&format!(
        "{} flights loaded into {blue} in {}",
        show::count(rows),
        show::duration(began.elapsed())
    ));
    Ok(())
}

/// The cost of the question that the new sorting key is for.
fn measure(engine: &dyn Server, table: &QualifiedName) -> Result<Cost, Failure> {
    const TIMES: usize = 5;
    let mut session = engine.user_session(&[])?;
    let mut costs = (0..TIMES)
        .map(|_| {
            let began = Instant::now();
            let answer = session.run(&question(table), Format::TSV)?;
            Ok(Cost { rows_read: answer.rows_read, seconds: began.elapsed().as_secs_f64() })
        })
        .collect::<Result<Vec<_>, ClientError>>()?;
    costs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    costs.get(TIMES / 2).copied().ok_or_else(|| Failure::failed("nothing was measured"))
}

fn rows(session: &mut dyn Session, table: &QualifiedName) -> Result<u64, ClientError> {
    #[derive(serde::Deserialize)]
    struct Row {
        rows: u64,
    }
    Ok(session.row::<Row>(&format!("SELECT count() AS rows FROM {}", table.sql()))?.rows)
}

fn last(operator: &Operator<'_>) -> Result<Migrating, Failure> {
    operator.migrations()?.pop().ok_or_else(|| Failure::failed("the journal has no migration"))
}

fn say(line: &str) {
    show::note(line);
}
