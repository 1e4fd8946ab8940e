//! A migration as `teal status` tells it: from its journal, from what was asked of it, and from what a
//! running teal says of itself.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use teal_catalog::{Use, exists};
use teal_client::{RunningStatement, Server, TEAL_LOG_COMMENT};
use teal_plan::{Cutover, FenceKind};
use teal_schema::shell_word;

use crate::cleanup::still_used::{uses_of_old, view_back};
use crate::journal::phase::Cleaned;
use crate::lock::live::{Live, Waiting};
use crate::lock::time_of;
use crate::requests::{Asked, Orders, Request, peek_requests};
use crate::verify::comment_of_proof;
use crate::{
    Entry, Event, Journal, JournalError, Limits, Lock, MigrateError, Migrating, Parked, Phase,
    PhaseName,
};

/// The speed is that of the last minute.
const LATELY: SignedDuration = SignedDuration::from_secs(60);

/// One migration. Fields are only added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub migration: String,
    pub table: String,
    pub from: String,
    pub to: String,
    pub blue: String,
    pub green: String,
    pub strategy: String,
    pub phase: PhaseName,
    pub is_over: bool,
    pub started: Timestamp,
    /// When the last thing happened to it.
    pub since: Timestamp,
    /// Rows to copy, and those that are in green or on their way.
    pub rows: u64,
    pub rows_copied: u64,
    /// Bytes of blue on disk when the migration was planned, and the share of them that the copied
    /// rows are.
    pub bytes: u64,
    pub bytes_copied: u64,
    /// Of the last minute, while rows are copied.
    pub rows_per_second: Option<u64>,
    /// Of the copy, or of the comparison that is under way.
    pub seconds_left: Option<u64>,
    /// The teal that works on the target now.
    pub operator: Option<Worker>,
    /// What it does to this migration.
    pub step: Option<String>,
    /// What that waits for.
    pub waiting: Option<Waiting>,
    pub paused: Option<Asked>,
    /// An abort was asked for and has not begun.
    pub abort_asked: Option<Asked>,
    pub throttle: Limits,
    pub fence: Option<Fence>,
    pub verified: Option<Verification>,
    /// A comparison of the two tables that is under way on a server.
    #[serde(default)]
    pub proof: Option<Proof>,
    /// How readers and writers have moved, or will if nothing else is said: by `app`, `alias` or `exchange`.
    pub cutover: Cutover,
    /// Who has used the old table since the cutover, where the server's log tells it.
    #[serde(default)]
    pub still_used_by: Vec<Use>,
    /// After a cutover: whether a view brings what is written to the new table to the old one too.
    #[serde(default)]
    pub old_is_kept_current: bool,
    /// After a cleanup: the old table, where it was put aside.
    #[serde(default)]
    pub parked: Option<Parked>,
    pub next: String,
}

impl Status {
    /// Whether `teal apply` has anything left to do for it.
    pub fn has_work(&self) -> bool {
        matches!(
            self.phase,
            PhaseName::Started
                | PhaseName::Prepared
                | PhaseName::Attached
                | PhaseName::Backfilled
                | PhaseName::RolledBack
        )
    }

    /// Several statements may read the tables at a time, or none.
    fn tell_proof(&mut self, reading: &[RunningStatement]) {
        let rows_read = reading.iter().map(|statement| statement.rows_read).sum::<u64>();
        let rows = reading.iter().map(|statement| statement.rows_to_read).sum::<u64>();
        let Some(longest) = reading.first() else {
            return;
        };
        self.proof = Some(Proof { rows: rows.max(rows_read), rows_read });
        let left = rows.saturating_sub(rows_read) as f64;
        if rows_read > 0 {
            self.seconds_left = Some((longest.seconds * left / rows_read as f64).ceil() as u64);
        }
    }
}

/// A teal at work, as of this time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    pub host: String,
    pub process: u32,
    pub told: Timestamp,
}

/// The cut that attached the view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fence {
    pub by: FenceKind,
    pub at: Timestamp,
    pub attempts: u32,
}

/// How far the statement has come that compares the two tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// Rows of both tables, and those that were read.
    pub rows: u64,
    pub rows_read: u64,
}

/// The last proof of parity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    pub at: Timestamp,
    /// Rows of each side.
    pub rows: u64,
    /// Pairs of a partition and a hash bucket that were compared.
    pub compared: u64,
    /// The rows are those that are left when each side has been folded as green's engine does.
    pub folded: bool,
}

