//! Any schema to any other: what is declared is what the server has in the end, nothing is left to
//! plan, and what was written before is still there. `TEAL_SEED` and `TEAL_PAIRS` play other pairs.
//! Clippy counts helpers as no tests, hence what is allowed here.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use teal_catalog::{Catalog, Declaration};
use teal_client::{ClientError, EmbeddedEngine, EngineOptions, Format, Server, Session};
use teal_migrate::{Journal, Migrating, Operator, OperatorOptions, Silent, history};
use teal_plan::{Cutover, Operation, Plan, PlanOptions, make_plan};
use teal_schema::{
    Column, ColumnDefault, Constraint, ConstraintKind, DefaultKind, Engine, Index, LifeCycle,
    Location, Projection, QualifiedName, Schema, Table, create_table, quote_ident,
};

const PAIRS: u64 = 260;
const ROWS: u64 = 60;

/// A type, a value of it made from `number`, and whether it can stand in a key.
const TYPES: &[(&str, &str, bool)] = &[
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
];

#[test]
fn one_schema_becomes_another() {
    play(1);
}

#[test]
fn one_schema_becomes_another_with_other_seeds() {
    play(1_000_001);
}

fn play(first: u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("TEAL_SEED").unwrap_or(first);
    let pairs = number("TEAL_PAIRS").unwrap_or(PAIRS);
    let directory = tempfile::tempdir().unwrap();
    let engine = EmbeddedEngine::open(EngineOptions {
        library: teal_fetch::fetch_engine_library(&mut |_| ()).unwrap(),
        data: directory.path().to_owned(),
        config_file: None,
    })
    .unwrap();
    let mut outcomes = BTreeMap::<String, u64>::new();
    for seed in first..first + pairs {
        // Shown when it fails.
        eprintln!("TEAL_SEED={seed} TEAL_PAIRS=1");
        for outcome in Pair::new(&engine, seed).play() {
            *outcomes.entry(outcome).or_default() += 1;
        }
    }
    eprintln!("{outcomes:#?}");
    // Pairs of each class were among them, and most pairs could be done.
    if pairs >= PAIRS {
        for class in ["metadata only", "mutation", "clone", "rewrite", "refused", "nothing"] {
            assert!(outcomes.contains_key(class), "{class}: {outcomes:?}");
        }
        assert!(outcomes["refused"] * 3 < pairs, "{outcomes:?}");
    }
}

struct Pair<'a> {
    engine: &'a EmbeddedEngine,
    session: Box<dyn Session + 'a>,
    random: SmallRng,
    database: String,
}

impl<'a> Pair<'a> {
    fn new(engine: &'a EmbeddedEngine, seed: u64) -> Self {
        let mut session = engine.session(&[]).unwrap();
        let database = format!("pair_{seed}");
        session.command(&format!("CREATE DATABASE {database}")).unwrap();
        Self { engine, session, random: SmallRng::seed_from_u64(seed), database }
    }

    /// Gives the classes of what was done.
    fn play(&mut self) -> Vec<String> {
        let before = self.valid_table();
        let empty = self.apply(&before, &mut Vec::new());
        assert!(empty.is_none(), "a new table: {empty:?}");
        self.fill(&before.qualified(&self.database), &before).unwrap();

        let after = match self.random.random_ratio(1, 12) {
            true => self.valid_table(),
            false => self.edited(&before),
        };
        let kept = kept_columns(&before, &after);
        let rows_before = self.rows(&before, &kept, |(old, new)| {
            // What the change of type makes of the value.
            format!("CAST({} AS {})", quote_ident(&old.name), new.data_type)
        });
        let made_before = self.made(&before);
        let mut classes = Vec::new();
        if let Some(refused) = self.apply(&after, &mut classes) {
            assert_refusal_is_right(&refused);
            assert_eq!(self.made(&before), made_before, "a refused plan changed something");
            classes = vec!["refused".to_owned()];
        } else {
            let made = self.made(&after);
            assert_eq!(made, self.made_anew(&after));
            let rows_after = self.rows(&after, &kept, |(_, new)| quote_ident(&new.name));
            assert_eq!(rows_before.ok(), rows_after.ok(), "{before:#?}\n{after:#?}");
            let plan = self.plan(&after);
            assert!(plan.is_empty(), "{}", plan.to_yaml().unwrap());
        }
        self.session.command(&format!("DROP DATABASE {} SYNC", self.database)).unwrap();
        match classes.is_empty() {
            true => vec!["nothing".to_owned()],
            false => classes,
        }
    }

