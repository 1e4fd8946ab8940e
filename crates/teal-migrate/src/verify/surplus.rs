//! The rows that one side has and the other lacks.

use std::collections::BTreeSet;

use serde::Deserialize;
use teal_schema::QualifiedName;

use super::newest::Newer;
use super::sums::BUCKET;
use crate::{MigrateError, Operator};

/// Rows of a piece: some 100 bytes of each are held in memory at a time.
const PIECE_ROWS: u64 = 4_000_000;
/// How many buckets there are: the rest of a key by it is its bucket.
const BUCKETS: u8 = 16;

/// Rows that one side has and the other lacks.
pub(crate) struct Surplus {
    /// The copied columns, listed.
    columns: String,
    told: Told,
    /// A condition that all of them meet, and few others.
    narrowed: Option<String>,
}

/// What tells which rows those are.
enum Told {
    /// Each row that `from` has more often than `against`, as often as it has it more.
    ByHash {
        from: String,
        against: String,
    },
    ByVersion(Newer),
}

impl Surplus {
    pub(super) fn by_hash(
        columns: &str,
        from: &str,
        against: &str,
        narrowed: Option<String>,
    ) -> Self {
        let told = Told::ByHash { from: from.to_owned(), against: against.to_owned() };
        Self { columns: columns.to_owned(), told, narrowed }
    }

    pub(super) fn by_version(columns: &str, newer: Newer) -> Self {
        Self { columns: columns.to_owned(), told: Told::ByVersion(newer), narrowed: None }
    }

    /// The same, where the rows of `more`, a side too, are not lacking. Of rows that are told by hash.
    pub(crate) fn without(self, more: &str) -> Self {
        let told = match self.told {
            Told::ByHash { from, against } => {
                let against = format!("SELECT * FROM ({against}) UNION ALL SELECT * FROM ({more})");
                Told::ByHash { from, against }
            }
            by_version @ Told::ByVersion(_) => by_version,
        };
        Self { told, ..self }
    }

    /// A SELECT of the copied columns of these rows, within a condition.
    pub(crate) fn rows(&self, within: &str) -> String {
        let columns = &self.columns;
        match &self.told {
            Told::ByVersion(newer) => newer.rows(within),
            Told::ByHash { from, against } => format!(
                "SELECT {columns} FROM (\
                     SELECT {columns}, _teal_more, row_number() OVER (PARTITION BY _teal_hash) AS _teal_number \
                     FROM (SELECT * FROM ({from}) {within}) AS _teal_from \
                     INNER JOIN ({}) AS _teal_surplus USING (_teal_hash)\
                 ) WHERE _teal_number <= _teal_more",
                hashes_of_surplus(from, against, within)
            ),
        }
    }

    fn count(&self, within: &str) -> String {
        match &self.told {
            Told::ByHash { from, against } => format!(
                "SELECT toUInt64(sum(_teal_more)) AS rows FROM ({})",
                hashes_of_surplus(from, against, within)
            ),
            Told::ByVersion(newer) => newer.count(within),
        }
    }

    /// All rows of the side that these are of.
    fn all(&self) -> &str {
        match &self.told {
            Told::ByHash { from, .. } => from,
            Told::ByVersion(newer) => newer.all(),
        }
    }
}

/// The hashes of the rows that `from` has more often than `against`, each with how often.
pub(crate) fn hashes_of_surplus(from: &str, against: &str, within: &str) -> String {
    format!(
        "SELECT _teal_hash, sum(_teal_sign) AS _teal_more FROM (\
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
        #[derive(Deserialize)]
        struct Row {
            rows: u64,
        }
        let count = surplus.count(&in_buckets(buckets));
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
            return Ok(vec![format!("{} AND {condition}", in_buckets(buckets))]);
        }
        let rows = self.count_rows(&format!("SELECT 1 FROM ({})", surplus.all()))?;
        Ok(pieces(rows, buckets))
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
             SETTINGS insert_deduplicate = 0, max_partitions_per_insert_block = 0",
            into.sql(),
            surplus.rows(within)
        ))
    }
}

pub(crate) fn pieces(rows: u64, buckets: &BTreeSet<u8>) -> Vec<String> {
    let all = u64::from(BUCKETS);
    if rows <= PIECE_ROWS {
        return vec![in_buckets(buckets)];
    }
    let of_each = rows.div_ceil(PIECE_ROWS * all);
    let pieces = buckets.iter().flat_map(|bucket| {
        (0..of_each).map(move |piece| {
            let rest = u64::from(*bucket) + all * piece;
            format!("WHERE _teal_key % {} = {rest}", all * of_each)
        })
    });
    pieces.collect()
}

pub(crate) fn all_buckets() -> BTreeSet<u8> {
    (0..BUCKETS).collect()
}

fn in_buckets(buckets: &BTreeSet<u8>) -> String {
    let buckets = buckets.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    format!("WHERE {BUCKET} IN ({buckets})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_all_buckets_are_all_hashes_once() {
        let buckets = (0..16).collect::<BTreeSet<_>>();
        let rows = PIECE_ROWS * 40;
        let cut = pieces(rows, &buckets).into_iter().collect::<BTreeSet<_>>();
        let all = (0..48).map(|rest| format!("WHERE _teal_key % 48 = {rest}"));
        assert_eq!(cut, all.collect());
        // A small table is not read sixteen times.
        let few = pieces(PIECE_ROWS, &BTreeSet::from([1, 3]));
        assert_eq!(few, ["WHERE bitAnd(toUInt8(_teal_key), 15) IN (1, 3)"]);
    }
}
