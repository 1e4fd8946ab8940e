//! Rows of some parts that the other one of two tables lacks. Those parts are read, and of the other table
//! what may be equal.

use std::collections::BTreeSet;

use serde::Deserialize;
use teal_schema::{QualifiedName, quote_string};

use crate::fence::HashedPart;
use crate::state::Migrating;
use crate::verify::{all_buckets, pieces};
use crate::{MigrateError, Operator};

/// Rows that are shown.
const SHOWN: usize = 3;
/// Parts that a condition names, at most.
pub(crate) const MOST_PARTS: usize = 2_000;

/// Rows that one table alone has.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Alone {
    pub(crate) rows: u64,
    /// Some of them, each a line of JSON.
    pub(crate) shown: Vec<String>,
}

/// What is compared.
pub(crate) struct Known<'a> {
    /// The rows that are looked for, as [`sides`](crate::verify::sides) gives them.
    pub(crate) these: &'a str,
    /// Where they are looked for.
    pub(crate) those: &'a str,
    /// The columns by which a person knows a row.
    pub(crate) shown: &'a str,
    /// What is compared is a key: how often it is there says nothing.
    pub(crate) is_by_key: bool,
    /// The parts that are read, as settings of a query; empty where all are.
    pub(crate) filter: &'a str,
}

impl Operator<'_> {
    /// Looks for some `rows` rows.
    pub(crate) fn rows_alone(&self, known: &Known<'_>, rows: u64) -> Result<Alone, MigrateError> {
        let Known { these, those, shown, is_by_key, filter } = known;
        let surplus = match is_by_key {
            true => "if(in_those = 0, in_these, 0)",
            false => "greatest(in_these - in_those, 0)",
        };
        let mut alone = Alone::default();
        for within in pieces(rows, &all_buckets()) {
            let found: Alone = self.with_control(|session| {
                session.row(&format!(
                    "SELECT toUInt64(sum(surplus)) AS rows, \
                         groupArrayIf({SHOWN})(row, surplus > 0) AS shown FROM (\
                         SELECT toInt64(countIf(_teal_is_sought)) AS in_these, \
                             toInt64(countIf(NOT _teal_is_sought)) AS in_those, \
                             {surplus} AS surplus, anyIf(_teal_shown, _teal_is_sought) AS row FROM (\
                             SELECT true AS _teal_is_sought, _teal_hash, \
                                 formatRow('JSONEachRow', {shown}) AS _teal_shown FROM ({these}) {within} \
                             UNION ALL SELECT false AS _teal_is_sought, _teal_hash, '' AS _teal_shown \
                             FROM ({those}) {within} \
                                 AND _teal_hash IN (SELECT _teal_hash FROM ({these}) {within})\
                         ) GROUP BY _teal_hash){filter}"
                ))
            })?;
            alone.rows += found.rows;
            alone.shown.extend(found.shown);
            alone.shown.truncate(SHOWN);
        }
        Ok(alone)
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
pub(crate) fn newer<'a>(migrating: &Migrating, old: &'a [HashedPart]) -> Vec<&'a HashedPart> {
    let Some(seen) = &migrating.seen else {
        return old.iter().collect();
    };
    let last = |partition| seen.parts.get(partition)?.iter().map(|part| part.1).max();
    old.iter()
        .filter(|part| last(&part.partition_id).is_none_or(|it| part.max_block > it))
        .collect()
}

pub(crate) fn names_of<'a>(parts: impl IntoIterator<Item = &'a HashedPart>) -> BTreeSet<&'a str> {
    parts.into_iter().map(|part| part.name.as_str()).collect()
}

/// Settings of a query that reads these parts of these tables only: filters by setting leave the user's SELECT as it
/// is.
pub(crate) fn only_parts(tables: &[(&QualifiedName, &[&HashedPart])]) -> String {
    let filters = tables.iter().map(|(table, parts)| {
        let names = parts.iter().map(|part| quote_string(&part.name)).collect::<Vec<_>>();
        let filter = match names.is_empty() {
            true => "0".to_owned(),
            false => format!("_part IN ({})", names.join(", ")),
        };
        format!("{}: {}", quote_string(&table.to_string()), quote_string(&filter))
    });
    format!(" SETTINGS additional_table_filters = {{{}}}", filters.collect::<Vec<_>>().join(", "))
}
