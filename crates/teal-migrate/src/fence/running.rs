use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Deserialize;
use teal_client::TEAL_LOG_COMMENT;
use teal_schema::quote_string;

use crate::repair::stale::first_of;
use crate::{MigrateError, Operator};

/// Between two looks at the INSERTs that are waited for.
const LOOK: Duration = Duration::from_millis(20);

/// Characters of a statement that are shown.
const STATEMENT: usize = 80;

/// A statement that a cut waits for.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RunningInsert {
    query_id: String,
    user: String,
    /// Since it began.
    seconds: f64,
    /// Its beginning, without its values.
    query: String,
}

impl fmt::Display for RunningInsert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { query_id, user, seconds, query } = self;
        write!(f, "{query_id} of {user}, for {seconds:.1} s now ({query})")
    }
}

impl Operator<'_> {
    /// Waits until every INSERT that runs now has ended, on a server where none can be held. Others
    /// begin meanwhile; those are not waited for. An INSERT is in the server's list before it looks
    /// which views there are.
    ///
    /// `check` says with each look whether to go on.
    pub(crate) fn wait_for_inserts(
        &self,
        mut check: impl FnMut(&[RunningInsert]) -> Result<(), MigrateError>,
    ) -> Result<(), MigrateError> {
        let mut running = self.running_inserts()?;
        while !running.is_empty() {
            check(&running)?;
            std::thread::sleep(LOOK);
            let before = running.into_iter().map(|it| it.query_id).collect::<BTreeSet<_>>();
            running = self.running_inserts()?;
            running.retain(|it| before.contains(&it.query_id));
        }
        Ok(())
    }

    /// As [`wait_for_inserts`](Self::wait_for_inserts), for as long as a cut may take.
    pub(crate) fn wait_for_inserts_in_time(&self) -> Result<(), MigrateError> {
        let mut waiting = self.observer.wait();
        self.wait_for_inserts(|running| {
            let (waited, reason) = (waiting.elapsed(), || long_inserts(running));
            if waited >= self.options.fence_timeout {
                return Err(MigrateError::NoCleanCut { waited, reason: reason() });
            }
            waiting.tell(reason);
            Ok(())
        })
    }

    /// Waits for a moment at which no INSERT runs, or until the patience is at its end.
    pub(crate) fn wait_for_a_quiet_moment(&self, patience: Duration) -> Result<(), MigrateError> {
        let began = Instant::now();
        while began.elapsed() < patience && !self.running_inserts()?.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// By query id; one that a client has chosen may come again, which only makes the wait longer. `EXECUTE AS … INSERT`
    /// and `INSERT … PARALLEL WITH` are listed as what is around them.
    fn running_inserts(&self) -> Result<Vec<RunningInsert>, MigrateError> {
        self.running_statements(
            "query_kind IN ('Insert', 'AsyncInsertFlush', 'ExecuteAs', 'ParallelWithQuery')",
        )
    }

    /// So many writes have kept the write gate from closing; those that waited at it are running by now, and are
    /// younger.
    pub(crate) fn long_writes(&self, writes: usize) -> Result<String, MigrateError> {
        let mut running = self.running_statements(&format!(
            "query_kind NOT IN ('Select', 'Show', 'Describe', 'Explain', 'Exists') \
                 AND NOT startsWith(Settings['log_comment'], {})",
            quote_string(TEAL_LOG_COMMENT)
        ))?;
        running.truncate(writes);
        Ok(match running.is_empty() {
            // They have just ended.
            true => format!("the end of {writes} INSERT(s)"),
            false => long_inserts(&running),
        })
    }

    /// The longest running first.
    fn running_statements(&self, which: &str) -> Result<Vec<RunningInsert>, MigrateError> {
        // A statement may be long, and be looked at fifty times a second: a text that is cut short within a value
        // ends before it (26.7).
        Ok(self.with_control(|session| {
            session.rows(&format!(
                "SELECT query_id, user, elapsed AS seconds, \
                     substringUTF8(normalizeQuery(substring(query, 1, 1000)), 1, {STATEMENT}) AS query \
                 FROM system.processes WHERE {which} ORDER BY elapsed DESC"
            ))
        })?)
    }
}

pub(crate) fn long_inserts(running: &[RunningInsert]) -> String {
    let all = running.iter().map(ToString::to_string).collect::<Vec<_>>();
    format!("the end of INSERTs that go on: query_id {}", first_of(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_many_inserts_are_named() {
        let running = ["a", "b", "c", "d", "e"].map(|query_id| RunningInsert {
            query_id: query_id.to_owned(),
            user: "ann".to_owned(),
            seconds: 12.34,
            query: "INSERT INTO t SELECT ?".to_owned(),
        });
        let named = |id| format!("{id} of ann, for 12.3 s now (INSERT INTO t SELECT ?)");
        let [a, b, c] = ["a", "b", "c"].map(named);
        assert_eq!(
            long_inserts(&running),
            format!("the end of INSERTs that go on: query_id {a}, {b}, {c} and 2 more")
        );
    }
}