/// Every migration of a target, for a process that changes nothing there. `base` are the limits that
/// hold where no teal works.
///
/// # Errors
/// When the server refuses, or what is written there cannot be understood.
pub fn read_status(server: &dyn Server, base: Limits) -> Result<Vec<Status>, MigrateError> {
    let journal = Journal::peek(server)?;
    if journal.is_empty() {
        return Ok(Vec::new());
    }
    let requests = peek_requests(server)?;
    let mut live = Lock::peek(server)?;
    if let Some(doing) = live.as_mut().and_then(|live| live.doing.as_mut()) {
        // It says nothing of rows there, since the server can be asked.
        let migrations = Migrating::all(&journal)?;
        let copying = migrations.iter().rfind(|it| it.migration.green.to_string() == doing.green);
        if let Some(migrating) = copying
            && let Phase::Attached(attached) = &migrating.phase
        {
            let comment = format!("{TEAL_LOG_COMMENT} backfill of {}", migrating.id);
            let reading = server.session(&[])?.running(&comment)?;
            let reading = reading.iter().map(|statement| statement.rows_read).sum::<u64>();
            let published = attached.published.values().sum::<u64>();
            doing.rows = Some((published + reading).min(attached.rows));
        }
    }
    let now = time_of(server)?;
    let mut told = statuses(&journal, &requests, base, live.as_ref(), now)?;
    for status in told.iter_mut().filter(|status| status.operator.is_some()) {
        status.tell_proof(&server.session(&[])?.running(&comment_of_proof(&status.migration))?);
    }
    for migrating in Migrating::all(&journal)? {
        if let Phase::CutOver(state) = &migrating.phase
            && let Some(status) = told.iter_mut().find(|it| it.migration == migrating.id)
        {
            let mut session = server.session(&[])?;
            // Somebody may have dropped it.
            status.old_is_kept_current &= exists(session.as_mut(), &view_back(&migrating, state))?;
            if !server.is_exclusive() {
                status.still_used_by = uses_of_old(session.as_mut(), &migrating, state, now)?;
            }
        }
    }
    Ok(told)
}

pub(crate) fn statuses(
    journal: &BTreeMap<String, Vec<Entry>>,
    requests: &[Request],
    base: Limits,
    live: Option<&Live>,
    now: Timestamp,
) -> Result<Vec<Status>, JournalError> {
    let status = |migrating: Migrating| {
        let entries = journal.get(&migrating.id).map(Vec::as_slice).unwrap_or_default();
        let orders = Orders::of(&migrating.id, requests).since(migrating.settled);
        status(&migrating, entries, &orders, base, live, now)
    };
    let mut statuses = Migrating::all(journal)?.into_iter().map(status).collect::<Vec<_>>();
    // A command that may mean several is to be told which.
    if statuses.iter().filter(|status| !status.is_over).count() > 1 {
        for status in statuses.iter_mut().filter(|status| !status.is_over) {
            status.next = naming(&status.next, &status.green);
        }
    }
    Ok(statuses)
}

/// Each `teal COMMAND` in a text, with the name of a migration; `teal apply` goes on with all of them.
fn naming(next: &str, green: &str) -> String {
    let mut named = next.to_owned();
    for command in ["cutover", "cleanup", "abort", "rollback", "resume"] {
        let command = format!("teal {command}");
        named = named.replace(&command, &format!("{command} {}", shell_word(green)));
    }
    named
}

fn status(
    migrating: &Migrating,
    entries: &[Entry],
    orders: &Orders,
    base: Limits,
    live: Option<&Live>,
    now: Timestamp,
) -> Status {
    let migration = &migrating.migration;
    let is_over = migrating.phase.is_over();
    let live = live.filter(|_| !is_over);
    let green = migration.green.to_string();
    let doing = live.and_then(|live| live.doing.as_ref()).filter(|doing| doing.green == green);
    let (rows, mut rows_copied) = rows(migrating);
    let copying = doing.filter(|_| matches!(migrating.phase, Phase::Attached(_)));
    if let Some(doing) = copying {
        rows_copied = rows_copied.max(doing.rows.unwrap_or_default()).min(rows);
    }
    let waiting = doing.and_then(|doing| doing.waiting.clone());
    let rows_per_second = copying.map(|doing| speed(entries, rows_copied, doing.since, now));
    // The speed is one with the turns that the copy waits for between two chunks, and none with other waits.
    let goes_on = waiting.as_ref().is_none_or(|waiting| waiting.is_pacing);
    let seconds_left = rows_per_second
        .filter(|speed| *speed > 0 && goes_on)
        .map(|speed| (rows - rows_copied).div_ceil(speed));
    let limits = doing.and_then(|doing| doing.limits);
    let has_begun_to_end = matches!(migrating.phase, Phase::Aborting(_));
    Status {
        migration: migrating.id.clone(),
        table: migration.table.clone(),
        from: migration.from_version.clone(),
        to: migration.to_version.clone(),
        blue: migration.blue.to_string(),
        green,
        strategy: migration.strategy.to_string(),
        phase: migrating.phase.name(),
        is_over,
        started: migrating.started,
        since: migrating.since,
        rows,
        rows_copied,
        bytes: migration.bytes,
        bytes_copied: share(migration.bytes, rows_copied, rows),
        rows_per_second,
        seconds_left,
        operator: live.map(|live| Worker {
            host: live.host.clone(),
            process: live.process,
            told: live.told,
        }),
        step: doing.map(|doing| doing.step.clone()),
        waiting,
        paused: orders.paused.clone().filter(|_| !is_over),
        abort_asked: orders.abort.clone().filter(|_| !is_over && !has_begun_to_end),
        throttle: limits.unwrap_or_else(|| base.then(orders.limits)).filled(),
        fence: fence(entries),
        verified: verification(entries),
        proof: None,
        cutover: migrating.cutover(),
        still_used_by: Vec::new(),
        old_is_kept_current: migrating.forwards_back(),
        parked: match &migrating.phase {
            Phase::Cleaned(state) => state.parked.clone(),
            _ => None,
        },
        next: next(migrating, orders, live.is_some()),
    }
}