    fn plan(&self, table: &Table) -> Plan {
        let schema = Schema { tables: vec![table.clone()], views: Vec::new() };
        let options = PlanOptions {
            database: self.database.clone(),
            cutover: Cutover::App,
            allow_drop: vec!["*".to_owned()],
        };
        let migrations = Migrating::all(&Journal::peek(self.engine).unwrap()).unwrap();
        make_plan(
            self.engine,
            self.engine,
            &schema,
            &BTreeSet::new(),
            &history(&migrations),
            &options,
        )
        .unwrap()
    }

    /// Brings the database to `table`, through a cutover and its cleanup where it takes one. Gives
    /// the plan that was refused.
    fn apply(&self, table: &Table, classes: &mut Vec<String>) -> Option<Plan> {
        let plan = self.plan(table);
        if plan.is_blocked() {
            return Some(plan);
        }
        let operator = Operator::open(self.engine, OperatorOptions::default(), &Silent).unwrap();
        let applied = operator.apply(&plan);
        assert!(applied.is_ok(), "{}\n{}", applied.unwrap_err(), plan.to_yaml().unwrap());
        for operation in &plan.operations {
            match operation {
                Operation::AlterTable { cost, .. } => classes.push(cost.to_string()),
                Operation::Migrate { migration, .. } => {
                    classes.push(migration.strategy.to_string());
                    let migrations = operator.migrations().unwrap();
                    let mut migrating = migrations.into_iter().next_back().unwrap();
                    operator.cutover(&mut migrating, Cutover::Exchange).unwrap();
                    operator.cleanup(&mut migrating, false).unwrap();
                }
                _ => (),
            }
        }
        None
    }

    fn fill(&mut self, name: &QualifiedName, table: &Table) -> Result<(), ClientError> {
        let given = table.columns.iter().filter(|column| column.is_insertable());
        let given = given.collect::<Vec<_>>();
        let names = given.iter().map(|column| quote_ident(&column.name)).collect::<Vec<_>>();
        let values = given.iter().map(|column| value(column)).collect::<Vec<_>>();
        for half in 0..2 {
            let sql = format!(
                "INSERT INTO {} ({}) SELECT {} FROM numbers({}, {})",
                name.sql(),
                names.join(", "),
                values.join(", "),
                half * ROWS / 2,
                ROWS / 2
            );
            self.session.command(&sql)?;
        }
        Ok(())
    }

