//! The append-only record of every migration, kept in the target itself.

pub(crate) mod phase;
pub(crate) mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use teal_catalog::exists;
use teal_client::{ClientError, Server, Session};
use teal_plan::{Cutover, FenceKind, Migration};
use teal_schema::{QualifiedName, quote_ident, quote_string};

use crate::journal::phase::Snapshot;
use crate::names::TEAL_DATABASE;
use crate::repair::seen::PartsSeen;
use crate::{Lock, LockError, Parity, Parked, ProvenPartition, failpoint, names};

/// One thing that has happened to a migration. Written after its effect, save for those whose
/// names say that something is about to happen; those tell a later process what to look for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    Started {
        migration: Box<Migration>,
    },
    Prepared,
    /// The fence is about to be opened. Undone by whoever finds it last in the journal.
    FenceOpened,
    FenceUndone,
    Attached {
        snapshot: Option<Snapshot>,
        rows: u64,
        attempts: u32,
        fence: FenceKind,
    },
    /// The parts of a chunk are about to be published from a staging table.
    Publishing {
        chunk: u32,
        worker: usize,
        parts: Vec<String>,
        /// The last block of each partition of green that the chunk has rows of.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        blocks: BTreeMap<String, i64>,
    },
    Published {
        chunk: u32,
        rows: u64,
    },
    /// Green is about to change places with a table that has the history in front of green's rows; this tells
    /// green's data.
    Ordering {
        green_data: String,
        /// The last block that each partition of green had before.
        blocks: BTreeMap<String, i64>,
    },
    Backfilled {
        rows: u64,
    },
    Verified {
        parity: Parity,
        /// Partitions that need not be read again while they have these parts. The last field: of past entries, what
        /// comes from here on is not read.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        proven: Vec<ProvenPartition>,
    },
    /// The statements that make the two tables, as the migration found or made them.
    Defined {
        blue: String,
        green: Option<String>,
        /// Tells blue's data, and so blue from another table that gets its name later.
        blue_data: String,
    },
    /// The parts of blue, at a moment from which green gets or has all of their rows.
    Seen {
        blue: PartsSeen,
    },
    /// Rows that green has and blue lost are about to be removed.
    Stale {
        /// Rows too many.
        rows: u64,
        /// Partitions of green, by id.
        partitions: Vec<String>,
        causes: Vec<String>,
    },
    /// Rows that green lacked were copied, or a removal has ended (0 rows).
    Repaired {
        rows: u64,
    },
    /// A cutover was begun and did not happen; the proof before it is not trusted any more.
    CutoverUndone,
    /// Blue and green are about to be exchanged, or the alias to be swapped; this tells green's data.
    CutoverOpened {
        cutover: Cutover,
        green_data: String,
        /// Green then.
        green: PartsSeen,
    },
    /// On a server, the names are about to change places. Every part of what the readers' name
    /// means, up to this block, is in the other table.
    Swapping {
        known: i64,
        server_start: i64,
        /// The server's time when it began, where parts alone can tell what was not forwarded since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<u32>,
        /// Of the two tables, by their data: those settings of merges that they have, and that are about
        /// to be changed.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        merge_settings: BTreeMap<String, BTreeMap<String, String>>,
    },
    /// Parts that came later are about to be attached to the other table, as parts of these uuids.
    Carrying {
        parts: Vec<String>,
        uuids: Vec<String>,
        /// By partition, the last block of the other table before.
        blocks: BTreeMap<String, i64>,
    },
    Carried,
    CutOver {
        cutover: Cutover,
        forwards_back: bool,
        blue_rows: u64,
        /// After an exchange, the last block of the old data: what has a later one was written there since, also
        /// where rows get fewer meanwhile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old_block: Option<i64>,
    },
    /// After a cutover, both tables have the same rows; or the new one has all of the old one's.
    Compared {
        /// The old table then. What has come to it since is in no comparison.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<PartsSeen>,
    },
    /// After the cutover, somebody wrote to blue still; it has these rows now.
    StillWritten {
        blue_rows: u64,
    },
    /// The view between blue and green is about to be dropped, and the one the other way to be made.
    TurnOpened {
        forwards_back: bool,
        /// The new table's parts, where the rows will come from there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        new: Option<PartsSeen>,
    },
    Turned {
        forwards_back: bool,
    },
    /// Blue and green are about to be exchanged back, or the alias is; this tells blue's data.
    RollbackOpened {
        blue_data: String,
        /// Blue then, when it had every row of green.
        blue: PartsSeen,
        /// What green alone has is given up, whatever process ends it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    /// An exchange back was begun and did not happen.
    RollbackUndone,
    /// Readers and writers are on blue again, which has these rows.
    RolledBack {
        rows: u64,
        /// What came to the new layout alone until then is still to be carried.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        rest: bool,
    },
    /// The view and the old table are about to be dropped; this tells that table's data.
    CleanupOpened {
        old_data: String,
        /// It is to be put aside first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parked: Option<Parked>,
        /// Whatever it has that the new one lacks.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
        /// It, when the looks at it began; none by force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<Box<PartsSeen>>,
        /// It was found to have rows that the new table lacks, which came since.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        late: bool,
    },
    Cleaned,
    /// The table that was put aside is gone.
    ParkedDropped,
    /// The view and green are about to be dropped; this tells green's data.
    AbortOpened {
        green_data: String,
        /// Whatever it has that blue lacks.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    Aborted,
}

impl Event {
    fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Prepared => "prepared",
            Self::FenceOpened => "fenceOpened",
            Self::FenceUndone => "fenceUndone",
            Self::Attached { .. } => "attached",
            Self::Publishing { .. } => "publishing",
            Self::Published { .. } => "published",
            Self::Ordering { .. } => "ordering",
            Self::Backfilled { .. } => "backfilled",
            Self::Verified { .. } => "verified",
            Self::Defined { .. } => "defined",
            Self::Seen { .. } => "seen",
            Self::Stale { .. } => "stale",
            Self::Repaired { .. } => "repaired",
            Self::CutoverOpened { .. } => "cutoverOpened",
            Self::CutoverUndone => "cutoverUndone",
            Self::Swapping { .. } => "swapping",
            Self::Carrying { .. } => "carrying",
            Self::Carried => "carried",
            Self::CutOver { .. } => "cutOver",
            Self::Compared { .. } => "compared",
            Self::StillWritten { .. } => "stillWritten",
            Self::TurnOpened { .. } => "turnOpened",
            Self::Turned { .. } => "turned",
            Self::RollbackOpened { .. } => "rollbackOpened",
            Self::RollbackUndone => "rollbackUndone",
            Self::RolledBack { .. } => "rolledBack",
            Self::CleanupOpened { .. } => "cleanupOpened",
            Self::Cleaned => "cleaned",
            Self::ParkedDropped => "parkedDropped",
            Self::AbortOpened { .. } => "abortOpened",
            Self::Aborted => "aborted",
        }
    }
}

