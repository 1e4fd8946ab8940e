//! What people ask of a migration from another terminal: pause, resume, other limits, abort. Asking
//! needs no lock, and is no entry of the journal, whose sequence belongs to the operator.
//!
//! The requests are a table, `_teal.requests`, to which lines are only added. Where another process has
//! the data directory open, nobody else can write there; then they go, in the same form, to a file
//! beside the directory. Whoever works on the target next, or does so already, takes them into the table.

pub(crate) mod file;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use teal_client::{ClientError, Server, Session};
use teal_schema::{quote_ident, quote_string};

use crate::names::TEAL_DATABASE;
use crate::requests::file::RequestFile;
use crate::{Limits, failpoint};

/// Between two looks at the table; others may write there on a server.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// Who else works on a target ends the statements of teals that have died by their `log_comment`. A
/// request is not of those.
const LOG_COMMENT: &str = "teal request";

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot read or write the requests in {}: {source}", .path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(
        "{place} has a request that this teal does not understand: {reason}. A newer teal may have written it; remove it, or work on with that one"
    )]
    Unreadable { place: String, reason: String },
}

/// Something asked of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Tells it from any other.
    pub(crate) id: String,
    pub migration: String,
    pub time: Timestamp,
    /// Who asked, as a person reads it.
    pub by: String,
    pub ask: Ask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Ask {
    /// Begin nothing more, until `Resume`.
    Pause,
    /// Takes back a pause, and an abort that has not begun.
    Resume,
    Throttle {
        limits: Limits,
    },
    /// Takes back an abort alone.
    Keep,
    /// Give the migration up at the end of the running chunks.
    Abort {
        force: bool,
    },
}

impl Ask {
    fn kind(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Keep => "keep",
            Self::Throttle { .. } => "throttle",
            Self::Abort { .. } => "abort",
        }
    }
}

impl Request {
    pub fn new(migration: &str, ask: Ask) -> Self {
        let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
        let user = user.unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()));
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            migration: migration.to_owned(),
            time: Timestamp::now(),
            by: format!("{user}@{host}"),
            ask,
        }
    }

    /// Writes it to the table of `server`.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn write(&self, server: &dyn Server) -> Result<(), RequestError> {
        let mut session = session(server)?;
        server.refuse_several()?;
        make_table(session.as_mut())?;
        // By the server's clock, so that the later one of two machines is the later one.
        insert(session.as_mut(), self, "now64(6)")
    }

    /// Writes it beside a data directory that another process has open.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_beside(&self, data: &Path) -> Result<(), RequestError> {
        RequestFile::beside(data).append(self)
    }
}

/// What is asked of one migration, all requests taken together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    pub paused: Option<Asked>,
    pub abort: Option<Asked>,
    /// Of the abort: even though rows are lost.
    pub force: bool,
    pub limits: Limits,
}

/// Who asked for something, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub by: String,
    pub at: Timestamp,
}

impl Orders {
    /// `requests` in their order.
    pub fn of<'r>(migration: &str, requests: impl IntoIterator<Item = &'r Request>) -> Self {
        let mut orders = Self::default();
        for request in requests.into_iter().filter(|request| request.migration == migration) {
            let asked = || Asked { by: request.by.clone(), at: request.time };
            match request.ask {
                Ask::Pause => {
                    orders.paused.get_or_insert_with(asked);
                }
                Ask::Resume => (orders.paused, orders.abort) = (None, None),
                Ask::Keep => orders.abort = None,
                Ask::Throttle { limits } => orders.limits = orders.limits.then(limits),
                Ask::Abort { force } => (orders.abort, orders.force) = (Some(asked()), force),
            }
        }
        orders
    }

    /// An abort that was asked for before that, a proof or a cutover, counts no more: whoever asked wanted the work to end
    /// that has come to its end since.
    pub(crate) fn since(self, settled: Option<Timestamp>) -> Self {
        let abort = self.abort.filter(|asked| settled.is_none_or(|settled| asked.at > settled));
        Self { abort, ..self }
    }
}