    /// The rows, of the columns that stay, as text.
    fn rows(
        &mut self,
        table: &Table,
        kept: &[(Column, Column)],
        value: impl Fn(&(Column, Column)) -> String,
    ) -> Result<String, String> {
        let values = kept.iter().map(value).map(|value| format!("toString({value})"));
        let sql = format!(
            "SELECT id, [{}] FROM {} ORDER BY id",
            values.map(|value| format!("ifNull({value}, 'NULL')")).collect::<Vec<_>>().join(", "),
            table.qualified(&self.database).sql()
        );
        let result = self.session.run(&sql, Format::TSV).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(result.body).unwrap())
    }

    /// What the server says the table is.
    fn made(&mut self, table: &Table) -> Table {
        let database = self.database.clone();
        self.declared(&table.qualified(&database), table)
    }

    /// What the server says that the declaration alone is.
    fn made_anew(&mut self, table: &Table) -> Table {
        let fresh = format!("{}_fresh", self.database);
        self.session.command(&format!("CREATE DATABASE {fresh}")).unwrap();
        let name = table.qualified(&fresh);
        self.session.command(&create_table(table, &name, &[])).unwrap();
        let declared = self.declared(&name, table);
        self.session.command(&format!("DROP DATABASE {fresh} SYNC")).unwrap();
        declared
    }

    fn declared(&mut self, name: &QualifiedName, table: &Table) -> Table {
        let catalog = Catalog::read(self.session.as_mut(), &[&name.database]).unwrap();
        let made = catalog.table(name).unwrap();
        let mut declared = made.declared(Declaration::of(table)).unwrap();
        // In which order these came to be is of no matter.
        declared.indexes.sort_by_key(|index| index.name.clone());
        declared.projections.sort_by_key(|projection| projection.name.clone());
        declared.constraints.sort_by_key(|constraint| constraint.name.clone());
        declared
    }

    /// A random table that the server creates and fills.
    fn valid_table(&mut self) -> Table {
        loop {
            let table = self.table();
            if self.is_valid(&table) {
                return table;
            }
        }
    }

    fn is_valid(&mut self, table: &Table) -> bool {
        let trial = QualifiedName::new(&self.database, "trial");
        // A default may give what is no value of its column's type.
        let made = self.session.command(&create_table(table, &trial, &[]));
        let made = made.and_then(|_| self.fill(&trial, table)).and_then(|()| {
            let sql = format!("SELECT * FROM {} FORMAT Null", trial.sql());
            let with_aliases = format!("{sql} SETTINGS asterisk_include_alias_columns = 1");
            self.session.command(&with_aliases).map(drop)
        });
        let made = made.is_ok();
        self.session.command(&format!("DROP TABLE IF EXISTS {} SYNC", trial.sql())).unwrap();
        made
    }

    fn table(&mut self) -> Table {
        let mut columns = vec![column("id", "UInt64"), column("day", "Date")];
        for i in 0..self.random.random_range(1..6) {
            columns.push(self.column(&format!("c{i}")));
        }
        if self.random.random_ratio(1, 2) {
            columns.shuffle(&mut self.random);
        }
        let mut table = Table {
            name: "t".to_owned(),
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
            location: Location {
                file: "app/t.ts".to_owned(),
                line: 1,
                column: None,
                declaration: None,
            },
        };
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

    /// `table` with some edits, and valid.
    fn edited(&mut self, table: &Table) -> Table {
        loop {
            let mut edited = table.clone();
            for _ in 0..self.random.random_range(1..4) {
                if self.random.random_ratio(1, 2) {
                    self.edit_table(&mut edited);
                } else {
                    self.edit_columns(&mut edited);
                }
            }
            if self.is_valid(&edited) {
                return edited;
            }
        }
    }

    /// One that may be changed.
    fn any_column<'t>(&mut self, table: &'t mut Table) -> Option<&'t mut Column> {
        let free = |column: &&mut Column| !matches!(column.name.as_str(), "id" | "day");
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
                if !matches!(name.as_str(), "id" | "day") {
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
        let mut keys = table.columns.iter().filter(|c| is_for_keys(c)).collect::<Vec<_>>();
        keys.shuffle(&mut self.random);
        let any = table.columns.choose(&mut self.random).unwrap().name.clone();
        let any = quote_ident(&any);
        match self.random.random_range(0..14) {
            0..3 => {
                let others = keys.iter().filter(|column| column.name != "id");
                let count = self.random.random_range(0..3);
                let mut key = others.take(count).map(|c| quote_ident(&c.name)).collect::<Vec<_>>();
                if self.random.random_ratio(1, 4) {
                    key.push("toYYYYMM(day)".to_owned());
                }
                key.insert(self.random.random_range(0..=key.len()), "id".to_owned());
                table.order_by = key;
                table.primary_key = None;
            }
            3 => table.primary_key = table.order_by.first().cloned(),
            4 => {
                let partitions = [None, Some("toYYYYMM(day)"), Some("toYear(day)"), Some("id % 3")];
                let partition_by = partitions.choose(&mut self.random).unwrap();
                table.partition_by = partition_by.map(str::to_owned);
            }
            5 | 6 => {
                let engines: &[(&str, &[&str])] = &[
                    ("MergeTree", &[]),
                    ("MergeTree", &[]),
                    ("ReplacingMergeTree", &[]),
                    ("ReplacingMergeTree", &["id"]),
                    ("AggregatingMergeTree", &[]),
                ];
                let (name, arguments) = engines.choose(&mut self.random).unwrap();
                table.engine = Engine {
                    name: (*name).to_owned(),
                    arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
                };
            }
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
            12 => table.comment = Some("a 'table' of tests".to_owned()),
            _ => table.comment = None,
        }
    }
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

fn is_for_keys(column: &Column) -> bool {
    let type_of = TYPES.iter().find(|(name, ..)| *name == column.data_type);
    type_of.is_some_and(|(.., is_for_keys)| *is_for_keys)
        && column.ttl.is_none()
        && column.default.as_ref().is_none_or(|default| default.kind == DefaultKind::Default)
}

fn value(column: &Column) -> String {
    match column.name.as_str() {
        "id" => "number".to_owned(),
        "day" => "toDate('2024-01-01') + number * 11".to_owned(),
        _ => TYPES.iter().find(|(name, ..)| *name == column.data_type).unwrap().1.to_owned(),
    }
}

/// The columns that are stored in both, before and after.
fn kept_columns(before: &Table, after: &Table) -> Vec<(Column, Column)> {
    let stored = |column: &&Column| column.is_insertable();
    let old = |new: &Column| {
        let named = |name: &str| before.columns.iter().find(|column| column.name == name);
        let old = named(&new.name).or_else(|| named(new.renamed_from.as_deref()?))?;
        old.is_insertable().then(|| (old.clone(), new.clone()))
    };
    after.columns.iter().filter(stored).filter_map(old).collect()
}

fn assert_refusal_is_right(plan: &Plan) {
    let conflicts = plan.conflicts.iter().flat_map(|conflict| conflict.differences.clone());
    let findings = plan.findings.iter().map(|finding| finding.says.clone());
    let said = conflicts.chain(findings).collect::<Vec<_>>().join("\n");
    let reasons = [
        "depends on the order of their insertion",
        "folds rows at any time",
        "would not be the same",
    ];
    assert!(reasons.iter().any(|reason| said.contains(reason)), "{said}");
}
