use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use teal_catalog::{CatalogColumn, CatalogTable, Features, QueryTree, Shadow};
use teal_client::ClientError;
use teal_schema::{
    ConstraintKind, LifeCycle, QualifiedName, Table, Version, View, create_table, create_view,
    names, physical_name,
};

use crate::{Change, Fold, expired, in_order, rollup};

/// The storage settings, with their values, that stop the merges of a table. Unlike `SYSTEM STOP
/// MERGES` they survive a restart, so the parts of a table can be found again after a crash. With
/// the first alone, no two parts are small enough to be merged, but a part is still merged by
/// itself when its TTL is over (both seen on 26.7). In releases before about 25.4, with few free threads for
/// merges, the limit lies between the first and the second (1 MiB by default); before 26.2, the fourth merges
/// parts whatever the limit (both by ClickHouse's source).
pub const MERGE_STOPS: [(&str, &str); 4] = [
    ("max_bytes_to_merge_at_max_space_in_pool", "1"),
    ("max_bytes_to_merge_at_min_space_in_pool", "1"),
    ("max_number_of_merges_with_ttl_in_pool", "0"),
    ("min_age_to_force_merge_seconds", "0"),
];

/// A blue/green migration: all that it takes to carry it out, fixed when it is planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Migration {
    /// The logical name of the table.
    pub table: String,
    pub from_version: String,
    pub to_version: String,
    pub blue: QualifiedName,
    pub green: QualifiedName,
    pub view: QualifiedName,
    /// The view's SELECT, every table by its full name.
    pub select: String,
    pub create_green: String,
    pub create_view: String,
    /// The columns that the SELECT fills, in green's order, with green's types.
    pub columns: Vec<CopyColumn>,
    /// The SELECT fills every column of green that an INSERT can fill, and all that its partition key is made of.
    pub fills_green: bool,
    /// The SELECT gives blue's rows as they are, so the way back is the same SELECT.
    pub is_identity: bool,
    pub strategy: CopyStrategy,
    /// Why this strategy.
    pub reason: String,
    /// Green's partition key, as the server writes it; empty when it has none.
    pub green_partition_key: String,
    /// Blue has a condition on its rows (`CHECK`) that green has not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blue_checks_more: bool,
    /// Green's TTL, as the server writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub green_ttl: Option<String>,
    /// Which of the copied rows that TTL deletes, as an expression over the copied columns; none where it asks for
    /// others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<String>,
    /// A TTL of blue or green gives rows other values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ttl_changes_rows: bool,
    /// Green's engine folds rows in merges, so that parity is that of the folded rows.
    pub green_folds: bool,
    /// How. None where the order in which rows come decides it, and blue's parts are cloned with their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<Fold>,
    /// Those of [`MERGE_STOPS`] that green's declaration sets, with its values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub green_merge_settings: BTreeMap<String, String>,
    pub cutover: Cutover,
    /// The model of the table was changed without a new version: the new layout gets the table's
    /// name, and green's name is only there for a while.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_place: bool,
    /// What differs, where the model was changed in place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Why `ALTER` cannot do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Rows and bytes on disk of blue when the plan was made.
    pub rows: u64,
    pub bytes: u64,
}

/// A column that the copy fills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyColumn {
    pub name: String,
    /// The type in green.
    #[serde(rename = "type")]
    pub data_type: String,
    /// The type that the SELECT gives, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_type: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CopyStrategy {
    /// By hard links: no bytes are copied.
    Clone,
    /// By `INSERT … SELECT`, in chunks.
    Rewrite,
}

/// How readers and writers move to green.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cutover {
    /// By deploying code that uses green's name.
    App,
    /// By `EXCHANGE TABLES`: the name that they know means the new layout.
    Exchange,
    /// They use the logical name, which is an alias of blue and becomes one of green.
    Alias,
}

impl Migration {
    /// The table's name without a version. Where the cutover is by alias, readers and writers use it.
    pub fn logical_name(&self) -> QualifiedName {
        QualifiedName::new(&self.blue.database, &self.table)
    }

    /// Blue's name by its model. After an exchange of two versions, the rows of the newer one go by the older
    /// one's name; a further migration has that as its blue.
    pub fn declared_blue(&self) -> QualifiedName {
        let version = match self.in_place {
            true => return self.blue.clone(),
            false => Version::parse(&self.from_version).ok(),
        };
        QualifiedName::new(&self.blue.database, physical_name(&self.table, version.as_ref()))
    }

