//! The comparison where INSERTs cannot be held.
//!
//! A row that is lost stays lost: every look at its bucket finds a difference, until it is folded into
//! another row on both sides. So a bucket that was equal once holds none. Which bucket a row is in must not
//! change for that, so it depends on the key of the rows that are folded into one, and on the partition only
//! where no rows are folded.
//!
//! Rows that are added up have one exception: an amount that makes up for the lost one, on its way between the two
//! tables. The view's target is looked at first, so such an amount is less than 0, or a row that cancels others. A
//! key must be equal in the other order too, in which it is more than 0.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use teal_schema::hash_128;

use super::drill_down::{SPILL, in_partitions, within_buckets};
use super::sample::Sampled;
use super::sides::{Sides, folds, folds_in_order, partition_expression, shown, sides};
use super::sums::{Sums, parity, rows, sums_of, sums_query};
use super::unchanged::{Partitions, ProvenPartition, noted, proven, unchanged, without};
use super::{Found, Sought, Told};
use crate::journal::state::Migrating;
use crate::{MigrateError, Mismatch, Operator, Parity, failpoint};

/// Under traffic, some INSERT is between its two tables with many a look.
const LOOKS: u32 = 6;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Many an INSERT writes to the same few keys of a table of sums.
const LOOKS_AT_KEYS: u32 = 30;
/// Keys that are looked at one by one. Each takes 50 bytes of a query, twice.
const MOST_KEYS: usize = 2_000;

