//! The sums of a comparison: count and order-free hash sum of the rows, per partition of green and bucket
//! of the hash.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use teal_client::{ClientError, read_rows};

use super::sides::Sides;
use crate::{Mismatch, Parity};

/// By partition and bucket.
pub(super) type Sums = BTreeMap<(String, u8), Sum>;

/// Count and hash sum of a bucket.
#[derive(Debug, PartialEq, Eq, Default, Clone)]
pub(super) struct Sum {
    rows: u64,
    hash: String,
}

/// A row's bucket, of 16: the sums of a bucket then say where to look. These are the last bits of the number;
/// `% 16` of a number of 128 bits took as long as all the rest of a comparison (26.9).
pub(crate) const BUCKET: &str = "bitAnd(toUInt8(_teal_key), 15)";

/// The sums of both sides in one query, each of the rows `within` a condition and read with these settings.
///
/// A UNION takes hold of its tables in the order in which it names them (measured on 26.9). Green, the view's
/// target, comes first: where INSERTs go on, a row that green lacks then lacks for sure, for an INSERT
/// commits a block to its table before it does so to the view's target (26.9). The other way round, an equal
/// row that comes between the two (a client that sends its INSERT again) would stand in for it. After an
/// exchange the view's target is blue.
pub(super) fn sums_query(sides: &Sides, partition: &str, within: &str, settings: &str) -> String {
    let of = |is_green| sums_of(is_green, sides, partition, within, settings);
    let (blue, green) = (of(false), of(true));
    match sides.is_turned {
        false => format!("{green} UNION ALL {blue}"),
        true => format!("{blue} UNION ALL {green}"),
    }
}

/// The sums of one side. Two values of a partition may have one text (an hour that comes twice when the clocks are put
/// back), which has the sums of both then. `toString` alone the optimizer would leave out of the GROUP BY, as if there
/// were no such two (`optimize_injective_functions_in_group_by`, 26.7).
pub(super) fn sums_of(
    is_green: bool,
    sides: &Sides,
    partition: &str,
    within: &str,
    settings: &str,
) -> String {
    let hash_sum = sides.hash_sum;
    let side = if is_green { &sides.green } else { &sides.blue };
    format!(
        "SELECT {} AS is_green, concat(toString(_teal_partition), '') AS partition, \
             _teal_bucket AS bucket, sum(_teal_rows) AS row_count, \
             arrayStringConcat(arraySort(groupArray(_teal_sum)), ' ') AS hash_sum \
         FROM (\
             SELECT {partition} AS _teal_partition, \
                 {BUCKET} AS _teal_bucket, \
                 count() AS _teal_rows, {hash_sum} AS _teal_sum \
             FROM ({side}){within} GROUP BY _teal_partition, _teal_bucket{settings}) \
         GROUP BY partition, bucket",
        u8::from(is_green)
    )
}

/// All rows of one side.
pub(super) fn rows(sums: &Sums) -> u64 {
    sums.values().map(|sum| sum.rows).sum()
}

/// The sums of blue and of green.
pub(super) fn read_sums(body: &[u8], query: &str) -> Result<(Sums, Sums), ClientError> {
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

/// What the sums say.
pub(super) fn parity(blue: &Sums, green: &Sums) -> Parity {
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
        blue_rows: rows(blue),
        green_rows: rows(green),
        compared: keys.len() as u64,
        missing: 0,
        extra: 0,
        folded: false,
        unsure: 0,
        ties: 0,
        unchanged: 0,
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
