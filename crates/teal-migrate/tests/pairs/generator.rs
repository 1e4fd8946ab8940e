//! Random schemas, and random changes of them.

use std::collections::BTreeMap;

use rand::RngExt as _;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _, SliceRandom as _};
use teal_schema::{
    Column, ColumnDefault, Constraint, ConstraintKind, DefaultKind, Engine, Index, LifeCycle,
    Location, Projection, Schema, Table, TableRef, View, quote_ident,
};

use crate::refusals::{is_added_up, is_merged};

/// A type, a value of it made from `number`, and whether it can stand in a key.
pub(crate) const TYPES: &[(&str, &str, bool)] = &[
    ("UInt8", "number % 100", true),
    ("UInt16", "number % 100", true),
    ("UInt32", "number * 7", true),
    ("UInt64", "number * 1000", true),
    ("UInt128", "number", true),
    ("Int16", "toInt16(number) - 30", true),
    ("Int32", "toInt32(number) - 30", true),
    ("Int64", "-toInt64(number)", true),
    ("Float32", "number / 4", false),
    ("Float64", "number / 3", false),
    ("Decimal(10, 2)", "number / 4", true),
    ("Bool", "number % 2", true),
    ("String", "toString(number % 9)", true),
    ("FixedString(4)", "'abcd'", true),
    ("LowCardinality(String)", "concat('s', toString(number % 5))", true),
    ("Nullable(String)", "if(number % 3 = 0, NULL, toString(number))", false),
    ("Nullable(Int32)", "if(number % 3 = 0, NULL, number)", false),
    ("Nullable(UInt64)", "number", false),
    ("Date", "toDate('2024-01-01') + number", true),
    ("DateTime('UTC')", "toDateTime('2024-01-01 00:00:00', 'UTC') + number * 3600", true),
    ("DateTime64(3, 'UTC')", "toDateTime64('2024-01-01 00:00:00.125', 3, 'UTC') + number", true),
    ("UUID", "toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')", true),
    ("Enum8('a' = 1, 'b' = 2)", "number % 2 + 1", true),
    ("Enum8('a' = 1, 'b' = 2, 'c' = 3)", "number % 2 + 1", true),
    ("IPv4", "toIPv4('127.0.0.1')", true),
    ("Array(UInt8)", "range(number % 4)", false),
    ("Array(Nullable(String))", "[toString(number), NULL]", false),
    ("Map(String, UInt64)", "map('k', number)", false),
    ("Tuple(a UInt8, b String)", "(number % 100, 'x')", false),
    ("SimpleAggregateFunction(sum, UInt64)", "number % 7", false),
    ("SimpleAggregateFunction(max, Int64)", "toInt64(number) - 30", false),
];

/// A table `t`, and the views that read it.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) table: Table,
    /// The column that the view `v` reads, where there is one.
    reader: Option<String>,
    /// The column that the materialized view `mv` forwards to the table `s`, where there is one.
    forward: Option<String>,
    /// Whether there is `s`.
    has_target: bool,
}

impl Declared {
    /// Whether `mv` reads a column that is not there yet, in place of one that will not be there any more.
    pub(crate) fn forwards_what_comes_for_what_goes(&self, before: &Self) -> bool {
        let has =
            |of: &Self, name: &str| of.table.columns.iter().any(|column| column.name == *name);
        let (Some(old), Some(new)) = (&before.forward, &self.forward) else {
            return false;
        };
        !has(self, old) && !has(before, new)
    }

    pub(crate) fn schema(&self) -> Schema {
        let mut tables = vec![self.table.clone()];
        let mut views = Vec::new();
        let mut view = |name: &str, column: &String, target: Option<TableRef>| {
            let select = format!("SELECT id, toString({}) AS text FROM t", quote_ident(column));
            views.push(View {
                name: name.to_owned(),
                database: None,
                select,
                select_tables: vec![self.table.reference()],
                target,
                life_cycle: LifeCycle::FullyManaged,
                location: location(),
            });
        };
        if self.has_target {
            let mut target =
                table("s", vec![column("id", "UInt64"), column("text", "Nullable(String)")]);
            target.order_by = vec!["id".to_owned()];
            if let Some(column) = &self.forward {
                view("mv", column, Some(target.reference()));
            }
            tables.push(target);
        }
        if let Some(column) = &self.reader {
            view("v", column, None);
        }
        Schema { tables, views }
    }
}

