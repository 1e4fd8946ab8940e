//! How an engine folds the rows of one sorting key in its merges. What is said here of the engines was seen
//! on 26.7 and 26.9.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use teal_catalog::CatalogTable;
use teal_schema::{Engine, Table, call, names, quote_ident, sorting_key, split_list};

/// What the merges of a table make of its rows: whatever their order, or, where [`Fold::goes_by_order`], of
/// rows that are in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fold {
    /// Of the rows of a key, the one with the greatest version stays; `FINAL` hides it when it is
    /// deleted.
    Version {
        /// The items of the sorting key.
        key: Vec<String>,
        version: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_deleted: Option<String>,
    },
    /// The rows of a key are merged into one, column by column.
    Merge {
        /// The columns of the sorting key.
        key: Vec<String>,
        merged: Vec<MergedColumn>,
        /// A row whose merged columns are all 0 or NULL may be dropped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        drops_zeros: bool,
    },
    /// A row cancels one that differs from it by the sign only.
    Sign {
        sign: String,
        /// The items of the sorting key, the version among them: rows that differ by others may cancel each other
        /// too.
        key: Vec<String>,
    },
    /// Of the rows of a key, the one that came last stays.
    Last {
        /// The items of the sorting key and of the partition key.
        key: Vec<String>,
        /// A row cancels the one before it, or is shown: by the sign of this column.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sign: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MergedColumn {
    pub column: String,
    /// The aggregate function that merges values of the column, with its parameters.
    pub function: String,
    pub compared: Compared,
}

/// What of a merged value two tables must have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Compared {
    /// The value, or the bytes of the state: the same in whatever order it was merged.
    Value,
    /// An array, whose order depends on that of the merges.
    Sorted,
    /// The result and the size of a state whose bytes depend on the order of the merges.
    Result,
    /// The result of a state, an array in any order.
    SortedResult,
}

/// Whose states are the same in whatever order they are merged, byte for byte. (Of rows that tie, `argMin` and
/// `argMax` keep the one that is merged first: the preflight says so.)
const STATES: &[&str] = &[
    "count",
    "sum",
    "sumWithOverflow",
    "avg",
    "avgWeighted",
    "sumCount",
    "min",
    "max",
    "argMin",
    "argMax",
    "groupBitAnd",
    "groupBitOr",
    "groupBitXor",
];
/// Whose results are the same in whatever order their states are merged. A row that is lost makes the
/// result or the size of the state another one, unless its values are in it by other rows too.
const RESULTS: &[&str] = &[
    "uniq",
    "uniqExact",
    "uniqCombined",
    "uniqCombined64",
    "uniqHLL12",
    "groupBitmap",
    "quantileExact",
    "quantilesExact",
    "sumMap",
    "minMap",
    "maxMap",
];
/// Its result is an array, in an order that depends on that of the merges.
const UNIQUE: &str = "groupUniqArray";
/// Functions of more numbers than the computer keeps when they are no integers.
const ADDING: &[&str] = &["sum", "sumWithOverflow", "avg", "avgWeighted", "sumCount", "sumMap"];
/// Aggregate functions of `SimpleAggregateFunction`.
const SIMPLE: &[&str] = &[
    "sum",
    "sumWithOverflow",
    "min",
    "max",
    "groupBitAnd",
    "groupBitOr",
    "groupBitXor",
    "sumMap",
    "minMap",
    "maxMap",
];
/// Suffixes that do not change how states are merged.
const COMBINATORS: &[&str] = &["If", "Array", "OrNull", "OrDefault"];

impl Fold {
    /// How the engine of `table` folds rows.
    ///
    /// # Errors
    /// Why what it makes of them depends on their order.
    pub(crate) fn of(table: &Table, made: &CatalogTable) -> Result<Self, String> {
        let is_column = |name: &str| made.columns.iter().any(|column| column.name == name);
        let key = sorting_key(&made.sorting_key, is_column).map_err(|error| error.to_string())?;
        let key = key.into_iter().map(|item| computed(item, made)).collect::<Vec<_>>();
        if key.is_empty() {
            return Err("without a sorting key, all rows are one".to_owned());
        }
        let engine = table.engine.kind();
        // A replicated table's path and replica come first, as texts.
        let arguments =
            table.engine.arguments.iter().filter(|argument| !argument.starts_with('\''));
        let arguments = arguments.map(|argument| unquoted(argument)).collect::<Vec<_>>();
        match (engine, arguments.as_slice()) {
            ("ReplacingMergeTree", []) => {
                Err("without a version column, the row that came last stays".to_owned())
            }
            ("ReplacingMergeTree", [version, rest @ ..]) => Ok(Self::Version {
                key,
                version: version.clone(),
                is_deleted: rest.first().cloned(),
            }),
            ("SummingMergeTree", []) => merge(made, key, &Adds::Numbers),
            ("SummingMergeTree", [named, ..]) => merge(made, key, &Adds::named(named)?),
            ("AggregatingMergeTree", _) => merge(made, key, &Adds::Nothing),
            ("VersionedCollapsingMergeTree", [sign, ..]) => {
                Ok(Self::Sign { sign: sign.clone(), key })
            }
            _ => Err(format!("{engine} folds rows in the order in which they came")),
        }
    }

