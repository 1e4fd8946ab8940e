//! The rows that one side has and the other lacks.
//!
//! They are copied in pieces, each of which reads both tables. So the number of pieces follows that of the rows which
//! differ: with one read of both, what tells these rows is written to a table of teal's own first. A large table is
//! read for them 1 + n times, with a piece for each [`PIECE_ROWS`] of them; of partitions in which nothing differs no
//! more than the columns of the partition key.

use std::collections::BTreeSet;

use serde::Deserialize;
use teal_schema::QualifiedName;

use super::drill_down::SPILL;
use super::drill_down::within_buckets;
use super::newest::Newer;
use super::sides::Sides;
use crate::settings::AS_THEY_ARE;
use crate::{MigrateError, Operator, failpoint};

/// Rows of a piece: some 100 bytes of each are held in memory at a time.
const PIECE_ROWS: u64 = 4_000_000;

/// Rows that one side has and the other lacks.
pub(crate) struct Surplus {
    /// The copied columns, listed.
    pub(super) columns: String,
    pub(super) by: By,
    /// A condition that all of them meet, and few others.
    pub(super) narrowed: Option<String>,
    /// More of a condition that all of them meet, or nothing.
    pub(super) in_partitions: String,
    /// Where what tells them is written, if they are in a large table.
    pub(super) list: QualifiedName,
}

/// What tells which rows those are.
pub(super) enum By {
    /// Each row that `from` has more often than `against`, as often as it has it more.
    Hash {
        from: String,
        against: String,
    },
    Version(Newer),
}

impl Surplus {
    /// The same, where what blue has in `more` is not lacking. Where the newest row of a key counts, it says nothing of
    /// those that have the same version on both sides.
    pub(crate) fn without(self, more: &Sides) -> Self {
        let by = match (self.by, &more.newest) {
            (By::Version(newer), Some(more)) => By::Version(newer.without(more)),
            (By::Hash { from, against }, _) => {
                By::Hash { from, against: both(&against, &more.blue) }
            }
            (by, None) => by,
        };
        Self { by, ..self }
    }

    /// A SELECT of the copied columns of these rows, within a condition.
    pub(crate) fn rows(&self, within: &str) -> String {
        let columns = &self.columns;
        match &self.by {
            By::Version(newer) => newer.rows(within),
            By::Hash { from, against } => format!(
                "SELECT {columns} FROM (\
                     SELECT {columns}, _teal_more, row_number() OVER (PARTITION BY _teal_hash) AS _teal_number \
                     FROM (SELECT * FROM ({from}) {within}) AS _teal_from \
                     ALL INNER JOIN ({}) AS _teal_surplus USING (_teal_hash)\
                 ) WHERE _teal_number <= _teal_more",
                hashes_of_surplus(from, against, within)
            ),
        }
    }

    fn count(&self, within: &str) -> String {
        match &self.by {
            By::Hash { from, against } => format!(
                "SELECT toUInt64(sum(_teal_more)) AS rows FROM ({})",
                hashes_of_surplus(from, against, within)
            ),
            By::Version(newer) => newer.count(within),
        }
    }

    /// All rows of the side that these are of, in the partitions that differ.
    fn all(&self) -> String {
        let from = match &self.by {
            By::Hash { from, .. } => from,
            By::Version(newer) => newer.all(),
        };
        format!("SELECT 1 FROM ({from}) WHERE 1{}", self.in_partitions)
    }

    /// What tells these rows, and a SELECT of it: each with how many rows a piece holds for its sake.
    fn listed(&self, within: &str) -> (&'static str, String) {
        match &self.by {
            By::Hash { from, against } => {
                let hashes = hashes_of_surplus(from, against, within);
                ("_teal_hash", format!("SELECT _teal_hash, _teal_here FROM ({hashes})"))
            }
            By::Version(newer) => {
                ("_teal_key", format!("SELECT _teal_key, 1 FROM ({})", newer.all_keys(within)))
            }
        }
    }

    fn within(&self, buckets: &BTreeSet<u8>) -> String {
        format!("WHERE {}{}", within_buckets(buckets), self.in_partitions)
    }
}

/// The rows of two SELECTs of the same columns.
pub(super) fn both(these: &str, those: &str) -> String {
    format!("SELECT * FROM ({these}) UNION ALL SELECT * FROM ({those})")
}

/// The hashes of the rows that `from` has more often than `against`, each with how often, and how often `from` has it.
pub(crate) fn hashes_of_surplus(from: &str, against: &str, within: &str) -> String {
    format!(
        "SELECT _teal_hash, sum(_teal_sign) AS _teal_more, countIf(_teal_sign > 0) AS _teal_here FROM (\
             SELECT _teal_hash, 1::Int64 AS _teal_sign FROM ({from}) {within} \
             UNION ALL SELECT _teal_hash, -1::Int64 AS _teal_sign FROM ({against}) {within}\
         ) GROUP BY _teal_hash HAVING _teal_more > 0"
    )
}

impl Operator<'_> {
    /// How many rows of these buckets those are.
    pub(crate) fn count_surplus(
        &self,
        surplus: &Surplus,
        buckets: &BTreeSet<u8>,
    ) -> Result<u64, MigrateError> {
        self.count_within(surplus, &surplus.within(buckets))
    }

    pub(crate) fn count_within(
        &self,
        surplus: &Surplus,
        within: &str,
    ) -> Result<u64, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            rows: u64,
        }
        let count = format!("{}{SPILL}", surplus.count(within));
        let Row { rows } = self.with_control(|session| session.row(&count))?;
        Ok(rows)
    }

    /// The rows of these buckets, in pieces that fit into memory, as conditions.
    pub(crate) fn pieces(
        &self,
        surplus: &Surplus,
        buckets: &BTreeSet<u8>,
    ) -> Result<Vec<String>, MigrateError> {
        if let Some(condition) = &surplus.narrowed {
            return Ok(vec![format!("WHERE {} AND {condition}", within_buckets(buckets))]);
        }
        let within = surplus.within(buckets);
        let of_piece = failpoint::number("piece-rows", PIECE_ROWS);
        if self.count_rows(&surplus.all())? <= of_piece {
            return Ok(vec![within]);
        }
        let (told_by, listed) = surplus.listed(&within);
        let list = surplus.list.sql();
        let pieces = self.list(&surplus.list, &listed)?.div_ceil(of_piece);
        let piece = |piece| {
            format!(
                "{within} AND {told_by} IN (SELECT told FROM {list} WHERE told % {pieces} = {piece})"
            )
        };
        Ok((0..pieces).map(piece).collect())
    }

    /// Writes what tells rows to a table, and says how many these are.
    fn list(&self, list: &QualifiedName, listed: &str) -> Result<u64, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            rows: u64,
        }
        let table = list.sql();
        self.drop_table(list)?;
        self.command(&format!(
            "CREATE TABLE {table} (told UInt128, rows UInt64) ENGINE = MergeTree ORDER BY told"
        ))?;
        self.command(&format!("INSERT INTO {table} {listed}{SPILL}"))?;
        let Row { rows } = self.with_control(|session| {
            session.row(&format!("SELECT sum(rows) AS rows FROM {table}"))
        })?;
        Ok(rows)
    }

    pub(crate) fn copy_within(
        &self,
        surplus: &Surplus,
        into: &QualifiedName,
        within: &str,
    ) -> Result<(), MigrateError> {
        let columns = &surplus.columns;
        self.command(&format!(
            "INSERT INTO {} ({columns}) SELECT {columns} FROM ({}) \
             SETTINGS {AS_THEY_ARE}",
            into.sql(),
            surplus.rows(within)
        ))
    }
}