/// An event with its place in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub migration: String,
    /// Counted from 0 within the migration, without gaps.
    pub sequence: u32,
    pub time: Timestamp,
    pub event: Event,
}

impl Entry {
    fn as_row(&self) -> Result<String, JournalError> {
        Ok(format!(
            "({}, {}, {}, {}, {})",
            quote_string(&self.migration),
            self.sequence,
            quote_string(&self.time.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()),
            quote_string(self.event.kind()),
            quote_string(&serde_json::to_string(&self.event)?)
        ))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(
        "the journal {TEAL_DATABASE}.journal is corrupt: migration {migration}, entry {sequence}: {reason}. Nothing has been changed. Restore the entry from a backup, or, when you know the migration to be over, delete the entries of this migration"
    )]
    Corrupt { migration: String, sequence: u32, reason: String },
    #[error(
        "the last entry of migration {migration} was sent to the journal {TEAL_DATABASE}.journal, and no answer came: whether it is there is not known here. Run the command again: it reads the journal, and goes on from there"
    )]
    Unsure { migration: String },
    #[error(transparent)]
    Lost(LockError),
    #[error("cannot write an entry of the journal: {0}")]
    Unwritable(#[from] serde_json::Error),
}

impl JournalError {
    /// Whether teal could go on and will not, for the sake of the data.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Client(error) => error.is_refusal(),
            Self::Lost(error) => error.is_refusal(),
            other => matches!(other, Self::Corrupt { .. }),
        }
    }
}

pub struct Journal {
    session: Mutex<Box<dyn Session>>,
    /// Migrations whose last entry was sent and had no answer: it may be there, and another one would have
    /// its number.
    unsure: Mutex<BTreeSet<String>>,
    lock: Arc<Lock>,
}

const COLUMNS: &str = "migration, sequence, time, kind, body";

