use teal_plan::{Compared, CopyColumn, CopyStrategy, Fold, compared_state};
use teal_schema::{QualifiedName, quote_ident, quote_string};

use super::folded::{self, LAST, Ties};
use super::newest::{Newer, Newest};
use super::surplus::{By, Surplus};
use crate::MigrateError;
use crate::backfill::{CAME, columns, select_from};
use crate::journal::state::Migrating;
use crate::names;
use crate::settings::table_filters;

/// The two sides of a comparison, as SELECTs of the same columns.
pub(crate) struct Sides {
    pub(crate) blue: String,
    pub(crate) green: String,
    /// The copied columns, listed.
    columns: String,
    /// Blue, cloned once more after green.
    pub(super) later: Option<String>,
    /// Green is what the view reads, as it is after an exchange or a turn: it is read behind blue then.
    pub(super) is_turned: bool,
    /// Blue and green, cloned once before.
    pub(super) earlier: Option<(String, String)>,
    /// Where rows are folded by version: what counts the keys of which the two may show other rows.
    pub(super) ties: Option<Ties>,
    /// Where rows are folded by version: what tells which are newer.
    pub(super) newest: Option<Newest>,
    /// The same of blue's later clone.
    newest_later: Option<Newest>,
    /// The order-free sum of the rows' hashes.
    pub(super) hash_sum: &'static str,
    /// Of a large table: a condition that few rows meet, and all of those that differ.
    pub(super) narrowed: Option<String>,
    /// More of a condition, that all rows which differ meet; empty where there is none.
    pub(super) in_partitions: String,
    /// A table of teal's own, for what tells which rows those are.
    list: QualifiedName,
}

impl Sides {
    /// What a row of green must be in to be no row too many.
    pub(crate) fn last_of_blue(&self) -> &str {
        self.later.as_deref().unwrap_or(&self.blue)
    }

    /// `later`: the sides with blue's later clone.
    pub(super) fn set_later(&mut self, later: Self) {
        self.later = Some(later.blue);
        self.newest_later = later.newest;
    }

    /// The rows of both by their columns' names, each with its key and its version, where they are folded by version.
    pub(crate) fn versions(&self) -> Option<(String, String)> {
        self.newest.as_ref().map(Newest::rows)
    }

    /// The rows that green lacks.
    pub(crate) fn of_blue_alone(&self) -> Surplus {
        match &self.newest {
            Some(newest) => self.newer(newest.of_blue_alone()),
            None => self.more(&self.blue, &self.green),
        }
    }

    /// The rows that blue lacks.
    pub(crate) fn of_green_alone(&self) -> Surplus {
        match (&self.newest_later, &self.newest) {
            (Some(later), newest) => self.newer(later.of_green_alone(newest.as_ref())),
            (None, Some(newest)) => self.newer(newest.of_green_alone(None)),
            (None, None) => self.more(&self.green, self.last_of_blue()),
        }
    }

    fn more(&self, from: &str, against: &str) -> Surplus {
        let by = By::Hash { from: from.to_owned(), against: against.to_owned() };
        Surplus { narrowed: self.narrowed.clone(), ..self.surplus(by) }
    }

    /// What the two show of a key may be the same, and one of them newer: where they differ is no condition then.
    fn newer(&self, newer: Newer) -> Surplus {
        self.surplus(By::Version(newer))
    }

    fn surplus(&self, by: By) -> Surplus {
        Surplus {
            columns: self.columns.clone(),
            by,
            narrowed: None,
            in_partitions: self.in_partitions.clone(),
            list: self.list.clone(),
        }
    }
}

/// Whether parity is that of folded rows.
pub(crate) fn folds(migrating: &Migrating) -> bool {
    migrating.migration.fold.is_some() || folds_in_order(migrating)
}

/// Whether green's engine folds rows in the order in which they came. Only a clone keeps that order: blue's
/// parts fit green's layout then, and both sides are read as green's engine would.
pub(super) fn folds_in_order(migrating: &Migrating) -> bool {
    let migration = &migrating.migration;
    migration.green_folds && migration.fold.is_none() && migration.strategy == CopyStrategy::Clone
}

