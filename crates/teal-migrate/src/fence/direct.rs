//! What somebody has written to green itself while a fence was open: an application that was deployed too
//! early, say. Undoing the fence empties green, and would lose it.
//!
//! When the view is gone and the INSERTs that knew it have ended, green has nothing but what blue has too:
//! cloned parts, and forwarded rows. Parts that both have are not read, and of a rewrite those parts of blue
//! are read only that came since the fence was opened; where they are too many to be named, or merged
//! meanwhile, both tables. What green has beyond that is somebody's, unless blue has lost it meanwhile
//! ([`crate::stale`]).
//!
//! Of rows that are folded only the key can be known again: their sums are other ones, and blue may have
//! folded them too.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use teal_plan::{CopyStrategy, Fold, Migration};
use teal_schema::{QualifiedName, quote_ident, quote_string};

use super::part_log::HashedPart;
use crate::removal::Extra;
use crate::state::Migrating;
use crate::verify::{all_buckets, folds, pieces, shown, sides};
use crate::{MigrateError, Operator};

/// Rows that are shown.
const SHOWN: usize = 3;
/// Parts that a condition names, at most.
const MOST_PARTS: usize = 2_000;

impl Operator<'_> {
    /// Empties green, where no more comes by the view. With `force`, whoever has written there.
    ///
    /// # Errors
    /// [`MigrateError::WrittenToGreen`] when green has rows that blue lacks.
    pub(super) fn empty_green(
        &self,
        migrating: &Migrating,
        force: bool,
    ) -> Result<(), MigrateError> {
        let green = &migrating.migration.green;
        // Somebody may have dropped it.
        let truncate = || self.command(&format!("TRUNCATE TABLE IF EXISTS {}", green.sql()));
        // Nobody but teal knows the name that teal chose.
        if force || migrating.migration.in_place {
            return truncate();
        }
        loop {
            let parts = self.hashed_parts(green)?;
            self.refuse_to_lose_parts(migrating, &parts)?;
            let empty = || match names_of(&self.hashed_parts(green)?) == names_of(&parts) {
                true => truncate().map(|()| true),
                // What came meanwhile was not looked at.
                false => Ok(false),
            };
            let is_empty = match self.server.write_gate() {
                Some(_) => self.with_gate_closed(empty)?.value,
                None => empty()?,
            };
            if is_empty {
                return Ok(());
            }
            self.refuse_interrupted()?;
        }
    }

    fn refuse_to_lose_parts(
        &self,
        migrating: &Migrating,
        parts: &[HashedPart],
    ) -> Result<(), MigrateError> {
        if parts.is_empty() {
            return Ok(());
        }
        let Some(found) = self.rows_of_green_alone(migrating, parts)? else {
            return Ok(());
        };
        let rows = match folds(migrating) || migrating.migration.green_folds {
            true if self.explain(migrating, &Extra::default())?.is_ok() => 0,
            true => found.rows,
            false => self.unexplained(migrating)?,
        };
        match rows {
            0 => Ok(()),
            rows => Err(MigrateError::WrittenToGreen {
                blue: migrating.migration.blue.clone(),
                green: migrating.migration.green.clone(),
                rows,
                shown: found.shown.join("").trim_end().into(),
            }),
        }
    }

    /// The rows of these parts of green that blue lacks.
    fn rows_of_green_alone(
        &self,
        migrating: &Migrating,
        parts: &[HashedPart],
    ) -> Result<Option<Alone>, MigrateError> {
        let (blue, green) = (&migrating.migration.blue, &migrating.migration.green);
        let Some((known, is_by_key)) = known_again(migrating, self.folds_by_itself(blue)?) else {
            return Ok(None);
        };
        let in_blue = self.hashed_parts(blue)?;
        let (of_green, of_blue) = match migrating.migration.strategy {
            CopyStrategy::Clone => (without(parts, &in_blue), without(&in_blue, parts)),
            CopyStrategy::Rewrite => (parts.iter().collect(), newer(migrating, &in_blue)),
        };
        if of_green.is_empty() {
            return Ok(None);
        }
        let rows = of_green.iter().map(|part| part.rows).sum();
        if of_green.len().max(of_blue.len()) <= MOST_PARTS {
            let filter = format!(
                " SETTINGS additional_table_filters = {{{}, {}}}",
                only(green, &of_green),
                only(blue, &of_blue)
            );
            let alone = self.alone_in(&known, is_by_key, rows, &filter)?;
            let (now, of_blue) = (self.hashed_parts(blue)?, names_of(of_blue));
            // A part of blue that was merged meanwhile had no rows, and those of green seemed to be alone.
            if alone.rows == 0 || of_blue.is_subset(&names_of(&now)) {
                return Ok((alone.rows > 0).then_some(alone));
            }
        }
        let rows = parts.iter().chain(&in_blue).map(|part| part.rows).sum();
        let alone = self.alone_in(&known, is_by_key, rows, "")?;
        Ok((alone.rows > 0).then_some(alone))
    }

    /// The rows of green that blue lacks, of those that `filter` selects, some `rows` to be compared.
    fn alone_in(
        &self,
        known: &Migrating,
        is_by_key: bool,
        rows: u64,
        filter: &str,
    ) -> Result<Alone, MigrateError> {
        let (blue, green) = (&known.migration.blue, &known.migration.green);
        let (sides, row) = (sides(known, blue, green)?, shown(known));
        let surplus = match is_by_key {
            true => "if(in_blue = 0, in_green, 0)",
            false => "greatest(in_green - in_blue, 0)",
        };
        let mut alone = Alone::default();
        for within in pieces(rows, &all_buckets()) {
            let found: Alone = self.with_control(|session| {
                session.row(&format!(
                    "SELECT toUInt64(sum(surplus)) AS rows, \
                         groupArrayIf({SHOWN})(row, surplus > 0) AS shown FROM (\
                         SELECT toInt64(countIf(_teal_is_green)) AS in_green, \
                             toInt64(countIf(NOT _teal_is_green)) AS in_blue, \
                             {surplus} AS surplus, anyIf(_teal_shown, _teal_is_green) AS row FROM (\
                             SELECT true AS _teal_is_green, _teal_hash, \
                                 formatRow('JSONEachRow', {row}) AS _teal_shown FROM ({green}) {within} \
                             UNION ALL SELECT false AS _teal_is_green, _teal_hash, '' AS _teal_shown \
                             FROM ({blue}) {within} \
                                 AND _teal_hash IN (SELECT _teal_hash FROM ({green}) {within})\
                         ) GROUP BY _teal_hash){filter}",
                    green = sides.green,
                    blue = sides.blue,
                ))
            })?;
            alone.rows += found.rows;
            alone.shown.extend(found.shown);
            alone.shown.truncate(SHOWN);
        }
        Ok(alone)
    }
}

