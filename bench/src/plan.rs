//! The plan of many tables of which none has changed, without loading models: on the embedded engine
//! and over HTTP; and the memory of a whole `teal plan` against a server.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::Args;
use comfy_table::{Table, presets};
use teal_client::{EmbeddedEngine, EngineOptions, HttpOptions, HttpServer, Server};
use teal_models::ModelLanguage;
use teal_plan::{Cutover, History, PlanOptions, make_plan};
use teal_schema::Schema;

use crate::Outcome;
use crate::measure::{median, peak_kib};
use crate::models::{schema, teal, write_project};
use crate::servers::Modern;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Tables of the target
    #[arg(long, default_value_t = TABLES)]
    tables: usize,
    /// Plans that are made on each server; the first is not counted
    #[arg(long, default_value_t = RUNS)]
    runs: usize,
}

const TABLES: usize = 500;
const RUNS: usize = 7;

impl Default for Options {
    fn default() -> Self {
        Self { tables: TABLES, runs: RUNS }
    }
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    let directory = tempfile::Builder::new().prefix("teal-bench-").tempdir()?;
    let schema = schema(options.tables, directory.path())?;
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(["what", "taken", "must be"]);

    let open = || {
        EmbeddedEngine::open(EngineOptions {
            library: teal_fetch::fetch_engine_library(&mut |_| ())?,
            data: directory.path().join("target"),
            config_file: None,
        })
        .map_err(Box::<dyn std::error::Error>::from)
    };
    anstream::eprintln!("{} tables on the embedded engine", options.tables);
    create(&open()?, &schema)?;
    let embedded = plans(&|| Ok(Box::new(open()?)), &schema, options.runs)?;
    let what = format!("plan of {} unchanged tables, embedded, opening included", options.tables);
    table.add_row([what, format!("{embedded:.2} s"), "under 1 s".to_owned()]);

    anstream::eprintln!("{} tables on a server", options.tables);
    let modern = Modern::given_or_start();
    let open = || -> Outcome<Box<dyn Server>> {
        Ok(Box::new(HttpServer::open(HttpOptions::new(modern.address()))?))
    };
    create(open()?.as_ref(), &schema)?;
    let http = plans(&open, &schema, options.runs)?;
    let what = format!("plan of {} unchanged tables, over HTTP", options.tables);
    table.add_row([what, format!("{http:.2} s"), "under 2 s".to_owned()]);

    let project = directory.path().join("sql");
    write_project(&schema, ModelLanguage::Sql, &project)?;
    open()?.session(&[])?.command("CREATE DATABASE IF NOT EXISTS empty")?;
    for (command, database) in [("plan", ""), ("apply", "/empty")] {
        let url = format!("{}{database}", modern.url());
        let mut teal = Command::new(teal()?);
        teal.args(["--url", &url, command, "--project"]).arg(&project);
        let what =
            format!("memory of `teal {command}` of {} SQL models on a server", options.tables);
        let peak = format!("{} MiB", peak_kib(&mut teal)?.div_ceil(1024));
        table.add_row([what, peak, "under 64 MiB".to_owned()]);
    }

    let mut version = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        Command::new(teal()?).arg("--version").stdout(Stdio::null()).status()?;
        version.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let taken = format!("{:.1} ms", median(version.into_iter()));
    table.add_row(["teal --version".to_owned(), taken, "under 20 ms".to_owned()]);
    anstream::println!("{table}");
    anstream::println!("\nMedians of {} runs; of 20 for the version.\n", options.runs);
    Ok(())
}

fn create(server: &dyn Server, schema: &Schema) -> Outcome<()> {
    let plan =
        make_plan(server, server, schema, &BTreeSet::new(), &History::default(), &options())?;
    let mut session = server.session(&[])?;
    for operation in &plan.operations {
        for sql in operation.statements().unwrap_or_default() {
            session.command(sql)?;
        }
    }
    Ok(())
}

fn options() -> PlanOptions {
    PlanOptions { database: "default".to_owned(), cutover: Cutover::App, allow_drop: Vec::new() }
}

/// The median time of opening the server and making the plan, in seconds.
fn plans(
    open: &dyn Fn() -> Outcome<Box<dyn Server>>,
    schema: &Schema,
    runs: usize,
) -> Outcome<f64> {
    let mut times = Vec::new();
    for run in 0..=runs {
        let began = Instant::now();
        let server = open()?;
        let plan = make_plan(
            server.as_ref(),
            server.as_ref(),
            schema,
            &BTreeSet::new(),
            &History::default(),
            &options(),
        )?;
        if !plan.is_empty() {
            return Err(format!("the plan is not empty: {}", plan.to_yaml()?).into());
        }
        if run > 0 {
            times.push(began.elapsed().as_secs_f64());
        }
    }
    Ok(median(times.into_iter()))
}
