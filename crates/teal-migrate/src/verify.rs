//! The proof that green holds exactly the rows of blue seen through the SELECT.
//!
//! With the gate closed for some milliseconds, a SELECT over both tables is started. It reads the
//! parts of one moment at which no INSERT ran, so it must find the same multiset of rows in both,
//! which it tells by count and order-free sum of a 128-bit hash of the rows, per partition of green
//! and bucket of the hash.
//!
//! Where they do not, or where green's engine folds rows, both tables are cloned by hard links with
//! the gate closed once more, and the clones are compared; they stay for a closer look. A difference
//! that this second look finds is real.
//!
//! On a server no INSERT can be held, and one that is under way may have written to blue only. There,
//! each bucket is looked at until it was equal once: a row that is lost stays lost, and would be found
//! with every look. What stays different is looked at row by row, in clones that are made one after
//! another, with the INSERTs that run between them waited for: a row of the first clone of blue that is
//! not in the clone of green is missing, for its INSERT has ended; a row of green that is not in the
//! second clone of blue is too many.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use teal_client::{ClientError, Format, read_rows};
use teal_plan::CopyStrategy;
use teal_schema::{QualifiedName, quote_ident, quote_string};

use crate::backfill::{columns, select_from};
use crate::state::Migrating;
use crate::{
    Event, MigrateError, Mismatch, Operator, Parity, Phase, Sample, Step, failpoint, names,
};

/// The two sides of a comparison, as SELECTs of the same columns.
pub(crate) struct Sides {
    pub(crate) blue: String,
    pub(crate) green: String,
    /// Blue, cloned once more after green.
    later: Option<String>,
}

impl Sides {
    /// What a row of green must be in to be no row too many.
    pub(crate) fn last_of_blue(&self) -> &str {
        self.later.as_deref().unwrap_or(&self.blue)
    }
}

/// Two clones, compared.
struct Compared {
    sides: Sides,
    parity: Parity,
    /// How long INSERTs were held to make them.
    held: String,
}

/// By partition and bucket.
type Sums = BTreeMap<(String, u8), Sum>;

/// Count and hash sum of a bucket.
#[derive(Debug, PartialEq, Eq, Default, Clone)]
struct Sum {
    rows: u64,
    hash: String,
}

/// 16 buckets: the sums of a bucket then say where to look, at no cost that can be measured.
pub(crate) const BUCKETS: u8 = 16;
/// On a server under traffic, some INSERT is between its two tables with many a look.
const LOOKS: u32 = 6;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Rows shown of a difference.
const SAMPLES: usize = 5;

