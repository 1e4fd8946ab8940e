use std::collections::BTreeSet;

use serde::Deserialize;

use super::sides::Sides;
use super::sums::BUCKET;
use crate::{MigrateError, Operator, Parity, Sample};

/// Rows shown of a difference.
const SAMPLES: usize = 5;

impl Operator<'_> {
    /// Finds how many rows differ, and some of them, within `condition`. Where blue was cloned once more, a
    /// row that came between the clones is no difference.
    pub(super) fn drill_down(
        &self,
        sides: &Sides,
        shown: &str,
        condition: &str,
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
        let mut condition = condition.to_owned();
        if let Some(ties) = &sides.ties {
            let keys = ties.keys(&condition);
            parity.ties = self.count(&keys)?;
            if parity.ties > 0 {
                condition = format!("{condition} AND _teal_key NOT IN ({keys})");
            }
        }
        let later = sides.later.as_deref();
        let difference = match later {
            None => "in_green - in_blue",
            Some(_) => "greatest(in_green - in_later, 0) - greatest(in_blue - in_green, 0)",
        };
        let all = [Some(sides.blue.as_str()), Some(sides.green.as_str()), later];
        let union = all.iter().enumerate().filter_map(|(number, side)| {
            let side = (*side)?;
            Some(format!("SELECT {number} AS _teal_side, * FROM ({side}) WHERE {condition}"))
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
        let row = format!(", any(formatRow('JSONEachRow', {shown})) AS row");
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

    fn count(&self, select: &str) -> Result<u64, MigrateError> {
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

/// The rows of these buckets.
pub(super) fn within_buckets(buckets: &BTreeSet<u8>) -> String {
    let buckets = buckets.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    format!("{BUCKET} IN ({buckets})")
}