impl Journal {
    /// Opens the journal of `server`, making it where it is missing. `lock` is the leave to write there.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn open(server: &dyn Server, lock: Arc<Lock>) -> Result<Self, JournalError> {
        // `insert_deduplicate` off: two equal entries are two entries.
        let mut session = server.session(&[
            ("insert_deduplicate", "0"),
            ("async_insert", "0"),
            // All entries that come together in one block; the defaults.
            ("max_insert_block_size", "1048449"),
            ("min_insert_block_size_rows", "1048449"),
            ("min_insert_block_size_bytes", "268402944"),
        ])?;
        names::make_database(session.as_mut())?;
        // The fsyncs make an entry as durable as the data that it speaks of must be.
        session.command(&format!(
            "CREATE TABLE IF NOT EXISTS {} (\
                 migration String, sequence UInt32, time DateTime64(6, 'UTC'), \
                 kind LowCardinality(String), body String\
             ) ENGINE = MergeTree ORDER BY (migration, sequence) \
             SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, \
                 min_rows_to_fsync_after_merge = 1 \
             COMMENT 'The record of teal''s migrations'",
            table()
        ))?;
        failpoint::made_if_missing();
        Ok(Self { session: Mutex::new(session), unsure: Mutex::default(), lock })
    }

    /// Reads the journal of a server without making one: `plan` and `status` change nothing.
    ///
    /// # Errors
    /// When the server refuses, or an entry cannot be understood.
    pub fn peek(server: &dyn Server) -> Result<BTreeMap<String, Vec<Entry>>, JournalError> {
        let mut session = server.session(&[])?;
        match exists(session.as_mut(), &QualifiedName::new(TEAL_DATABASE, "journal"))? {
            true => read(session.as_mut()),
            false => Ok(BTreeMap::new()),
        }
    }

    /// All entries, by migration and in order.
    ///
    /// # Errors
    /// When the server refuses, or an entry cannot be understood.
    pub fn read(&self) -> Result<BTreeMap<String, Vec<Entry>>, JournalError> {
        read(self.session.lock().as_mut())
    }

    /// Writes entries, all or none of them. Where it is not known whether they were written (the connection was lost, and
    /// the server may go on), the migration gets no other one: two entries would have one number, and the journal would
    /// be corrupt. It is known where the server has refused them and they are not there.
    pub(crate) fn append(
        &self,
        migration: &str,
        first: u32,
        events: Vec<Event>,
    ) -> Result<Vec<Entry>, JournalError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let time = self.lock.by_server(Timestamp::now());
        let entries = (first..).zip(events).map(|(sequence, event)| Entry {
            migration: migration.to_owned(),
            sequence,
            time,
            event,
        });
        let entries = entries.collect::<Vec<_>>();
        let rows = entries.iter().map(Entry::as_row).collect::<Result<Vec<_>, _>>()?;
        if !self.unsure.lock().insert(migration.to_owned()) {
            return Err(JournalError::Unsure { migration: migration.to_owned() });
        }
        // One block, so one part: there as a whole or not at all.
        let mut session = self.session.lock();
        let written = session.command(&self.insert(migration, first, &rows.join(", ")));
        if let Err(refused) = written {
            if is_refusal(&refused)
                && is_absent(session.as_mut(), migration, first).unwrap_or(false)
            {
                self.unsure.lock().remove(migration);
            }
            // Also where that look failed, this tells why.
            return Err(match refused.server_name() {
                Some("FUNCTION_THROW_IF_VALUE_IS_NON_ZERO") => JournalError::Lost(self.lock.lost()),
                _ => refused.into(),
            });
        }
        drop(session);
        failpoint::written();
        self.unsure.lock().remove(migration);
        Ok(entries)
    }

    /// Where the lock is a lease, the server itself refuses an entry that comes when another has taken it over, or whose
    /// number is there. (What was sent just before that, and is being written while the other one begins, it takes;
    /// then the other one's next entry is refused.)
    fn insert(&self, migration: &str, first: u32, rows: &str) -> String {
        let (table, migration) = (table(), quote_string(migration));
        match self.lock.still_ours() {
            None => format!("INSERT INTO {table} ({COLUMNS}) VALUES {rows}"),
            Some(is_ours) => format!(
                "INSERT INTO {table} ({COLUMNS}) SELECT row.1, row.2, row.3, row.4, row.5 \
                 FROM (SELECT arrayJoin([{rows}]) AS row) \
                 WHERE NOT throwIf(NOT ({is_ours}) OR (SELECT count() FROM {table} \
                     WHERE migration = {migration} AND sequence >= {first}) > 0, 'teal: the lock is lost')"
            ),
        }
    }
}

/// Whether nothing of the statement can come later.
fn is_refusal(error: &ClientError) -> bool {
    const UNKNOWN: &[&str] = &["UNKNOWN_STATUS_OF_INSERT", "KEEPER_EXCEPTION", "TIMEOUT_EXCEEDED"];
    error.server_name().is_some_and(|name| !UNKNOWN.contains(&name))
}

