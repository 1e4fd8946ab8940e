use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

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

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// How often it is in green minus how often it is in blue.
    pub difference: i64,
    pub row: serde_json::Value,
}

impl Parity {
    pub fn holds(&self) -> bool {
        self.mismatches.is_empty()
    }

    /// Whether the only difference is rows that green lacks.
    pub fn is_only_missing(&self) -> bool {
        self.missing > 0 && self.extra == 0
    }

    /// The buckets that differ, of whatever partition.
    pub(crate) fn buckets(&self) -> BTreeSet<u8> {
        self.mismatches.iter().map(|mismatch| mismatch.bucket).collect()
    }
}

impl fmt::Display for Parity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.holds() {
            return write!(f, "{} rows in both, {} sums equal", self.green_rows, self.compared);
        }
        write!(
            f,
            "  blue has {} rows, green {}; green lacks {} and has {} too many, in {} of {} buckets",
            self.blue_rows,
            self.green_rows,
            self.missing,
            self.extra,
            self.mismatches.len(),
            self.compared
        )?;
        for sample in &self.samples {
            write!(f, "\n  {:+} × {}", sample.difference, sample.row)?;
        }
        Ok(())
    }
}
