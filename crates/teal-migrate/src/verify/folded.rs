//! What the merges of green make of rows, as SELECTs: of blue's rows by GROUP BY, of green's own by `FINAL`.
//!
//! Both give the copied columns, `_teal_key` (the hash of what tells which rows are folded into one) and
//! `_teal_hash` (of what the two must have in common). Equal rows are equal by this, whatever the parts that
//! they lie in and however far those have been merged:
//!
//! - by version: of the rows of a key, the one with the greatest version. Of several that have it, the one
//!   with the greatest hash; green may have kept another of them (see [`Ties`]).
//! - by merging: sums and states, which do not depend on the order. The engine drops a row whose sums are
//!   all 0 or NULL when it comes to merge it, so those are compared on neither side.
//! - by order: of the rows of a key, the one that came last; where rows have a sign, the last one that says
//!   that there is something, unless it was cancelled.
//! - by sign: each row as often as its signs add up to, with the sign of the sum. This is so while a row is
//!   cancelled by its copy; one that is cancelled by another row shows as a difference.

use teal_plan::{Compared, CopyColumn, Fold, MergedColumn};
use teal_schema::{hash_128, quote_ident};

use super::sides::{is_float, stable, stable_list};

/// Which of two rows came later, if they lie in the same partition. A column of blue's rows where that tells
/// which of them stays.
pub(super) const LAST: &str = "_teal_came";

/// The rows of `source`, a SELECT of the copied columns, folded.
pub(super) fn rows_of(fold: &Fold, columns: &[CopyColumn], source: &str) -> String {
    let listed = listed(columns);
    match fold {
        Fold::Last { sign: Some(sign), .. } => {
            let sign = columns.iter().position(|column| column.name == *sign).unwrap_or_default();
            let last = |what: &str| format!("argMaxIf({what}, _teal_version, _teal_{sign} > 0)");
            let values = values(columns, |n, _| {
                format!("tupleElement({}, 1)", last(&format!("tuple(_teal_{n})")))
            });
            format!(
                "SELECT {listed}, _teal_hash, _teal_key FROM (\
                     SELECT {values}, {} AS _teal_hash, _teal_key, sum(sign(_teal_{sign})) AS _teal_left, \
                         argMax(_teal_{sign}, _teal_version) AS _teal_last \
                     FROM ({}) GROUP BY _teal_key) \
                 WHERE _teal_left > 0 OR _teal_left = 0 AND _teal_last > 0",
                last("_teal_row"),
                versions(fold, columns, source)
            )
        }
        Fold::Version { .. } | Fold::Last { sign: None, .. } => {
            let is_deleted = match fold {
                Fold::Version { is_deleted, .. } => is_deleted.as_deref(),
                _ => None,
            };
            let values = values(columns, |number, column| match is_deleted == Some(&column.name) {
                true => format!("argMax(_teal_{number}, _teal_order)"),
                // Of a value that is NULL, `argMax` would take another row's. A tuple takes longer.
                false => format!("tupleElement(argMax(tuple(_teal_{number}), _teal_order), 1)"),
            });
            let visible = visible(fold);
            // An order that is a number ends in the row's hash, and `max` takes two thirds of the time (26.7).
            let hash = match numeric_version(fold, columns) {
                Some(_) => "toUInt128(max(_teal_order))",
                None => "argMax(_teal_row, _teal_order)",
            };
            format!(
                "SELECT {listed}, _teal_hash, _teal_key FROM (\
                     SELECT {values}, {hash} AS _teal_hash, _teal_key \
                     FROM ({}) GROUP BY _teal_key){visible}",
                versions(fold, columns, source)
            )
        }
        Fold::Merge { key, merged, drops_zeros } => {
            let values = values(columns, |number, column| {
                match merged.iter().find(|merged| merged.column == column.name) {
                    Some(MergedColumn { function, .. }) => format!("{function}(_teal_{number})"),
                    None => format!("tupleElement(any(tuple(_teal_{number})), 1)"),
                }
            });
            let key = key_list(columns, key);
            format!(
                "SELECT {listed}, {} AS _teal_hash, _teal_key FROM (\
                     SELECT {values}, _teal_key FROM (\
                         SELECT {}, {} AS _teal_key FROM ({source})\
                     ) GROUP BY _teal_key){}",
                merged_hash(columns, merged),
                numbered(columns),
                hash_128(&key),
                not_zero(merged, *drops_zeros)
            )
        }
        Fold::Sign { sign, .. } => {
            let values = values(columns, |number, column| match column.name == *sign {
                true => "if(_teal_count > 0, 1, -1)::Int8".to_owned(),
                false => format!("tupleElement(any(tuple(_teal_{number})), 1)"),
            });
            let rest = columns.iter().filter(|column| column.name != *sign);
            let rest = rest.map(stable).collect::<Vec<_>>().join(", ");
            let sign = quote_ident(sign);
            format!(
                "SELECT {listed}, {} AS _teal_hash, _teal_key FROM (\
                     SELECT {values}, sum(toInt64(_teal_sign)) AS _teal_count, _teal_key FROM (\
                         SELECT {}, {sign} AS _teal_sign, {} AS _teal_key FROM ({source})\
                     ) GROUP BY _teal_key HAVING _teal_count != 0\
                 ) ARRAY JOIN range(toUInt64(abs(_teal_count))) AS _teal_copy",
                hash_128(&format!("_teal_key, {sign}")),
                numbered(columns),
                hash_128(&rest)
            )
        }
    }
}

