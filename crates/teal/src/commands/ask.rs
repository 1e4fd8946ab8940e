//! What is asked of a migration without the lock: `pause`, `resume`, `throttle`.

use serde::Serialize;
use teal_migrate::{Ask, Limits, PhaseName, Request, Status, Worker, read_status};

use super::choose;
use crate::cli::{Common, Throttle, Which};
use crate::failure::Failure;
use crate::show;
use crate::target::{OpenOrRunning, Project};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    migration: String,
    paused: bool,
    throttle: Limits,
    /// Whether a teal works on the migration now, and will follow.
    is_running: bool,
}

pub(crate) fn run(common: &Common, which: &Which, ask: Ask) -> Result<(), Failure> {
    let target = Target::read(common)?;
    let status = target.choose(which, ask)?;
    let said = match ask {
        // What another process says may be a moment old, or from before a long step: it is asked once more.
        Ask::Pause if status.paused.is_some() && !target.is_at_work() => {
            "is paused already".to_owned()
        }
        Ask::Pause => {
            target.write(&status, ask)?;
            "is paused; `teal resume` lets it go on".to_owned()
        }
        _ if status.paused.is_none() && status.abort_asked.is_none() && !target.is_at_work() => {
            "is not paused".to_owned()
        }
        _ => {
            target.write(&status, ask)?;
            match follower(&status) {
                _ if status.abort_asked.is_some() && !status.has_work() => {
                    "is not to be aborted any more".to_owned()
                }
                _ if !status.has_work() => "is not paused any more".to_owned(),
                Some(_) => "goes on".to_owned(),
                None => "is not paused any more; `teal apply` lets it go on".to_owned(),
            }
        }
    };
    let throttle = status.throttle;
    report(common, &status, said, ask == Ask::Pause, throttle)
}

pub(crate) fn throttle(common: &Common, args: &Throttle) -> Result<(), Failure> {
    let target = Target::read(common)?;
    let limits = Limits::from(&args.limits);
    let status = target.choose(&args.which, Ask::Throttle { limits })?;
    let throttle = status.throttle.then(limits);
    if !limits.is_empty() {
        target.write(&status, Ask::Throttle { limits })?;
    }
    let is_paused = status.paused.is_some();
    report(common, &status, format!("has these limits: {throttle}"), is_paused, throttle)
}

fn report(
    common: &Common,
    status: &Status,
    said: String,
    paused: bool,
    throttle: Limits,
) -> Result<(), Failure> {
    if common.json {
        return show::json(&Report {
            migration: status.migration.clone(),
            paused,
            throttle,
            is_running: follower(status).is_some(),
        });
    }
    let follows = match follower(status) {
        Some(operator) => format!(
            "\nprocess {} on {} follows when it has copied the chunks that it is at",
            operator.process, operator.host
        ),
        None => String::new(),
    };
    show::data(&format!("the migration of {} {said}{follows}", status.table))
}

/// Who works on this migration now. Whoever has the target's lock may be at another one.
fn follower(status: &Status) -> Option<&Worker> {
    status.operator.as_ref().filter(|_| status.step.is_some())
}

/// The target and its migrations.
struct Target {
    found: OpenOrRunning,
    migrations: Vec<Status>,
    /// The project's.
    database: String,
}

impl Target {
    fn read(common: &Common) -> Result<Self, Failure> {
        let project = Project::read(common)?;
        let found = project.open_or_running()?;
        let migrations = match &found {
            OpenOrRunning::Open(server) => read_status(server.as_ref(), project.limits())?,
            OpenOrRunning::Running { running, .. } => running.migrations.clone(),
        };
        Ok(Self { found, migrations, database: project.plan.database })
    }

    /// The migration, if there is anything left to be paused or limited, or an abort to be taken back.
    fn choose(&self, which: &Which, ask: Ask) -> Result<Status, Failure> {
        let status = choose(self.migrations.clone(), which.table.as_deref(), &self.database)?;
        let is_aborting = status.phase == PhaseName::Aborting;
        let is_held = status.paused.is_some() || status.abort_asked.is_some();
        let is_held = is_held && !is_aborting;
        match status.has_work() || ask == Ask::Resume && is_held {
            true => Ok(status),
            false => Err(Failure::refused(format!(
                "the migration of {} is {}: nothing is left to copy",
                status.table, status.phase
            ))),
        }
    }

    /// Another process has the data directory open.
    fn is_at_work(&self) -> bool {
        matches!(self.found, OpenOrRunning::Running { .. })
    }

    fn write(&self, status: &Status, ask: Ask) -> Result<(), Failure> {
        let request = Request::new(&status.migration, ask);
        match &self.found {
            OpenOrRunning::Open(server) => Ok(request.write(server.as_ref())?),
            OpenOrRunning::Running { data, .. } => Ok(request.write_beside(data)?),
        }
    }
}
