//! What differs between two definitions of one table, field by field. Both are in the server's own
//! words, so that like is compared with like.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use teal_catalog::HIDDEN;
use teal_schema::{
    Column, Engine, Table, column_definition, constraint_definition, index_definition,
    projection_definition,
};

/// A field of a table's definition that is not as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    #[serde(flatten)]
    pub field: Field,
    /// What it is; nothing where there is no such thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "field", content = "name", rename_all = "camelCase")]
pub enum Field {
    /// A column that comes or goes.
    Column(String),
    /// By its new name.
    ColumnName(String),
    ColumnType(String),
    ColumnDefault(String),
    ColumnCodec(String),
    ColumnTtl(String),
    ColumnComment(String),
    ColumnOrder,
    Engine,
    SortingKey,
    PrimaryKey,
    PartitionKey,
    SamplingKey,
    Ttl,
    Setting(String),
    Index(String),
    Projection(String),
    Constraint(String),
    Comment,
    /// Of a view.
    Select,
    Target,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(name) => write!(f, "column {name}"),
            Self::ColumnName(name) => write!(f, "name of column {name}"),
            Self::ColumnType(name) => write!(f, "type of column {name}"),
            Self::ColumnDefault(name) => write!(f, "default of column {name}"),
            Self::ColumnCodec(name) => write!(f, "codec of column {name}"),
            Self::ColumnTtl(name) => write!(f, "TTL of column {name}"),
            Self::ColumnComment(name) => write!(f, "comment of column {name}"),
            Self::ColumnOrder => f.write_str("order of the columns"),
            Self::Engine => f.write_str("engine"),
            Self::SortingKey => f.write_str("sorting key"),
            Self::PrimaryKey => f.write_str("primary key"),
            Self::PartitionKey => f.write_str("partition key"),
            Self::SamplingKey => f.write_str("sampling key"),
            Self::Ttl => f.write_str("TTL"),
            Self::Setting(name) => write!(f, "setting {name}"),
            Self::Index(name) => write!(f, "index {name}"),
            Self::Projection(name) => write!(f, "projection {name}"),
            Self::Constraint(name) => write!(f, "constraint {name}"),
            Self::Comment => f.write_str("comment"),
            Self::Select => f.write_str("SELECT"),
            Self::Target => f.write_str("target"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.from, &self.to) {
            (None, Some(to)) => write!(f, "{}: new, {to}", self.field),
            (Some(from), None) => write!(f, "{}: {from} → none", self.field),
            (Some(from), Some(to)) => write!(f, "{}: {from} → {to}", self.field),
            (None, None) => write!(f, "{}", self.field),
        }
    }
}

/// What has to change so that `current` becomes `desired`. A column of `desired` with a hint that it
/// was renamed is taken for the old one, where that is still there.
pub fn compare(current: &Table, desired: &Table) -> Vec<Change> {
    let mut changes = Vec::new();
    columns(current, desired, &mut changes);
    let mut field = |field: Field, from: Option<String>, to: Option<String>| {
        if from != to {
            changes.push(Change { field, from, to });
        }
    };
    if !is_engine_alike(&current.engine, &desired.engine) {
        let engine = |table: &Table| Some(table.engine.to_string());
        field(Field::Engine, engine(current), engine(desired));
    }
    if key_items(&current.partition_by) != key_items(&desired.partition_by) {
        field(Field::PartitionKey, current.partition_by.clone(), desired.partition_by.clone());
    }
    // Without one, it is the sorting key, and changes with it.
    if current.primary_key.is_some() || desired.primary_key.is_some() {
        field(Field::PrimaryKey, primary_key(current), primary_key(desired));
    }
    field(Field::SortingKey, sorting_key(current), sorting_key(desired));
    if key_items(&current.sample_by) != key_items(&desired.sample_by) {
        field(Field::SamplingKey, current.sample_by.clone(), desired.sample_by.clone());
    }
    field(Field::Ttl, current.ttl.clone(), desired.ttl.clone());
    field(Field::Comment, current.comment.clone(), desired.comment.clone());
    let names = current.settings.keys().chain(desired.settings.keys());
    for name in names.collect::<BTreeSet<_>>() {
        let (is, shall) = (current.settings.get(name), desired.settings.get(name));
        if is.zip(shall).is_none_or(|(is, shall)| !is_alike(is, shall)) {
            field(Field::Setting(name.clone()), is.cloned(), shall.cloned());
        }
    }
    let named = [
        (Field::Index as fn(String) -> Field, indexes(current), indexes(desired)),
        (Field::Projection, projections(current), projections(desired)),
        (Field::Constraint, constraints(current), constraints(desired)),
    ];
    for (of, from, to) in named {
        for name in from.keys().chain(to.keys()).collect::<BTreeSet<_>>() {
            field(of(name.clone()), from.get(name).cloned(), to.get(name).cloned());
        }
    }
    changes
}