/// What a reader of `table`, of green's layout, sees with `FINAL`.
pub(super) fn rows_in(fold: &Fold, columns: &[CopyColumn], table: &str) -> String {
    let listed = listed(columns);
    // Of two partitions, none is later than the other.
    let within = u8::from(fold.goes_by_order());
    let rows = format!(
        "SELECT {listed} FROM {table} FINAL SETTINGS do_not_merge_across_partitions_select_final = {within}"
    );
    match fold {
        Fold::Version { key, .. } | Fold::Last { key, .. } => format!(
            "SELECT {listed}, {} AS _teal_hash, {} AS _teal_key FROM ({rows}){}",
            hash_128(&stable_list(columns)),
            hash_128(&key_list(columns, key)),
            visible(fold)
        ),
        Fold::Merge { key, merged, drops_zeros } => {
            let key = key_list(columns, key);
            format!(
                "SELECT {listed}, {} AS _teal_hash, {} AS _teal_key FROM ({rows}){}",
                merged_hash(columns, merged),
                hash_128(&key),
                not_zero(merged, *drops_zeros)
            )
        }
        Fold::Sign { .. } => rows_of(fold, columns, &rows),
    }
}

/// Of which keys green has kept another row than [`rows_of`] shows, of those with the greatest version.
/// Which of them an engine keeps depends on the order in which they came.
#[derive(Debug, Clone)]
pub(super) struct Ties {
    versions: String,
    green: String,
}

/// `blue` is a SELECT of the copied columns, `green` one of [`rows_in`]. None where rows are not folded by
/// version.
pub(super) fn ties(fold: &Fold, columns: &[CopyColumn], blue: &str, green: &str) -> Option<Ties> {
    let versions = fold.goes_by_version().then(|| versions(fold, columns, blue))?;
    Some(Ties { versions, green: green.to_owned() })
}

impl Ties {
    /// Selects those keys within `condition`. A table shows no row of a key whose newest one is deleted. What of the join
    /// does not fit into memory, the server keeps on its disk.
    pub(super) fn keys(&self, condition: &str) -> String {
        let Self { versions, green } = self;
        format!(
            "SELECT _teal_key FROM (\
                 SELECT _teal_key, groupUniqArray(_teal_row) AS _teal_rows, max(_teal_deleted) AS _teal_may_hide, \
                     if(argMax(_teal_deleted, _teal_row) = 1, 0, max(_teal_row)) AS _teal_in_blue \
                 FROM ({versions}) WHERE {condition} GROUP BY _teal_key, _teal_version \
                 ORDER BY _teal_version DESC LIMIT 1 BY _teal_key) AS _teal_blue \
             ALL LEFT JOIN (SELECT _teal_key, _teal_hash AS _teal_in_green FROM ({green}) WHERE {condition}) AS _teal_green \
                 USING (_teal_key) \
             WHERE _teal_in_green != _teal_in_blue \
                 AND (has(_teal_rows, _teal_in_green) OR _teal_in_green = 0 AND _teal_may_hide = 1) \
             SETTINGS join_use_nulls = 0, join_algorithm = 'grace_hash', max_bytes_in_join = 1000000000"
        )
    }
}

/// The rows of `source`, numbered columns, each with its key, its version, its hash, and what puts the rows of a
/// key in order: the version, and of one version the hash.
///
/// Numbers are compared several times faster than tuples (26.7).
pub(super) fn versions(fold: &Fold, columns: &[CopyColumn], source: &str) -> String {
    let mut deleted = "0".to_owned();
    let (key, version, order) = match fold {
        Fold::Version { key, version, is_deleted } => {
            if let Some(name) = is_deleted {
                deleted = quote_ident(name);
            }
            let order = match numeric_version(fold, columns) {
                Some(version) => {
                    format!("bitOr(bitShiftLeft(toUInt256({version}), 128), toUInt256(_teal_row))")
                }
                None => "(_teal_version, _teal_row)".to_owned(),
            };
            (key_list(columns, key), quote_ident(version), order)
        }
        Fold::Last { key, .. } => {
            let item = |number: u8| format!("toUInt128(tupleElement({LAST}, {number}))");
            let came = format!("bitOr(bitShiftLeft({}, 64), {})", item(1), item(2));
            (key_list(columns, key), came, "_teal_version".to_owned())
        }
        _ => (String::new(), "0".to_owned(), "0".to_owned()),
    };
    format!(
        "SELECT {}, {} AS _teal_key, {version} AS _teal_version, {} AS _teal_row, {order} AS _teal_order, \
             {deleted} AS _teal_deleted FROM ({source})",
        numbered(columns),
        hash_128(&key),
        hash_128(&stable_list(columns))
    )
}

