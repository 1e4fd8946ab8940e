use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use teal_client::Server;
use teal_migrate::{Running, Status, read_status};

use crate::cli::{self, Common};
use crate::failure::Failure;
use crate::show;
use crate::status_text;
use crate::target::{OpenOrRunning, Project};

/// Between two looks of `--watch`.
const LOOK: Duration = Duration::from_secs(1);

/// A process that has said nothing for so long has ended, or stands still.
const SILENT: SignedDuration = SignedDuration::from_secs(5);

pub(crate) fn run(common: &Common, args: &cli::Status) -> Result<(), Failure> {
    let project = Project::read(common)?;
    if args.watch {
        return watch(&project, common.json);
    }
    let migrations = match project.open_or_running()? {
        OpenOrRunning::Open(server) => read_status(server.as_ref(), project.limits())?,
        OpenOrRunning::Running { running, .. } => running.migrations,
    };
    match common.json {
        true => show::json(&migrations),
        false => show::data(&status_text::table(&migrations)),
    }
}

fn watch(project: &Project, json: bool) -> Result<(), Failure> {
    let mut source = Source::open(project)?;
    let is_terminal = std::io::stdout().is_terminal();
    let mut shown = Vec::new();
    loop {
        let Some(migrations) = source.read(project)? else {
            std::thread::sleep(LOOK);
            continue;
        };
        if json {
            let line = serde_json::to_string(&migrations)?;
            if shown != [line.as_str()] {
                show::data(&line)?;
                shown = vec![line];
            }
        } else if is_terminal {
            in_place(&status_text::table(&migrations))?;
        } else {
            let lines = status_text::lines(&migrations);
            for line in lines.iter().filter(|line| !shown.contains(line)) {
                show::data(line)?;
            }
            shown = lines;
        }
        std::thread::sleep(LOOK);
    }
}

/// From the top of the terminal.
fn in_place(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\x1b[H\x1b[J{text}")?;
    Ok(out.flush()?)
}

/// Where `--watch` reads from.
enum Source {
    Server(Box<dyn Server>),
    /// The data directory is opened only when someone has ended who had it open: while it is open here,
    /// nobody else can work there.
    Beside {
        data: PathBuf,
        last: Option<Vec<Status>>,
        /// When the process last spoke whose end was seen.
        ended: Option<Timestamp>,
        is_old: bool,
    },
}

impl Source {
    fn open(project: &Project) -> Result<Self, Failure> {
        match project.data_directory()? {
            None => Ok(Self::Server(project.open()?)),
            Some(data) => Ok(Self::Beside { data, last: None, ended: None, is_old: true }),
        }
    }

    /// Nothing while somebody has the data open who has not said anything yet.
    fn read(&mut self, project: &Project) -> Result<Option<Vec<Status>>, Failure> {
        match self {
            Self::Server(server) => Ok(Some(read_status(server.as_ref(), project.limits())?)),
            Self::Beside { data, last, ended, is_old } => {
                let running = Running::beside(data)?;
                let told = running.as_ref().map(|running| running.live.told);
                match running {
                    Some(running)
                        if Timestamp::now().duration_since(running.live.told) < SILENT =>
                    {
                        *is_old = true;
                        *last = Some(running.migrations);
                    }
                    _ if *is_old || told != *ended => match project.open_or_running() {
                        Ok(OpenOrRunning::Open(server)) => {
                            *last = Some(read_status(server.as_ref(), project.limits())?);
                            (*ended, *is_old) = (told, false);
                        }
                        Ok(OpenOrRunning::Running { running, .. }) => {
                            *last = Some(running.migrations);
                        }
                        // Somebody has it open who works on no migration, or not yet: what was shown is
                        // still true.
                        Err(failure) if failure.is_refusal() => (),
                        Err(failure) => return Err(failure),
                    },
                    _ => (),
                }
                Ok(last.clone())
            }
        }
    }
}