    /// Blue's rows go by the name of an older version, since they were exchanged.
    pub fn was_exchanged(&self) -> bool {
        self.blue != self.declared_blue()
    }

    /// The new layout gets the name of the old one: readers and writers cannot move otherwise.
    pub fn is_exchanged_only(&self) -> bool {
        self.in_place || self.was_exchanged()
    }

    /// Green is to have blue's history in blue's order, and behind it what the view forwards.
    pub fn keeps_order(&self) -> bool {
        self.strategy == CopyStrategy::Rewrite
            && self.fold.as_ref().is_some_and(Fold::goes_by_order)
    }

    /// A row may come to green more than once, and later than others: of each key, the newest one stays.
    pub fn goes_by_version(&self) -> bool {
        self.fold.as_ref().is_some_and(Fold::goes_by_version)
    }

    /// Which rows one of the two tables lacks can be told by comparing them: none is merged into another.
    pub fn rows_tell(&self) -> bool {
        !self.green_folds || self.goes_by_version()
    }

    /// What becomes of green's rows is the same in whatever order they come.
    pub fn minds_no_order(&self) -> bool {
        match &self.fold {
            None => !self.green_folds,
            Some(fold) => !fold.goes_by_order(),
        }
    }

    /// Of such rows, one may say that its key is deleted.
    pub fn deletes_by_version(&self) -> bool {
        matches!(self.fold, Some(Fold::Version { is_deleted: Some(_), .. }))
    }

    /// Whether the models say the same of it as of another one.
    pub fn is_declared_like(&self, other: &Self) -> bool {
        (&self.select, &self.create_green, &self.columns)
            == (&other.select, &other.create_green, &other.columns)
    }

    /// A view can bring green's rows to blue. Where blue's types hold less, or it has conditions of its own, a
    /// view would change values without a word, or fail the INSERTs of those who are on green.
    pub fn view_runs_back(&self) -> bool {
        self.is_identity
            && !self.blue_checks_more
            && self.columns.iter().all(|column| column.from_type.is_none())
    }

    /// Green's rows can be told one by one, and brought to blue as they are; or the newest of each key can.
    pub fn can_carry_back(&self) -> bool {
        self.rows_tell() && if self.green_folds { self.view_runs_back() } else { self.is_identity }
    }
}

impl fmt::Display for CopyStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clone => "clone",
            Self::Rewrite => "rewrite",
        })
    }
}

impl fmt::Display for Cutover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::App => "app",
            Self::Exchange => "exchange",
            Self::Alias => "alias",
        })
    }
}

/// A declared migration, before the server has been asked about it.
pub(crate) struct Declared<'a> {
    pub(crate) view: &'a View,
    pub(crate) blue: &'a Table,
    pub(crate) green: &'a Table,
    /// The name that blue's rows have now.
    pub(crate) blue_now: QualifiedName,
    /// The view's SELECT, every table by its full name, and blue by that of its rows.
    pub(crate) select: String,
    pub(crate) database: &'a str,
    pub(crate) cutover: Cutover,
}

/// Why a migration cannot be made, and what to do instead.
#[derive(Debug)]
pub(crate) struct Unsafe {
    pub(crate) reason: String,
    pub(crate) instead: &'static str,
}

