//! A migration that models declare: whether it can be made exact, and how.

use std::collections::{BTreeMap, BTreeSet};

use teal_catalog::{CatalogColumn, CatalogTable, Features, QueryTree, Shadow};
use teal_client::ClientError;
use teal_schema::{
    ConstraintKind, LifeCycle, QualifiedName, Table, TokenError, View, create_table, create_view,
    names,
};

use crate::preflight::COPY_IT;
use crate::{
    CopyColumn, CopyStrategy, Cutover, Fold, MERGE_STOPS, Migration, expired, in_order, rollup,
};

/// What the marks of a part go by.
const GRANULARITY: [&str; 3] =
    ["enable_mixed_granularity_parts", "index_granularity", "index_granularity_bytes"];

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
    /// Of the target.
    pub(crate) features: &'a Features,
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
        shadow: &mut Shadow<'_>,
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
        if !self.green.secrets().is_empty() {
            return Ok(Err(Unsafe {
                reason: format!(
                    "the model of {green_name} holds a secret in clear text, which the migration's journal would keep"
                ),
                instead: "define the disk in the server's configuration, and name it, or its storage policy, in the model",
            }));
        }
        let columns = blue.columns.iter().chain(&green.columns);
        if let Some(column) = columns.into_iter().find(|it| it.name.starts_with("_teal_")) {
            return Ok(Err(Unsafe {
                reason: format!("teal's own statements use names such as {}", column.name),
                instead: "give that column another name",
            }));
        }
        if let Some(refusal) = refusal(tree, &blue_name, blue, green)
            .or_else(|| left_out(tree, blue, green))
            .or_else(|| computed_of_nothing(tree, blue, green))
        {
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
        let why_not_clone = match not_cloneable(self.features, tree, blue, green) {
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
        let checks = |table: &Table| {
            let checks = table.constraints.iter().filter(|it| it.kind == ConstraintKind::Check);
            checks.map(|it| it.expression.clone()).collect::<Vec<_>>()
        };
        let of_blue = checks(self.blue);
        let (common_checks, green_checks) =
            checks(self.green).into_iter().partition(|it| of_blue.contains(it));
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
            green_sorting_key: ascending_key(self.green, green, &columns),
            ttl_changes_rows: [blue, green].iter().any(|it| it.ttl_changes_rows() == Ok(true)),
            blue_computes: {
                let is_copied = |name: &str| columns.iter().any(|column| column.name == name);
                blue.columns.iter().any(|it| !it.is_insertable() && is_copied(&it.name))
            },
            green_checks,
            common_checks,
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
            green_computes: false,
            changes: Vec::new(),
            why: None,
            rows: blue.rows,
            bytes: blue.bytes,
        }))
    }

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
        let mut unfilled = None;
        let fold = match self.green.engine.folds_rows() {
            false => None,
            true => Some(Fold::of(self.green, green).and_then(|fold| {
                let is_copied = |name: &str| columns.iter().any(|column| column.name == name);
                let of_green = |name: &String| green.columns.iter().any(|it| it.name == *name);
                let of_key = fold.names_in_key()?.into_iter().filter(of_green);
                let mut needed = fold.needs().into_iter().map(str::to_owned).chain(of_key);
                unfilled = needed.find(|name| !is_copied(name));
                Ok(fold)
            })),
        };
        if let Some(name) = unfilled {
            return Err(Unsafe {
                reason: format!(
                    "green's engine {} folds rows by column {name}, which its SELECT does not fill",
                    self.green.engine
                ),
                instead: "fill it, as in `0 AS name`",
            });
        }
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
            instead: "keep the engine with its columns, and for a ReplacingMergeTree with a version, and a VersionedCollapsingMergeTree, the columns of the sorting key; their order, the partitions and the rest may change",
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

/// Green's sorting key, for a SELECT of the copied columns to sort by it.
fn ascending_key(declared: &Table, green: &CatalogTable, columns: &[CopyColumn]) -> Option<String> {
    // The server tells the key without it (26.7).
    let descends = |item: &String| item.to_ascii_uppercase().ends_with(" DESC");
    let key = &green.sorting_key;
    let is_one = !key.is_empty() && !declared.order_by.iter().any(descends);
    // What the SELECT gives in another type is converted behind it.
    let as_given = columns.iter().filter(|column| column.from_type.is_none());
    (is_one && asks_for_copied(key, green, as_given)).then(|| key.clone())
}