/// What makes them.
pub(crate) struct Generator {
    pub(crate) random: SmallRng,
}

impl Generator {
    pub(crate) fn declared(&mut self) -> Declared {
        let table = self.table();
        let mut declared = Declared {
            has_target: self.random.random_ratio(1, 4),
            reader: None,
            forward: None,
            table,
        };
        if declared.has_target {
            self.edit_views(&mut declared);
            self.edit_views(&mut declared);
        }
        declared
    }

    /// With some changes.
    pub(crate) fn edited(&mut self, declared: &Declared) -> Declared {
        let mut edited = declared.clone();
        for _ in 0..self.random.random_range(1..4) {
            match self.random.random_range(0..4) {
                0 if edited.has_target => self.edit_views(&mut edited),
                0 | 1 => self.edit_table(&mut edited.table),
                _ => self.edit_columns(&mut edited.table),
            }
        }
        edited.follow();
        edited
    }

    fn edit_views(&mut self, declared: &mut Declared) {
        let stored = declared.table.columns.iter().filter(|column| column.is_insertable());
        let column = stored.map(|column| column.name.clone());
        let column = column.choose(&mut self.random).filter(|_| self.random.random_ratio(3, 4));
        match self.random.random_ratio(1, 2) {
            true => declared.reader = column,
            false => declared.forward = column,
        }
    }

    fn table(&mut self) -> Table {
        let mut columns = FIXED.map(|(name, data_type, _)| column(name, data_type)).to_vec();
        let adds_up = self.random.random_ratio(1, 3);
        for i in 0..self.random.random_range(1..6) {
            let mut column = self.column(&format!("c{i}"));
            while adds_up && !is_added_up(&column) {
                column = self.column(&column.name);
            }
            columns.push(column);
        }
        if self.random.random_ratio(1, 2) {
            columns.shuffle(&mut self.random);
        }
        let mut table = table("t", columns);
        if adds_up {
            self.edit_engine(&mut table);
        }
        for _ in 0..self.random.random_range(0..5) {
            self.edit_table(&mut table);
        }
        table
    }

    fn column(&mut self, name: &str) -> Column {
        let (data_type, ..) = TYPES.choose(&mut self.random).unwrap();
        let mut column = column(name, data_type);
        for _ in 0..self.random.random_range(0..2) {
            self.edit_column(&mut column);
        }
        column
    }

