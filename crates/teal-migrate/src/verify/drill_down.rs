//! Which rows differ.
//!
//! The hashes of the rows are counted one by one, which takes memory for each; so first it is narrowed
//! down where they can be: sums over further bits of the hash, as those over the buckets, tell which of
//! their values a row that differs can have. What does not get fewer by that (very many rows differ) the
//! server counts on its disk.

use std::collections::BTreeSet;

use serde::Deserialize;
use teal_schema::quoted_list;

use super::sides::{NO_PARTITION, Sides};
use super::sums::BUCKET;
use crate::{MigrateError, Operator, Parity, Sample};

/// Rows shown of a difference.
const SAMPLES: usize = 5;
/// So many rows are counted one by one without a second thought.
const FEW_ROWS: u64 = 1_000_000;
/// How often 16 further bits of the hash are looked at.
const LEVELS: u32 = 4;
/// Values of 16 bits that a condition names, at most.
const MOST_VALUES: usize = 2_000;
/// Hashes beyond this much memory are counted on the server's disk.
pub(crate) const SPILL: &str = " SETTINGS max_bytes_before_external_group_by = 1000000000";

const BLUE: u8 = 0;
const GREEN: u8 = 1;
const LATER: u8 = 2;
const FIRST_BLUE: u8 = 3;
const FIRST_GREEN: u8 = 4;

impl Operator<'_> {
    /// Finds how many rows differ within `condition`; and some of them, if it is said how they are `shown`. Where
    /// blue was cloned once more, a row that came between the clones is no difference. Gives a condition that few
    /// rows of a large table meet, and all of those that differ, where there is one.
    pub(super) fn drill_down(
        &self,
        sides: &Sides,
        shown: Option<&str>,
        condition: &str,
        parity: &mut Parity,
    ) -> Result<Option<String>, MigrateError> {
        #[derive(Deserialize)]
        struct Totals {
            missing: u64,
            extra: u64,
            unsure: u64,
        }
        #[derive(Deserialize)]
        struct HashRow {
            hash: String,
        }
        #[derive(Deserialize)]
        struct SampleRow {
            difference: i64,
            row: String,
        }
        let mut condition = condition.to_owned();
        if let Some(ties) = &sides.ties {
            let keys = ties.keys(&condition);
            parity.ties = self.count_rows(&format!("SELECT * FROM ({keys}){SPILL}"))?;
            if parity.ties > 0 {
                condition = format!("{condition} AND _teal_key NOT IN ({keys})");
            }
        }
        let mut narrowed = None;
        if parity.blue_rows + parity.green_rows > FEW_ROWS {
            let (within, are_few) = self.narrow(sides, condition)?;
            narrowed = are_few.then(|| within.clone());
            condition = within;
        }
        let union = union_of(sides);
        let difference = difference(sides);
        let unsure = unsure(sides);
        let differences = |condition: &str, more: &str| {
            format!(
                "SELECT _teal_hash, {}, {difference} AS _teal_difference, \
                     _teal_difference = 0 AND {unsure} AS _teal_unsure{more} \
                 FROM ({union}) WHERE {condition} GROUP BY _teal_hash \
                 HAVING _teal_difference != 0 OR _teal_unsure",
                counts()
            )
        };
        let totals = self.with_control(|session| {
            session.row::<Totals>(&format!(
                "SELECT toUInt64(sumIf(-_teal_difference, _teal_difference < 0)) AS missing, \
                     toUInt64(sumIf(_teal_difference, _teal_difference > 0)) AS extra, \
                     countIf(_teal_unsure) AS unsure \
                 FROM ({}){SPILL}",
                differences(&condition, "")
            ))
        })?;
        (parity.missing, parity.extra, parity.unsure) =
            (totals.missing, totals.extra, totals.unsure);
        if parity.missing + parity.extra + parity.unsure == 0 {
            // Of the same hashes each is there as often: what differed came meanwhile.
            parity.mismatches.clear();
            return Ok(None);
        }
        let Some(shown) = shown else {
            return Ok(narrowed);
        };
        let hashes = self.with_control(|session| {
            session.rows::<HashRow>(&format!(
                "SELECT toString(_teal_hash) AS hash FROM ({}) \
                 ORDER BY _teal_unsure, _teal_difference, _teal_hash LIMIT {SAMPLES}{SPILL}",
                differences(&condition, "")
            ))
        })?;
        let shown_hashes = hashes.iter().map(|row| format!("toUInt128('{}')", row.hash));
        let condition = format!(
            "{condition} AND _teal_hash IN ({})",
            shown_hashes.collect::<Vec<_>>().join(", ")
        );
        let row = format!(", any(formatRow('JSONEachRow', {shown})) AS _teal_row");
        let rows = self.with_control(|session| {
            session.rows::<SampleRow>(&format!(
                "SELECT _teal_difference AS difference, _teal_row AS row FROM ({}) \
                 ORDER BY _teal_unsure, _teal_difference, _teal_hash",
                differences(&condition, &row)
            ))
        })?;
        parity.samples = rows
            .into_iter()
            .map(|row| Sample {
                difference: row.difference,
                row: serde_json::from_str(&row.row).unwrap_or(row.row.into()),
            })
            .collect();
        Ok(narrowed)
    }

    /// A condition that leaves out rows of which none differs, until few are left, or most differ; and whether they
    /// are few.
    fn narrow(&self, sides: &Sides, condition: String) -> Result<(String, bool), MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            bits: u16,
            rows: u64,
        }
        let mut condition = condition;
        for level in 0..LEVELS {
            let bits = format!("toUInt16(bitShiftRight(toUInt64(_teal_key), {}))", level * 16);
            let sides_sums = all(sides).map(|(number, side)| {
                format!(
                    "SELECT {number} AS _teal_side, {bits} AS _teal_bits, count() AS _teal_rows, \
                         sum(_teal_hash) AS _teal_sum FROM ({side}) WHERE {condition} GROUP BY _teal_bits"
                )
            });
            let sides_sums = sides_sums.collect::<Vec<_>>();
            let of_all = sides_sums.len();
            let differing = self.with_control(|session| {
                session.rows::<Row>(&format!(
                    "SELECT _teal_bits AS bits, max(_teal_rows) AS rows FROM ({}) GROUP BY bits \
                     HAVING count() != {of_all} OR min(_teal_rows) != max(_teal_rows) \
                         OR min(_teal_sum) != max(_teal_sum) \
                     LIMIT {}",
                    sides_sums.join(" UNION ALL "),
                    MOST_VALUES + 1
                ))
            })?;
            if differing.len() > MOST_VALUES {
                return Ok((condition, false));
            }
            // Of no value if there is none: what differed came meanwhile.
            let values = differing.iter().map(|row| row.bits.to_string()).collect::<Vec<_>>();
            condition = match values.is_empty() {
                true => "0".to_owned(),
                false => format!("{condition} AND {bits} IN ({})", values.join(", ")),
            };
            if differing.iter().map(|row| row.rows).sum::<u64>() <= FEW_ROWS {
                return Ok((condition, true));
            }
        }
        Ok((condition, false))
    }

    pub(crate) fn count_rows(&self, select: &str) -> Result<u64, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            rows: u64,
        }
        let Row { rows } = self.with_control(|session| {
            session.row(&format!("SELECT count() AS rows FROM ({select})"))
        })?;
        Ok(rows)
    }
}