/// Which of the copied rows green's TTL deletes, where they tell.
fn expired_of(green: &CatalogTable, columns: &[CopyColumn]) -> Option<String> {
    let ttl = green.ttl().ok()??;
    asks_for_copied(&ttl, green, columns.iter()).then(|| expired(&ttl))?
}

/// Whether these columns are all that an expression over green's asks for.
fn asks_for_copied<'c>(
    expression: &str,
    green: &CatalogTable,
    columns: impl Iterator<Item = &'c CopyColumn>,
) -> bool {
    let Ok(asked) = names(expression) else {
        return false;
    };
    let given = columns.map(|column| &column.name).collect::<BTreeSet<_>>();
    let is_asked = |column: &&CatalogColumn| asked.contains(&column.name);
    green.columns.iter().filter(is_asked).all(|column| given.contains(&column.name))
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
    if let Some(column) = on_two_lines(tree, blue_name, blue, green) {
        return Some(Unsafe {
            reason: format!(
                "the name of its column {column:?} has a line break, and teal cannot follow such a column through a SELECT"
            ),
            instead: "rename the column first, in the table and its model (ALTER TABLE … RENAME COLUMN)",
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
    let is_read = |column: &&CatalogColumn| {
        tree.reads.contains(&(blue_name.to_string(), column.name.clone()))
    };
    let mut unstored = blue.columns.iter().filter(|column| column.default_kind == "EPHEMERAL");
    let is_of_blue = |name: &str| {
        blue.columns.iter().any(|column| {
            let rest = name.strip_prefix(&column.name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let mut read = tree.reads.iter().filter(|(table, _)| *table == blue_name.to_string());
    if let Some((_, column)) = read.find(|(_, name)| !is_of_blue(name)) {
        return Some(Unsafe {
            reason: format!(
                "its SELECT reads {column}, which is no column of the old version: ClickHouse says by it where a row lies, and rows move"
            ),
            instead: "leave it out",
        });
    }
    let is_given = |name: &str| tree.columns.iter().any(|(given, _)| given == name);
    let mut taken = green.columns.iter().filter(|column| column.default_kind == "EPHEMERAL");
    if let Some(column) = taken.find(|column| is_given(&column.name)) {
        return Some(Unsafe {
            reason: format!(
                "its SELECT gives {}, which is EPHEMERAL: the copied rows would be computed without it",
                column.name
            ),
            instead: "let the SELECT compute what the new version computes from it, and make that a DEFAULT column",
        });
    }
    if let Some(column) = unstored.find(is_read) {
        return Some(Unsafe {
            reason: format!(
                "its SELECT reads {}, which is EPHEMERAL: no row has it, and every INSERT would fail",
                column.name
            ),
            instead: "leave it out, or read the columns that are computed from it",
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

/// A column that the SELECT reads or gives and that its tree, which is told by lines, has on two.
fn on_two_lines<'c>(
    tree: &QueryTree,
    blue_name: &QualifiedName,
    blue: &'c CatalogTable,
    green: &'c CatalogTable,
) -> Option<&'c str> {
    let names = blue.columns.iter().chain(&green.columns).map(|column| column.name.as_str());
    names.filter(|name| name.contains('\n')).find(|name| {
        let begins = name.lines().next().unwrap_or_default().trim().to_owned();
        tree.reads.contains(&(blue_name.to_string(), begins))
            || tree.columns.iter().any(|(given, _)| given == name)
    })
}

/// Both versions have a column, and the SELECT leaves it out: what blue's rows have in it would be lost, and so would
/// what green's have on the way back.
fn left_out(tree: &QueryTree, blue: &CatalogTable, green: &CatalogTable) -> Option<Unsafe> {
    // What blue has computed, a default of green may compute likewise.
    let is_of_blue = |column: &CatalogColumn| {
        let is_it = |it: &&CatalogColumn| it.name == column.name && it.is_stored();
        let of_blue = blue.columns.iter().find(is_it);
        of_blue.is_some_and(|it| it.is_insertable() || column.default_kind.is_empty())
    };
    let is_filled = |column: &CatalogColumn| tree.columns.iter().any(|(it, _)| *it == column.name);
    let mut of_both = green.insertable_columns().filter(|column| is_of_blue(column));
    let lost = of_both.find(|column| tree.grouped.is_none() && !is_filled(column))?;
    Some(Unsafe {
        reason: format!(
            "its SELECT leaves out the column {}, which both versions have: the new one would have none of its values",
            lost.name
        ),
        instead: "select it; or, where it is to begin anew, say by what value, as in `'' AS name`",
    })
}

/// Green computes what blue has stored, and from what no row stores (`EPHEMERAL`): of a row that comes by the view or
/// by the copy, it would be computed of nothing (26.9).
fn computed_of_nothing(
    tree: &QueryTree,
    blue: &CatalogTable,
    green: &CatalogTable,
) -> Option<Unsafe> {
    let is_given = |name: &str| tree.columns.iter().any(|(given, _)| given == name);
    // Into a column of another name.
    let is_brought = |name: &str| tree.reads.iter().any(|(_, read)| read == name);
    let has_lost = |column: &&CatalogColumn| {
        blue.columns.iter().any(|it| it.name == column.name && it.is_stored())
            && column.is_stored()
            && !is_given(&column.name)
            && !is_brought(&column.name)
            && is_of_ephemeral(green, column)
    };
    let lost = green.columns.iter().find(has_lost)?;
    Some(Unsafe {
        reason: format!(
            "the new version computes the column {} from what no row stores ({} {}), so what the old one has in it would be lost",
            lost.name, lost.default_kind, lost.default_expression
        ),
        instead: COPY_IT,
    })
}

/// Whether a column is computed from one that is `EPHEMERAL`, if only by others that are computed.
fn is_of_ephemeral(table: &CatalogTable, column: &CatalogColumn) -> bool {
    let mut seen = BTreeSet::new();
    let mut left = vec![column];
    while let Some(column) = left.pop() {
        let asked = names(&column.default_expression).unwrap_or_default();
        for column in table.columns.iter().filter(|it| asked.contains(&it.name)) {
            match column.default_kind.as_str() {
                "EPHEMERAL" => return true,
                "ALIAS" | "MATERIALIZED" if seen.insert(&column.name) => left.push(column),
                _ => (),
            }
        }
    }
    false
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
        let text = |column: &CatalogColumn| {
            let CatalogColumn { name, data_type, compression_codec, .. } = column;
            format!("{name} {data_type} {compression_codec}").trim_end().to_owned()
        };
        return Some(format!("another column: {}, where blue has {}", text(green), text(blue)));
    }
    if let Some(reason) = other_values(tree, blue, green) {
        return Some(reason);
    }
    // Merged parts store them, and rows of green get the same ones. Newer releases number attached rows anew, until a
    // mutation brings back what is stored (26.9).
    if [blue, green].into_iter().any(|table| numbers_rows(table, features)) {
        return Some(
            "its rows are numbered (enable_block_number_column), and an UPDATE would find others of green by the same numbers"
                .to_owned(),
        );
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
        // Parts keep that of the table that they were written for, and are refused where it has another kind (26.9).
        .or_else(|| {
            let of = |table: &CatalogTable| {
                let settings = table.declared_settings()?.into_iter();
                let of_parts = settings.filter(|(name, _)| GRANULARITY.contains(&name.as_str()));
                let texts = of_parts.map(|(name, value)| format!("{name} = {value}"));
                let texts = texts.collect::<Vec<_>>();
                Ok::<_, TokenError>(match texts.is_empty() {
                    true => "the default".to_owned(),
                    false => texts.join(", "),
                })
            };
            match (of(blue), of(green)) {
                (Ok(blue), Ok(green)) => differs("index granularity", &blue, &green),
                (Err(error), _) | (_, Err(error)) => {
                    Some(format!("the settings cannot be read: {error}"))
                }
            }
        })
        // A part has with it when its rows go, and ATTACH does not compute that anew (26.7).
        .or_else(|| match (blue.ttls(), green.ttls()) {
            (Ok(blue), Ok(green)) => differs("TTL", &blue.join(", "), &green.join(", ")),
            (Err(error), _) | (_, Err(error)) => Some(format!("the TTL cannot be read: {error}")),
        })
}

/// Whether merges store by which numbers an UPDATE finds the rows.
pub(crate) fn numbers_rows(table: &CatalogTable, features: &Features) -> bool {
    // What cannot be read, the server would not have made.
    has_on(table, features, "enable_block_number_column").unwrap_or(true)
}

/// Whether the table has this setting on, by itself or with all tables of the server.
pub(crate) fn has_on(
    table: &CatalogTable,
    features: &Features,
    setting: &str,
) -> Result<bool, TokenError> {
    let settings = table.declared_settings()?;
    let value = settings.get(setting).or_else(|| features.merge_tree.get(setting));
    Ok(value.is_some_and(|value| !["0", "false"].contains(&value.as_str())))
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