impl Operator<'_> {
    /// Compares the two tables and journals a proof of parity.
    ///
    /// # Errors
    /// [`MigrateError::NoParity`] when they differ; what stopped the comparison.
    pub fn verify(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        self.step(migrating, Step::Verify, |migrating| {
            let (parity, held) = self.compare_and_tell(migrating)?;
            if !parity.holds() {
                return Err(MigrateError::NoParity {
                    blue: migrating.migration.blue.clone(),
                    green: migrating.migration.green.clone(),
                    parity: Box::new(parity),
                });
            }
            let outcome = format!("{parity}; {held}");
            if matches!(migrating.phase, Phase::Backfilled(_) | Phase::Verified(_)) {
                self.record(migrating, Event::Verified { parity })?;
                failpoint::reached("verified");
            }
            Ok(((), outcome))
        })
    }

    /// Compares the two tables as they are at one moment.
    ///
    /// # Errors
    /// What stopped the comparison. A difference is no error here.
    pub fn compare(&self, migrating: &Migrating) -> Result<Parity, MigrateError> {
        Ok(self.compare_and_tell(migrating)?.0)
    }

    /// The comparison, and how long INSERTs were held for it.
    fn compare_and_tell(&self, migrating: &Migrating) -> Result<(Parity, String), MigrateError> {
        if self.server.write_gate().is_none() {
            return self.compare_with_looks(migrating);
        }
        if !folds(migrating) {
            let first = self.compare_at_once(migrating)?;
            if first.0.holds() {
                return Ok(first);
            }
        }
        let mut held = String::new();
        let parity = self.with_clones_and_tell(migrating, &mut held, |_, _| Ok(()))?;
        Ok((parity, held))
    }

    /// Clones both tables at one moment, compares the clones, and lets `use_them` work with them.
    pub(crate) fn with_clones(
        &self,
        migrating: &Migrating,
        use_them: impl FnOnce(&Sides, &Parity) -> Result<(), MigrateError>,
    ) -> Result<Parity, MigrateError> {
        self.with_clones_and_tell(migrating, &mut String::new(), use_them)
    }

    fn with_clones_and_tell(
        &self,
        migrating: &Migrating,
        held: &mut String,
        use_them: impl FnOnce(&Sides, &Parity) -> Result<(), MigrateError>,
    ) -> Result<Parity, MigrateError> {
        let id = &migrating.id;
        let (blue, green) = (names::verify(id, "blue"), names::verify(id, "green"));
        let result = self.compare_clones(migrating, &blue, &green).and_then(|compared| {
            *held = compared.held;
            use_them(&compared.sides, &compared.parity)?;
            Ok(compared.parity)
        });
        for colour in names::VERIFY {
            self.drop_table(&names::verify(id, colour))?;
        }
        result
    }

    /// The comparison where INSERTs cannot be held.
    fn compare_with_looks(&self, migrating: &Migrating) -> Result<(Parity, String), MigrateError> {
        let (blue, green) = migrating.tables_now();
        let query = sums_query(&sides(migrating, blue, green)?, &partition_expression(migrating));
        let mut different: Option<Vec<Mismatch>> = None;
        for look in 1..=LOOKS {
            let answer = self.with_control(|session| session.run(&query, Format::JSON_EACH_ROW))?;
            failpoint::reached("verify-started");
            let (blue, green) = read_sums(&answer.body, &query)?;
            let mut parity = parity(&blue, &green);
            let is_same = |one: &Mismatch, other: &Mismatch| {
                (&one.partition, one.bucket) == (&other.partition, other.bucket)
            };
            if let Some(before) = &different {
                parity.mismatches.retain(|now| before.iter().any(|then| is_same(now, then)));
            }
            if parity.holds() {
                // What the two counts differ by was on its way.
                parity.blue_rows = parity.green_rows;
                return Ok((parity, format!("each of them, within {look} looks")));
            }
            if look == LOOKS && folds(migrating) {
                return Ok((parity, String::new()));
            }
            different = Some(parity.mismatches);
            std::thread::sleep(BETWEEN_LOOKS);
        }
        let parity = self.with_clones(migrating, |_, _| Ok(()))?;
        Ok((parity, "row by row".to_owned()))
    }

    fn compare_at_once(&self, migrating: &Migrating) -> Result<(Parity, String), MigrateError> {
        let (blue, green) = migrating.tables_now();
        let query = sums_query(&sides(migrating, blue, green)?, &partition_expression(migrating));
        let mut session = self.server.session(&[])?;
        let mut body = Vec::new();
        // Loads what the start of the query needs (the parts' indexes) while nobody waits for it.
        session.command(&format!("EXPLAIN {query}"))?;
        let mut closed = Some(self.close_gate()?);
        let mut held = String::new();
        // One query reads both tables, so that it has taken hold of both when it has started. With
        // two, the first one's work keeps the second from starting: 50 ms were seen, not 5.
        session.stream_from_now(
            &query,
            Format::JSON_EACH_ROW,
            &mut || {
                if let Some(closed) = closed.take() {
                    held = closed.open();
                }
            },
            &mut |piece| body.extend_from_slice(piece),
        )?;
        drop(closed);
        failpoint::reached("verify-started");
        let (blue, green) = read_sums(&body, &query)?;
        Ok((parity(&blue, &green), held))
    }

    fn compare_clones(
        &self,
        migrating: &Migrating,
        blue: &QualifiedName,
        green: &QualifiedName,
    ) -> Result<Compared, MigrateError> {
        let (blue_now, green_now) = migrating.tables_now();
        self.make_own(blue, if folds(migrating) { green_now } else { blue_now })?;
        self.make_own(green, green_now)?;
        failpoint::reached("verify-tables-made");
        let clone = |clone: &QualifiedName, table: &QualifiedName| {
            self.command(&format!(
                "ALTER TABLE {} ATTACH PARTITION ALL FROM {}",
                clone.sql(),
                table.sql()
            ))
        };
        let (held, later) = match self.server.write_gate() {
            Some(_) => {
                let cut = self.with_gate_closed(|| {
                    clone(blue, blue_now)?;
                    clone(green, green_now)
                })?;
                (cut.held, None)
            }
            None => {
                let later = names::verify(&migrating.id, "later");
                self.make_own(&later, blue_now)?;
                clone(blue, blue_now)?;
                self.wait_for_inserts_in_time()?;
                clone(green, green_now)?;
                self.wait_for_inserts_in_time()?;
                clone(&later, blue_now)?;
                (String::new(), Some(later))
            }
        };
        failpoint::reached("verify-tables-cloned");
        let mut both = sides(migrating, blue, green)?;
        both.later = later
            .map(|later| Ok::<_, MigrateError>(sides(migrating, &later, green)?.blue))
            .transpose()?;
        let query = sums_query(&both, &partition_expression(migrating));
        let answer = self.with_control(|session| session.run(&query, Format::JSON_EACH_ROW))?;
        let (blue_sums, green_sums) = read_sums(&answer.body, &query)?;
        let mut parity = parity(&blue_sums, &green_sums);
        if !parity.holds() {
            self.drill_down(&both, &columns(migrating), &mut parity)?;
        }
        Ok(Compared { sides: both, parity, held })
    }

    /// Finds how many rows differ, and some of them, in the buckets that do. Where blue was cloned once
    /// more, a row that came between the clones is no difference.
    fn drill_down(
        &self,
        sides: &Sides,
        columns: &str,
        parity: &mut Parity,
    ) -> Result<(), MigrateError> {
        #[derive(Deserialize)]
        struct Totals {
            missing: u64,
            extra: u64,
        }
        #[derive(Deserialize)]
        struct SampleRow {
            difference: i64,
            row: String,
        }
        let buckets = parity.buckets().iter().map(u8::to_string).collect::<Vec<_>>();
        let within = buckets.join(", ");
        let later = sides.later.as_deref();
        let difference = match later {
            None => "in_green - in_blue",
            Some(_) => "greatest(in_green - in_later, 0) - greatest(in_blue - in_green, 0)",
        };
        let all = [Some(sides.blue.as_str()), Some(sides.green.as_str()), later];
        let union = all.iter().enumerate().filter_map(|(number, side)| {
            let side = (*side)?;
            Some(format!(
                "SELECT {number} AS _teal_side, * FROM ({side}) WHERE _teal_hash % {BUCKETS} IN ({within})"
            ))
        });
        let union = union.collect::<Vec<_>>().join(" UNION ALL ");
        let differences = |more: &str| {
            format!(
                "SELECT _teal_hash, toInt64(countIf(_teal_side = 0)) AS in_blue, \
                     toInt64(countIf(_teal_side = 1)) AS in_green, \
                     toInt64(countIf(_teal_side = 2)) AS in_later, {difference} AS difference{more} \
                 FROM ({union}) GROUP BY _teal_hash HAVING difference != 0"
            )
        };
        let totals = self.with_control(|session| {
            session.row::<Totals>(&format!(
                "SELECT toUInt64(sumIf(-difference, difference < 0)) AS missing, \
                     toUInt64(sumIf(difference, difference > 0)) AS extra \
                 FROM ({})",
                differences("")
            ))
        })?;
        (parity.missing, parity.extra) = (totals.missing, totals.extra);
        if parity.missing + parity.extra == 0 {
            // Of the same hashes each is there as often: what differed came meanwhile.
            parity.mismatches.clear();
            return Ok(());
        }
        let row = format!(", any(formatRow('JSONEachRow', {columns})) AS row");
        let rows = self.with_control(|session| {
            session.rows::<SampleRow>(&format!(
                "SELECT difference, row FROM ({}) ORDER BY difference, _teal_hash LIMIT {SAMPLES}",
                differences(&row)
            ))
        })?;
        parity.samples = rows
            .into_iter()
            .map(|row| Sample {
                difference: row.difference,
                row: serde_json::from_str(&row.row).unwrap_or(row.row.into()),
            })
            .collect();
        Ok(())
    }
}