/// All requests to a target that are known, for a process that changes nothing there.
///
/// # Errors
/// When the server refuses, or a request cannot be understood.
pub fn peek_requests(server: &dyn Server) -> Result<Vec<Request>, RequestError> {
    let mut requests = read_if_there(session(server)?.as_mut())?;
    if let Some(data) = server.exclusive_directory() {
        let known = ids(&requests);
        let waiting = RequestFile::beside(data).read()?;
        requests.extend(waiting.into_iter().filter(|request| !known.contains(&request.id)));
        // Where nobody has taken them in yet, others may have come later.
        requests.sort_by_key(|request| request.time);
    }
    Ok(requests)
}

/// The requests, as the operator follows them.
pub(crate) struct Requests {
    session: Mutex<Box<dyn Session>>,
    file: Option<RequestFile>,
    /// The limits that were given before all requests, and those that this process was told when it
    /// began: they come behind the requests of that time, and before later ones.
    base: Limits,
    given: Limits,
    earlier: BTreeSet<String>,
    known: Mutex<Known>,
}

struct Known {
    requests: Vec<Request>,
    read: Instant,
}

impl Requests {
    pub(crate) fn open(
        server: &dyn Server,
        base: Limits,
        given: Limits,
    ) -> Result<Self, RequestError> {
        let mut session = session(server)?;
        let file = server.exclusive_directory().map(RequestFile::beside);
        if let Some(file) = &file {
            take_in(file, session.as_mut())?;
        }
        let requests = read_if_there(session.as_mut())?;
        let earlier = ids(&requests);
        let session = Mutex::new(session);
        let known = Mutex::new(Known { requests, read: Instant::now() });
        Ok(Self { session, file, base, given, earlier, known })
    }

    /// The limits that hold before any request.
    pub(crate) fn base(&self) -> Limits {
        self.base.then(self.given)
    }

    /// All that are known, without a look.
    pub(crate) fn known(&self) -> Vec<Request> {
        self.known.lock().requests.clone()
    }

    /// What is asked of a migration, as of so long ago at most.
    pub(crate) fn orders(&self, migration: &str, ago: Duration) -> Result<Orders, RequestError> {
        let mut known = self.known.lock();
        let is_due = match &self.file {
            // Nobody else can write to the table.
            Some(file) => file.is_there() && take_in(file, self.session.lock().as_mut())?,
            None => known.read.elapsed() >= ago,
        };
        if is_due {
            known.requests = read_if_there(self.session.lock().as_mut())?;
            known.read = Instant::now();
        }
        let (earlier, later): (Vec<_>, Vec<_>) =
            known.requests.iter().partition(|request| self.earlier.contains(&request.id));
        let said = |requests: &[&Request]| Orders::of(migration, requests.iter().copied()).limits;
        let limits = self.base.then(said(&earlier)).then(self.given).then(said(&later));
        Ok(Orders { limits, ..Orders::of(migration, &known.requests) })
    }
}

fn ids(requests: &[Request]) -> BTreeSet<String> {
    requests.iter().map(|request| request.id.clone()).collect()
}

fn session(server: &dyn Server) -> Result<Box<dyn Session>, ClientError> {
    // `insert_deduplicate` off: two equal requests are two requests.
    server.session(&[("log_comment", LOG_COMMENT), ("insert_deduplicate", "0")])
}

fn table() -> String {
    format!("{}.requests", quote_ident(TEAL_DATABASE))
}

fn make_table(session: &mut dyn Session) -> Result<(), ClientError> {
    session.command(&format!("CREATE DATABASE IF NOT EXISTS {}", quote_ident(TEAL_DATABASE)))?;
    failpoint::made_if_missing();
    session.command(&format!(
        "CREATE TABLE IF NOT EXISTS {} (\
             id String, migration String, time DateTime64(6, 'UTC'), asked_by String, \
             kind LowCardinality(String), body String\
         ) ENGINE = MergeTree ORDER BY (migration, time, id) \
         SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1 \
         COMMENT 'What was asked of teal''s migrations'",
        table()
    ))?;
    failpoint::written();
    Ok(())
}

