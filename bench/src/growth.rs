//! How the time of a migration grows with the rows and the partitions of its table.

use clap::Args;
use comfy_table::{Table, presets};

use crate::Outcome;
use crate::measure::{median, pair};
use crate::scene::{Layout, Merges, Scene};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rows of the tables
    #[arg(long, value_delimiter = ',', default_values_t = ROWS)]
    rows: Vec<u64>,
    /// Partitions of a table of 3 million rows
    #[arg(long, value_delimiter = ',', default_values_t = PARTITIONS)]
    partitions: Vec<u64>,
    /// Runs of each
    #[arg(long, default_value_t = RUNS)]
    runs: usize,
}

const ROWS: [u64; 3] = [1_000_000, 10_000_000, 100_000_000];
const PARTITIONS: [u64; 3] = [1, 10, 1_000];
const PARTITIONED_ROWS: u64 = 3_000_000;
const RUNS: usize = 3;

impl Default for Options {
    fn default() -> Self {
        Self { rows: ROWS.to_vec(), partitions: PARTITIONS.to_vec(), runs: RUNS }
    }
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    let directory = tempfile::Builder::new().prefix("teal-bench-").tempdir()?;
    let scene = Scene::open(directory.path(), Merges::Off)?;
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "rows",
        "partitions",
        "plain INSERT … SELECT",
        "parts",
        "teal",
        "parts",
        "ratio",
        "teal, per million rows",
    ]);
    let tables = options.rows.iter().map(|rows| (*rows, 1));
    let partitioned = options.partitions.iter().map(|partitions| (PARTITIONED_ROWS, *partitions));
    for (rows, partitions) in tables.chain(partitioned) {
        anstream::eprintln!("loading {rows} rows, {partitions} partition(s)");
        scene.load_partitioned(rows, partitions)?;
        let mut runs = Vec::new();
        for number in 0..options.runs {
            let layout = Layout::ByRouteIn { partitions };
            runs.push(pair(number, || scene.plain(layout), || scene.migrate(layout))?);
        }
        let plain = median(runs.iter().map(|(plain, _)| plain.seconds));
        let teal = median(runs.iter().map(|(_, teal)| teal.seconds));
        table.add_row([
            rows.to_string(),
            partitions.to_string(),
            format!("{plain:.2} s"),
            format!("{:.0}", median(runs.iter().map(|(plain, _)| plain.parts as f64))),
            format!("{teal:.2} s"),
            format!("{:.0}", median(runs.iter().map(|(_, teal)| teal.parts as f64))),
            format!("{:.3}", crate::measure::ratio(&runs)),
            format!("{:.3} s", teal / (rows as f64 / 1e6)),
        ]);
    }
    anstream::println!("{table}");
    anstream::println!("\nFence and copy of a rewrite, alone. Medians of {} pairs.", options.runs);
    Ok(())
}