/// Whether a migration has no entry of this number, nor a later one.
fn is_absent(session: &mut dyn Session, migration: &str, first: u32) -> Result<bool, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        entries: u64,
    }
    let Row { entries } = session.row(&format!(
        "SELECT count() AS entries FROM {} WHERE migration = {} AND sequence >= {first}",
        table(),
        quote_string(migration)
    ))?;
    Ok(entries == 0)
}

fn table() -> String {
    format!("{}.journal", quote_ident(TEAL_DATABASE))
}

fn read(session: &mut dyn Session) -> Result<BTreeMap<String, Vec<Entry>>, JournalError> {
    #[derive(Deserialize)]
    struct Row {
        migration: String,
        sequence: u32,
        microseconds: String,
        event: String,
    }
    // What each proof and each look found of parts grows with the table, `teal verify --watch` writes one a minute,
    // and only the last one counts. In JSON no text has a quote that is not escaped. (A window function would hold all
    // of them in memory to put them in order.)
    let rows = session.rows::<Row>(&format!(
        "SELECT migration, sequence, toString(toUnixTimestamp64Micro(time)) AS microseconds, \
             (migration, kind, sequence) NOT IN (\
                 SELECT migration, kind, max(sequence) FROM {journal} GROUP BY migration, kind) AS is_past, \
             multiIf(\
                 is_past AND kind = 'verified' AND position(body, ',\"proven\":[') > 0, \
                 concat(substring(body, 1, position(body, ',\"proven\":[') - 1), '}}'), \
                 is_past AND kind = 'seen', \
                 concat(substring(body, 1, position(body, '\"parts\":{{') - 1), '\"parts\":{{}}}}}}'), \
                 body) AS event \
         FROM {journal} ORDER BY migration, sequence",
        journal = table()
    ))?;
    let mut migrations: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for row in rows {
        let entries = migrations.entry(row.migration.clone()).or_default();
        let corrupt = |reason: String| JournalError::Corrupt {
            migration: row.migration.clone(),
            sequence: row.sequence,
            reason,
        };
        if u32::try_from(entries.len()) != Ok(row.sequence) {
            return Err(corrupt(format!("entry {} was expected here", entries.len())));
        }
        let event = serde_json::from_str(&row.event).map_err(|error| corrupt(error.to_string()))?;
        let time = row
            .microseconds
            .parse()
            .ok()
            .and_then(|microseconds| Timestamp::from_microsecond(microseconds).ok())
            .ok_or_else(|| corrupt(format!("{} is not a time", row.microseconds)))?;
        entries.push(Entry { migration: row.migration, sequence: row.sequence, time, event });
    }
    Ok(migrations)
}

#[cfg(test)]
mod tests {
    use teal_client::{Answer, Format, InsertStream, Settings, WriteGate};

    use super::*;
    use crate::SeenPart;

    /// Takes every statement, and gives no answer to one that writes a `fenceUndone`. Refuses a `publishing`, and where it
    /// is a server, an entry of a migration `taken` as one of whoever was overtaken. Its clock stands in 1970.
    #[derive(Clone, Copy)]
    struct Mute {
        is_server: bool,
    }

    impl Server for Mute {
        fn session(&self, _: Settings<'_>) -> Result<Box<dyn Session>, ClientError> {
            Ok(Box::new(*self))
        }

        fn user_session(&self, _: Settings<'_>) -> Result<Box<dyn Session>, ClientError> {
            Ok(Box::new(*self))
        }

        fn write_gate(&self) -> Option<&WriteGate> {
            None
        }

        fn describe(&self) -> String {
            "mute".to_owned()
        }

        fn is_exclusive(&self) -> bool {
            !self.is_server
        }
    }

    impl Session for Mute {
        fn run(&mut self, statement: &str, _: Format) -> Result<Answer, ClientError> {
            if statement.contains("'fenceUndone'") {
                return Err(silence(statement));
            }
            let refused = |name: &str| ClientError::Server {
                code: 252,
                name: name.to_owned(),
                message: "no".to_owned(),
                statement: statement.to_owned(),
            };
            if statement.contains("'publishing'") {
                return Err(refused("TOO_MANY_PARTS"));
            }
            if statement.contains("throwIf") && statement.contains("('taken', ") {
                return Err(refused("FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"));
            }
            let written = if statement.contains("'b'") { 1 } else { 0 };
            let body = match statement.starts_with("SELECT name, comment") {
                true => Vec::new(),
                false => format!("{{\"entries\":{written},\"now\":0}}").into_bytes(),
            };
            Ok(Answer { body, ..Answer::default() })
        }