fn insert(session: &mut dyn Session, request: &Request, time: &str) -> Result<(), RequestError> {
    let body = serde_json::to_string(&request.ask).map_err(|error| unreadable(&table(), &error))?;
    session.command(&format!(
        "INSERT INTO {} (id, migration, time, asked_by, kind, body) SELECT {}, {}, {time}, {}, {}, {}",
        table(),
        quote_string(&request.id),
        quote_string(&request.migration),
        quote_string(&request.by),
        quote_string(request.ask.kind()),
        quote_string(&body),
    ))?;
    failpoint::written();
    Ok(())
}

/// The requests in their order; none where nobody has asked for anything yet.
fn read_if_there(session: &mut dyn Session) -> Result<Vec<Request>, RequestError> {
    #[derive(Deserialize)]
    struct There {
        there: u64,
    }
    #[derive(Deserialize)]
    struct Row {
        id: String,
        migration: String,
        microseconds: i64,
        asked_by: String,
        body: String,
    }
    // Asked first: a SELECT from a table that is missing would be an error in the server's log with
    // every look.
    let There { there } = session.row(&format!(
        "SELECT count() AS there FROM system.tables WHERE database = {} AND name = 'requests'",
        quote_string(TEAL_DATABASE)
    ))?;
    if there == 0 {
        return Ok(Vec::new());
    }
    let rows = session.rows::<Row>(&format!(
        "SELECT id, migration, toUnixTimestamp64Micro(time) AS microseconds, asked_by, body \
         FROM {} ORDER BY time, id",
        table()
    ))?;
    let request = |row: Row| {
        Ok(Request {
            time: Timestamp::from_microsecond(row.microseconds)
                .map_err(|error| unreadable(&table(), &error))?,
            ask: serde_json::from_str(&row.body).map_err(|error| unreadable(&table(), &error))?,
            id: row.id,
            migration: row.migration,
            by: row.asked_by,
        })
    };
    rows.into_iter().map(request).collect()
}

/// Brings the requests of a file into the table. Says whether there was a file.
fn take_in(file: &RequestFile, session: &mut dyn Session) -> Result<bool, RequestError> {
    file.take_in(|requests| {
        make_table(session)?;
        let known = ids(&read_if_there(session)?);
        for request in requests.iter().filter(|request| !known.contains(&request.id)) {
            let time = format!("fromUnixTimestamp64Micro({})", request.time.as_microsecond());
            insert(session, request, &time)?;
        }
        Ok(())
    })
}

pub(crate) fn unreadable(place: &str, reason: &dyn std::fmt::Display) -> RequestError {
    RequestError::Unreadable { place: place.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limit;

    fn throttle(parts: u64) -> Ask {
        let max_parts = Some(Limit::At(parts));
        Ask::Throttle { limits: Limits { max_parts, ..Limits::default() } }
    }

    #[test]
    fn the_last_word_counts_and_is_of_one_migration() {
        let ask = |ask| Request::new("events_1", ask);
        let mut requests = vec![ask(Ask::Pause), ask(throttle(7))];
        requests.push(Request::new("other_1", Ask::Resume));
        let orders = Orders::of("events_1", &requests);
        assert_eq!(orders.paused.map(|asked| asked.by), Some(requests[0].by.clone()));
        assert_eq!(orders.limits.max_parts, Some(Limit::At(7)));
        // A second pause leaves the time of the first.
        requests.push(ask(Ask::Pause));
        let orders = Orders::of("events_1", &requests);
        assert_eq!(orders.paused.map(|asked| asked.at), Some(requests[0].time));
        requests.push(ask(Ask::Abort { force: true }));
        let orders = Orders::of("events_1", &requests);
        assert!(orders.abort.is_some() && orders.force);
        requests.push(ask(Ask::Resume));
        let orders = Orders::of("events_1", &requests);
        assert_eq!((orders.paused, orders.abort), (None, None));
        assert_eq!(orders.limits.max_parts, Some(Limit::At(7)));
        assert_eq!(Orders::of("nobody", &requests), Orders::default());
        requests.push(ask(Ask::Abort { force: false }));
        let (orders, asked) = (Orders::of("events_1", &requests), requests.last().unwrap().time);
        let before = asked.checked_sub(Duration::from_secs(1)).unwrap();
        assert!(orders.clone().since(None).abort.is_some());
        assert!(orders.clone().since(Some(before)).abort.is_some());
        assert_eq!(orders.since(Some(asked)).abort, None);
    }
}