/// Rows to copy, and those of them that are in green.
fn rows(migrating: &Migrating) -> (u64, u64) {
    let planned = migrating.migration.rows;
    match &migrating.phase {
        Phase::Started(_) | Phase::Prepared(_) => (planned, 0),
        Phase::Attached(attached) => (attached.rows, attached.published.values().sum()),
        Phase::Backfilled(backfilled) => (backfilled.rows, backfilled.rows),
        Phase::Verified(verified) => (verified.parity.blue_rows, verified.parity.green_rows),
        Phase::CutOver(state) => (state.blue_rows, state.blue_rows),
        Phase::Cleaned(_) => (planned, planned),
        Phase::Aborting(_) | Phase::Aborted(_) => (planned, 0),
    }
}

/// Rows in a second, since a minute ago or since the copy (of this process) began.
fn speed(entries: &[Entry], rows_copied: u64, began: Timestamp, now: Timestamp) -> u64 {
    let from = now.checked_sub(LATELY).unwrap_or(began).max(began);
    let published =
        entries.iter().filter(|entry| entry.time <= from).map(|entry| match &entry.event {
            Event::Published { rows, .. } => *rows,
            _ => 0,
        });
    let lately = rows_copied.saturating_sub(published.sum());
    let seconds = now.duration_since(from).as_secs_f64();
    if seconds > 0.0 { (lately as f64 / seconds) as u64 } else { 0 }
}

fn share(bytes: u64, copied: u64, rows: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(copied) / u128::from(rows.max(1));
    u64::try_from(share).unwrap_or(u64::MAX).min(bytes)
}

fn fence(entries: &[Entry]) -> Option<Fence> {
    entries.iter().rev().find_map(|entry| match &entry.event {
        Event::Attached { attempts, fence, .. } => {
            Some(Fence { by: *fence, at: entry.time, attempts: *attempts })
        }
        _ => None,
    })
}

fn verification(entries: &[Entry]) -> Option<Verification> {
    entries.iter().rev().find_map(|entry| match &entry.event {
        Event::Verified { parity, .. } => Some(Verification {
            at: entry.time,
            rows: parity.green_rows,
            compared: parity.compared,
            folded: parity.folded,
        }),
        _ => None,
    })
}

fn next(migrating: &Migrating, orders: &Orders, is_at_work: bool) -> String {
    if let Phase::Cleaned(Cleaned { parked: Some(parked), .. }) = &migrating.phase {
        let day = parked.until.strftime("%Y-%m-%d");
        return format!("teal cleanup, from {day} on, drops {}", parked.table.name);
    }
    let next = match &migrating.phase {
        Phase::Verified(state) if state.cutover_open.is_some() && !is_at_work => {
            "teal cutover, soon: the one before was cut off, and merges may be held back until then"
        }
        Phase::Verified(_) => "teal cutover",
        Phase::CutOver(state) if state.rollback.is_some() && !is_at_work => {
            "teal rollback, soon: the one before was cut off, and merges may be held back until then"
        }
        Phase::Prepared(state) if state.fence_open && !is_at_work => {
            "teal apply, soon: the fence was cut off, and merges may be held back until then"
        }
        Phase::CutOver(state) if state.cleanup.is_some() => "teal cleanup, which has begun",
        Phase::CutOver(state) if !state.forwards_back && migrating.may_be_kept_current() => {
            "teal cutover, when nobody writes to the old table any more; teal cleanup"
        }
        Phase::CutOver(_) => "teal cleanup",
        Phase::Cleaned(state) if state.cutover != Cutover::Exchange => "remove the old model",
        Phase::Aborted(_) => "teal apply, where the models declare it still",
        Phase::Cleaned(_) => "",
        Phase::Aborting(_) => "teal abort",
        Phase::Backfilled(state) if state.rest => {
            "teal rollback, which carries back what only the new table has"
        }
        Phase::Backfilled(state) if state.rolled_back => "teal cutover, or teal abort",
        _ if orders.paused.is_some() => "teal resume",
        _ => "teal apply",
    };
    next.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_is_named_as_a_shell_takes_it() {
        assert_eq!(naming("teal cutover", "d.t_1"), "teal cutover d.t_1");
        assert_eq!(naming("teal cutover", "d.my t"), "teal cutover 'd.my t'");
        assert_eq!(naming("teal apply", "d.my t"), "teal apply");
    }
}
