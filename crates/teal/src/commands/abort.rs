use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use teal_client::Server;
use teal_migrate::{
    Ask, MigrateError, Operator, Phase, PhaseName, Request, Running, Status, read_status,
};

use super::choose;
use crate::cli::{Abort, Common};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::show;
use crate::target::{OpenOrRunning, Project, running_beside};

/// Between two looks whether the running teal has ended.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    migration: String,
    phase: PhaseName,
}

/// The one who holds the lock is asked to end its work and abort; whatever it does of that, this goes on
/// when the lock is free, and does what is left to do. So its outcome is the outcome.
pub(crate) fn run(common: &Common, args: &Abort) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let mut asked = None;
    if project.data_directory()?.is_none() {
        let server = project.open()?;
        loop {
            match abort(common, args, &project, server.as_ref(), asked.as_ref()) {
                Err(Ended::Held) => (),
                Err(Ended::Failed(failure)) => return Err(failure),
                Ok(()) => return Ok(()),
            }
            if asked.is_none() {
                let all = read_status(server.as_ref(), project.limits())?;
                asked = Some(ask(args, &project.plan.database, all, |request| {
                    Ok(request.write(server.as_ref())?)
                })?);
            }
            std::thread::sleep(LOOK);
        }
    }
    let mut is_told = false;
    loop {
        let found = match project.open_or_running() {
            // Another has it open meanwhile, who works on no migration.
            Err(failure) if asked.is_some() => {
                failure.unless_refused::<()>()?;
                if !is_told {
                    is_told = true;
                    show::note("another process has the data directory open; waiting for its end");
                }
                std::thread::sleep(LOOK);
                continue;
            }
            found => found?,
        };
        let (data, running) = match found {
            OpenOrRunning::Open(server) => {
                return match abort(common, args, &project, server.as_ref(), asked.as_ref()) {
                    Ok(()) => Ok(()),
                    Err(Ended::Failed(failure)) => Err(failure),
                    Err(Ended::Held) => Err(Failure::refused(
                        "something else in this process holds the target's lock; run the command again when that has ended",
                    )),
                };
            }
            OpenOrRunning::Running { data, running } => (data, running),
        };
        if asked.is_none() {
            let write = |request: &Request| Ok(request.write_beside(&data)?);
            asked = Some(ask(args, &project.plan.database, running.migrations, write)?);
        }
        // Not by opening the directory, which would keep others from it.
        std::thread::sleep(LOOK);
        while running_beside(&data)?.is_some_and(|running| is_alive(&running)) {
            std::thread::sleep(LOOK);
        }
    }
}

fn is_alive(running: &Running) -> bool {
    const SILENT: SignedDuration = SignedDuration::from_secs(5);
    Timestamp::now().duration_since(running.live.told) < SILENT
}

/// Asks the other process that works on the target to give it up.
fn ask(
    args: &Abort,
    database: &str,
    all: Vec<Status>,
    write: impl FnOnce(&Request) -> Result<(), Failure>,
) -> Result<Request, Failure> {
    let at_work = all.iter().find(|it| it.step.is_some()).cloned();
    let status = choose(all, args.which.table.as_deref(), database)?;
    let request = Request::new(&status.migration, Ask::Abort { force: args.force });
    write(&request)?;
    let who = match &status.operator {
        Some(operator) => format!("process {} on {}", operator.process, operator.host),
        None => "the other teal".to_owned(),
    };
    show::note(&match at_work.filter(|other| other.migration != status.migration) {
        Some(other) => format!("waiting for the end of {who}, which works on {}", other.table),
        None => format!("{who} was asked to end its work on {}; waiting for that", status.table),
    });
    Ok(request)
}

/// Why there is no outcome here.
enum Ended {
    /// Another holds the lock.
    Held,
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn abort(
    common: &Common,
    args: &Abort,
    project: &Project,
    server: &dyn Server,
    asked: Option<&Request>,
) -> Result<(), Ended> {
    let outcome = abort_now(common, args, project, server, asked);
    if let (Err(Ended::Failed(_)), Some(asked)) = (&outcome, asked) {
        // It will not be aborted later, when nobody expects it.
        if let Err(error) = Request::new(&asked.migration, Ask::Keep).write(server) {
            show::warning(&format!(
                "the abort was asked for and could not be taken back: {error}; `teal resume` takes it back"
            ));
        }
    }
    outcome
}

fn abort_now(
    common: &Common,
    args: &Abort,
    project: &Project,
    server: &dyn Server,
    asked: Option<&Request>,
) -> Result<(), Ended> {
    let progress = Progress::default();
    let operator = match Operator::open(server, project.operator_options(None), &progress) {
        Err(MigrateError::Lock(error)) if error.is_another_at_work() => return Err(Ended::Held),
        other => other?,
    };
    let which = match asked {
        Some(asked) => Some(asked.migration.as_str()),
        None => args.which.table.as_deref(),
    };
    let mut migrating = choose(operator.migrations()?, which, &project.plan.database)?;
    // What the other teal has begun of it is ended.
    let has_begun = matches!(migrating.phase, Phase::Aborting(_) | Phase::Aborted(_));
    if let Some(asked) = asked.filter(|_| !has_begun)
        && asked.is_taken_back(server)?
    {
        return Err(Ended::Failed(Failure::refused(format!(
            "the abort of the migration of {} was taken back meanwhile (`teal resume`); nothing was changed",
            migrating.migration.table
        ))));
    }
    operator.abort(&mut migrating, args.force)?;
    if common.json {
        show::json(&Report { phase: migrating.phase.name(), migration: migrating.id })?;
        return Ok(());
    }
    show::data(&format!(
        "the migration of {} was given up; {} is as it was. `teal plan` will show it again while the models declare it",
        migrating.migration.table, migrating.migration.blue
    ))?;
    Ok(())
}