/// The sides that there are, by number; where they are no clones, the view's target first (see
/// [`sums_query`](super::sums::sums_query)).
fn all(sides: &Sides) -> impl Iterator<Item = (u8, &str)> {
    let earlier = sides.earlier.as_ref();
    let (blue, green) = ((BLUE, Some(sides.blue.as_str())), (GREEN, Some(sides.green.as_str())));
    let [first, second] = if sides.is_turned { [blue, green] } else { [green, blue] };
    let all = [
        first,
        second,
        (LATER, sides.later.as_deref()),
        (FIRST_BLUE, earlier.map(|(blue, _)| blue.as_str())),
        (FIRST_GREEN, earlier.map(|(_, green)| green.as_str())),
    ];
    all.into_iter().filter_map(|(number, side)| Some((number, side?)))
}

fn union_of(sides: &Sides) -> String {
    let all =
        all(sides).map(|(number, side)| format!("SELECT {number} AS _teal_side, * FROM ({side})"));
    all.collect::<Vec<_>>().join(" UNION ALL ")
}

/// How often each side has a row.
fn counts() -> String {
    let counts = [
        (BLUE, "_teal_in_blue"),
        (GREEN, "_teal_in_green"),
        (LATER, "_teal_in_later"),
        (FIRST_BLUE, "_teal_in_first_blue"),
        (FIRST_GREEN, "_teal_in_first_green"),
    ]
    .map(|(number, name)| format!("toInt64(countIf(_teal_side = {number})) AS {name}"));
    counts.join(", ")
}

/// How often green has a row more than blue, for sure.
fn difference(sides: &Sides) -> &'static str {
    match sides.later {
        None => "_teal_in_green - _teal_in_blue",
        Some(_) => {
            "greatest(_teal_in_green - _teal_in_later, 0) - greatest(_teal_in_blue - _teal_in_green, 0)"
        }
    }
}

/// Whether no look shows that the row is in both alike.
fn unsure(sides: &Sides) -> &'static str {
    match sides.earlier {
        None => "0",
        Some(_) => {
            "(least(_teal_in_later - _teal_in_green, _teal_in_blue - _teal_in_first_green) > 0 \
                 OR least(_teal_in_green - _teal_in_blue, _teal_in_first_green - _teal_in_first_blue) > 0)"
        }
    }
}

/// The rows of partitions that differ, if those can be named: further to a condition, or nothing.
pub(super) fn in_partitions(partition: &str, parity: &Parity) -> String {
    let differing = parity.mismatches.iter().map(|it| it.partition.as_str());
    let differing = differing.collect::<BTreeSet<_>>();
    if partition == NO_PARTITION || differing.len() > MOST_VALUES {
        return String::new();
    }
    format!(" AND toString({partition}) IN ({})", quoted_list(differing))
}

/// The rows of these buckets.
pub(super) fn within_buckets(buckets: &BTreeSet<u8>) -> String {
    let buckets = buckets.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    format!("{BUCKET} IN ({buckets})")
}