    /// One that may be changed.
    fn any_column<'t>(&mut self, table: &'t mut Table) -> Option<&'t mut Column> {
        let free = |column: &&mut Column| !is_fixed(&column.name);
        table.columns.iter_mut().filter(free).choose(&mut self.random)
    }

    fn edit_columns(&mut self, table: &mut Table) {
        match self.random.random_range(0..8) {
            0 => {
                let name = format!("n{}", self.random.random_range(0..100));
                let new = self.column(&name);
                let at = self.random.random_range(0..=table.columns.len());
                if table.columns.iter().all(|column| column.name != name) {
                    table.columns.insert(at, new);
                }
            }
            1 => {
                let name = table.columns.choose(&mut self.random).unwrap().name.clone();
                if !is_fixed(&name) {
                    table.columns.retain(|column| column.name != name);
                }
            }
            2 => table.columns.shuffle(&mut self.random),
            3 => {
                if let Some(column) = self.any_column(table) {
                    let new = format!("{}r", column.name);
                    let old = std::mem::replace(&mut column.name, new);
                    column.renamed_from.get_or_insert(old);
                }
            }
            4 | 5 => {
                let far = self.random.random_range(1..5);
                if let Some(column) = self.any_column(table) {
                    // One of the same kind, mostly.
                    let now = TYPES.iter().position(|(name, ..)| *name == column.data_type);
                    let (data_type, ..) = TYPES[(now.unwrap() + far) % TYPES.len()];
                    data_type.clone_into(&mut column.data_type);
                }
            }
            _ => {
                if let Some(column) = self.any_column(table) {
                    self.edit_column(column);
                }
            }
        }
    }

    fn edit_column(&mut self, column: &mut Column) {
        let default = |kind, expression: &str| {
            Some(ColumnDefault { kind, expression: expression.to_owned() })
        };
        match self.random.random_range(0..10) {
            0 => column.default = None,
            1 => column.default = default(DefaultKind::Default, "id % 2"),
            2 => column.default = default(DefaultKind::Materialized, "id + 1"),
            3 => column.default = default(DefaultKind::Alias, "id * 2"),
            4 => column.codec = None,
            5 => column.codec = Some("ZSTD(3)".to_owned()),
            6 => column.ttl = Some("day + toIntervalYear(80)".to_owned()),
            7 => column.ttl = None,
            8 => column.comment = Some("it's a \\ comment".to_owned()),
            _ => column.comment = None,
        }
    }

    fn edit_table(&mut self, table: &mut Table) {
        let any = table.columns.choose(&mut self.random).unwrap().name.clone();
        let any = quote_ident(&any);
        match self.random.random_range(0..15) {
            0..3 => self.edit_sorting_key(table),
            3 => table.primary_key = table.order_by.first().cloned(),
            4 => {
                let partitions = [None, Some("toYYYYMM(day)"), Some("toYear(day)"), Some("id % 3")];
                let partition_by = partitions.choose(&mut self.random).unwrap();
                table.partition_by = partition_by.map(str::to_owned);
            }
            5 | 6 => self.edit_engine(table),
            7 => {
                let ttls =
                    [None, Some("day + toIntervalYear(90)"), Some("day + toIntervalYear(95)")];
                table.ttl = ttls.choose(&mut self.random).unwrap().map(str::to_owned);
            }
            8 => {
                let settings = [
                    ("index_granularity", "1024"),
                    ("merge_with_ttl_timeout", "1000"),
                    ("min_bytes_for_wide_part", "0"),
                ];
                let (name, value) = settings.choose(&mut self.random).unwrap();
                if table.settings.remove(*name).is_none() {
                    table.settings.insert((*name).to_owned(), (*value).to_owned());
                }
            }
            9 => {
                let name = format!("i{}", self.random.random_range(0..3));
                let had = table.indexes.len();
                table.indexes.retain(|index| index.name != name);
                if table.indexes.len() == had {
                    let index_type = ["minmax", "set(10)"].choose(&mut self.random).unwrap();
                    let index_type = (*index_type).to_owned();
                    table.indexes.push(Index { name, expression: any, index_type, granularity: 2 });
                }
            }
            10 => match table.projections.pop() {
                Some(_) => (),
                None => table.projections.push(Projection {
                    name: "p".to_owned(),
                    body: "SELECT day, count() GROUP BY day".to_owned(),
                }),
            },
            11 => match table.constraints.pop() {
                Some(_) => (),
                None => table.constraints.push(Constraint {
                    name: "k".to_owned(),
                    kind: ConstraintKind::Check,
                    expression: "id < 1000000".to_owned(),
                }),
            },
            12 => {
                let samples = [None, Some("id"), Some("intHash32(id)")];
                let sample_by = samples.choose(&mut self.random).unwrap().map(str::to_owned);
                // It must stand in the primary key.
                let in_key = |by: &String| table.order_by.contains(by);
                if let Some(by) = sample_by.clone().filter(|by| !in_key(by)) {
                    table.order_by.push(by);
                }
                table.sample_by = sample_by;
            }
            13 => table.comment = Some("a 'table' of tests".to_owned()),
            _ => table.comment = None,
        }
    }
    fn edit_sorting_key(&mut self, table: &mut Table) {
        if table.engine.folds_rows() && self.random.random_ratio(9, 10) {
            // Which rows are one stays the same.
            table.order_by.shuffle(&mut self.random);
        } else {
            let keys = table.columns.iter().filter(|column| is_for_keys(column));
            let others = keys.filter(|column| column.name != "id");
            let count = self.random.random_range(0..3);
            let others = others.sample(&mut self.random, count);
            let mut key = others.iter().map(|c| quote_ident(&c.name)).collect::<Vec<_>>();
            if self.random.random_ratio(1, 4) {
                key.push("toYYYYMM(day)".to_owned());
            }
            key.insert(self.random.random_range(0..=key.len()), "id".to_owned());
            let sampled = table.sample_by.iter().filter(|by| !key.contains(by)).cloned();
            key.extend(sampled.collect::<Vec<_>>());
            table.order_by = key;
        }
        table.primary_key = None;
    }

    /// Mostly to an engine that does not depend on the order of rows, and from one that leaves them as
    /// they are.
    fn edit_engine(&mut self, table: &mut Table) {
        let often = self.random.random_ratio(19, 20);
        if table.engine.folds_rows() && often {
            return;
        }
        let engine = |name: &str, arguments: &[&str]| Engine {
            name: name.to_owned(),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
        };
        let merging = |table: &Table, engine: Engine| {
            let merged = |column: &Column| match engine.name.as_str() {
                "AggregatingMergeTree" => is_merged(column),
                _ => is_added_up(column),
            };
            let rest = table.columns.iter().filter(|column| !merged(column) && column.name != "id");
            let rest = rest.collect::<Vec<_>>();
            let mut merging = table.clone();
            let key = rest.iter().map(|column| quote_ident(&column.name));
            merging.order_by = std::iter::once("id".to_owned()).chain(key).collect();
            merging.primary_key = None;
            merging.sample_by = None;
            merging.engine = engine;
            let fits = |column: &Column| is_fixed(&column.name) || is_for_keys(column);
            rest.iter().all(|column| fits(column)).then_some(merging)
        };
        let chosen = match self.random.random_range(0..8) {
            0 | 1 => engine("ReplacingMergeTree", &["ver"]),
            2 => engine("VersionedCollapsingMergeTree", &["sign", "ver"]),
            3 => engine("SummingMergeTree", &[]),
            4 | 5 => engine("AggregatingMergeTree", &[]),
            6 if often => engine("MergeTree", &[]),
            6 => engine("ReplacingMergeTree", &[]),
            _ => engine("CollapsingMergeTree", &["sign"]),
        };
        match chosen.name.as_str() {
            "SummingMergeTree" | "AggregatingMergeTree" if often => {
                if let Some(merging) = merging(table, chosen) {
                    *table = merging;
                }
            }
            _ => table.engine = chosen,
        }
    }
}