/// Each side as a SELECT of the copied columns, in green's types, `_teal_hash`, and `_teal_key`: equal rows
/// have equal hashes, and rows of different keys have nothing to do with each other.
///
/// Where no rows are folded, the hash is made of two halves, and the key is one of them. Their sums take half
/// the time of a sum of 128 bits (26.7).
pub(crate) fn sides(
    migrating: &Migrating,
    blue: &QualifiedName,
    green: &QualifiedName,
) -> Result<Sides, MigrateError> {
    let in_order = folds_in_order(migrating);
    let list = names::verify(&migrating.id, names::SURPLUS);
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
    let hashed = |source: String| {
        format!(
            "SELECT {columns}, {} AS _teal_key, {} AS _teal_other_half, {} AS _teal_hash FROM ({source})",
            half_hash(KEY_HASH, &migrating.migration.columns),
            half_hash(OTHER_HASH, &migrating.migration.columns),
            row_hash(&migrating.migration.columns)
        )
    };
    // Of a row whose time is over, neither says anything: green may come to delete it earlier or later.
    let lasting = |rows: String| match &migrating.migration.expired {
        Some(over) => format!("SELECT {columns} FROM ({rows}) WHERE NOT ifNull({over}, 0)"),
        None => rows,
    };
    let selected = format!("SELECT {columns_of_blue} FROM ({})", select_from(migrating, blue)?);
    if let Some(fold) = &migrating.migration.fold {
        let selected = match fold {
            // The SELECT gives rows as they are.
            Fold::Last { .. } => {
                format!("SELECT {columns_of_blue}, ({CAME}) AS {LAST} FROM {}", blue.sql())
            }
            _ => selected,
        };
        let listed = columns;
        let columns = &migrating.migration.columns;
        let of_green = format!("SELECT {listed} FROM {}", green.sql());
        let shown_of_blue = folded::rows_of(fold, columns, &selected);
        let green = folded::rows_in(fold, columns, &green.sql());
        let ties = folded::ties(fold, columns, &selected, &green);
        let newest = ties.as_ref().map(|ties| {
            Newest::of(fold, columns, (&selected, &shown_of_blue), (&of_green, &green), ties)
        });
        return Ok(Sides {
            blue: shown_of_blue,
            green,
            columns: listed,
            later: None,
            is_turned: false,
            earlier: None,
            ties,
            newest,
            newest_later: None,
            hash_sum: "toString(sum(_teal_hash))",
            narrowed: None,
            in_partitions: String::new(),
            list,
        });
    }
    let last = if in_order { " FINAL" } else { "" };
    let blue_source = match in_order {
        true => format!("SELECT {columns} FROM {}{last}", blue.sql()),
        false => selected,
    };
    let mut green_source = format!("SELECT {columns} FROM {}{last}", green.sql());
    if let Some(condition) = &migrating.uncopied {
        let snapshot = names::snapshot(&migrating.id);
        green_source = format!(
            "{green_source} UNION ALL SELECT * FROM (SELECT {columns_of_blue} FROM ({}) SETTINGS {})",
            select_from(migrating, &snapshot)?,
            table_filters(&[(&snapshot, condition)])
        );
    }
    Ok(Sides {
        blue: hashed(lasting(blue_source)),
        green: hashed(lasting(green_source)),
        columns: columns.clone(),
        later: None,
        is_turned: false,
        earlier: None,
        ties: None,
        newest: None,
        newest_later: None,
        hash_sum: "toString((sum(_teal_key), sum(_teal_other_half)))",
        narrowed: None,
        in_partitions: String::new(),
        list,
    })
}

/// The copied columns as a person reads them: of a state, its result; a long number as a text.
pub(crate) fn shown(migrating: &Migrating) -> String {
    // A condition of the same query may name what the partition key is made of.
    let of_partition = &migrating.migration.green_partition_key;
    let columns = migrating.migration.columns.iter().map(|column| {
        let (name, data_type) = (quote_ident(&column.name), &column.data_type);
        if data_type.starts_with("AggregateFunction(") {
            format!("finalizeAggregation({name}) AS {name}")
        } else if is_long_number(data_type) && !of_partition.contains(&column.name) {
            format!("toString({name}) AS {name}")
        } else {
            name
        }
    });
    columns.collect::<Vec<_>>().join(", ")
}

