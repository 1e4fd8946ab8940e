mod abort;
mod apply;
mod ask;
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
use teal_migrate::{Ask, Migrating, Status};

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
        Command::Status(args) => status::run(common, args)?,
        Command::Pause(which) => ask::run(common, which, Ask::Pause)?,
        Command::Resume(which) => ask::run(common, which, Ask::Resume)?,
        Command::Throttle(args) => ask::throttle(common, args)?,
        Command::Verify(which) => verify::run(common, which)?,
        Command::Repair(args) => repair::run(common, args)?,
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

/// A migration, as a person names it.
trait Named {
    fn names(&self) -> Names;
    fn is_over(&self) -> bool;
}

/// By any of these.
#[derive(Debug, Clone)]
struct Names {
    /// Green's, without its database.
    green: String,
    full: String,
    id: String,
    /// Of the logical table.
    table: String,
}

impl Names {
    fn all(&self) -> [&str; 4] {
        [&self.green, &self.full, &self.id, &self.table]
    }

    fn is_of(&self, database: &str) -> bool {
        self.full.strip_prefix(database).is_some_and(|it| it.starts_with('.'))
    }
}

impl Named for Migrating {
    fn names(&self) -> Names {
        let green = &self.migration.green;
        Names {
            green: green.name.clone(),
            full: green.to_string(),
            id: self.id.clone(),
            table: self.migration.table.clone(),
        }
    }

    fn is_over(&self) -> bool {
        self.phase.is_over()
    }
}

impl Named for Status {
    fn names(&self) -> Names {
        // A table's name may have a dot.
        let (_, green) = self.green.split_once('.').unwrap_or(("", &self.green));
        Names {
            green: green.to_owned(),
            full: self.green.clone(),
            id: self.migration.clone(),
            table: self.table.clone(),
        }
    }

    fn is_over(&self) -> bool {
        self.is_over
    }
}

/// The migration that a command is about: the only one of this name that is not over; else the last one,
/// so that a command which was killed at its very end can be repeated. One of another database than the project's is
/// another team's, say: it is meant only where it is named in full.
fn choose<M: Named>(migrations: Vec<M>, which: Option<&str>, database: &str) -> Result<M, Failure> {
    let is_own = |it: &M| it.names().is_of(database);
    let is_named = |it: &M| {
        let names = it.names();
        match which {
            None => is_own(it),
            Some(which) if is_own(it) => names.all().contains(&which),
            Some(which) => names.full == which || names.id == which,
        }
    };
    let (named, others): (Vec<_>, Vec<_>) = migrations.into_iter().partition(is_named);
    let (mut over, mut open): (Vec<_>, Vec<_>) = named.into_iter().partition(M::is_over);
    if open.len() > 1 {
        return Err(Failure::usage(format!(
            "there are several migrations: name one of {}",
            told_apart(&open).join(", ")
        )));
    }
    open.pop().or_else(|| over.pop()).ok_or_else(|| {
        let others = others.iter().filter(|it| !it.is_over() && !is_own(it));
        let others = others.map(|it| it.names().full).collect::<Vec<_>>().join(", ");
        Failure::usage(match which {
            Some(which) => {
                format!("there is no migration {which} of database {database}; `teal status` lists them")
            }
            None if others.is_empty() => {
                "there is no migration; `teal plan` shows what would be one".to_owned()
            }
            None => format!(
                "there is no migration of database {database}; those of other databases are named in full: {others}"
            ),
        })
    })
}

/// Of each, the shortest name that no other one has.
fn told_apart<M: Named>(migrations: &[M]) -> Vec<String> {
    let names = migrations.iter().map(M::names).collect::<Vec<_>>();
    let is_of_one =
        |name: &&String| names.iter().filter(|of| of.all().contains(&name.as_str())).count() == 1;
    let told = names.iter().map(|Names { green, full, id, .. }| {
        [green, full].into_iter().find(is_of_one).unwrap_or(id).clone()
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Known(&'static str, &'static str, bool);

    impl Named for Known {
        fn names(&self) -> Names {
            let Self(database, version, _) = self;
            let green = format!("events_{version}");
            let full = format!("{database}.{green}");
            Names { green, id: format!("{full} of today"), full, table: "events".to_owned() }
        }

        fn is_over(&self) -> bool {
            self.2
        }
    }

    #[test]
    fn of_several_migrations_those_that_are_not_over_are_named_so_that_each_is_told() {
        let all = || {
            vec![
                Known("a", "1", false),
                Known("b", "1", false),
                Known("b", "2", false),
                Known("c", "3", true),
            ]
        };
        let open = all().into_iter().filter(|it| !it.is_over()).collect::<Vec<_>>();
        assert_eq!(told_apart(&open), ["a.events_1", "b.events_1", "events_2"]);
        assert!(choose(all(), None, "b").is_err());
        assert_eq!(choose(all(), None, "a").unwrap().0, "a");
        let none = format!("{:?}", choose(all(), None, "d").unwrap_err());
        assert!(none.contains("a.events_1, b.events_1, b.events_2"), "{none}");
        assert!(choose(all(), Some("events_1"), "d").is_err());
        assert_eq!(choose(all(), Some("b.events_1"), "a").unwrap().0, "b");
        assert!(choose(all(), Some("events_3"), "c").unwrap().is_over());
    }
}