impl Declared<'_> {
    /// Works out the migration from how the server reads the view (`tree`) and from the two tables
    /// as it has or would have them.
    pub(crate) fn plan(
        self,
        features: &Features,
        shadow: &mut Shadow,
        tree: &QueryTree,
        blue: &CatalogTable,
        green: &CatalogTable,
    ) -> Result<Result<Migration, Unsafe>, ClientError> {
        let blue_name = self.blue.qualified(self.database);
        let green_name = self.green.qualified(self.database);
        for (table, name) in [(self.blue, &blue_name), (self.green, &green_name)] {
            if table.life_cycle == LifeCycle::ExternallyManaged {
                return Ok(Err(Unsafe {
                    reason: format!("{name} is managed elsewhere (EXTERNALLY_MANAGED)"),
                    instead: "let the one who manages it change it, or give teal the table",
                }));
            }
        }
        let columns = blue.columns.iter().chain(&green.columns);
        if let Some(column) = columns.into_iter().find(|it| it.name.starts_with("_teal_")) {
            return Ok(Err(Unsafe {
                reason: format!("teal's own statements use names such as {}", column.name),
                instead: "give that column another name",
            }));
        }
        if let Some(refusal) = refusal(tree, &blue_name, blue, green) {
            return Ok(Err(refusal));
        }
        let from_type = |column: &CatalogColumn| {
            let (_, from) = tree.columns.iter().find(|(name, _)| *name == column.name)?;
            Some(from.clone())
        };
        let columns: Vec<_> = green
            .insertable_columns()
            .filter_map(|column| {
                let from = from_type(column)?;
                Some(CopyColumn {
                    name: column.name.clone(),
                    data_type: column.data_type.clone(),
                    from_type: (from != column.data_type).then_some(from),
                })
            })
            .collect();
        let why_not_clone = match not_cloneable(features, tree, blue, green) {
            Some(reason) => Some(reason),
            None => shadow.try_clone(&blue_name, &green_name)?.err(),
        };
        let (strategy, reason) = match why_not_clone {
            None => (
                CopyStrategy::Clone,
                "same columns, keys, partitions and indexes: blue's parts fit as they are"
                    .to_owned(),
            ),
            Some(reason) => (CopyStrategy::Rewrite, reason),
        };
        let engine = &self.green.engine;
        let folds = engine.folds_rows();
        let fold = match self.fold(tree, blue, green, &columns, strategy, &reason) {
            Ok(fold) => fold,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let reason = match &fold {
            Some(fold) if fold.goes_by_order() => format!(
                "{reason}. {engine} goes by the order in which rows came: the history is kept in blue's, and what the view forwards is put behind it"
            ),
            _ => reason,
        };
        let view_name = self.view.qualified(self.database);
        Ok(Ok(Migration {
            table: self.blue.name.clone(),
            from_version: version(self.blue),
            to_version: version(self.green),
            create_green: create_table(self.green, &green_name, &[]),
            create_view: create_view(&view_name, Some(&green_name), &self.select),
            blue: self.blue_now,
            green: green_name,
            view: view_name,
            select: self.select,
            fills_green: fills(green, &columns),
            // What cannot be read, the server would not have made.
            green_ttl: green.ttl().ok().flatten(),
            expired: expired_of(green, &columns),
            ttl_changes_rows: [blue, green].iter().any(|it| it.ttl_changes_rows() == Ok(true)),
            columns,
            is_identity: tree.is_identity,
            blue_checks_more: {
                let kept = &self.green.constraints;
                let checks = self.blue.constraints.iter();
                checks.filter(|it| it.kind == ConstraintKind::Check).any(|it| !kept.contains(it))
            },
            strategy,
            reason,
            green_partition_key: green.partition_key.clone(),
            green_folds: folds,
            fold,
            green_merge_settings: MERGE_STOPS
                .iter()
                .filter_map(|(name, _)| {
                    Some(((*name).to_owned(), self.green.settings.get(*name)?.clone()))
                })
                .collect(),
            cutover: self.cutover,
            in_place: false,
            changes: Vec::new(),
            why: None,
            rows: blue.rows,
            bytes: blue.bytes,
        }))
    }
}