/// Rows of green that blue lacks.
#[derive(Debug, Default, Deserialize)]
struct Alone {
    rows: u64,
    /// Some of them, each a line of JSON.
    shown: Vec<String>,
}

/// The migration with those columns only by which a row of green is known in blue, and whether that is the
/// key alone. None where merges of blue leave nothing to know it by.
fn known_again(migrating: &Migrating, blue_folds: bool) -> Option<(Migrating, bool)> {
    let migration = &migrating.migration;
    let key = match &migration.fold {
        Some(Fold::Merge { key, .. }) => Some(key),
        Some(Fold::Version { key, .. } | Fold::Last { key, .. }) if blue_folds => Some(key),
        _ if blue_folds => return None,
        _ => None,
    };
    let mut columns = migration.columns.clone();
    let is_in =
        |key: &Vec<String>, name: &str| key.iter().any(|it| it == name || *it == quote_ident(name));
    columns.retain(|column| key.is_none_or(|key| is_in(key, &column.name)));
    if columns.is_empty() {
        return None;
    }
    let (fold, expired) = (None, None);
    let known = Migration { columns, fold, green_folds: false, expired, ..migration.clone() };
    Some((Migrating { migration: known, ..migrating.clone() }, key.is_some()))
}

/// The parts that are not among `others`, by the hash of their files: equal hashes are equal rows. Of equal ones
/// the first are among them.
pub(crate) fn without<'a>(
    parts: impl IntoIterator<Item = &'a HashedPart>,
    others: impl IntoIterator<Item = &'a HashedPart>,
) -> Vec<&'a HashedPart> {
    let mut common = BTreeMap::<_, u32>::new();
    for part in others {
        *common.entry((&part.partition_id, &part.hash)).or_default() += 1;
    }
    let mut alone = Vec::new();
    for part in parts {
        match common.get_mut(&(&part.partition_id, &part.hash)) {
            Some(left) if *left > 0 => *left -= 1,
            _ => alone.push(part),
        }
    }
    alone
}

/// The parts of blue that can have rows which came since the fence was opened.
fn newer<'a>(migrating: &Migrating, blue: &'a [HashedPart]) -> Vec<&'a HashedPart> {
    let Some(seen) = &migrating.seen else {
        return blue.iter().collect();
    };
    let last = |partition| seen.parts.get(partition)?.iter().map(|part| part.1).max();
    blue.iter()
        .filter(|part| last(&part.partition_id).is_none_or(|it| part.max_block > it))
        .collect()
}

fn names_of<'a>(parts: impl IntoIterator<Item = &'a HashedPart>) -> BTreeSet<&'a str> {
    parts.into_iter().map(|part| part.name.as_str()).collect()
}

/// A filter by setting, which leaves the user's SELECT as it is.
fn only(table: &QualifiedName, parts: &[&HashedPart]) -> String {
    let names = parts.iter().map(|part| quote_string(&part.name)).collect::<Vec<_>>().join(", ");
    let filter = match parts {
        [] => "0".to_owned(),
        _ => format!("_part IN ({names})"),
    };
    format!("{}: {}", quote_string(&table.to_string()), quote_string(&filter))
}