impl Operator<'_> {
    /// As [`compare_rows`](Self::compare_rows), where it matters what one table alone has. A look at both at once does not
    /// show that of the view's target where INSERTs go on: an equal row that is under way, in the view's source and
    /// not yet behind it, makes up for it. So the other table is looked at first, and the INSERTs are waited for:
    /// what comes in between is more in this one.
    pub(crate) fn seek(
        &self,
        migrating: &Migrating,
        sought: Sought,
    ) -> Result<Parity, MigrateError> {
        let every_row = (sought == Sought::OfGreen).then(|| migrating.with_every_row());
        let migrating = every_row.as_ref().unwrap_or(migrating);
        if self.server.write_gate().is_some() || folds(migrating) {
            return self.compare_alone(migrating);
        }
        self.or_say_why_not(migrating, self.refuse_hidden_rows(migrating))?;
        let (blue, green) = migrating.tables_now();
        let (sides, partition) = (sides(migrating, blue, green)?, partition_expression(migrating));
        let look = |is_green| {
            let query = sums_of(is_green, &sides, &partition, "", "");
            let (blue, green) = self.read_both(migrating, &query)?;
            Ok::<_, MigrateError>(if is_green { green } else { blue })
        };
        let other = self.or_say_why_not(migrating, look(sought == Sought::OfBlue))?;
        self.wait_for_inserts_in_time()?;
        let this = self.or_say_why_not(migrating, look(sought == Sought::OfGreen))?;
        let found = match sought {
            Sought::OfGreen => parity(&other, &this),
            Sought::OfBlue => parity(&this, &other),
        };
        match found.holds() {
            true => Ok(found),
            false => self.with_clones(migrating, |_, _| Ok(())),
        }
    }

    pub(super) fn compare_with_looks(
        &self,
        migrating: &Migrating,
        told: Told,
    ) -> Result<Found, MigrateError> {
        if folds_in_order(migrating) {
            return self.compare_clones_until_equal(migrating, told);
        }
        let found = self.compare_what_changed(migrating, LOOKS)?;
        if found.parity.holds() {
            return Ok(found);
        }
        if migrating.migration.green_folds {
            let sides = sides_in_turn(migrating)?;
            return self.compare_keys(migrating, &sides, found.parity);
        }
        let parity = self.with_clones_telling(migrating, told, |_, _| Ok(()))?;
        Ok(Found { parity, how: "row by row".to_owned(), proven: Vec::new() })
    }

    /// All buckets at one look: a merge that folds rows moves them from one to another, which may have been equal
    /// before.
    pub(super) fn compare_in_one_look(&self, migrating: &Migrating) -> Result<Found, MigrateError> {
        self.compare_what_changed(migrating, 1)
    }

    pub(super) fn compare_sample_with_looks(
        &self,
        migrating: &Migrating,
        sample: &Sampled,
    ) -> Result<Found, MigrateError> {
        let Sampled { left_out, within, .. } = sample;
        let mut found =
            self.look_until_equal(migrating, &Partitions::new(), left_out, within, LOOKS)?;
        if !found.parity.holds() {
            let sides = sides_in_turn(migrating)?;
            let again = in_partitions(&partition_expression(migrating), &found.parity);
            let within = format!("{}{again}{within}", within_buckets(&found.parity.buckets()));
            if self.keys_that_differ_in_either_order(&sides, &within)?.is_none() {
                found.parity.mismatches.clear();
                found.parity.blue_rows = found.parity.green_rows;
            }
        }
        Ok(Found { proven: Vec::new(), ..found })
    }

    fn compare_what_changed(
        &self,
        migrating: &Migrating,
        most: u32,
    ) -> Result<Found, MigrateError> {
        let before = self.partitions(migrating)?;
        let left_out = unchanged(proven(migrating), &before);
        let mut found = self.look_until_equal(migrating, &before, &left_out, "", most)?;
        if found.parity.holds() {
            found.parity = found.parity.and_unchanged(&left_out);
        }
        Ok(found)
    }

    /// Looks at the buckets until each was equal once, so many times at most. `before`: the partitions as they are
    /// now. `sample`: more of a condition, or nothing.
    ///
    /// A partition of which each bucket was equal once is not read again, whatever comes to it meanwhile: a row that
    /// was lost before that look, it would have shown, and one that is lost later is as one that is lost behind the last
    /// look. What the proof notes of it are its parts, if they were the same before the first look and after the last.
    fn look_until_equal(
        &self,
        migrating: &Migrating,
        before: &Partitions,
        left_out: &[ProvenPartition],
        sample: &str,
        most: u32,
    ) -> Result<Found, MigrateError> {
        let sides = sides_in_turn(migrating)?;
        let settings = without(migrating, left_out);
        let partition = partition_expression(migrating);
        let mut again = String::new();
        let mut different: Option<BTreeSet<_>> = None;
        let mut seen = Sums::new();
        let (mut looks, mut counted) = (0, None);
        loop {
            looks += 1;
            let within = match (sample, again.as_str()) {
                ("", "") => String::new(),
                _ => format!(" WHERE 1{sample}{again}"),
            };
            let query = sums_query(&sides, &partition, &within, &settings);
            let (blue, green) = self.read_both(migrating, &query)?;
            failpoint::reached("verify-started");
            let mut parity =
                Parity { folded: migrating.migration.green_folds, ..parity(&blue, &green) };
            let rows_of = |mismatch: &Mismatch| match migrating.migration.green_folds {
                true => (mismatch.bucket, String::new()),
                false => super::rows_of(mismatch),
            };
            if let Some(before) = &different {
                parity.mismatches.retain(|now| before.contains(&rows_of(now)));
            }
            seen.extend(green);
            parity.compared = parity.compared.max(seen.len() as u64);
            if parity.holds() {
                // What the two counts differ by was on its way.
                parity.green_rows = rows(&seen);
                parity.blue_rows = parity.green_rows;
                let how = format!("each of them, within {looks} looks");
                let proven = noted(before, self.partitions(migrating)?);
                return Ok(Found { parity, how, proven });
            }
            let counted = *counted.get_or_insert((parity.blue_rows, parity.green_rows));
            if looks == most {
                // Later looks read what was different.
                (parity.blue_rows, parity.green_rows) = counted;
                let how = format!("not within {looks} looks");
                return Ok(Found { parity, how, proven: Vec::new() });
            }
            different = Some(parity.mismatches.iter().map(rows_of).collect());
            again = match parity.folded {
                true => String::new(),
                false => in_partitions(&partition, &parity),
            };
            let read = parity.mismatches.iter().map(|it| &it.partition).collect::<BTreeSet<_>>();
            seen.retain(|(partition, _), _| !again.is_empty() && !read.contains(partition));
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Looks at the keys of the buckets that differ, until each was equal once.
    fn compare_keys(
        &self,
        migrating: &Migrating,
        sides: &Sides,
        mut parity: Parity,
    ) -> Result<Found, MigrateError> {
        let within = within_buckets(&parity.buckets());
        match self.keys_that_differ_in_either_order(sides, &within)? {
            None => parity.mismatches.clear(),
            Some(keys) => {
                self.drill_down(sides, Some(&shown(migrating)), &keys, &mut parity)?;
            }
        }
        if parity.holds() {
            parity.blue_rows = parity.green_rows;
        }
        Ok(Found { parity, how: "key by key".to_owned(), proven: Vec::new() })
    }

    /// As [`keys_that_stay_different`](Self::keys_that_stay_different), of either table before the other.
    fn keys_that_differ_in_either_order(
        &self,
        sides: &Sides,
        within: &str,
    ) -> Result<Option<String>, MigrateError> {
        match self.keys_that_stay_different(sides, within, !sides.is_turned)? {
            None => self.keys_that_stay_different(sides, within, sides.is_turned),
            different => Ok(different),
        }
    }

    /// A condition on the keys that were equal at none of some looks, if there are any.
    fn keys_that_stay_different(
        &self,
        sides: &Sides,
        within: &str,
        is_green_first: bool,
    ) -> Result<Option<String>, MigrateError> {
        let mut condition = within.to_owned();
        for _ in 0..LOOKS_AT_KEYS {
            let keys = self.different_keys(sides, &condition, is_green_first)?;
            if keys.is_empty() {
                return Ok(None);
            }
            if keys.len() <= MOST_KEYS {
                let listed = keys.iter().map(|key| format!("toUInt128('{key}')"));
                condition = format!("_teal_key IN ({})", listed.collect::<Vec<_>>().join(", "));
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Ok(Some(condition))
    }

    /// The keys of which the two sides show other rows, within `condition`.
    fn different_keys(
        &self,
        sides: &Sides,
        condition: &str,
        is_green_first: bool,
    ) -> Result<BTreeSet<u128>, MigrateError> {
        // A UNION takes hold of its tables in the order in which it names them (26.9).
        match is_green_first {
            true => self.keys_that_differ(&sides.green, &sides.blue, condition),
            false => self.keys_that_differ(&sides.blue, &sides.green, condition),
        }
    }

    fn keys_that_differ(
        &self,
        first: &str,
        second: &str,
        condition: &str,
    ) -> Result<BTreeSet<u128>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            key: String,
        }
        let of = |sign: i8, side: &str| {
            format!(
                "SELECT _teal_key, _teal_hash, {sign}::Int8 AS _teal_sign FROM ({side}) WHERE {condition}"
            )
        };
        let query = format!(
            "SELECT toString(_teal_key) AS key FROM ({} UNION ALL {}) GROUP BY _teal_key \
             HAVING sumIf(_teal_hash, _teal_sign = 1) != sumIf(_teal_hash, _teal_sign = -1) \
                 OR sum(_teal_sign) != 0 \
             LIMIT {}{SPILL}",
            of(1, first),
            of(-1, second),
            MOST_KEYS + 1
        );
        let rows = self.with_control(|session| session.rows::<Row>(&query))?;
        let number = |row: Row| {
            row.key.parse().map_err(|_| MigrateError::Unreadable { what: "a hash", text: row.key })
        };
        rows.into_iter().map(number).collect()
    }

    /// Where an engine folds rows in their order, a clone is taken of both tables for each look. A key of which an
    /// INSERT is on its way shows two rows: none must do so in two looks running.
    fn compare_clones_until_equal(
        &self,
        migrating: &Migrating,
        told: Told,
    ) -> Result<Found, MigrateError> {
        let mut look = 1;
        let mut before: Option<BTreeSet<u128>> = None;
        loop {
            let mut different = BTreeSet::new();
            let mut parity = self.with_clones_telling(migrating, told, |sides, parity| {
                if !parity.holds() {
                    different = self.different_keys_in_order(migrating, sides)?;
                }
                Ok(())
            })?;
            let are_few = different.len() <= MOST_KEYS && !different.is_empty();
            if are_few && before.is_some_and(|before| before.is_disjoint(&different)) {
                parity.mismatches.clear();
                parity.samples.clear();
                (parity.missing, parity.extra, parity.unsure) = (0, 0, 0);
                parity.blue_rows = parity.green_rows;
            }
            if parity.holds() || look == LOOKS {
                let how = format!("clones of them, within {look} looks");
                return Ok(Found { parity, how, proven: Vec::new() });
            }
            before = are_few.then_some(different);
            look += 1;
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// The keys of which two clones show other rows, of an engine that folds rows in their order. None where the key
    /// cannot be made of the copied columns.
    fn different_keys_in_order(
        &self,
        migrating: &Migrating,
        sides: &Sides,
    ) -> Result<BTreeSet<u128>, MigrateError> {
        let Some(key) = &migrating.migration.green_sorting_key else {
            return Ok(BTreeSet::new());
        };
        let of =
            |side: &str| format!("SELECT {} AS _teal_key, _teal_hash FROM ({side})", hash_128(key));
        self.keys_that_differ(&of(&sides.blue), &of(&sides.green), "1")
    }
}

/// The two sides, each to be looked at behind the one that the view writes to.
fn sides_in_turn(migrating: &Migrating) -> Result<Sides, MigrateError> {
    let (blue, green) = migrating.tables_now();
    let mut sides = sides(migrating, blue, green)?;
    sides.is_turned = migrating.forwards_back();
    Ok(sides)
}
