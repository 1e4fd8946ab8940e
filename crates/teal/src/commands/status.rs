use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use teal_client::Server;
use teal_migrate::{Running, Status, read_status};

use super::Named as _;
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
        return watch(&project, args.table.as_deref(), common.json);
    }
    let migrations = match project.open_or_running()? {
        OpenOrRunning::Open(server) => read_status(server.as_ref(), project.limits())?,
        OpenOrRunning::Running { running, .. } => running.migrations,
    };
    let migrations = only(migrations, args.table.as_deref());
    if let (Some(table), true) = (&args.table, migrations.is_empty()) {
        return Err(Failure::usage(format!(
            "there is no migration {table}; `teal status` lists them"
        )));
    }
    match common.json {
        true => show::json(&migrations),
        false => show::data(&status_text::table(&migrations)),
    }
}

/// Those of this name, where one is given.
fn only(mut migrations: Vec<Status>, table: Option<&str>) -> Vec<Status> {
    if let Some(table) = table {
        migrations.retain(|it| it.names().all().contains(&table));
    }
    migrations
}

fn watch(project: &Project, table: Option<&str>, json: bool) -> Result<(), Failure> {
    let mut source = Source::open(project)?;
    let is_terminal = std::io::stdout().is_terminal();
    let mut shown = Vec::new();
    loop {
        let Some(migrations) = source.read(project)? else {
            std::thread::sleep(LOOK);
            continue;
        };
        let migrations = only(migrations, table);
        if json {
            let line = serde_json::to_string(&migrations)?;
            if shown != [line.as_str()] {
                if !show::data_while_read(&line)? {
                    return Ok(());
                }
                shown = vec![line];
            }
        } else if is_terminal {
            in_place(&status_text::table(&migrations))?;
        } else {
            let lines = status_text::lines(&migrations);
            for line in lines.iter().filter(|line| !shown.contains(line)) {
                if !show::data_while_read(line)? {
                    return Ok(());
                }
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
    /// The data directory is opened only when someone else had it open since: while it is open here,
    /// nobody else can work there.
    Beside {
        data: PathBuf,
        last: Option<Vec<Status>>,
        /// When someone opened or closed it last, at the last look. A file in it comes and goes with that.
        changed: Option<SystemTime>,
    },
}

impl Source {
    fn open(project: &Project) -> Result<Self, Failure> {
        match project.data_directory()? {
            None => Ok(Self::Server(project.open()?)),
            Some(data) => {
                if !data.exists() {
                    let place = data.display();
                    show::note(&format!("there is no data directory {place}; waiting for one"));
                }
                Ok(Self::Beside { data, last: None, changed: None })
            }
        }
    }

    /// Nothing while somebody has the data open who has not said anything yet.
    fn read(&mut self, project: &Project) -> Result<Option<Vec<Status>>, Failure> {
        match self {
            Self::Server(server) => Ok(Some(read_status(server.as_ref(), project.limits())?)),
            Self::Beside { data, last, changed } => {
                match Running::beside(data)? {
                    Some(running)
                        if Timestamp::now().duration_since(running.live.told) < SILENT =>
                    {
                        *last = Some(running.migrations);
                    }
                    // It may be about to be made.
                    _ if !data.exists() => (),
                    _ if changed.is_none() || changed_at(data) != *changed => {
                        let opened = project.open_or_running().map(Some);
                        match opened.or_else(Failure::unless_refused)? {
                            Some(OpenOrRunning::Open(server)) => {
                                *last = Some(read_status(server.as_ref(), project.limits())?);
                                drop(server);
                                *changed = changed_at(data);
                            }
                            Some(OpenOrRunning::Running { running, .. }) => {
                                *last = Some(running.migrations);
                            }
                            // Somebody has it open who works on no migration, or not yet: what was shown
                            // is still true.
                            None => (),
                        }
                    }
                    _ => (),
                }
                Ok(last.clone())
            }
        }
    }
}

fn changed_at(directory: &Path) -> Option<SystemTime> {
    directory.metadata().and_then(|it| it.modified()).ok()
}