        fn insert<'s>(
            &'s mut self,
            statement: &str,
            _: Format,
        ) -> Result<Box<dyn InsertStream + 's>, ClientError> {
            Err(silence(statement))
        }

        fn stream_while(
            &mut self,
            statement: &str,
            _: Format,
            _: &mut dyn FnMut(),
            _: &mut dyn FnMut(&[u8]) -> std::ops::ControlFlow<()>,
        ) -> Result<(), ClientError> {
            Err(silence(statement))
        }
    }

    fn journal(is_server: bool) -> Journal {
        let mute = Mute { is_server };
        let lock = Lock::take(&mute, std::time::Duration::from_secs(60)).unwrap();
        Journal::open(&mute, Arc::new(lock)).unwrap()
    }

    fn silence(statement: &str) -> ClientError {
        ClientError::Silence { statement: statement.to_owned() }
    }

    #[test]
    fn what_is_not_read_of_past_entries_comes_last_in_them() {
        let text = |event: &Event| serde_json::to_string(event).unwrap();
        let event = |text: &str| serde_json::from_str::<Event>(text).unwrap();
        let of = |text: &str| text.to_owned();
        let partition = ProvenPartition { id: of("1"), rows: 3, blue: of("a"), green: of("b") };
        let parity = r#"{"blueRows":3,"greenRows":3,"compared":1}"#;
        let parity = serde_json::from_str::<Parity>(parity).unwrap();
        let verified = Event::Verified { parity: parity.clone(), proven: vec![partition.clone()] };
        let before = text(&Event::Verified { parity, proven: Vec::new() });
        let proven = serde_json::to_string(&[partition]).unwrap();
        let kept = before.strip_suffix('}').unwrap();
        assert_eq!(text(&verified), format!("{kept},\"proven\":{proven}}}"));

        let (mut seen, none) =
            (PartsSeen { time: 1, ..PartsSeen::default() }, PartsSeen::default());
        let past = text(&Event::Seen { blue: PartsSeen { ..seen.clone() } });
        let part = SeenPart { first: 1, last: 2, rows: 3, has_deleted: false };
        seen.add("a".to_owned(), [part]);
        let now = text(&Event::Seen { blue: seen });
        let kept = past.strip_suffix("\"parts\":{}}}").unwrap();
        assert_eq!(now, format!("{kept}\"parts\":{{\"a\":[[1,2,3]]}}}}}}"));
        assert_ne!(event(&past), Event::Seen { blue: none });
    }

    #[test]
    fn after_an_entry_without_an_answer_its_migration_gets_no_other_one() {
        let journal = journal(false);
        journal.append("a", 2, vec![Event::FenceOpened]).unwrap();
        let lost = journal.append("a", 3, vec![Event::FenceUndone]).unwrap_err();
        assert!(matches!(lost, JournalError::Client(_)), "{lost}");
        let next = journal.append("a", 3, vec![Event::FenceOpened]).unwrap_err();
        assert!(matches!(next, JournalError::Unsure { .. }), "{next}");
        journal.append("b", 2, vec![Event::FenceOpened]).unwrap();
    }

    #[test]
    fn after_an_entry_that_was_refused_and_is_not_there_its_migration_gets_others() {
        let journal = journal(false);
        let publishing = || Event::Publishing {
            chunk: 1,
            worker: 0,
            parts: Vec::new(),
            blocks: BTreeMap::new(),
        };
        let refused = journal.append("a", 2, vec![publishing()]).unwrap_err();
        assert!(matches!(refused, JournalError::Client(_)), "{refused}");
        journal.append("a", 2, vec![Event::FenceOpened]).unwrap();
        // Of this one an entry is there all the same.
        journal.append("b", 2, vec![publishing()]).unwrap_err();
        let next = journal.append("b", 2, vec![Event::FenceOpened]).unwrap_err();
        assert!(matches!(next, JournalError::Unsure { .. }), "{next}");
    }

    #[test]
    fn on_a_server_an_entry_has_its_time_and_is_refused_to_whoever_was_overtaken() {
        let journal = journal(true);
        let entries = journal.append("a", 2, vec![Event::FenceOpened]).unwrap();
        assert!(entries.iter().all(|entry| entry.time.as_second().abs() < 60), "{entries:?}");
        let lost = journal.append("taken", 2, vec![Event::FenceOpened]).unwrap_err();
        assert!(matches!(lost, JournalError::Lost(LockError::Lost { .. })), "{lost}");
        journal.lock.check().unwrap_err();
    }
}