    /// The columns without which it cannot be told how rows are folded.
    pub(crate) fn needs(&self) -> Vec<&str> {
        match self {
            Self::Version { version, is_deleted, .. } => {
                std::iter::once(version.as_str()).chain(is_deleted.as_deref()).collect()
            }
            Self::Merge { key, merged, .. } => {
                let merged = merged.iter().map(|merged| merged.column.as_str());
                key.iter().map(String::as_str).chain(merged).collect()
            }
            Self::Sign { sign, .. } => vec![sign],
            // Where a column of the key is not copied, the order is not kept.
            Self::Last { sign, .. } => sign.as_deref().into_iter().collect(),
        }
    }

    /// What the expressions by which rows are told apart name: columns, and functions.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn names_in_key(&self) -> Result<Vec<String>, String> {
        match self {
            Self::Version { key, .. } => names(&key.join(", ")).map_err(|error| error.to_string()),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether what becomes of rows depends on the order in which they came.
    pub fn goes_by_order(&self) -> bool {
        matches!(self, Self::Last { .. })
    }

    /// Whether a row may come more than once, and later than others: what becomes of it is the same.
    pub fn goes_by_version(&self) -> bool {
        matches!(self, Self::Version { .. })
    }

    /// Whether it makes the same of rows as of what `before` has made of some of them.
    pub(crate) fn follows(&self, before: &Self) -> bool {
        let items = |key: &[String]| key.iter().cloned().collect::<BTreeSet<_>>();
        match (before, self) {
            (
                Self::Version { key, version, is_deleted },
                Self::Version { key: then, version: later, is_deleted: hides },
            ) => {
                items(key) == items(then)
                    && version == later
                    && (is_deleted.is_none() || is_deleted == hides)
            }
            (Self::Merge { key, merged, .. }, Self::Merge { key: then, merged: later, .. }) => {
                then.iter().all(|item| key.contains(item))
                    && later.iter().all(|column| merged.contains(column))
            }
            // What differs by an item of the one key only, that engine has let cancel each other already.
            (Self::Sign { sign, key: then }, Self::Sign { sign: later, key }) => {
                sign == later && items(key) == items(then)
            }
            _ => false,
        }
    }
}

/// Whether an engine folds the values of a column of the second type as it does those of the first: an `ALTER` of the
/// type changes what it makes of the rows that are there.
pub(crate) fn folds_alike(engine: &Engine, from: &str, to: &str) -> bool {
    let how = |data_type: &str| {
        let function = match call(data_type) {
            Ok(("AggregateFunction" | "SimpleAggregateFunction", Some(inside))) => {
                split_list(inside).ok().and_then(|items| items.first().map(|it| (*it).to_owned()))
            }
            _ => None,
        };
        (function, engine.name.ends_with("SummingMergeTree") && is_summed(data_type))
    };
    let adds = ["SummingMergeTree", "AggregatingMergeTree"];
    !adds.iter().any(|name| engine.name.ends_with(name)) || how(from) == how(to)
}

/// A column that the table computes, as what it computes; any other item of a key as it is.
fn computed(item: String, made: &CatalogTable) -> String {
    let is_it = |name: &str| item == name || item == quote_ident(name);
    let column = made.columns.iter().find(|column| is_it(&column.name));
    match column.filter(|column| column.default_kind == "MATERIALIZED") {
        Some(column) => format!("({})", column.default_expression),
        None => item,
    }
}

/// Which columns an engine adds up.
enum Adds {
    Nothing,
    /// All that are numbers and not in the key.
    Numbers,
    Named(Vec<String>),
}

impl Adds {
    /// From the argument of the engine.
    fn named(argument: &str) -> Result<Self, String> {
        let inside = argument.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let names = split_list(inside.unwrap_or(argument)).map_err(|error| error.to_string())?;
        Ok(Self::Named(names.into_iter().map(unquoted).collect()))
    }
}

/// How the columns that are not in the key are merged.
fn merge(made: &CatalogTable, key: Vec<String>, adds: &Adds) -> Result<Fold, String> {
    let key = key.into_iter().map(|item| unquoted(&item)).collect::<Vec<_>>();
    if let Some(item) =
        key.iter().find(|item| !made.columns.iter().any(|column| column.name == **item))
    {
        return Err(format!(
            "the sorting key has the expression {item}, of whose columns any value may stay"
        ));
    }
    let of_partition = names(&made.partition_key).map_err(|error| error.to_string())?;
    let mut merged = Vec::new();
    let mut drops_zeros = !matches!(adds, Adds::Nothing);
    for column in made.columns.iter().filter(|column| !key.contains(&column.name)) {
        if matches!(column.default_kind.as_str(), "ALIAS" | "EPHEMERAL") {
            continue;
        }
        let said = |why: String| format!("column {}: {why}", column.name);
        let is_named = match adds {
            Adds::Named(named) => named.contains(&column.name),
            _ => true,
        };
        // What tells the partition is not added up.
        let adds_it =
            is_named && !matches!(adds, Adds::Nothing) && !of_partition.contains(&column.name);
        let (function, compared) = match call(&column.data_type)
            .map_err(|error| error.to_string())?
        {
            ("AggregateFunction", Some(inside)) => {
                drops_zeros = false;
                state(inside).map_err(said)?
            }
            // With the columns named, a SummingMergeTree keeps any value of such a column too.
            ("SimpleAggregateFunction", Some(inside)) if is_named => {
                drops_zeros = false;
                simple(inside).map_err(said)?
            }
            _ if adds_it && is_summed(&column.data_type) => {
                ("sumWithOverflow".to_owned(), Compared::Value)
            }
            _ if column.data_type.contains("Float") => {
                return Err(said("what floats add up to depends on their order".to_owned()));
            }
            _ if column.name.contains('.') => {
                return Err(said(
                    "teal does not know what becomes of nested columns whose name ends in Map"
                        .to_owned(),
                ));
            }
            _ => {
                return Err(said(
                    "it is neither in the sorting key nor added up or merged, so any of its values may stay"
                        .to_owned(),
                ));
            }
        };
        merged.push(MergedColumn { column: column.name.clone(), function, compared });
    }
    drops_zeros &= !merged.is_empty();
    Ok(Fold::Merge { key, merged, drops_zeros })
}

/// Whether a `SummingMergeTree` adds the values up, and the sum does not depend on their order.
fn is_summed(data_type: &str) -> bool {
    let bare = match call(data_type) {
        Ok(("Nullable", Some(inside))) => inside,
        _ => data_type,
    };
    let is_number =
        |prefix: &str| bare.strip_prefix(prefix).is_some_and(|bits| bits.parse::<u16>().is_ok());
    is_number("UInt") || is_number("Int") || bare.starts_with("Decimal")
}

/// What two equal states of a column have in common, where no merge has made them: each time that a state is read
/// and written, its bytes may be others (seen on 26.7 of `uniq`, `uniqExact`, `groupUniqArray`).
pub fn compared_state(data_type: &str) -> Option<Compared> {
    match call(data_type) {
        Ok(("AggregateFunction", Some(inside))) => {
            Some(state(inside).map_or(Compared::Result, |(_, compared)| compared))
        }
        _ => None,
    }
}

/// How states are merged: by `inside` of `AggregateFunction(inside)`.
fn state(inside: &str) -> Result<(String, Compared), String> {
    let mut items = split_list(inside).map_err(|error| error.to_string())?;
    // The version of the state's form, which some types have.
    if items.first().is_some_and(|item| item.parse::<u32>().is_ok()) {
        items.remove(0);
    }
    let (first, types) = items.split_first().ok_or("it has no aggregate function")?;
    let (name, parameters) = call(first).map_err(|error| error.to_string())?;
    let is_known = |name: &str| name == UNIQUE || STATES.contains(&name) || RESULTS.contains(&name);
    let bare = COMBINATORS.iter().fold(name, |name, suffix| match is_known(name) {
        true => name,
        false => name.strip_suffix(suffix).unwrap_or(name),
    });
    let compared = match bare {
        UNIQUE if parameters.is_none() => Compared::SortedResult,
        _ if STATES.contains(&bare) => Compared::Value,
        _ if RESULTS.contains(&bare) => Compared::Result,
        _ => return Err(depends_on_order(name)),
    };
    refuse_floats(bare, types)?;
    let parameters = parameters.map(|list| format!("({list})")).unwrap_or_default();
    Ok((format!("{name}MergeState{parameters}"), compared))
}

/// How values are merged: by `inside` of `SimpleAggregateFunction(inside)`.
fn simple(inside: &str) -> Result<(String, Compared), String> {
    let items = split_list(inside).map_err(|error| error.to_string())?;
    let (name, types) = items.split_first().ok_or("it has no aggregate function")?;
    refuse_floats(name, types)?;
    match *name {
        "groupUniqArrayArray" => Ok(((*name).to_owned(), Compared::Sorted)),
        name if SIMPLE.contains(&name) => Ok((name.to_owned(), Compared::Value)),
        name => Err(depends_on_order(name)),
    }
}

fn refuse_floats(function: &str, types: &[&str]) -> Result<(), String> {
    match ADDING.contains(&function) && types.iter().any(|data_type| data_type.contains("Float")) {
        true => Err("what floats add up to depends on their order".to_owned()),
        false => Ok(()),
    }
}

fn depends_on_order(function: &str) -> String {
    format!(
        "what {function} gives depends on the order of the rows, or teal does not know that it does not"
    )
}

/// A name as it stands in SQL, without its quotes.
pub(crate) fn unquoted(text: &str) -> String {
    let inside = text.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
    match inside {
        Some(name) if quote_ident(name) == text => name.to_owned(),
        _ => text.to_owned(),
    }
}
