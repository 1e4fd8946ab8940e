//! teal's copy against the plain `INSERT … SELECT`, on the same engine, pair by pair.

use clap::Args;
use comfy_table::{Table, presets};

use crate::Outcome;
use crate::measure::{at_most, median, pair, ratio};
use crate::scene::{Layout, Merges, Scene};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rows of the tables
    #[arg(long, value_delimiter = ',', default_values_t = ROWS)]
    rows: Vec<u64>,
    /// Pairs of runs
    #[arg(long, default_value_t = PAIRS)]
    pairs: usize,
}

const ROWS: [u64; 2] = [20_000_000, 100_000_000];
const PAIRS: usize = 5;

impl Default for Options {
    fn default() -> Self {
        Self { rows: ROWS.to_vec(), pairs: PAIRS }
    }
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    let directory = tempfile::Builder::new().prefix("teal-bench-").tempdir()?;
    let scene = Scene::open(directory.path(), Merges::Off)?;

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
        "and of the parts",
    ]);
    for rows in &options.rows {
        anstream::eprintln!("loading {rows} rows");
        scene.load(*rows)?;
        for (what, layout, bound) in [
            ("new sorting key (rewrite)", Layout::ByRoute, 0.70),
            ("new engine (clone)", Layout::Replacing, 0.02),
        ] {
            let mut pairs = Vec::new();
            for number in 1..=options.pairs {
                let (plain, teal) = pair(number, || scene.plain(layout), || scene.migrate(layout))?;
                anstream::eprintln!(
                    "{what}, {number} of {}: plain {:.2} s, {} parts; teal {:.3} s, {} parts",
                    options.pairs,
                    plain.seconds,
                    plain.parts,
                    teal.seconds,
                    teal.parts
                );
                pairs.push((plain, teal));
            }
            table.add_row([
                what.to_owned(),
                rows.to_string(),
                format!("{:.2} s", median(pairs.iter().map(|(plain, _)| plain.seconds))),
                format!("{:.0}", median(pairs.iter().map(|(plain, _)| plain.parts as f64))),
                format!("{:.3} s", median(pairs.iter().map(|(_, teal)| teal.seconds))),
                format!("{:.0}", median(pairs.iter().map(|(_, teal)| teal.parts as f64))),
                format!("{:.3}", ratio(&pairs)),
                at_most(bound, ratio(&pairs)),
                at_most(
                    0.5,
                    median(
                        pairs.iter().map(|(plain, teal)| teal.parts as f64 / plain.parts as f64),
                    ),
                ),
            ]);
        }
    }
    anstream::println!("{table}");
    anstream::println!(
        "\nteal's time is that of fence and copy, from an existing green to a complete one. Medians of {} pairs.",
        options.pairs
    );
    Ok(())
}
