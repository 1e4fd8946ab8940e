//! A look at some of the rows only, for tables that are too large to be read as a whole each time. It proves
//! nothing of the others, so no cutover takes it for a proof.
//!
//! Where both tables have the same partitions, it is of some of these. Else it is of a range of values of the first
//! column that green is sorted by, in blue through the SELECT: a row is in the range in both tables or in neither.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use serde::{Deserialize, Serialize};
use teal_schema::{quote_ident, quote_string, sorting_key};

use super::sides::sides;
use super::unchanged::{Partitions, ProvenPartition};
use crate::journal::state::Migrating;
use crate::{MigrateError, Operator, Parity};

/// So many values stand for those of a column: a range is of that many thousandths of the rows, or so.
const VALUES: u32 = 1_000;

/// The rows that are compared.
#[derive(Debug)]
pub(super) struct Sampled {
    of: SampleOf,
    /// Partitions that are not read.
    pub(super) left_out: Vec<ProvenPartition>,
    /// More of a condition on the rows of both sides, or nothing.
    pub(super) within: String,
}

/// What a sample was of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SampleOf {
    /// So many of all that there are.
    Partitions { partitions: usize, of: usize },
    /// Rows of which a column is within these values; where one is not there, all before or behind the other.
    Range { column: String, from: Option<String>, to: Option<String> },
}

impl fmt::Display for SampleOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partitions { partitions, of } => write!(f, "in {partitions} of {of} partitions"),
            Self::Range { column, from, to } => match (from, to) {
                (Some(from), Some(to)) => write!(f, "where {column} is from {from} to {to}"),
                (Some(from), None) => write!(f, "where {column} is from {from} on"),
                (None, Some(to)) => write!(f, "where {column} is up to {to}"),
                (None, None) => write!(f, "whatever {column} is"),
            },
        }
    }
}

/// What a look at some of the rows found.
#[derive(Debug)]
pub struct SampleFound {
    pub parity: Parity,
    pub of: SampleOf,
}

impl Operator<'_> {
    /// Compares about this share of the rows, others each time. What differs is not looked into.
    ///
    /// # Errors
    /// [`MigrateError::NoSample`] where the two have no partitions in common and rows are folded, or no column that
    /// green is sorted by has an order that a text can tell; what stopped the comparison.
    pub fn compare_sample(
        &self,
        migrating: &Migrating,
        share: f64,
    ) -> Result<SampleFound, MigrateError> {
        self.refuse_other_blue(migrating)?;
        self.or_say_why_not(migrating, self.refuse_hidden_rows(migrating))?;
        let all = self.partitions(migrating)?;
        let sampled = match all.len() {
            0 | 1 => self.choose_range(migrating, share),
            _ => Ok(choose(all, share)),
        };
        let found = sampled.and_then(|sampled| {
            let found = match self.server.write_gate() {
                Some(_) => self.compare_at_once(migrating, Some(&sampled))?,
                None => self.compare_sample_with_looks(migrating, &sampled)?,
            };
            Ok(SampleFound { parity: found.parity, of: sampled.of })
        });
        self.or_say_why_not(migrating, found)
    }

    /// A range of values by lot, in which about this share of the rows is.
    fn choose_range(&self, migrating: &Migrating, share: f64) -> Result<Sampled, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            value: String,
        }
        let (blue, green) = migrating.tables_now();
        let refused = || MigrateError::NoSample { blue: blue.clone(), green: green.clone() };
        if migrating.migration.green_folds {
            return Err(refused());
        }
        let (column, data_type) = self.sorted_by(migrating)?.ok_or_else(refused)?;
        let (name, both) = (quote_ident(&column), sides(migrating, blue, green)?);
        // Of both: the rows that one of them lacks have their values too.
        let values = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT toValidUTF8(toString(arrayJoin(arraySort(groupArraySample({VALUES})(_teal_value))))) AS value FROM (\
                     SELECT {name} AS _teal_value FROM ({}) UNION ALL SELECT {name} AS _teal_value FROM ({}))",
                both.blue, both.green
            ))
        })?;
        let values = values.into_iter().map(|row| row.value).collect::<Vec<_>>();
        let (from, to) = range(&values, share, RandomState::new().hash_one(&column));
        let limit = |operator: &str, value: &String| {
            let value = quote_string(value);
            format!(" AND {name} {operator} CAST({value}, {})", quote_string(&data_type))
        };
        let limits =
            [from.as_ref().map(|it| limit(">=", it)), to.as_ref().map(|it| limit("<=", it))];
        let within = limits.into_iter().flatten().collect();
        Ok(Sampled { of: SampleOf::Range { column, from, to }, left_out: Vec::new(), within })
    }

    /// The first copied column that green is sorted by and whose values have an order and a text, and its type there.
    fn sorted_by(&self, migrating: &Migrating) -> Result<Option<(String, String)>, MigrateError> {
        let green = migrating.tables_now().1;
        let catalog = self.catalog_of(&[green])?;
        let columns = &migrating.migration.columns;
        let key = catalog.table(green).map(|table| table.sorting_key.as_str()).unwrap_or_default();
        let items = sorting_key(key, |name| columns.iter().any(|column| column.name == name))?;
        let columns = items.iter().filter_map(|item| {
            let column = columns.iter().find(|column| quote_ident(&column.name) == *item)?;
            has_range(&column.data_type).then(|| (column.name.clone(), column.data_type.clone()))
        });
        Ok(columns.into_iter().next())
    }
}

