//! What a running teal tells of itself, for `status` in another process. On a server it stands with the
//! lock. Where the data directory is exclusive, it stands in a file beside it, with all that `status`
//! would read there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::requests::Requests;
use crate::status::{Status, statuses};
use crate::{Entry, Limits, Lock, Observer, Update, names};

/// Between two writings of the file.
const WRITE: Duration = Duration::from_secs(1);
/// A wait that takes longer is told.
const PATIENCE: Duration = Duration::from_secs(1);

/// A teal at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    pub host: String,
    pub process: u32,
    /// When it said so.
    pub told: Timestamp,
    pub doing: Option<Doing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Doing {
    /// The migration, by the name of its green table.
    pub green: String,
    pub step: String,
    pub since: Timestamp,
    /// Rows in green and on their way there, while rows are copied.
    pub rows: Option<u64>,
    pub waiting: Option<Waiting>,
    /// As they are followed now.
    pub limits: Option<Limits>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// When it began to wait, whatever for.
    pub since: Timestamp,
    #[serde(rename = "for")]
    pub reason: String,
    /// Only for its turn, so that no more is copied in a second: the copy goes on all the while.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_pacing: bool,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self {
            host: names::this_host(),
            process: std::process::id(),
            told: Timestamp::now(),
            doing: None,
        }
    }

    /// Says whether others should hear of it at once.
    fn take(&mut self, update: &Update<'_>, now: Timestamp) -> bool {
        match update {
            Update::Began { migration, step } => {
                self.doing = Some(Doing {
                    green: (*migration).to_owned(),
                    step: step.name().to_owned(),
                    since: now,
                    rows: None,
                    waiting: None,
                    limits: None,
                });
            }
            Update::Ended { .. } => self.doing = None,
            Update::Waiting { reason } => self.wait_for(reason, now, false),
            Update::WentOn => self.go_on(),
            Update::Copied { rows, .. } => {
                if let Some(doing) = &mut self.doing {
                    doing.rows = Some(*rows);
                }
                return false;
            }
            Update::Healed { .. } | Update::Warning { .. } | Update::Stale { .. } => return false,
        }
        true
    }

    fn wait_for(&mut self, reason: &str, since: Timestamp, is_pacing: bool) {
        if let Some(doing) = &mut self.doing {
            // Of a wait that goes on, with other words or for more, the begin stays.
            let begun = doing.waiting.as_ref().filter(|waiting| !waiting.is_pacing);
            let since = begun.map_or(since, |waiting| waiting.since);
            doing.waiting = Some(Waiting { since, reason: reason.to_owned(), is_pacing });
        }
    }

    /// As `take`.
    fn follow(
        &mut self,
        limits: Limits,
        waiting: &str,
        pacing: Option<&str>,
        now: Timestamp,
    ) -> bool {
        let Some(doing) = &mut self.doing else {
            return false;
        };
        let is_other = doing.limits.replace(limits.filled()) != Some(limits.filled());
        match (&mut doing.waiting, pacing) {
            (Some(told), _) if !told.is_pacing => told.reason = waiting.to_owned(),
            (None, Some(reason)) => self.wait_for(reason, now, true),
            (Some(_), None) => self.go_on(),
            _ => (),
        }
        is_other
    }

    fn go_on(&mut self) {
        if let Some(doing) = &mut self.doing {
            doing.waiting = None;
        }
    }
}

/// Passes the updates of a migration on, and lets other processes know.
pub(crate) struct Teller<'a> {
    observer: &'a dyn Observer,
    lock: Arc<Lock>,
    live: Arc<Mutex<Live>>,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(observer: &'a dyn Observer, lock: Arc<Lock>) -> Self {
        Self { observer, lock, live: Arc::new(Mutex::new(Live::new())) }
    }

    pub(crate) fn update(&self, update: Update<'_>) {
        self.change(|live, now| live.take(&update, now));
        self.observer.update(update);
    }

    /// Between two steps of the migration to `green`, there is nothing that it does.
    pub(crate) fn rest(&self, green: &str) {
        let since = self.lock.by_server(Timestamp::now());
        let (green, step) = (green.to_owned(), "pause".to_owned());
        let doing = Doing { green, step, since, rows: None, waiting: None, limits: None };
        self.live.lock().doing = Some(doing);
    }

    /// Lets `status` know the limits, and the figures of a wait as they are now; and, where `pacing`, that the copy waits
    /// for its turn between two chunks: that comes and goes too often to be an update.
    pub(crate) fn follow(&self, limits: Limits, waiting: &str, pacing: Option<&str>) {
        self.change(|live, now| live.follow(limits, waiting, pacing, now));
    }

    /// A wait that begins now.
    pub(crate) fn wait(&self) -> LongWait<'_> {
        LongWait { teller: self, began: Instant::now(), is_told: false }
    }

    fn change(&self, change: impl FnOnce(&mut Live, Timestamp) -> bool) {
        let now = self.lock.by_server(Timestamp::now());
        let mut live = self.live.lock();
        let is_news = change(&mut live, now);
        live.told = now;
        match is_news {
            true => self.lock.tell(live.clone()),
            false => self.lock.tell_later(live.clone()),
        }
    }
}

