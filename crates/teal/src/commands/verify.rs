use serde::Serialize;
use teal_client::Server;
use teal_migrate::{
    LockError, MigrateError, Migrating, Operator, Parity, Phase, SampleFound, SampleOf,
};

use super::choose;
use crate::cli::{self, Common, Percent};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::show;
use crate::target::{OpenOrRunning, Project};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    migration: &'a str,
    holds: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<&'a SampleOf>,
    parity: &'a Parity,
}

/// Two tables, compared.
struct Compared {
    migrating: Migrating,
    parity: Parity,
    sample: Option<SampleOf>,
}

pub(crate) fn run(common: &Common, args: &cli::Verify) -> Result<(), Failure> {
    let project = Project::read(common)?;
    if args.watch {
        return watch(&project, args, common.json);
    }
    let server = project.open()?;
    let progress = Progress::default();
    let operator = Operator::open(server.as_ref(), project.operator_options(None), &progress)?;
    let migrating =
        choose(operator.migrations()?, args.which.table.as_deref(), &project.plan.database)?;
    let found = match args.sample {
        Some(Percent(share)) => compare_sample(&operator, migrating, share)?,
        None => compare(&operator, migrating)?,
    };
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
    let mut told = None;
    let mut kept = None;
    loop {
        let opened = match kept.take() {
            Some(server) => Some(OpenOrRunning::Open(server)),
            // Somebody has it open who works on no migration.
            None => project.open_or_running().map(Some).or_else(Failure::unless_refused)?,
        };
        if let Some(OpenOrRunning::Open(server)) = opened {
            match look(project, server.as_ref(), args, is_watched)? {
                Look::Compared(found) => {
                    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
                    let is_read = show::data_while_read(&match json {
                        true => serde_json::to_string(&found.report())?,
                        false => format!("{now}  {}", found.said()),
                    })?;
                    found.or_refusal()?;
                    if !is_read {
                        return Ok(());
                    }
                    is_watched = true;
                    told = None;
                }
                Look::CutOver(table) => {
                    show::note(&format!("{table} was cut over; there is no more to watch"));
                    return Ok(());
                }
                Look::Busy(holder) => tell_once(&mut told, holder),
            }
            kept = Some(server).filter(|server| !server.is_exclusive());
        } else {
            let holder = "another process has the data directory open".to_owned();
            tell_once(&mut told, holder);
        }
        std::thread::sleep(args.every.0);
    }
}

/// Says who is waited for, unless that was said last.
fn tell_once(told: &mut Option<String>, holder: String) {
    if told.as_ref() != Some(&holder) {
        show::note(&format!("{holder}; waiting for its end"));
        *told = Some(holder);
    }
}

/// What one look of a watch came to.
enum Look {
    Compared(Box<Compared>),
    /// There was a cutover of this table since the watch began.
    CutOver(String),
    /// Another command is at work: who says so.
    Busy(String),
}

fn look(
    project: &Project,
    server: &dyn Server,
    args: &cli::Verify,
    is_watched: bool,
) -> Result<Look, Failure> {
    let progress = Progress::default();
    let operator = match Operator::open(server, project.operator_options(None), &progress) {
        Err(MigrateError::Lock(LockError::Held { holder, .. })) => {
            return Ok(Look::Busy(format!("another teal works on this target: {holder}")));
        }
        other => other?,
    };
    let migrating =
        choose(operator.migrations()?, args.which.table.as_deref(), &project.plan.database)?;
    match migrating.phase {
        // Two looks may have both between them.
        Phase::CutOver(_) | Phase::Cleaned(_) if is_watched => {
            Ok(Look::CutOver(migrating.migration.table))
        }
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
    Ok(Compared { migrating, parity, sample: None })
}

fn compare(operator: &Operator<'_>, mut migrating: Migrating) -> Result<Compared, Failure> {
    operator.heal_at_last(&mut migrating)?;
    refuse_other_phases(&migrating)?;
    let parity = operator.compare(&migrating)?;
    Ok(Compared { migrating, parity, sample: None })
}

fn compare_sample(
    operator: &Operator<'_>,
    mut migrating: Migrating,
    share: f64,
) -> Result<Compared, Failure> {
    operator.heal_at_last(&mut migrating)?;
    refuse_other_phases(&migrating)?;
    let SampleFound { parity, of } = operator.compare_sample(&migrating, share)?;
    Ok(Compared { migrating, parity, sample: Some(of) })
}

/// Refuses where the two tables need not hold the same rows.
fn refuse_other_phases(migrating: &Migrating) -> Result<(), Failure> {
    let wrong = |wanted| Failure::from(migrating.wrong_phase(wanted));
    match &migrating.phase {
        Phase::Backfilled(_) | Phase::Verified(_) => Ok(()),
        Phase::CutOver(state) if state.forwards_back => Ok(()),
        Phase::CutOver(_) => {
            Err(wrong("the old table gets no new rows any more, so the two differ"))
        }
        Phase::Cleaned(_) => Err(wrong("the old table is gone")),
        Phase::Aborting(_) | Phase::Aborted(_) => Err(wrong("the new table is gone")),
        _ => Err(wrong("run `teal apply` first, which copies")),
    }
}

impl Compared {
    fn report(&self) -> Report<'_> {
        Report {
            migration: &self.migrating.id,
            holds: self.parity.holds(),
            parity: &self.parity,
            sample: self.sample.as_ref(),
        }
    }

    fn said(&self) -> String {
        let Self { migrating: Migrating { migration, .. }, parity, sample } = self;
        let (blue, green) = (&migration.blue, &migration.green);
        let looked = sample.as_ref().map(|of| format!(" {of}")).unwrap_or_default();
        match parity.holds() {
            true => format!("{blue} and {green} hold the same rows{looked}: {parity}"),
            false => format!("{blue} and {green} differ{looked}"),
        }
    }

    fn or_refusal(self) -> Result<(), Failure> {
        let said = self.said();
        let migration = self.migrating.migration;
        match self.parity.holds() {
            true => Ok(()),
            false if self.sample.is_some() => Err(Failure::refused(format!(
                "{said}: {} rows and {} rows, not the same in {} of {} buckets\n  `teal verify` reads all of them, and shows which",
                self.parity.blue_rows,
                self.parity.green_rows,
                self.parity.mismatches.len(),
                self.parity.compared
            ))),
            false => Err(MigrateError::NoParity {
                blue: migration.blue,
                green: migration.green,
                parity: Box::new(self.parity),
            }
            .into()),
        }
    }
}
