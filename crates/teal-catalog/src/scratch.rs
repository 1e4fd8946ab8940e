use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use teal_client::{ClientError, Server, Session, Settings};
use teal_schema::{QualifiedName, quote_ident};

use crate::Catalog;
use crate::alike::formatted;

/// Every scratch database's name starts so; then come the time of its making, in the server's
/// seconds, the process that made it, and a number.
pub const SCRATCH_PREFIX: &str = "_teal_shadow_";

/// No plan takes as long, so that what is older was left by a process that has ended.
const LONGEST_LIFE_SECONDS: u32 = 3600;

/// Databases on a server to try things in, each standing for a real one. Dropped with the value; what
/// a crash left behind is dropped by a later one.
pub struct Scratch {
    pub session: Box<dyn Session>,
    /// More of them, to create tables at the same time.
    others: Vec<Box<dyn Session>>,
    prefix: String,
    databases: Vec<String>,
    /// In front of a table's name in a statement: databases that the server quotes there, though not their scratch
    /// ones, and the names of either.
    quoted: Vec<(String, String)>,
}

/// Creating a table is work for the server's processor on an embedded engine, and a way there and
/// back on a server far away.
const SESSIONS: usize = 4;

/// What is in a scratch database need not outlive a power cut.
const SETTINGS: Settings<'_> = &[("fsync_metadata", "0")];

impl Scratch {
    /// Makes a scratch database for each of `databases`.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn create(
        server: &dyn Server,
        settings: Settings<'_>,
        databases: &[String],
    ) -> Result<Self, ClientError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let settings = [settings, SETTINGS].concat();
        let mut session = server.session(&settings)?;
        let now = drop_leftovers(server, session.as_mut())?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{SCRATCH_PREFIX}{now}_{}_{number}_", std::process::id());
        let others =
            (1..SESSIONS).map(|_| server.session(&settings)).collect::<Result<Vec<_>, _>>()?;
        let databases = databases.to_vec();
        let mut scratch = Self { session, others, prefix, databases, quoted: Vec::new() };
        scratch.quoted = scratch.quoted_databases()?;
        for name in &scratch.databases {
            let name = quote_ident(&scratch.scratched(name));
            scratch.session.command(&format!("CREATE DATABASE {name}"))?;
        }
        Ok(scratch)
    }

    /// Where the table or view `name` stands in the scratch databases.
    pub fn name(&self, name: &QualifiedName) -> QualifiedName {
        QualifiedName::new(self.scratched(&name.database), &name.name)
    }

    /// Runs statements that do not depend on each other, several at a time. The results are in the
    /// statements' order.
    pub fn run_all(&mut self, statements: &[String]) -> Vec<Result<(), ClientError>> {
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(statements.len()));
        let work = |session: &mut dyn Session| {
            while let Some((i, sql)) = take(&next, statements) {
                let result = session.command(sql).map(drop);
                results.lock().unwrap_or_else(PoisonError::into_inner).push((i, result));
            }
        };
        std::thread::scope(|scope| {
            for session in &mut self.others {
                scope.spawn(|| work(session.as_mut()));
            }
            work(self.session.as_mut());
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(i, _)| *i);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// A text of the server's about them, said of the real databases: a message, or a name as it is.
    pub fn unscratched(&self, text: &str) -> String {
        text.replace(&self.prefix, "")
    }

    /// A statement of the server's about them, as it would be of the real databases.
    pub fn unscratched_statement(&self, sql: &str) -> String {
        let quoted = self.quoted.iter();
        let sql = quoted.fold(sql.to_owned(), |sql, (scratch, real)| sql.replace(scratch, real));
        self.unscratched(&sql)
    }

    /// What is in them, by scratch names.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn catalog(&mut self) -> Result<Catalog, ClientError> {
        let names = self.databases.iter().map(|name| self.scratched(name)).collect::<Vec<_>>();
        let names = names.iter().map(String::as_str).collect::<Vec<_>>();
        Catalog::read(self.session.as_mut(), &names)
    }

    /// A name like `2024` or `all` is quoted, and with something in front it is not (26.7).
    fn quoted_databases(&mut self) -> Result<Vec<(String, String)>, ClientError> {
        let select = |database: &String| format!("SELECT 1 FROM {}.t", quote_ident(database));
        let statements = self.databases.iter().map(select).collect::<Vec<_>>();
        let written = formatted(self.session.as_mut(), &statements)?;
        let bare = self.databases.iter().map(|database| format!("{}.", self.scratched(database)));
        let quoted = self.databases.iter().zip(bare).zip(written).map(|((database, bare), sql)| {
            let is_quoted = match sql {
                Some(sql) => !sql.ends_with(&format!(" {database}.t")),
                // The server is too old to say so.
                None => database.starts_with(|first: char| first.is_ascii_digit()),
            };
            is_quoted.then(|| (bare, format!("{}.", quote_ident(database))))
        });
        Ok(quoted.flatten().collect())
    }

    fn scratched(&self, database: &str) -> String {
        format!("{}{database}", self.prefix)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for name in &self.databases {
            let sql =
                format!("DROP DATABASE IF EXISTS {} SYNC", quote_ident(&self.scratched(name)));
            // What cannot be dropped now is dropped by a later one.
            let _ = self.session.command(&sql);
        }
    }
}

/// A session that creates what a server creates only for those who ask for it by a setting: types and
/// codecs that are unusual or experimental. A table that has them was made so once.
///
/// # Errors
/// When the server cannot be asked.
pub fn permissive_session(
    server: &dyn Server,
    settings: Settings<'_>,
) -> Result<Box<dyn Session>, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
    }
    let rows = server.session(&[])?.rows::<Row>(
        "SELECT name FROM system.settings WHERE type = 'Bool' AND readonly = 0 AND ( \
             name LIKE 'allow_suspicious_%' OR name LIKE 'allow_experimental_%' \
             OR name LIKE 'enable_%_type')",
    )?;
    let permits = rows.iter().map(|row| (row.name.as_str(), "1"));
    server.session(&settings.iter().copied().chain(permits).collect::<Vec<_>>())
}

fn take<'s>(next: &AtomicUsize, statements: &'s [String]) -> Option<(usize, &'s String)> {
    let i = next.fetch_add(1, Ordering::Relaxed);
    statements.get(i).map(|sql| (i, sql))
}

/// Drops what ended processes have left; gives the server's time. Where only one process can be at
/// work, that is all but its own.
fn drop_leftovers(server: &dyn Server, session: &mut dyn Session) -> Result<u32, ClientError> {
    #[derive(Deserialize)]
    struct Now {
        seconds: u32,
    }
    #[derive(Deserialize)]
    struct Row {
        name: String,
    }
    let now = session.row::<Now>("SELECT toUnixTimestamp(now()) AS seconds")?.seconds;
    let rows = session.rows::<Row>(&format!(
        "SELECT name FROM system.databases WHERE startsWith(name, '{SCRATCH_PREFIX}')"
    ))?;
    let pid = std::process::id().to_string();
    for Row { name } in rows {
        let mut parts = name.strip_prefix(SCRATCH_PREFIX).unwrap_or_default().split('_');
        let made = parts.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        let is_anothers = parts.next() != Some(&pid);
        let is_old = now.saturating_sub(made) > LONGEST_LIFE_SECONDS;
        if is_old || (server.is_exclusive() && is_anothers) {
            session.command(&format!("DROP DATABASE IF EXISTS {} SYNC", quote_ident(&name)))?;
        }
    }
    Ok(now)
}
