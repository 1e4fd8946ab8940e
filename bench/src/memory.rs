//! The memory that teal itself takes for a migration: the rows pass through the server only.

use std::process::Command;

use clap::Args;
use comfy_table::{Table, presets};
use teal_client::{HttpOptions, HttpServer, Server};

use crate::Outcome;
use crate::measure::peak_kib;
use crate::models::teal;
use crate::servers::Modern;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rows of the tables
    #[arg(long, value_delimiter = ',', default_values_t = ROWS)]
    rows: Vec<u64>,
    /// Partitions of each
    #[arg(long, value_delimiter = ',', default_values_t = PARTITIONS)]
    partitions: Vec<u64>,
}

const ROWS: [u64; 2] = [1_000_000, 20_000_000];
const PARTITIONS: [u64; 2] = [1, 1_000];

impl Default for Options {
    fn default() -> Self {
        Self { rows: ROWS.to_vec(), partitions: PARTITIONS.to_vec() }
    }
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(["rows", "partitions", "memory of teal"]);
    for rows in &options.rows {
        for partitions in &options.partitions {
            anstream::eprintln!("{rows} rows, {partitions} partition(s)");
            let peak = migrate(*rows, *partitions)?.div_ceil(1024);
            table.add_row([rows.to_string(), partitions.to_string(), format!("{peak} MiB")]);
        }
    }
    anstream::println!("{table}");
    anstream::println!(
        "\n`teal apply` of a new sorting key, from the plan to the proof, on a server."
    );
    Ok(())
}

/// The most memory that `teal apply` has resident.
fn migrate(rows: u64, partitions: u64) -> Outcome<u64> {
    let directory = tempfile::Builder::new().prefix("teal-bench-").tempdir()?;
    let partition_by = format!("PARTITION BY id % {partitions}");
    let columns = "(id UInt64, town String, at DateTime) ENGINE = MergeTree";
    let old = format!("CREATE TABLE events_0_0 {columns} {partition_by} ORDER BY id;\n");
    let new = format!("CREATE TABLE events_0_1 {columns} {partition_by} ORDER BY (town, id);\n");
    let models = format!(
        "{old}-- teal: table events version 0.1\n{new}\
         CREATE MATERIALIZED VIEW mv_events TO events_0_1 AS SELECT * FROM events_0_0;\n"
    );
    std::fs::create_dir(directory.path().join("app"))?;
    std::fs::write(
        directory.path().join("app/events.sql"),
        format!("-- teal: table events version 0.0\n{models}"),
    )?;

    let modern = Modern::start();
    let server = HttpServer::open(HttpOptions::new(modern.address()))?;
    let mut session = server.session(&[])?;
    session.command(&old)?;
    session.command(&format!(
        "INSERT INTO events_0_0 SELECT number, concat('town ', toString(number % 1000)), now() FROM numbers({rows}) \
         SETTINGS max_partitions_per_insert_block = 0"
    ))?;
    let mut apply = Command::new(teal()?);
    apply.arg("-C").arg(directory.path()).args(["--url", &modern.url(), "apply"]);
    peak_kib(&mut apply)
}
