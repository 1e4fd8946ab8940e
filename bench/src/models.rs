//! The whole `teal plan --no-target` of a project of many tables, in each language, beside the bare
//! start of what the language needs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::Args;
use comfy_table::{Table, presets};
use teal_client::{EmbeddedEngine, EngineOptions};
use teal_models::{LoadOptions, Loading, ModelLanguage, write_models};
use teal_schema::Schema;

use crate::Outcome;
use crate::measure::median;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Tables of the project, each in a file of its own
    #[arg(long, default_value_t = TABLES)]
    tables: usize,
    /// Runs of each language; the first is not counted
    #[arg(long, default_value_t = RUNS)]
    runs: usize,
}

const TABLES: usize = 100;
const RUNS: usize = 7;

impl Default for Options {
    fn default() -> Self {
        Self { tables: TABLES, runs: RUNS }
    }
}

struct Language {
    name: &'static str,
    language: ModelLanguage,
    must_be: &'static str,
    /// The program that does nothing but start, and load the library that reads models.
    bare: Option<Command>,
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    let directory = tempfile::Builder::new().prefix("teal-bench-").tempdir()?;
    let schema = schema(options.tables, directory.path())?;
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "models",
        "tables",
        "teal plan --no-target",
        "must be",
        "bare start",
        "of",
    ]);
    for Language { name, language, must_be, mut bare } in languages() {
        anstream::eprintln!("models in {name}, {} runs", options.runs);
        let project = directory.path().join(name);
        write_project(&schema, language, &project)?;
        let mut plan = Command::new(teal()?);
        plan.args(["plan", "--no-target", "--json", "--project"]).arg(&project);
        let mut times = Vec::new();
        let mut starts = Vec::new();
        for run in 0..=options.runs {
            let taken = seconds(&mut plan)?;
            let started = bare.as_mut().map(seconds).transpose()?;
            if run > 0 {
                times.push(taken);
                starts.extend(started);
            }
        }
        table.add_row([
            name.to_owned(),
            options.tables.to_string(),
            format!("{:.2} s", median(times.into_iter())),
            must_be.to_owned(),
            match &bare {
                Some(_) => format!("{:.2} s", median(starts.into_iter())),
                None => String::new(),
            },
            bare.as_ref().map_or_else(String::new, as_text),
        ]);
    }
    anstream::println!("{table}");
    anstream::println!("\nWhole processes, alternating. Medians of {} runs.\n", options.runs);
    Ok(())
}

fn languages() -> [Language; 3] {
    let mut node = Command::new(variable("TEAL_NODE", "node"));
    node.args(["-e", "require('typescript')"]).current_dir(checkout().join("sdk/typescript"));
    let mut python = Command::new(variable("TEAL_PYTHON", "python3"));
    python.args(["-c", "import pydantic; pydantic.BaseModel"]);
    [
        Language {
            name: "TypeScript",
            language: ModelLanguage::TypeScript,
            must_be: "under 1.5 s",
            bare: Some(node),
        },
        Language {
            name: "Python",
            language: ModelLanguage::Python,
            must_be: "under 1.0 s",
            bare: Some(python),
        },
        Language { name: "SQL", language: ModelLanguage::Sql, must_be: "under 0.5 s", bare: None },
    ]
}

/// As many tables of a usual kind, read from SQL as a user would write it.
pub(crate) fn schema(tables: usize, directory: &Path) -> Outcome<Schema> {
    let project = directory.join("source");
    std::fs::create_dir_all(project.join("app"))?;
    for i in 0..tables {
        let sql = format!(
            "-- teal: table events_{i:03} version 0.0
             CREATE TABLE events_{i:03}_0_0 (
                 id UUID, tenant LowCardinality(String), kind Enum8('view' = 1, 'buy' = 2),
                 user_id UInt64, path String CODEC(ZSTD(3)), tags Array(String),
                 price Nullable(Decimal(18, 2)), attributes Map(String, String),
                 latitude Float64, longitude Float64, is_test Bool DEFAULT false,
                 made_at DateTime64(3)
             )
             ENGINE = {} PARTITION BY toYYYYMM(made_at) ORDER BY (tenant, made_at, id)
             TTL toDateTime(made_at) + INTERVAL 1 YEAR;",
            if i % 2 == 0 { "MergeTree" } else { "ReplacingMergeTree(made_at)" },
        );
        std::fs::write(project.join(format!("app/events_{i:03}.sql")), sql)?;
    }
    let engine = EmbeddedEngine::open(EngineOptions {
        library: teal_fetch::fetch_engine_library(&mut |_| ())?,
        data: directory.join("data"),
        config_file: None,
    })?;
    Ok(Loading::start(&project, &LoadOptions::default())?.finish(&engine)?.schema)
}

pub(crate) fn write_project(
    schema: &Schema,
    language: ModelLanguage,
    project: &Path,
) -> Outcome<()> {
    std::fs::create_dir_all(project)?;
    std::fs::write(project.join("teal.toml"), "")?;
    for file in write_models(schema, language, "app")? {
        let path = project.join("app").join(&file.path);
        std::fs::create_dir_all(path.parent().unwrap_or(project))?;
        std::fs::write(path, file.text)?;
    }
    Ok(())
}

/// teal's program, which was built beside this one.
pub(crate) fn teal() -> Outcome<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("teal"))
}

fn checkout() -> &'static Path {
    Path::new(env!("TEAL_CHECKOUT"))
}

fn variable(name: &str, default: &str) -> OsString {
    std::env::var_os(name).unwrap_or_else(|| default.into())
}

fn seconds(command: &mut Command) -> Outcome<f64> {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let taken = began.elapsed().as_secs_f64();
    match output.status.success() {
        true => Ok(taken),
        false => Err(format!(
            "{} ended with {}: {}",
            as_text(command),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
        .into()),
    }
}

fn as_text(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    [name].into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
}
