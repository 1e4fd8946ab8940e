use std::sync::atomic::Ordering;

use serde::Deserialize;
use teal_client::Session;
use teal_schema::{QualifiedName, quote_ident, quoted_list, rewrite_table_references};

use super::Shared;
use super::chunk::{self, Chunk};
use super::leave::Priority;
use super::order::CAME;
use crate::journal::state::Migrating;
use crate::settings::table_filters;
use crate::{MigrateError, Operator, failpoint, names};

/// Rows that are sorted at once, before those of a chunk are merged.
///
/// Whoever writes a part sorts its rows, if they are not sorted yet, at random places of memory: a chunk is too large
/// for a core's caches. To sort a fifth of it at a time, in the SELECT, and merge five takes 0.7 to 0.9 of the time
/// for keys of several columns or strings, and up to a sixth more for UUIDs or random numbers alone. Of fewer rows,
/// more are to be merged: of 65,000, keys of few values take twice as long. (10 and 20 million rows, 2 cores, 26.7.)
const SORTED_ROWS: &str = "500000";

/// Copies chunks, one after another, into a staging table of its own.
pub(super) struct Worker<'o> {
    pub(super) operator: &'o Operator<'o>,
    pub(super) number: usize,
    pub(super) staging: QualifiedName,
    pub(super) session: Box<dyn Session>,
    snapshot: QualifiedName,
    /// `INSERT … SELECT` from the snapshot, without the condition that selects a chunk.
    copy: String,
}

impl<'o> Worker<'o> {
    /// Makes the worker's staging table.
    pub(super) fn new(
        operator: &'o Operator<'o>,
        migrating: &Migrating,
        number: usize,
        comment: &str,
    ) -> Result<Self, MigrateError> {
        let migration = &migrating.migration;
        let staging = names::staging(&migrating.id, number);
        let snapshot = names::snapshot(&migrating.id);
        operator.make_own(&staging, &migration.green)?;
        // One thread each, and one block per chunk: it makes one part.
        let session = operator.server.session(&[
            ("log_comment", comment),
            ("max_threads", "1"),
            ("max_insert_threads", "1"),
            ("min_insert_block_size_rows", "1000000000"),
            ("min_insert_block_size_bytes", "0"),
            ("max_partitions_per_insert_block", "0"),
            ("max_block_size", SORTED_ROWS),
            ("preferred_block_size_bytes", "0"),
            // By what the snapshot is sorted, many parts would be read at the same time.
            ("optimize_read_in_order", "0"),
            ("max_rows_to_sort", "0"),
            ("max_bytes_to_sort", "0"),
            ("insert_deduplicate", "0"),
            ("max_execution_time", "0"),
            ("compile_expressions", "1"),
            ("compile_aggregate_expressions", "1"),
        ])?;
        operator.server.refuse_several()?;
        let columns = columns(migrating);
        let rows = match migration.keeps_order() {
            // The SELECT gives rows as they are.
            true => format!("{} ORDER BY {CAME}", snapshot.sql()),
            false => {
                let rows = select_from(migrating, &snapshot)?;
                let key = migration.green_sorting_key.as_ref();
                format!("({rows}){}", key.map(|key| format!(" ORDER BY {key}")).unwrap_or_default())
            }
        };
        let copy =
            format!("INSERT INTO {} ({columns}) SELECT {columns} FROM {rows}", staging.sql());
        Ok(Self { operator, number, staging, session, snapshot, copy })
    }

    /// Takes chunks until there are none, or any worker has failed.
    pub(super) fn run(mut self, shared: &Shared<'_>) {
        while let Some(turn) = shared.next_chunk() {
            let copied = self.copy(&turn.chunk, turn.priority);
            let chunk = turn.end();
            match copied.and_then(|()| self.publish(shared, &chunk)) {
                Ok(true) => (),
                Ok(false) => return,
                Err(error) => {
                    // What was sent may still happen where no answer came: that weighs more than anything else,
                    // behind which a publication would be finished at once.
                    let mut failed = shared.failed.lock();
                    if failed.as_ref().is_none_or(|it| !it.is_silence() && error.is_silence()) {
                        *failed = Some(error);
                    }
                    return;
                }
            }
            shared.copied.fetch_add(chunk.rows, Ordering::Relaxed);
        }
    }

    fn copy(&mut self, chunk: &Chunk, priority: Priority) -> Result<(), MigrateError> {
        let of_chunk = chunk::condition(std::slice::from_ref(chunk));
        let filter = table_filters(&[(&self.snapshot, &of_chunk)]);
        let nice = match priority {
            Priority::Same => "",
            Priority::Lower => ", os_thread_priority = 10",
        };
        self.operator.check_lock()?;
        self.session.command(&format!("{} SETTINGS {filter}{nice}", self.copy))?;
        failpoint::written();
        failpoint::reached("chunk-copied");
        self.check_snapshot(chunk)
    }

    /// A merge or a drop in the snapshot would make the copy read nothing, and say nothing. The
    /// parts never change, so being there after the copy means having been there during it.
    fn check_snapshot(&mut self, chunk: &Chunk) -> Result<(), MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            found: usize,
        }
        let parts = chunk.parts().collect::<Vec<_>>();
        let row = self.session.row::<Row>(&format!(
            "SELECT count() AS found FROM system.parts \
             WHERE active AND {} AND name IN ({})",
            self.snapshot.condition("table"),
            quoted_list(&parts)
        ))?;
        match row.found == parts.len() {
            true => Ok(()),
            false => Err(MigrateError::SnapshotChanged {
                snapshot: self.snapshot.clone(),
                chunk: chunk.number,
                expected: parts.len(),
                found: row.found,
            }),
        }
    }
}

/// The columns that the copy fills, quoted.
pub(crate) fn columns(migrating: &Migrating) -> String {
    let columns = migrating.migration.columns.iter().map(|column| quote_ident(&column.name));
    columns.collect::<Vec<_>>().join(", ")
}

/// The migration's SELECT, reading `table` in blue's stead.
pub(crate) fn select_from(
    migrating: &Migrating,
    table: &QualifiedName,
) -> Result<String, MigrateError> {
    let blue = &migrating.migration.blue;
    Ok(rewrite_table_references(&migrating.migration.select, |named| {
        (named.database.as_ref() == Some(&blue.database) && named.name == blue.name)
            .then(|| table.sql())
    })?)
}
