//! teal's copy against the plain `INSERT … SELECT`, on the same engine, pair by pair.

use clap::Args;
use comfy_table::{Table, presets};

use crate::Outcome;
use crate::measure::{Sample, median, ratio};
use crate::scene::{Layout, Scene};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rows of the rewritten table
    #[arg(long, default_value_t = ROWS)]
    rows: u64,
    /// Rows of the smaller table whose engine is changed
    #[arg(long, default_value_t = CLONE_ROWS)]
    clone_rows: u64,
    /// Pairs of runs
    #[arg(long, default_value_t = PAIRS)]
    pairs: usize,
}

const ROWS: u64 = 20_000_000;
const CLONE_ROWS: u64 = 3_000_000;
const PAIRS: usize = 5;

impl Default for Options {
    fn default() -> Self {
        Self { rows: ROWS, clone_rows: CLONE_ROWS, pairs: PAIRS }
    }
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    let directory = tempfile::Builder::new().prefix("teal-bench-").tempdir()?;
    let scene = Scene::open(directory.path())?;

    anstream::eprintln!("loading {} rows", options.rows);
    scene.load(options.rows)?;
    let mut rewrite = Vec::new();
    for pair in 1..=options.pairs {
        let plain = scene.plain(Layout::ByRoute)?;
        let teal = scene.migrate(Layout::ByRoute)?;
        anstream::eprintln!(
            "rewrite {pair} of {}: plain {:.2} s, {} parts; teal {:.2} s, {} parts",
            options.pairs,
            plain.seconds,
            plain.parts,
            teal.seconds,
            teal.parts
        );
        rewrite.push((plain, teal));
    }
    let mut clones = Vec::new();
    for pair in 1..=options.pairs {
        let plain = scene.plain(Layout::Replacing)?;
        let teal = scene.migrate(Layout::Replacing)?;
        anstream::eprintln!(
            "engine change {pair} of {}: plain {:.2} s, teal {:.3} s",
            options.pairs,
            plain.seconds,
            teal.seconds
        );
        clones.push((plain, teal));
    }
    scene.load(options.clone_rows)?;
    let mut small_clones = Vec::new();
    for _ in 0..options.pairs {
        small_clones.push((scene.plain(Layout::Replacing)?, scene.migrate(Layout::Replacing)?));
    }

    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "what",
        "rows",
        "plain INSERT … SELECT",
        "parts",
        "teal",
        "parts",
        "ratio (median of pairs)",
        "must be",
    ]);
    let mut line = |what: &str, rows: u64, pairs: &[(Sample, Sample)], bound: &str| {
        table.add_row([
            what.to_owned(),
            rows.to_string(),
            format!("{:.2} s", median(pairs.iter().map(|(plain, _)| plain.seconds))),
            format!("{:.0}", median(pairs.iter().map(|(plain, _)| plain.parts as f64))),
            format!("{:.3} s", median(pairs.iter().map(|(_, teal)| teal.seconds))),
            format!("{:.0}", median(pairs.iter().map(|(_, teal)| teal.parts as f64))),
            format!("{:.3}", ratio(pairs)),
            bound.to_owned(),
        ]);
    };
    line("new sorting key (rewrite)", options.rows, &rewrite, "at most 0.85");
    line("new engine (clone)", options.rows, &clones, "under 0.5 s");
    line("new engine (clone)", options.clone_rows, &small_clones, "under 0.5 s");
    anstream::println!("{table}");
    anstream::println!(
        "\nteal's time is that of fence and copy, from an existing green to a complete one. Medians of {} pairs.",
        options.pairs
    );
    Ok(())
}
