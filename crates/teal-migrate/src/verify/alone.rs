//! Rows of some parts that the other one of two tables lacks. Those parts are read, and of the other table
//! what may be equal.

use std::collections::BTreeSet;

use serde::Deserialize;
use teal_schema::quoted_list;

use crate::fence::CutPart;
use crate::journal::state::Migrating;
use crate::verify::SPILL;
use crate::{MigrateError, Operator};

/// Rows that are shown.
pub(crate) const SHOWN: usize = 3;
/// Rows of a piece. The hashes of those that are looked for are held in memory, and the others are looked through for
/// each piece.
pub(crate) const PIECE_ROWS: u64 = 4_000_000;
/// Rather than for more pieces than that, all rows are grouped, on the server's disk where they are too many, in
/// [`STEPS`].
const MOST_PIECES: u64 = 8;
const STEPS: u64 = 16;
/// Parts that a condition names, at most.
pub(crate) const MOST_PARTS: usize = 2_000;

/// Rows that one table alone has.
#[derive(Debug, Default)]
pub(crate) struct Alone {
    pub(crate) rows: u64,
    /// Some of them, each a line of JSON.
    pub(crate) shown: Vec<String>,
}

/// Two tables of which one may have rows that the other one lacks.
pub(crate) struct Pair<'a> {
    /// The rows that are looked for, as [`sides`](crate::verify::sides) gives them.
    pub(crate) these: &'a str,
    /// Where they are looked for.
    pub(crate) those: &'a str,
    /// The columns by which a person knows a row.
    pub(crate) shown: &'a str,
    /// What is compared is a key: how often it is there says nothing.
    pub(crate) is_by_key: bool,
    /// The parts that are read, as a further setting of a query; empty where all are.
    pub(crate) only: &'a str,
}

impl Operator<'_> {
    /// Looks for some `rows` rows.
    pub(crate) fn rows_alone(&self, pair: &Pair<'_>, rows: u64) -> Result<Alone, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            rows: u64,
            hashes: Vec<String>,
        }
        let Pair { these, those, is_by_key, only, .. } = pair;
        let surplus = match is_by_key {
            true => "if(in_those = 0, in_these, 0)",
            false => "greatest(in_these - in_those, 0)",
        };
        let pieces = rows.div_ceil(PIECE_ROWS).max(1);
        let are_few = pieces <= MOST_PIECES;
        let steps = if are_few { pieces } else { STEPS };
        let mut alone = Alone::default();
        for step in 0..steps {
            let within = format!("WHERE _teal_key % {steps} = {step}");
            let equal = match are_few {
                true => format!(" AND _teal_hash IN (SELECT _teal_hash FROM ({these}) {within})"),
                false => String::new(),
            };
            let found: Row = self.with_control(|session| {
                session.row(&format!(
                    "SELECT toUInt64(sum(surplus)) AS rows, \
                         arrayMap(hash -> toString(hash), groupArray({SHOWN})(_teal_hash)) AS hashes FROM (\
                         SELECT _teal_hash, toInt64(countIf(_teal_is_sought)) AS in_these, \
                             toInt64(countIf(NOT _teal_is_sought)) AS in_those, {surplus} AS surplus FROM (\
                             SELECT true AS _teal_is_sought, _teal_hash FROM ({these}) {within} \
                             UNION ALL SELECT false AS _teal_is_sought, _teal_hash FROM ({those}) {within}{equal}\
                         ) GROUP BY _teal_hash HAVING surplus > 0){SPILL}{only}"
                ))
            })?;
            alone.rows += found.rows;
            if alone.shown.len() < SHOWN && !found.hashes.is_empty() {
                alone.shown.extend(self.shown_by_hash(pair, &within, &found.hashes)?);
                alone.shown.truncate(SHOWN);
            }
        }
        Ok(alone)
    }

    fn shown_by_hash(
        &self,
        pair: &Pair<'_>,
        within: &str,
        hashes: &[String],
    ) -> Result<Vec<String>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            row: String,
        }
        let Pair { these, shown, only, .. } = pair;
        let hashes = hashes.iter().map(|hash| format!("toUInt128('{hash}')"));
        let hashes = hashes.collect::<Vec<_>>().join(", ");
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT formatRow('JSONEachRow', {shown}) AS row FROM ({these}) {within} \
                     AND _teal_hash IN ({hashes}) LIMIT 1 BY _teal_hash{SPILL}{only}"
            ))
        })?;
        Ok(rows.into_iter().map(|it| it.row).collect())
    }
}

impl Alone {
    /// As lines for a person.
    pub(crate) fn text(&self) -> Box<str> {
        self.shown.join("").trim_end().into()
    }
}

/// The parts of the old table that can have rows which came since it was seen last: since the fence was opened, or
/// behind a proof of parity.
pub(crate) fn newer<'a>(migrating: &Migrating, old: &'a [CutPart]) -> Vec<&'a CutPart> {
    let Some(seen) = &migrating.seen else {
        return old.iter().collect();
    };
    let last = |partition| seen.parts.get(partition)?.iter().map(|part| part.last).max();
    old.iter()
        .filter(|part| last(&part.partition_id).is_none_or(|it| part.max_block > it))
        .collect()
}

pub(crate) fn names_of<'a>(parts: impl IntoIterator<Item = &'a CutPart>) -> BTreeSet<&'a str> {
    parts.into_iter().map(|part| part.name.as_str()).collect()
}

/// The condition that a row is in one of these parts.
pub(crate) fn in_parts(parts: &[&CutPart]) -> String {
    match parts.is_empty() {
        true => "0".to_owned(),
        false => format!("_part IN ({})", quoted_list(parts.iter().map(|part| &part.name))),
    }
}
