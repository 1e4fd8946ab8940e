use serde::{Deserialize, Serialize};

use crate::{AlterCost, CopyStrategy};

/// What an operation takes of the target. Disk is what it takes for a while; the time is a guess, for
/// a reader who asks whether it is seconds or hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Needs {
    pub disk_bytes: u64,
    pub seconds: u64,
}

/// What a server with two cores does in a second, without a throttle (bench/): it reads and hashes
/// rows of five columns, reads, sorts and writes them, and rewrites bytes as they are on disk.
const ROWS_HASHED: u64 = 20_000_000;
const ROWS_COPIED: u64 = 8_000_000;
const BYTES_COPIED: u64 = 100_000_000;

impl Needs {
    /// Of a migration: the copy, and a verification, which reads blue and green.
    pub(crate) fn of_copy(strategy: CopyStrategy, rows: u64, bytes: u64) -> Self {
        let hashed = 2 * rows.div_ceil(ROWS_HASHED);
        match strategy {
            CopyStrategy::Clone => Self { disk_bytes: 0, seconds: hashed },
            CopyStrategy::Rewrite => {
                let copied = rows.div_ceil(ROWS_COPIED).max(bytes.div_ceil(BYTES_COPIED));
                Self { disk_bytes: bytes, seconds: copied + hashed }
            }
        }
    }

    /// Of an `ALTER` of a table of so many bytes: a mutation writes at most all of its files anew, and
    /// the old ones stay until then.
    pub(crate) fn of_alter(cost: AlterCost, bytes: u64) -> Self {
        match cost {
            AlterCost::Metadata => Self { disk_bytes: 0, seconds: 0 },
            AlterCost::Mutation => {
                Self { disk_bytes: bytes, seconds: bytes.div_ceil(BYTES_COPIED) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_takes_no_disk_and_a_rewrite_as_much_as_the_table() {
        let (rows, bytes) = (20_000_000, 300_000_000);
        let clone = Needs::of_copy(CopyStrategy::Clone, rows, bytes);
        assert_eq!(clone, Needs { disk_bytes: 0, seconds: 2 });
        let rewrite = Needs::of_copy(CopyStrategy::Rewrite, rows, bytes);
        assert_eq!(rewrite, Needs { disk_bytes: bytes, seconds: 5 });
        assert_eq!(Needs::of_copy(CopyStrategy::Rewrite, 0, 0).seconds, 0);
        assert_eq!(Needs::of_alter(AlterCost::Metadata, bytes).disk_bytes, 0);
        assert_eq!(Needs::of_alter(AlterCost::Mutation, bytes).seconds, 3);
    }
}
