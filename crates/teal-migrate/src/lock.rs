//! One operator at a time. The lock is a table `_teal.lock_<generation>`, because `CREATE TABLE`
//! is the one statement of every server that only one of two can win.
//!
//! The table of the highest generation is the lock. Released, it stays, marked so, that no one who
//! read the list before can win an older generation; the next owner drops it.
//!
//! The interleaving to fear: A lists generation 5, released. B takes 6, works, releases it. C takes
//! 7 and drops 5 and 6. A now creates 6, which works. So A looks again after its `CREATE`: 7 is
//! higher, A drops its 6 and is told that the lock is held.

use std::sync::OnceLock;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use teal_client::{ClientError, Server, Session};
use teal_schema::{QualifiedName, quote_ident, quote_string};

use crate::names::TEAL_DATABASE;

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(
        "another teal works on this target: {holder}. Wait for its end, or end it and drop the table {lock}"
    )]
    Held { holder: String, lock: QualifiedName },
    #[error("cannot write the lock: {0}")]
    Unwritable(#[from] serde_json::Error),
}

impl LockError {
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }
}

/// Leave to work on a target. Released when dropped.
pub struct Lock {
    /// Behind a mutex only so that who holds the lock can be shared between threads.
    session: Mutex<Box<dyn Session>>,
    generation: u64,
    owner: Owner,
}

/// Who holds a lock; the comment of its table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    host: String,
    pid: u32,
    /// Tells this process from any other, also from a later one of the same pid.
    process: String,
    released: bool,
}

impl Lock {
    /// # Errors
    /// When someone else holds it, or the server refuses.
    pub fn take(server: &dyn Server) -> Result<Self, LockError> {
        let mut session = server.session(&[])?;
        session
            .command(&format!("CREATE DATABASE IF NOT EXISTS {}", quote_ident(TEAL_DATABASE)))?;
        let before = list(session.as_mut())?;
        let generation = match before.last() {
            Some((generation, owner)) => {
                if !owner.released && !is_dead(server, owner) {
                    return Err(held(*generation, owner));
                }
                generation + 1
            }
            None => 1,
        };
        let owner = Owner::this_process();
        let created = session.command(&format!(
            "CREATE TABLE {} (nothing UInt8) ENGINE = Memory COMMENT {}",
            table(generation).sql(),
            quote_string(&serde_json::to_string(&owner)?)
        ));
        match created {
            Ok(_) => (),
            Err(error) if error.server_name() == Some("TABLE_ALREADY_EXISTS") => {
                return Err(held_by_another(session.as_mut(), generation)?);
            }
            Err(error) => return Err(error.into()),
        }
        let after = list(session.as_mut())?;
        if after.last().is_some_and(|(highest, _)| *highest > generation) {
            let error = held_by_another(session.as_mut(), generation)?;
            session.command(&format!("DROP TABLE IF EXISTS {}", table(generation).sql()))?;
            return Err(error);
        }
        for (older, _) in after.iter().filter(|(other, _)| *other < generation) {
            session.command(&format!("DROP TABLE IF EXISTS {}", table(*older).sql()))?;
        }
        Ok(Self { session: Mutex::new(session), generation, owner })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.owner.released = true;
        if let Ok(comment) = serde_json::to_string(&self.owner) {
            // Should this fail, the next one finds a lock whose owner has ended.
            let _ = self.session.get_mut().command(&format!(
                "ALTER TABLE {} MODIFY COMMENT {}",
                table(self.generation).sql(),
                quote_string(&comment)
            ));
        }
    }
}

impl Owner {
    fn this_process() -> Self {
        static PROCESS: OnceLock<String> = OnceLock::new();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let process = PROCESS.get_or_init(|| uuid::Uuid::new_v4().to_string()).clone();
        Self { host, pid: std::process::id(), process, released: false }
    }
}

/// Where only one process can have the server's data open, the owner of any other lock has ended.
fn is_dead(server: &dyn Server, owner: &Owner) -> bool {
    server.is_exclusive() && owner.process != Owner::this_process().process
}

fn table(generation: u64) -> QualifiedName {
    QualifiedName::new(TEAL_DATABASE, format!("lock_{generation}"))
}

/// All generations that are there, the highest last.
fn list(session: &mut dyn Session) -> Result<Vec<(u64, Owner)>, LockError> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
        comment: String,
    }
    let rows = session.rows::<Row>(&format!(
        "SELECT name, comment FROM system.tables \
         WHERE database = {} AND match(name, '^lock_[0-9]+$')",
        quote_string(TEAL_DATABASE)
    ))?;
    let mut locks = Vec::new();
    for row in rows {
        if let Some(generation) = row.name.strip_prefix("lock_").and_then(|n| n.parse().ok()) {
            locks.push((generation, serde_json::from_str(&row.comment)?));
        }
    }
    locks.sort_by_key(|(generation, _)| *generation);
    Ok(locks)
}

fn held(generation: u64, owner: &Owner) -> LockError {
    LockError::Held {
        holder: format!("process {} on {}", owner.pid, owner.host),
        lock: table(generation),
    }
}

fn held_by_another(session: &mut dyn Session, generation: u64) -> Result<LockError, LockError> {
    Ok(match list(session)?.last() {
        Some((highest, owner)) => held(*highest, owner),
        None => LockError::Held {
            holder: "a process that has just ended".to_owned(),
            lock: table(generation),
        },
    })
}
