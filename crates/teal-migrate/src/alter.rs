//! An `ALTER` of a plan and the mutation that it begins, which rewrites parts in the background.
//!
//! ClickHouse would wait for the mutation before it answers, and be silent all the time: for longer, of a
//! large table, than a client or what stands between waits for an answer. So it is asked not to, and the
//! mutation is watched. A replicated table is told of a change by its queue, and its `ALTER` has to wait.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use teal_schema::{QualifiedName, quoted_list};

use crate::{MigrateError, Operator, Update, failpoint};

/// Between two looks at a mutation.
const LOOK: Duration = Duration::from_millis(20);

impl Operator<'_> {
    /// Runs the statement, and waits for what it changes in the table's parts.
    pub(crate) fn alter(&self, table: &QualifiedName, sql: &str) -> Result<(), MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            is_replicated: u8,
            before: Vec<String>,
        }
        let Row { is_replicated, before } = self.with_control(|session| {
            session.row(&format!(
                "SELECT (SELECT countIf(match(engine, '^(Replicated|Shared)')) FROM system.tables WHERE {}) > 0 \
                     AS is_replicated, \
                     (SELECT groupArray(mutation_id) FROM system.mutations WHERE {}) AS before",
                table.condition("name"),
                table.condition("table")
            ))
        })?;
        let syncs = if is_replicated != 0 { "1" } else { "0" };
        // A change of columns waits by the one, a `MATERIALIZE` by the other.
        let settings = [("alter_sync", syncs), ("mutations_sync", syncs)];
        let mut session = self.server.session(&settings)?;
        self.check_lock()?;
        session.command(sql)?;
        failpoint::written();
        let ours = self.mutations_but(table, &before)?;
        failpoint::reached("altered");
        self.wait_for_altering(table, &ours)
    }

    /// The mutations of the table that have come since: those of the statement that has just been answered. Users may
    /// begin others later.
    fn mutations_but(
        &self,
        table: &QualifiedName,
        before: &[String],
    ) -> Result<Vec<String>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            mutation_id: String,
        }
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT mutation_id FROM system.mutations WHERE {} AND NOT has([{}], mutation_id)",
                table.condition("table"),
                quoted_list(before)
            ))
        })?;
        Ok(rows.into_iter().map(|row| row.mutation_id).collect())
    }

    /// Waits for these mutations of the table.
    fn wait_for_altering(
        &self,
        table: &QualifiedName,
        ours: &[String],
    ) -> Result<(), MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            mutation_id: String,
            is_done: u8,
            fail_reason: String,
            parts_to_do: i64,
        }
        let ours = quoted_list(ours);
        let (mut known, mut waiting) = (BTreeSet::new(), self.observer.wait());
        loop {
            let mutations = self.with_control(|session| {
                session.rows::<Row>(&format!(
                    "SELECT mutation_id, is_done, latest_fail_reason AS fail_reason, parts_to_do \
                     FROM system.mutations WHERE {} AND has([{ours}], mutation_id)",
                    table.condition("table")
                ))
            })?;
            let failed =
                |reason: String| MigrateError::AlterFailed { table: table.clone(), reason };
            let is_there =
                |id: &String| mutations.iter().any(|mutation| mutation.mutation_id == *id);
            if let Some(gone) = known.iter().find(|id| !is_there(id)) {
                return Err(failed(format!("somebody has ended the mutation {gone}")));
            }
            let left = mutations.into_iter().filter(|mutation| mutation.is_done == 0);
            let left = left.collect::<Vec<_>>();
            if left.is_empty() {
                return Ok(());
            }
            if let Some(mutation) = left.iter().find(|mutation| !mutation.fail_reason.is_empty()) {
                return Err(failed(mutation.fail_reason.clone()));
            }
            let parts = left.iter().map(|mutation| mutation.parts_to_do).sum::<i64>();
            waiting.tell(|| {
                format!("the server to rewrite {table}: a mutation with {parts} parts to do")
            });
            known.extend(left.into_iter().map(|mutation| mutation.mutation_id));
            if self.options.interrupt.is_asked() {
                let goes_on = match self.server.is_exclusive() {
                    true => "its parts are rewritten when the data is open again",
                    false => "the server goes on to rewrite its parts by itself",
                };
                let what = format!(
                    "{table} is changed already, and {goes_on} (system.mutations); no later command waits for that"
                );
                self.observer.update(Update::Warning { what });
            }
            self.refuse_interrupted()?;
            self.check_lock()?;
            std::thread::sleep(LOOK);
        }
    }
}
