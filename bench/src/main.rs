//! What teal promises of speed, measured beside what it is compared with, in the same run. Absolute
//! times belong to the machine; the ratios are what is promised.

mod copy;
mod growth;
mod latency;
mod measure;
mod memory;
mod models;
mod plan;
mod scene;
#[path = "../../tests/servers/mod.rs"]
#[allow(clippy::unwrap_used, dead_code)]
mod servers;
mod verify;

use std::error::Error;

use clap::{Parser, Subcommand};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Without a part's name: every part, with its defaults.
#[derive(Debug, Parser)]
#[command(about = "teal's speed beside what it is compared with")]
struct Options {
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The copy of a table against the plain INSERT … SELECT
    Copy(copy::Options),
    /// The users' statements while their table is migrated, against those before
    Latency(latency::Options),
    /// The time of a migration by the rows and partitions of the table
    Growth(growth::Options),
    /// The proof of parity against a plain sum of hashes
    Verify(verify::Options),
    /// The memory that teal itself takes for a migration
    Memory(memory::Options),
    /// Loading models against the bare start of their languages
    Models(models::Options),
    /// The plan of many tables that have not changed
    Plan(plan::Options),
}

fn main() -> Outcome<()> {
    match Options::parse().part {
        Some(Part::Copy(options)) => copy::run(&options),
        Some(Part::Latency(options)) => latency::run(&options),
        Some(Part::Growth(options)) => growth::run(&options),
        Some(Part::Verify(options)) => verify::run(&options),
        Some(Part::Memory(options)) => memory::run(&options),
        Some(Part::Models(options)) => models::run(&options),
        Some(Part::Plan(options)) => plan::run(&options),
        None => {
            plan::run(&plan::Options::default())?;
            models::run(&models::Options::default())?;
            copy::run(&copy::Options::default())?;
            verify::run(&verify::Options::default())?;
            latency::run(&latency::Options::default())?;
            growth::run(&growth::Options::default())?;
            memory::run(&memory::Options::default())
        }
    }
}