/// The sums of both sides in one query.
fn sums_query(sides: &Sides, partition: &str) -> String {
    let sums = |is_green: u8, side: &str| {
        format!(
            "SELECT {is_green} AS is_green, toString(_teal_partition) AS partition, \
                 _teal_bucket AS bucket, row_count, toString(hash_sum) AS hash_sum \
             FROM (\
                 SELECT {partition} AS _teal_partition, \
                     toUInt8(_teal_hash % {BUCKETS}) AS _teal_bucket, \
                     count() AS row_count, sum(_teal_hash) AS hash_sum \
                 FROM ({side}) GROUP BY _teal_partition, _teal_bucket)"
        )
    };
    format!("{} UNION ALL {}", sums(0, &sides.blue), sums(1, &sides.green))
}

/// The sums of blue and of green.
fn read_sums(body: &[u8], query: &str) -> Result<(Sums, Sums), ClientError> {
    #[derive(Deserialize)]
    struct Row {
        is_green: u8,
        partition: String,
        bucket: u8,
        row_count: u64,
        hash_sum: String,
    }
    let (mut blue, mut green) = (Sums::new(), Sums::new());
    for row in read_rows::<Row>(body, query)? {
        let sums = if row.is_green == 0 { &mut blue } else { &mut green };
        sums.insert((row.partition, row.bucket), Sum { rows: row.row_count, hash: row.hash_sum });
    }
    Ok((blue, green))
}