fn columns(current: &Table, desired: &Table, changes: &mut Vec<Change>) {
    let mut found = Vec::new();
    for column in &desired.columns {
        let Some(was) = origin(column, current, desired) else {
            let (field, to) = (Field::Column(column.name.clone()), column_definition(column));
            changes.push(Change { field, from: None, to: Some(to) });
            continue;
        };
        found.push(was.name.as_str());
        let name = || column.name.clone();
        let default = |column: &Column| {
            let default = column.default.as_ref()?;
            Some(format!("{} {}", default.kind.keyword(), default.expression))
        };
        let fields = [
            (Field::ColumnName(name()), Some(was.name.clone()), Some(name())),
            (
                Field::ColumnType(name()),
                Some(was.data_type.clone()),
                Some(column.data_type.clone()),
            ),
            (Field::ColumnDefault(name()), default(was), default(column)),
            (Field::ColumnCodec(name()), was.codec.clone(), column.codec.clone()),
            (Field::ColumnTtl(name()), was.ttl.clone(), column.ttl.clone()),
            (Field::ColumnComment(name()), was.comment.clone(), column.comment.clone()),
        ];
        let differ = fields.into_iter().filter(|(_, from, to)| from != to);
        changes.extend(differ.map(|(field, from, to)| Change { field, from, to }));
    }
    for column in current.columns.iter().filter(|column| !found.contains(&column.name.as_str())) {
        let (field, from) = (Field::Column(column.name.clone()), column_definition(column));
        changes.push(Change { field, from: Some(from), to: None });
    }
    // The order of those that stay.
    let stay = current.columns.iter().map(|column| column.name.as_str());
    let stay = stay.filter(|name| found.contains(name)).collect::<Vec<_>>();
    if stay != found {
        let list = |names: &[&str]| Some(names.join(", "));
        changes.push(Change { field: Field::ColumnOrder, from: list(&stay), to: list(&found) });
    }
}

/// The column of `current` that a column of `desired` is, or was before it was renamed.
pub(crate) fn origin<'c>(
    column: &Column,
    current: &'c Table,
    desired: &Table,
) -> Option<&'c Column> {
    let named = |name: &str| current.columns.iter().find(|column| column.name == name);
    named(&column.name).or_else(|| {
        let old = column.renamed_from.as_deref()?;
        let is_taken = desired.columns.iter().any(|other| other.name == old);
        named(old).filter(|_| !is_taken)
    })
}

/// The server does not tell a secret, so that another one goes unnoticed.
fn is_alike(is: &str, shall: &str) -> bool {
    is == shall || is.contains(HIDDEN) || shall.contains(HIDDEN)
}

fn is_engine_alike(current: &Engine, desired: &Engine) -> bool {
    let of = |engine: &Engine| (engine.name.clone(), engine.arguments.len());
    let mut arguments = current.arguments.iter().zip(&desired.arguments);
    of(current) == of(desired) && arguments.all(|(is, shall)| is_alike(is, shall))
}

/// A key is the same with parentheses around it, and `tuple()` is none.
fn key_items(key: &Option<String>) -> Vec<String> {
    let key = key.as_deref().unwrap_or_default();
    teal_schema::sorting_key(key, |_| false).unwrap_or_else(|_| vec![key.to_owned()])
}

fn sorting_key(table: &Table) -> Option<String> {
    table.engine.is_merge_tree().then(|| match table.order_by.as_slice() {
        [] => "tuple()".to_owned(),
        items => items.join(", "),
    })
}

fn primary_key(table: &Table) -> Option<String> {
    let is_column = |name: &str| table.columns.iter().any(|column| column.name == name);
    match &table.primary_key {
        Some(key) => Some(match teal_schema::sorting_key(key, is_column) {
            Ok(items) => items.join(", "),
            Err(_) => key.clone(),
        }),
        None => sorting_key(table),
    }
}

fn indexes(table: &Table) -> BTreeMap<String, String> {
    table.indexes.iter().map(|index| (index.name.clone(), index_definition(index))).collect()
}

fn projections(table: &Table) -> BTreeMap<String, String> {
    table.projections.iter().map(|it| (it.name.clone(), projection_definition(it))).collect()
}

fn constraints(table: &Table) -> BTreeMap<String, String> {
    table.constraints.iter().map(|it| (it.name.clone(), constraint_definition(it))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_in_parentheses_and_an_empty_one_is_none() {
        let items = |key: &str| key_items(&Some(key.to_owned()));
        assert_eq!(items("tuple()"), key_items(&None));
        assert_eq!(items("(toYYYYMM(d))"), items("toYYYYMM(d)"));
        assert_eq!(items("tuple(toYYYYMM(d), x)"), items("(toYYYYMM(d), x)"));
        assert_ne!(items("(a, b)"), items("(b, a)"));
        assert_ne!(items("(a + b) * c"), items("a + b * c"));
    }

    #[test]
    fn a_secret_that_is_not_told_is_no_difference() {
        let s3 = |arguments: &[&str]| Engine {
            name: "S3".to_owned(),
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
        };
        let is = s3(&["'http://a/b'", "'key'", "'[HIDDEN]'", "'CSV'"]);
        assert!(is_engine_alike(&is, &s3(&["'http://a/b'", "'key'", "'word'", "'CSV'"])));
        assert!(!is_engine_alike(&is, &s3(&["'http://a/b'", "'key'", "'word'", "'TSV'"])));
        assert!(!is_engine_alike(&is, &s3(&["'http://a/b'", "'CSV'"])));
    }
}