/// As a number of JSON, such a value would be read as a float.
fn is_long_number(data_type: &str) -> bool {
    let nullable = data_type.strip_prefix("Nullable(").and_then(|it| it.strip_suffix(')'));
    let data_type = nullable.unwrap_or(data_type);
    let long = ["Int128", "Int256", "UInt128", "UInt256"];
    long.contains(&data_type) || data_type.starts_with("Decimal(")
}

/// Two functions that have nothing in common but their length.
const KEY_HASH: &str = "cityHash64";
const OTHER_HASH: &str = "xxh3";

/// The hash of a row, by which rows are compared: 128 bits.
pub(crate) fn row_hash(columns: &[CopyColumn]) -> String {
    format!(
        "bitOr(bitShiftLeft(toUInt128({}), 64), {})",
        half_hash(OTHER_HASH, columns),
        half_hash(KEY_HASH, columns)
    )
}

/// The tuple matters: without it a single NULL argument makes the hash NULL, which no sum counts (26.7). Of a
/// column with a dictionary, the dictionary is hashed and not each row's value: several times faster (26.7).
fn half_hash(function: &str, columns: &[CopyColumn]) -> String {
    let hashed = columns.iter().map(|column| {
        let name = quote_ident(&column.name);
        match compared_state(&column.data_type) {
            Some(Compared::Value) => name,
            Some(Compared::SortedResult) => format!("arraySort(finalizeAggregation({name}))"),
            // The bytes of a set are the same ones each time, in another order.
            Some(_) => format!(
                "finalizeAggregation({name}), arraySort(splitByString('', CAST({name}, 'String')))"
            ),
            None if column.data_type.starts_with("LowCardinality(") => {
                format!("{function}({name})")
            }
            None => stable(column),
        }
    });
    format!("{function}(tuple({}))", hashed.collect::<Vec<_>>().join(", "))
}

/// The value of a column, such that it is the same whatever a part has made of it. Of -0.0, a part that stores a
/// column sparsely made 0.0 (before 26.4), and a Map in buckets gives its entries in another order from each part (26.3.2 to
/// 26.7.2).
pub(super) fn stable(column: &CopyColumn) -> String {
    let name = quote_ident(&column.name);
    match column.data_type.strip_prefix("Map(") {
        _ if is_float(&column.data_type) => format!("{name} + 0"),
        Some(entries) => {
            let pairs = quote_string(&format!("Array(Tuple({entries})"));
            format!("arraySort(CAST({name}, {pairs}))")
        }
        None => name,
    }
}

pub(super) fn is_float(data_type: &str) -> bool {
    let nullable = data_type.strip_prefix("Nullable(").and_then(|it| it.strip_suffix(')'));
    matches!(nullable.unwrap_or(data_type), "Float32" | "Float64")
}

/// The copied columns, as they are hashed where rows are folded.
pub(super) fn stable_list(columns: &[CopyColumn]) -> String {
    columns.iter().map(stable).collect::<Vec<_>>().join(", ")
}

/// Green's partition key over the copied columns; a constant where it has none, where it needs a column that the
/// copy does not fill, and where rows are folded: which values a folded row has takes far longer to tell than its
/// hash.
pub(crate) fn partition_expression(migrating: &Migrating) -> String {
    let migration = &migrating.migration;
    match migration.green_partition_key.as_str() {
        _ if migration.fold.is_some() => NO_PARTITION.to_owned(),
        "" => NO_PARTITION.to_owned(),
        key if migration.fills_green => format!("tuple({key})"),
        _ => NO_PARTITION.to_owned(),
    }
}

/// Of all rows the same.
pub(super) const NO_PARTITION: &str = "''";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_parts_may_change_of_a_value_is_not_hashed() {
        let hashed = |data_type: &str| {
            let (name, data_type) = ("a b".to_owned(), data_type.to_owned());
            stable(&CopyColumn { name, data_type, from_type: None })
        };
        assert_eq!(hashed("Float32"), "`a b` + 0");
        assert_eq!(hashed("Nullable(Float64)"), "`a b` + 0");
        assert_eq!(hashed("Array(Float64)"), "`a b`");
        assert_eq!(
            hashed("Map(Enum8('x' = 1), Array(Float64))"),
            r"arraySort(CAST(`a b`, 'Array(Tuple(Enum8(\'x\' = 1), Array(Float64)))'))"
        );
    }
}