/// The version by which rows are folded, as an unsigned number of 64 bits that is in the same order, if it fits into
/// one.
fn numeric_version(fold: &Fold, columns: &[CopyColumn]) -> Option<String> {
    let Fold::Version { version, .. } = fold else { return None };
    let version = columns.iter().find(|column| column.name == *version)?;
    let name = quote_ident(&version.name);
    let signed = |bits: String| Some(format!("bitXor({bits}, 9223372036854775808)"));
    let data_type = version.data_type.split('(').next().unwrap_or_default();
    match data_type {
        "UInt8" | "UInt16" | "UInt32" | "UInt64" | "Bool" | "Date" | "DateTime" => {
            Some(format!("toUInt64({name})"))
        }
        "Int8" | "Int16" | "Int32" | "Int64" | "Date32" => {
            signed(format!("reinterpretAsUInt64(toInt64({name}))"))
        }
        "DateTime64" => signed(format!("reinterpretAsUInt64({name})")),
        _ => None,
    }
}

pub(super) fn listed(columns: &[CopyColumn]) -> String {
    let names = columns.iter().map(|column| quote_ident(&column.name));
    names.collect::<Vec<_>>().join(", ")
}

/// The items of a key, by which rows are told apart as merges do: 0.0 and -0.0 are one, and so is each NaN.
fn key_list(columns: &[CopyColumn], key: &[String]) -> String {
    let items = key.iter().map(|item| {
        let is_it =
            |column: &&CopyColumn| *item == column.name || *item == quote_ident(&column.name);
        match columns.iter().find(is_it) {
            Some(column) if is_float(&column.data_type) => {
                let value = stable(column);
                format!("if(isNaN({value}), nan, {value})")
            }
            Some(column) => quote_ident(&column.name),
            None => item.clone(),
        }
    });
    items.collect::<Vec<_>>().join(", ")
}

/// The columns by other names, so that what is made of one can have its name.
fn numbered(columns: &[CopyColumn]) -> String {
    let items = columns.iter().enumerate();
    let items =
        items.map(|(number, column)| format!("{} AS _teal_{number}", quote_ident(&column.name)));
    items.collect::<Vec<_>>().join(", ")
}

/// Each column as what `value` makes of its number, in the column's type.
pub(super) fn values(
    columns: &[CopyColumn],
    value: impl Fn(usize, &CopyColumn) -> String,
) -> String {
    let items = columns.iter().enumerate().map(|(number, column)| {
        format!("{} AS {}", value(number, column), quote_ident(&column.name))
    });
    items.collect::<Vec<_>>().join(", ")
}

fn visible(fold: &Fold) -> String {
    match fold {
        Fold::Version { is_deleted: Some(name), .. } => format!(" WHERE {} = 0", quote_ident(name)),
        Fold::Last { sign: Some(name), .. } => format!(" WHERE {} > 0", quote_ident(name)),
        _ => String::new(),
    }
}

fn not_zero(merged: &[MergedColumn], drops_zeros: bool) -> String {
    match drops_zeros {
        false => String::new(),
        true => {
            let set = merged
                .iter()
                .map(|merged| format!("ifNull({} != 0, 0)", quote_ident(&merged.column)));
            format!(" WHERE {}", set.collect::<Vec<_>>().join(" OR "))
        }
    }
}

/// The hash of what two merged rows must have in common.
fn merged_hash(columns: &[CopyColumn], merged: &[MergedColumn]) -> String {
    let values = columns.iter().map(|column| {
        let name = quote_ident(&column.name);
        let merged = merged.iter().find(|merged| merged.column == column.name);
        match merged.map(|merged| merged.compared) {
            None | Some(Compared::Value) => stable(column),
            Some(Compared::Sorted) => format!("arraySort({name})"),
            Some(Compared::Result) => {
                format!("finalizeAggregation({name}), length(CAST({name}, 'String'))")
            }
            Some(Compared::SortedResult) => format!("arraySort(finalizeAggregation({name}))"),
        }
    });
    hash_128(&values.collect::<Vec<_>>().join(", "))
}
