//! A migration: what is to be done, fixed when it is planned.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use teal_schema::{QualifiedName, Version, physical_name};

use crate::{Change, Fold};

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
    /// Green's sorting key, as the server writes it, where a SELECT of the copied columns can sort by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub green_sorting_key: Option<String>,
    /// Blue has a condition on its rows (`CHECK`) that green has not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blue_checks_more: bool,
    /// Green computes a column that blue stores as it is given, so that its rows would not be the same in blue.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub green_computes: bool,
    /// Blue computes a column that the copy fills, and no INSERT can bring it there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blue_computes: bool,
    /// The conditions on green's rows (`CHECK`) that blue has not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub green_checks: Vec<String>,
    /// Those that blue has too. Blue's rows may break them all the same: `ADD CONSTRAINT` looks at none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub common_checks: Vec<String>,
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

/// By what the INSERTs that run across a cut are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FenceKind {
    /// None runs: new ones are held.
    #[serde(rename = "write gate")]
    WriteGate,
    /// By the server's log of which query wrote which part.
    #[serde(rename = "part_log")]
    PartLog,
    /// The cut is taken only if none ran across it.
    #[serde(rename = "quiet cut")]
    QuietCut,
}

impl FenceKind {
    /// That of a target with a write gate, or else with `part_log` or without.
    pub fn of(has_gate: bool, has_part_log: bool) -> Self {
        match (has_gate, has_part_log) {
            (true, _) => Self::WriteGate,
            (false, true) => Self::PartLog,
            (false, false) => Self::QuietCut,
        }
    }
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

    /// A view can bring green's rows to blue. Where blue's types hold less, or it has conditions of its own or computes
    /// a column itself, a view would change values without a word, or fail the INSERTs of those who are on green.
    pub fn view_runs_back(&self) -> bool {
        self.is_identity
            && !self.blue_checks_more
            && !self.blue_computes
            && !self.green_computes
            && self.columns.iter().all(|column| column.from_type.is_none())
    }

    /// Green's rows can be told one by one, and brought to blue as they are; or the newest of each key can.
    pub fn can_carry_back(&self) -> bool {
        let fits = if self.green_folds { self.view_runs_back() } else { self.is_identity };
        self.rows_tell() && fits && !self.blue_computes && !self.green_computes
    }

    /// After a cutover by app or alias, a view can bring what is written to green to blue.
    pub fn can_be_kept_current(&self) -> bool {
        self.can_carry_back() && self.view_runs_back()
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

impl fmt::Display for FenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WriteGate => "write gate",
            Self::PartLog => "part_log",
            Self::QuietCut => "quiet cut",
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