impl Declared<'_> {
    /// How green folds rows, if it does and the order of its rows is of no matter. Refused is what depends
    /// on an order that the copy does not keep, or on when blue folds its own rows.
    fn fold(
        &self,
        tree: &QueryTree,
        blue: &CatalogTable,
        green: &CatalogTable,
        columns: &[CopyColumn],
        strategy: CopyStrategy,
        reason: &str,
    ) -> Result<Option<Fold>, Unsafe> {
        let fold = match self.green.engine.folds_rows() {
            false => None,
            true => Some(Fold::of(self.green, green).and_then(|fold| {
                let is_copied = |name: &str| columns.iter().any(|column| column.name == name);
                let of_green = |name: &String| green.columns.iter().any(|it| it.name == *name);
                let of_key = fold.names_in_key()?.into_iter().filter(of_green);
                let mut needed = fold.needs().into_iter().map(str::to_owned).chain(of_key);
                match needed.find(|name| !is_copied(name)) {
                    Some(name) => Err(format!("the SELECT does not fill column {name}")),
                    None => Ok(fold),
                }
            })),
        };
        if let Some(grouped) = &tree.grouped {
            let why_not = match &fold {
                None => Some(format!("{} keeps each group once per INSERT", self.green.engine)),
                Some(Err(why_not)) => Some(why_not.clone()),
                Some(Ok(fold)) => rollup::why_not(tree, grouped, fold, columns),
            };
            if let Some(why_not) = why_not {
                return Err(Unsafe {
                    reason: format!(
                        "its SELECT has GROUP BY, and the pieces would not add up: {why_not}"
                    ),
                    instead: "group into a SummingMergeTree or AggregatingMergeTree whose columns are the keys, sums, and -State of what is aggregated",
                });
            }
        }
        let in_order = match &fold {
            Some(Err(why_not)) if strategy == CopyStrategy::Rewrite => {
                match in_order::fold(tree, self, blue, green, columns) {
                    Ok(fold) => return Ok(Some(fold)),
                    Err(reason) => reason.map(|reason| format!("{why_not}; {reason}")),
                }
            }
            _ => None,
        };
        if self.blue.engine.folds_rows()
            && let Some(refusal) = self.blue_folds_otherwise(tree, blue, fold.as_ref(), strategy)
        {
            return Err(refusal);
        }
        match (fold, strategy) {
            (None, _) => Ok(None),
            (Some(Ok(fold)), _) => Ok(Some(fold)),
            // Blue's parts keep their order.
            (Some(Err(_)), CopyStrategy::Clone) => Ok(None),
            (Some(Err(why_not)), CopyStrategy::Rewrite) => Err(Unsafe {
                reason: format!(
                    "green's engine {} folds rows, and what it makes of them depends on the order of their \
                     insertion, which a copy does not keep ({reason}): {}",
                    self.green.engine,
                    in_order.unwrap_or(why_not)
                ),
                instead: in_order::instead(&self.green.engine.name),
            }),
        }
    }

    /// Blue folds its rows at any time. What it has folded away green still has, and must fold likewise.
    fn blue_folds_otherwise(
        &self,
        tree: &QueryTree,
        blue: &CatalogTable,
        fold: Option<&Result<Fold, String>>,
        strategy: CopyStrategy,
    ) -> Option<Unsafe> {
        let blue_fold = Fold::of(self.blue, blue);
        let follows = match (&blue_fold, fold) {
            (Ok(before), Some(Ok(fold))) => tree.is_identity && fold.follows(before),
            // In the same order, by the same key.
            _ => strategy == CopyStrategy::Clone && self.blue.engine == self.green.engine,
        };
        (!follows).then(|| Unsafe {
            reason: format!(
                "blue's engine {} folds rows at any time, and {} would not fold in the same way those that it has got \
                 of them before",
                self.blue.engine, self.green.engine
            ),
            instead: "keep the engine with its columns, and for a ReplacingMergeTree with a version the columns of the sorting key; their order, the partitions and the rest may change",
        })
    }
}

fn version(table: &Table) -> String {
    table.version.as_ref().map_or_else(String::new, ToString::to_string)
}

/// Whether `columns` are all that an INSERT can fill, and enough to tell a row's partition. One that green
/// computes (`MATERIALIZED`) is in no SELECT of the copied columns.
fn fills(green: &CatalogTable, columns: &[CopyColumn]) -> bool {
    let is_filled = |name: &str| columns.iter().any(|column| column.name == name);
    let Ok(names) = names(&green.partition_key) else {
        return false;
    };
    green
        .columns
        .iter()
        .filter(|column| !is_filled(&column.name))
        .all(|column| !column.is_insertable() && !names.contains(&column.name))
}

/// Which of the copied rows green's TTL deletes, where they tell.
fn expired_of(green: &CatalogTable, columns: &[CopyColumn]) -> Option<String> {
    let ttl = green.ttl().ok()??;
    let asked = names(&ttl).ok()?;
    let asked = green.columns.iter().filter(|column| asked.contains(&column.name));
    let is_copied = |name: &str| columns.iter().any(|column| column.name == name);
    asked.map(|column| &column.name).all(|name| is_copied(name)).then(|| expired(&ttl))?
}

/// What makes a migration unsafe, whatever the strategy.
fn refusal(
    tree: &QueryTree,
    blue_name: &QualifiedName,
    blue: &CatalogTable,
    green: &CatalogTable,
) -> Option<Unsafe> {
    for table in [blue, green] {
        if !table.engine.ends_with("MergeTree") {
            return Some(Unsafe {
                reason: format!("{} has the engine {}", table.name, table.engine),
                instead: "teal migrates between tables of the MergeTree family",
            });
        }
    }
    if tree.tables != [blue_name.to_string()] {
        return Some(Unsafe {
            reason: format!(
                "its SELECT reads {}, where a migration view reads {blue_name}, once",
                match tree.tables.is_empty() {
                    true => "no table".to_owned(),
                    false => tree.tables.join(" and "),
                }
            ),
            instead: "read the old version of the table, and nothing else",
        });
    }
    if let Some(reason) = &tree.not_row_wise
        && tree.grouped.is_none()
    {
        return Some(Unsafe {
            reason: format!("its SELECT does not work row by row: {reason}"),
            instead: "make each row of the new version from one row of the old; fold rows in a view of its own",
        });
    }
    if !tree.non_deterministic.is_empty() {
        return Some(Unsafe {
            reason: format!(
                "its SELECT uses {}, which may give another value for the same row the next time, so no copy could be verified",
                tree.non_deterministic.join(", ")
            ),
            instead: "make the value a DEFAULT of the new version's column",
        });
    }
    None
}

