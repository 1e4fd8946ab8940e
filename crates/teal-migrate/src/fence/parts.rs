//! The parts of a table, as those look at them who tell what came while merges were off.

use serde::Deserialize;
use teal_schema::QualifiedName;

use super::not_clean;
use crate::{MigrateError, Operator};

/// An active part.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CutPart {
    pub(crate) partition_id: String,
    pub(crate) name: String,
    pub(crate) uuid: String,
    /// Of all of its files: equal ones are equal rows.
    pub(crate) hash: String,
    pub(crate) rows: u64,
    pub(crate) level: u32,
    pub(crate) min_block: i64,
    pub(crate) max_block: i64,
}

impl CutPart {
    /// Whether it was made of others. A level of 1 tells nothing: an INSERT into an engine that folds rows folds its
    /// own (26.7, 26.9). A merge of one such part alone keeps its key and has its rows, under a new name, of which
    /// `part_log` has nothing.
    pub(crate) fn is_merged(&self) -> bool {
        self.min_block < self.max_block || self.level > 1
    }

    /// What a part keeps when it is mutated, within a table where nothing is merged.
    pub(crate) fn key(&self) -> String {
        format!("{}..{}", self.min_block, self.max_block)
    }
}

impl Operator<'_> {
    /// The oldest of each partition first: of equal parts, a cut takes the first for the old ones.
    pub(crate) fn cut_parts(&self, table: &QualifiedName) -> Result<Vec<CutPart>, MigrateError> {
        Ok(self.with_control(|session| {
            session.rows(&format!(
                "SELECT partition_id, name, toString(uuid) AS uuid, hash_of_all_files AS hash, rows, level, \
                     min_block_number AS min_block, max_block_number AS max_block \
                 FROM system.parts WHERE active AND {} \
                 ORDER BY partition_id, min_block_number",
                table.condition("table")
            ))
        })?)
    }

    /// Seconds since 1970, by the server's clock; another one tells that it was started anew.
    pub(crate) fn server_start(&self) -> Result<i64, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            start: i64,
        }
        let Row { start } = self.with_control(|session| {
            session.row("SELECT toInt64(toUnixTimestamp(now())) - toInt64(uptime()) AS start")
        })?;
        Ok(start)
    }

    /// With a server go the last entries of its log, and of one INSERT perhaps those of green alone: it would
    /// be taken for not forwarded, and be doubled.
    pub(crate) fn refuse_started_anew(&self, server_start: i64) -> Result<(), MigrateError> {
        // The uptime is of whole seconds.
        match self.server_start()?.abs_diff(server_start) > 1 {
            true => Err(not_clean("a cut through which the server stays up (it was started anew)")),
            false => Ok(()),
        }
    }
}

/// Refuses parts that were made of others, also of those up to the block that was `known` before.
pub(crate) fn refuse_merged<'a>(
    parts: impl IntoIterator<Item = &'a CutPart>,
    known: Option<i64>,
) -> Result<(), MigrateError> {
    let is_known = |part: &CutPart| known.is_some_and(|known| part.min_block <= known);
    match parts.into_iter().find(|part| part.is_merged() || is_known(part)) {
        Some(part) => {
            Err(not_clean(&format!("a cut in which nothing is merged (part {} was)", part.name)))
        }
        None => Ok(()),
    }
}
