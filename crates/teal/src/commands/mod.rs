mod abort;
mod apply;
mod cleanup;
mod cutover;
mod doctor;
mod engine;
mod init;
mod plan;
mod pull;
mod query;
mod repair;
mod rollback;
mod status;
mod verify;

use std::process::ExitCode;

use clap::CommandFactory as _;
use teal_migrate::Migrating;

use crate::cli::{Cli, Command};
use crate::demo;
use crate::failure::Failure;

pub(crate) use engine::fetch;
pub(crate) use plan::plan_for;

pub(crate) fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    let common = &cli.common;
    match &cli.command {
        Command::Init(args) => init::run(common, args)?,
        Command::Pull(args) => pull::run(common, args)?,
        Command::Plan(args) => return plan::run(common, args),
        Command::Apply(args) => apply::run(common, args)?,
        Command::Status => status::run(common)?,
        Command::Verify(which) => verify::run(common, which)?,
        Command::Repair(which) => repair::run(common, which)?,
        Command::Cutover(args) => cutover::run(common, args)?,
        Command::Rollback(args) => rollback::run(common, args)?,
        Command::Cleanup(args) => cleanup::run(common, args)?,
        Command::Abort(args) => abort::run(common, args)?,
        Command::Doctor => return doctor::run(common),
        Command::Query(args) => query::run(common, args)?,
        Command::Demo(args) => demo::run(common, args)?,
        Command::Engine(args) => engine::run(common, args)?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "teal", &mut script);
            crate::show::data(String::from_utf8_lossy(&script).trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The migration that a command is about: the only one of this name that is not over; else the last one,
/// so that a command which was killed at its very end can be repeated.
fn choose(migrations: Vec<Migrating>, which: Option<&str>) -> Result<Migrating, Failure> {
    let is_named = |migrating: &Migrating| match which {
        Some(which) => {
            let migration = &migrating.migration;
            [&migrating.id, &migration.table, &migration.green.name, &migration.green.to_string()]
                .iter()
                .any(|name| *name == which)
        }
        None => true,
    };
    let known = migrations.iter().map(|m| m.migration.green.name.clone()).collect::<Vec<_>>();
    let (mut over, mut open): (Vec<_>, Vec<_>) =
        migrations.into_iter().filter(is_named).partition(|migrating| migrating.phase.is_over());
    match (open.pop().or_else(|| over.pop()), open.len()) {
        (Some(migrating), 0) => Ok(migrating),
        (Some(_), _) => Err(Failure::usage(format!(
            "there are several migrations: name one of {}",
            known.join(", ")
        ))),
        (None, _) => Err(Failure::usage(match which {
            Some(which) => format!("there is no migration {which}; `teal status` lists them"),
            None => "there is no migration; `teal plan` shows what would be one".to_owned(),
        })),
    }
}