/// Whether a value of this type is within a range or not, and can be said as a text. `NULL` is in none.
fn has_range(data_type: &str) -> bool {
    const TYPES: [&str; 11] = [
        "Int",
        "UInt",
        "Decimal",
        "Date",
        "Time",
        "String",
        "FixedString",
        "Enum",
        "UUID",
        "Bool",
        "IPv",
    ];
    let inner = data_type.strip_prefix("LowCardinality(").unwrap_or(data_type);
    TYPES.iter().any(|known| inner.starts_with(known))
}

/// Of sorted values that stand for all, those between which this share is. Before the first one and behind the last one
/// there may be more.
fn range(values: &[String], share: f64, lot: u64) -> (Option<String>, Option<String>) {
    let chosen = ((values.len() as f64 * share).ceil() as usize).max(1);
    let Some(places) = values.len().checked_sub(chosen) else {
        return (None, None);
    };
    let from = (lot % (places as u64 + 1)) as usize;
    (values.get(from).filter(|_| from > 0).cloned(), values.get(from + chosen).cloned())
}

/// Partitions by lot, until they have their share of the rows; one at least.
fn choose(all: Partitions, share: f64) -> Sampled {
    let lots = RandomState::new();
    let mut all = all.into_values().collect::<Vec<_>>();
    all.sort_by_key(|partition| lots.hash_one(&partition.id));
    let rows = all.iter().map(|partition| partition.rows).sum::<u64>() as f64;
    let mut taken = 0;
    let mut chosen = 0;
    for partition in &all {
        if chosen > 0 && taken as f64 >= share * rows {
            break;
        }
        taken += partition.rows;
        chosen += 1;
    }
    let of = SampleOf::Partitions { partitions: chosen, of: all.len() };
    Sampled { of, left_out: all.split_off(chosen), within: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_chosen_until_they_have_their_share() {
        let partition = |number: u64| {
            let id = number.to_string();
            let (blue, green) = (String::new(), String::new());
            (id.clone(), ProvenPartition { id, rows: 10, blue, green })
        };
        let all = (0..100).map(partition).collect::<Partitions>();
        for (share, chosen) in [(0.0, 1), (0.05, 5), (0.051, 6), (1.0, 100)] {
            let sampled = choose(all.clone(), share);
            assert_eq!(sampled.of, SampleOf::Partitions { partitions: chosen, of: 100 });
            assert_eq!(sampled.left_out.len(), 100 - chosen);
        }
        let one = |all: &Partitions| choose(all.clone(), 0.0).left_out;
        let first = one(&all);
        assert!((0..50).any(|_| one(&all) != first), "always the same partition");
    }

    #[test]
    fn every_row_is_in_some_range() {
        let values = (0..10).map(|number| number.to_string()).collect::<Vec<_>>();
        let of = |share, lot| {
            let (from, to) = range(&values, share, lot);
            (from.unwrap_or_default(), to.unwrap_or_default())
        };
        let limits = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(of(0.2, 0), limits("", "2"));
        assert_eq!(of(0.2, 3), limits("3", "5"));
        assert_eq!(of(0.2, 8), limits("8", ""));
        assert_eq!(of(0.2, 9), of(0.2, 0));
        assert_eq!(of(0.0, 9), limits("9", ""));
        assert_eq!(of(1.0, 7), limits("", ""));
        assert_eq!(range(&[], 0.5, 7), (None, None));
    }
}