/// Whether parity is that of the folded rows. After a clone blue's parts fit green's layout, and
/// both sides are read as green's engine would.
fn folds(migrating: &Migrating) -> bool {
    let migration = &migrating.migration;
    migration.green_folds && migration.strategy == CopyStrategy::Clone
}

/// Each side as a SELECT of the copied columns, in green's types, and `_teal_hash`.
pub(crate) fn sides(
    migrating: &Migrating,
    blue: &QualifiedName,
    green: &QualifiedName,
) -> Result<Sides, MigrateError> {
    let folds = folds(migrating);
    let columns_of_blue = migrating
        .migration
        .columns
        .iter()
        .map(|column| {
            let name = quote_ident(&column.name);
            match &column.from_type {
                Some(_) => {
                    format!("CAST({name}, {}) AS {name}", quote_string(&column.data_type))
                }
                None => name,
            }
        })
        .collect::<Vec<_>>()
        .join(", ");
    let columns = columns(migrating);
    // The tuple matters: without it a single NULL argument makes the hash NULL, which no sum
    // counts (seen on 26.7).
    let hashed = |source: String| {
        format!("SELECT {columns}, xxh3_128(tuple({columns})) AS _teal_hash FROM ({source})")
    };
    let last = if folds { " FINAL" } else { "" };
    let blue_source = match folds {
        true => format!("SELECT {columns} FROM {}{last}", blue.sql()),
        false => format!("SELECT {columns_of_blue} FROM ({})", select_from(migrating, blue)?),
    };
    Ok(Sides {
        blue: hashed(blue_source),
        green: hashed(format!("SELECT {columns} FROM {}{last}", green.sql())),
        later: None,
    })
}

/// Green's partition key over the copied columns; a constant where it has none, or where it needs
/// a column that the copy does not fill.
fn partition_expression(migrating: &Migrating) -> String {
    let migration = &migrating.migration;
    match migration.green_partition_key.as_str() {
        "" => "''".to_owned(),
        key if migration.fills_green => format!("tuple({key})"),
        _ => "''".to_owned(),
    }
}

fn parity(blue: &Sums, green: &Sums) -> Parity {
    let keys = blue.keys().chain(green.keys()).collect::<BTreeSet<_>>();
    let none = Sum::default();
    let mismatches = keys
        .iter()
        .filter_map(|key| {
            let (blue, green) = (blue.get(*key).unwrap_or(&none), green.get(*key).unwrap_or(&none));
            (blue != green).then(|| Mismatch {
                partition: key.0.clone(),
                bucket: key.1,
                blue_rows: blue.rows,
                green_rows: green.rows,
            })
        })
        .collect();
    Parity {
        blue_rows: blue.values().map(|sum| sum.rows).sum(),
        green_rows: green.values().map(|sum| sum.rows).sum(),
        compared: keys.len() as u64,
        missing: 0,
        extra: 0,
        mismatches,
        samples: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(items: &[(u8, u64, &str)]) -> Sums {
        let sum = |(bucket, rows, hash): &(u8, u64, &str)| {
            ((String::new(), *bucket), Sum { rows: *rows, hash: (*hash).to_owned() })
        };
        items.iter().map(sum).collect()
    }

    #[test]
    fn equal_sums_hold_and_a_bucket_on_one_side_only_does_not() {
        let blue = sums(&[(0, 2, "17"), (1, 1, "5")]);
        assert!(parity(&blue, &blue.clone()).holds());
        let found = parity(&blue, &sums(&[(0, 2, "17")]));
        assert_eq!(found.mismatches.len(), 1);
        assert_eq!((found.mismatches[0].blue_rows, found.mismatches[0].green_rows), (1, 0));
    }

    #[test]
    fn the_same_count_with_another_hash_is_a_mismatch() {
        assert!(!parity(&sums(&[(3, 2, "17")]), &sums(&[(3, 2, "18")])).holds());
    }
}