impl Declared {
    /// A view whose column has another name reads that one; without its column, it reads `id`.
    fn follow(&mut self) {
        for column in [&mut self.reader, &mut self.forward].into_iter().flatten() {
            let columns = &self.table.columns;
            let now = columns
                .iter()
                .find(|now| now.name == *column)
                .or_else(|| columns.iter().find(|now| now.renamed_from.as_ref() == Some(column)));
            let now = now.filter(|now| now.is_insertable());
            *column = now.map_or_else(|| "id".to_owned(), |now| now.name.clone());
        }
    }
}

/// Columns that every table has, with a value as in [`TYPES`].
const FIXED: [(&str, &str, &str); 4] = [
    ("id", "UInt64", "number"),
    ("day", "Date", "toDate('2024-01-01') + number * 11"),
    ("sign", "Int8", "sign_of_row"),
    ("ver", "UInt64", "version_of_row"),
];

fn is_fixed(name: &str) -> bool {
    FIXED.iter().any(|(fixed, ..)| *fixed == name)
}

fn table(name: &str, columns: Vec<Column>) -> Table {
    Table {
        name: name.to_owned(),
        version: None,
        database: None,
        columns,
        engine: Engine::merge_tree(),
        order_by: vec!["id".to_owned()],
        primary_key: None,
        partition_by: None,
        sample_by: None,
        ttl: None,
        settings: BTreeMap::new(),
        indexes: Vec::new(),
        projections: Vec::new(),
        constraints: Vec::new(),
        comment: None,
        life_cycle: LifeCycle::FullyManaged,
        cluster: None,
        location: location(),
    }
}

fn location() -> Location {
    Location { file: "app/t.ts".to_owned(), line: 1, column: None, declaration: None }
}

fn column(name: &str, data_type: &str) -> Column {
    Column {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
        key: false,
        default: None,
        codec: None,
        ttl: None,
        comment: None,
        renamed_from: None,
    }
}

pub(crate) fn is_for_keys(column: &Column) -> bool {
    let type_of = TYPES.iter().find(|(name, ..)| *name == column.data_type);
    type_of.is_some_and(|(.., is_for_keys)| *is_for_keys)
        && column.ttl.is_none()
        && column.default.as_ref().is_none_or(|default| default.kind == DefaultKind::Default)
}

/// SQL of a value of the column, of the row `number`.
pub(crate) fn value(column: &Column) -> String {
    match FIXED.iter().find(|(name, ..)| *name == column.name) {
        Some((.., value)) => (*value).to_owned(),
        None => TYPES.iter().find(|(name, ..)| *name == column.data_type).unwrap().1.to_owned(),
    }
}
