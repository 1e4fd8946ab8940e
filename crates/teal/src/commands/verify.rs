use serde::Serialize;
use teal_client::Server;
use teal_migrate::{LockError, MigrateError, Migrating, Operator, Parity, Phase};

use super::choose;
use crate::cli::{self, Common};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::show;
use crate::target::{OpenOrRunning, Project};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    migration: &'a str,
    holds: bool,
    parity: &'a Parity,
}

/// Two tables, compared.
struct Compared {
    migrating: Migrating,
    parity: Parity,
}

pub(crate) fn run(common: &Common, args: &cli::Verify) -> Result<(), Failure> {
    let project = Project::read(common)?;
    if args.watch {
        return watch(&project, args, common.json);
    }
    let server = project.open()?;
    let progress = Progress::default();
    let operator = Operator::open(server.as_ref(), project.operator_options(None), &progress)?;
    let migrating = choose(operator.migrations()?, args.which.table.as_deref())?;
    let found = compare(&operator, migrating)?;
    if common.json {
        show::json(&found.report())?;
    } else if found.parity.holds() {
        show::data(&found.said())?;
    }
    found.or_refusal()
}

/// Proves it anew from time to time, until the cutover or until the two differ. Each proof is noted in the
/// journal, so that the next one, that of the cutover too, reads only what has changed since. Between two of
/// them the target is free for other commands; while one is at work, none is made.
fn watch(project: &Project, args: &cli::Verify, json: bool) -> Result<(), Failure> {
    let mut is_watched = false;
    let mut kept = None;
    loop {
        let opened = match kept.take() {
            Some(server) => OpenOrRunning::Open(server),
            None => project.open_or_running()?,
        };
        if let OpenOrRunning::Open(server) = opened {
            match look(project, server.as_ref(), args, is_watched)? {
                Look::Compared(found) => {
                    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
                    show::data(&match json {
                        true => serde_json::to_string(&found.report())?,
                        false => format!("{now}  {}", found.said()),
                    })?;
                    found.or_refusal()?;
                    is_watched = true;
                }
                Look::CutOver => return Ok(()),
                Look::Busy => (),
            }
            kept = Some(server).filter(|server| !server.is_exclusive());
        }
        std::thread::sleep(args.every.0);
    }
}

/// What one look of a watch came to.
enum Look {
    Compared(Box<Compared>),
    /// There was a cutover since the watch began.
    CutOver,
    /// Another command is at work.
    Busy,
}

fn look(
    project: &Project,
    server: &dyn Server,
    args: &cli::Verify,
    is_watched: bool,
) -> Result<Look, Failure> {
    let progress = Progress::default();
    let operator = match Operator::open(server, project.operator_options(None), &progress) {
        Err(MigrateError::Lock(LockError::Held { .. })) => return Ok(Look::Busy),
        other => other?,
    };
    let migrating = choose(operator.migrations()?, args.which.table.as_deref())?;
    match migrating.phase {
        Phase::CutOver(_) if is_watched => Ok(Look::CutOver),
        _ => Ok(Look::Compared(Box::new(prove(&operator, migrating)?))),
    }
}

fn prove(operator: &Operator<'_>, mut migrating: Migrating) -> Result<Compared, Failure> {
    if !matches!(migrating.phase, Phase::Backfilled(_) | Phase::Verified(_)) {
        return compare(operator, migrating);
    }
    let parity = match operator.prove(&mut migrating) {
        Err(MigrateError::NoParity { parity, .. }) => *parity,
        Err(error) => return Err(error.into()),
        Ok(parity) => parity,
    };
    Ok(Compared { migrating, parity })
}

fn compare(operator: &Operator<'_>, migrating: Migrating) -> Result<Compared, Failure> {
    let wrong = |wanted| MigrateError::WrongPhase {
        migration: migrating.id.clone(),
        phase: migrating.phase.name(),
        wanted,
    };
    match &migrating.phase {
        Phase::Backfilled(_) | Phase::Verified(_) => (),
        Phase::CutOver(state) if state.forwards_back => (),
        Phase::CutOver(_) => {
            return Err(wrong("the old table gets no new rows any more, so the two differ").into());
        }
        Phase::Cleaned(_) => return Err(wrong("the old table is gone").into()),
        Phase::Aborting(_) | Phase::Aborted(_) => {
            return Err(wrong("the new table is gone").into());
        }
        _ => return Err(wrong("run `teal apply` first, which copies").into()),
    }
    let parity = operator.compare(&migrating)?;
    Ok(Compared { migrating, parity })
}

impl Compared {
    fn report(&self) -> Report<'_> {
        Report { migration: &self.migrating.id, holds: self.parity.holds(), parity: &self.parity }
    }

    fn said(&self) -> String {
        let Self { migrating: Migrating { migration, .. }, parity } = self;
        match parity.holds() {
            true => {
                format!("{} and {} hold the same rows: {parity}", migration.blue, migration.green)
            }
            false => format!("{} and {} differ", migration.blue, migration.green),
        }
    }

    fn or_refusal(self) -> Result<(), Failure> {
        let migration = self.migrating.migration;
        match self.parity.holds() {
            true => Ok(()),
            false => Err(MigrateError::NoParity {
                blue: migration.blue,
                green: migration.green,
                parity: Box::new(self.parity),
            }
            .into()),
        }
    }
}