/// A wait, which is told when it takes long, and then its end too.
pub(crate) struct LongWait<'t> {
    teller: &'t Teller<'t>,
    began: Instant,
    is_told: bool,
}

impl LongWait<'_> {
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// It goes on: tells for what.
    pub(crate) fn tell(&mut self, reason: impl FnOnce() -> String) {
        if !self.is_told && self.elapsed() > PATIENCE {
            self.teller.update(Update::Waiting { reason: reason() });
            self.is_told = true;
        }
    }
}

impl Drop for LongWait<'_> {
    fn drop(&mut self) {
        if self.is_told {
            self.teller.update(Update::WentOn);
        }
    }
}

/// The path of what belongs to a data directory and stands beside it.
pub(crate) fn beside(data: &Path, what: &str) -> PathBuf {
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(what);
    data.with_file_name(name)
}

/// What the process says that has a data directory open.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    pub live: Live,
    pub migrations: Vec<Status>,
}

impl Running {
    /// Reads what stands beside a data directory: of a process that runs, or of one that was killed.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn beside(data: &Path) -> std::io::Result<Option<Self>> {
        match std::fs::read(beside(data, "running")) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As a whole or not at all, for whoever reads meanwhile.
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let new = path.with_extension("running.new");
        std::fs::write(&new, serde_json::to_vec(self)?)?;
        std::fs::rename(&new, path)
    }
}

/// Writes the file about once a second. Gone when it is dropped, and the file with it.
pub(crate) struct Board {
    told: Arc<Told>,
    path: PathBuf,
    writing: Option<(Sender<()>, JoinHandle<()>)>,
}

/// What the file is made of.
struct Told {
    live: Arc<Mutex<Live>>,
    requests: Arc<Requests>,
    journal: Mutex<BTreeMap<String, Vec<Entry>>>,
}

impl Told {
    fn running(&self) -> std::io::Result<Running> {
        let live = Live { told: Timestamp::now(), ..self.live.lock().clone() };
        let journal = self.journal.lock();
        let requests = self.requests.known();
        let migrations =
            statuses(&journal, &requests, self.requests.base(), Some(&live), live.told)
                .map_err(std::io::Error::other)?;
        Ok(Running { live, migrations })
    }
}

impl Board {
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn hang(
        data: &Path,
        teller: &Teller<'_>,
        requests: Arc<Requests>,
        journal: BTreeMap<String, Vec<Entry>>,
    ) -> std::io::Result<Self> {
        let path = beside(data, "running");
        let journal = Mutex::new(journal);
        let told = Arc::new(Told { live: Arc::clone(&teller.live), requests, journal });
        told.running()?.write(&path)?;
        let (stop, stopped) = channel();
        let (to_tell, to) = (Arc::clone(&told), path.clone());
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(WRITE) == Err(RecvTimeoutError::Timeout) {
                // Written once, it could be written; should the disk be full now, the file's age tells
                // that it is not of today, and the next one may work.
                let _ = to_tell.running().and_then(|running| running.write(&to));
            }
        });
        Ok(Self { told, path, writing: Some((stop, thread)) })
    }

    pub(crate) fn add(&self, entry: Entry) {
        self.told.journal.lock().entry(entry.migration.clone()).or_default().push(entry);
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.writing.take() {
            drop(stop);
            // A panic there has been said already.
            let _ = thread.join();
        }
        // Should this fail, the next reader finds that its process has ended.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Step;

    #[test]
    fn a_wait_began_when_it_began_whatever_its_figures_are_by_now() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let waiting = |live: &Live| live.doing.clone().unwrap().waiting;
        let mut live = Live::new();
        assert!(live.take(&Update::Began { migration: "d.t_1", step: Step::Backfill }, at(0)));
        assert!(live.follow(Limits::default(), "", Some("its turn"), at(1)));
        assert!(waiting(&live).is_some_and(|it| it.is_pacing && it.since == at(1)));
        let full = "space: 3 GiB are free";
        assert!(live.take(&Update::Waiting { reason: full.to_owned() }, at(2)));
        assert!(!live.follow(Limits::default(), "space: 2 GiB are free", Some("its turn"), at(9)));
        let told = waiting(&live).unwrap();
        assert_eq!((told.since, told.reason.as_str()), (at(2), "space: 2 GiB are free"));
        assert!(!told.is_pacing);
        live.take(&Update::WentOn, at(10));
        live.follow(Limits::default(), "", None, at(11));
        assert_eq!(waiting(&live), None);
    }
}
