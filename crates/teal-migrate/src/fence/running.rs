use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::repair::stale::first_of;
use crate::{MigrateError, Operator};

/// Between two looks at the INSERTs that are waited for.
const LOOK: Duration = Duration::from_millis(20);

impl Operator<'_> {
    /// Waits until every INSERT that runs now has ended, on a server where none can be held. Others
    /// begin meanwhile; those are not waited for. An INSERT is in the server's list before it looks
    /// which views there are.
    ///
    /// `check` says with each look whether to go on.
    pub(crate) fn wait_for_inserts(
        &self,
        mut check: impl FnMut(&BTreeSet<String>) -> Result<(), MigrateError>,
    ) -> Result<(), MigrateError> {
        let mut running = self.running_inserts()?;
        while !running.is_empty() {
            check(&running)?;
            std::thread::sleep(LOOK);
            let now = self.running_inserts()?;
            running.retain(|id| now.contains(id));
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
    fn running_inserts(&self) -> Result<BTreeSet<String>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            query_id: String,
        }
        let rows = self.with_control(|session| {
            session.rows::<Row>(
                "SELECT query_id FROM system.processes WHERE query_kind IN \
                     ('Insert', 'AsyncInsertFlush', 'ExecuteAs', 'ParallelWithQuery')",
            )
        })?;
        Ok(rows.into_iter().map(|row| row.query_id).collect())
    }
}

pub(crate) fn long_inserts(running: &BTreeSet<String>) -> String {
    let ids = running.iter().cloned().collect::<Vec<_>>();
    format!("the end of INSERTs that go on (query_id {})", first_of(&ids))
}
