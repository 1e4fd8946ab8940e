//! The proof of parity against a plain sum of hashes over both tables, pair by pair.

use clap::Args;
use comfy_table::{Table, presets};

use crate::Outcome;
use crate::measure::{at_most, median, ratio};
use crate::scene::{Layout, Merges, Scene};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rows of each of the two tables
    #[arg(long, default_value_t = ROWS)]
    rows: u64,
    /// Pairs of runs
    #[arg(long, default_value_t = PAIRS)]
    pairs: usize,
}

const ROWS: u64 = 20_000_000;
const PAIRS: usize = 7;

impl Default for Options {
    fn default() -> Self {
        Self { rows: ROWS, pairs: PAIRS }
    }
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    let directory = tempfile::Builder::new().prefix("teal-bench-").tempdir()?;
    let scene = Scene::open(directory.path(), Merges::Off)?;
    anstream::eprintln!("loading {} rows", options.rows);
    scene.load(options.rows)?;
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "proof of parity of",
        "rows",
        "sum(cityHash64(*)) of both",
        "teal",
        "ratio (median of pairs)",
        "must be",
    ]);
    for (what, layout) in [
        ("a table that folds nothing", Layout::ByRoute),
        ("one that keeps the newest row of a key, not merged yet", Layout::Newest),
        ("the same, merged", Layout::NewestByRoute),
    ] {
        let pairs = scene.verify(layout, options.pairs)?;
        table.add_row([
            what.to_owned(),
            options.rows.to_string(),
            format!("{:.2} s", median(pairs.iter().map(|(plain, _)| plain.seconds))),
            format!("{:.2} s", median(pairs.iter().map(|(_, teal)| teal.seconds))),
            format!("{:.2}", ratio(&pairs)),
            at_most(1.5, ratio(&pairs)),
        ]);
    }
    anstream::println!("{table}");
    Ok(())
}
