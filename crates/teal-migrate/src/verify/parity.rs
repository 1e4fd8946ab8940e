use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ProvenPartition;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parity {
    /// Rows of blue, through the SELECT.
    pub blue_rows: u64,
    pub green_rows: u64,
    /// Pairs of a partition and a bucket that were compared.
    pub compared: u64,
    /// Rows that green lacks and rows that it has too many, as multisets.
    #[serde(default)]
    pub missing: u64,
    #[serde(default)]
    pub extra: u64,
    /// Rows of which equal ones came between each two looks, so that it cannot be told whether green lacks
    /// one or has one too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsure: u64,
    /// The rows are those that are left when each side has been folded as green's engine does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub folded: bool,
    /// Keys whose greatest version several rows have, and of which green has kept another than the one that
    /// blue would show: which of them an engine keeps depends on the order in which they came.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ties: u64,
    /// Partitions that were not read, since in both tables they have the parts of the proof before. Their
    /// rows are in the counts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unchanged: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mismatches: Vec<Mismatch>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
}

/// A partition and bucket that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mismatch {
    pub partition: String,
    pub bucket: u8,
    pub blue_rows: u64,
    pub green_rows: u64,
}

/// A row that differs, or of which it cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// How often it is in green minus how often it is in blue; 0 where that cannot be told.
    pub difference: i64,
    pub row: serde_json::Value,
}

impl Parity {
    pub fn holds(&self) -> bool {
        self.mismatches.is_empty()
    }

    /// With the partitions that were left out.
    pub(crate) fn and_unchanged(mut self, left_out: &[ProvenPartition]) -> Self {
        let rows = left_out.iter().map(|partition| partition.rows).sum::<u64>();
        self.blue_rows += rows;
        self.green_rows += rows;
        self.unchanged = left_out.len() as u64;
        self
    }

    /// The buckets that differ, of whatever partition.
    pub(crate) fn buckets(&self) -> BTreeSet<u8> {
        self.mismatches.iter().map(|mismatch| mismatch.bucket).collect()
    }
}

impl fmt::Display for Parity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folded = if self.folded { "folded " } else { "" };
        if self.holds() {
            write!(f, "{} {folded}rows in both, {} sums equal", self.green_rows, self.compared)?;
            if self.unchanged > 0 {
                write!(f, ", {} partitions as in the proof before", self.unchanged)?;
            }
            return match self.ties {
                0 => Ok(()),
                ties => write!(
                    f,
                    "; of {ties} keys, several rows have the greatest version, and green shows another of them"
                ),
            };
        }
        write!(
            f,
            "  blue has {} {folded}rows, green {}; green lacks {} and has {} too many, in {} of {} buckets",
            self.blue_rows,
            self.green_rows,
            self.missing,
            self.extra,
            self.mismatches.len(),
            self.compared
        )?;
        if self.unsure > 0 {
            write!(
                f,
                "\n  of {} more rows it cannot be told: equal ones are inserted all the time; verify again at a quieter moment",
                self.unsure
            )?;
        }
        for sample in &self.samples {
            match sample.difference {
                0 => write!(f, "\n   ? × {}", sample.row)?,
                difference => write!(f, "\n  {difference:+} × {}", sample.row)?,
            }
        }
        Ok(())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