/// Why green cannot have blue's parts as they are, as far as the server would not say so itself.
fn not_cloneable(
    features: &Features,
    tree: &QueryTree,
    blue: &CatalogTable,
    green: &CatalogTable,
) -> Option<String> {
    if !tree.is_identity {
        return Some("the SELECT changes rows or leaves some out".to_owned());
    }
    if blue.engine != green.engine && !features.clone_across_engines.is_there {
        return Some(format!(
            "ClickHouse {} takes cloned parts for merged ones in a table of another engine, and would not fold their rows; 26.3.17, 26.4.5, 26.5.6 and 26.6 do",
            features.version
        ));
    }
    if let Some((blue, green)) = blue.columns.iter().zip(&green.columns).find(|(blue, green)| {
        (&blue.name, &blue.data_type, &blue.compression_codec)
            != (&green.name, &green.data_type, &green.compression_codec)
    }) {
        return Some(format!(
            "another column: {} {} {}, where blue has {} {} {}",
            green.name,
            green.data_type,
            green.compression_codec,
            blue.name,
            blue.data_type,
            blue.compression_codec
        ));
    }
    if let Some(reason) = other_values(tree, blue, green) {
        return Some(reason);
    }
    let differs = |what: &str, blue: &str, green: &str| {
        (blue != green).then(|| format!("another {what}: ({green}), where blue has ({blue})"))
    };
    differs("sorting key", &blue.sorting_key, &green.sorting_key)
        .or_else(|| differs("primary key", &blue.primary_key, &green.primary_key))
        .or_else(|| differs("partition key", &blue.partition_key, &green.partition_key))
        .or_else(|| differs("set of indexes", &blue.indexes.join(", "), &green.indexes.join(", ")))
        .or_else(|| {
            let of = |table: &CatalogTable| {
                let text = |(name, body)| format!("{name} ({body})");
                let texts = |all: BTreeMap<_, _>| all.into_iter().map(text).collect::<Vec<_>>();
                table.projections().map(|projections| texts(projections).join(", "))
            };
            match (of(blue), of(green)) {
                (Ok(blue), Ok(green)) => differs("set of projections", &blue, &green),
                (Err(error), _) | (_, Err(error)) => {
                    Some(format!("the projections cannot be read: {error}"))
                }
            }
        })
        .or_else(|| differs("storage policy", &blue.storage_policy, &green.storage_policy))
        // A part has with it when its rows go, and ATTACH does not compute that anew (26.7).
        .or_else(|| match (blue.ttls(), green.ttls()) {
            (Ok(blue), Ok(green)) => differs("TTL", &blue.join(", "), &green.join(", ")),
            (Err(error), _) | (_, Err(error)) => Some(format!("the TTL cannot be read: {error}")),
        })
}

/// A column in which blue's parts would have other values than green has of rows that are forwarded.
fn other_values(tree: &QueryTree, blue: &CatalogTable, green: &CatalogTable) -> Option<String> {
    blue.columns.iter().zip(&green.columns).find_map(|(blue, green)| {
        let name = &green.name;
        let is_computed = |column: &CatalogColumn| column.default_kind == "MATERIALIZED";
        if is_computed(green) {
            let same = is_computed(blue) && blue.default_expression == green.default_expression;
            return (!same).then(|| {
                format!("column {name} is computed anew: MATERIALIZED {}", green.default_expression)
            });
        }
        let is_filled = tree.columns.iter().any(|(filled, _)| filled == name);
        if green.is_insertable() && !is_filled {
            return Some(format!("the SELECT does not fill column {name}, which blue's parts would"));
        }
        // Parts from before the column was added do not store it, and are read by the default of their table.
        let default = |column: &CatalogColumn| match column.default_kind.as_str() {
            "" => "none".to_owned(),
            kind => format!("{kind} {}", column.default_expression),
        };
        (default(blue) != default(green)).then(|| {
            format!(
                "column {name} has another default, by which parts are read that do not store it: {}, where blue has {}",
                default(green),
                default(blue)
            )
        })
    })
}
