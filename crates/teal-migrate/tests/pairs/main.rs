//! Any schema to any other: what is declared is what the server has in the end, nothing is left to
//! plan, and what was written before is still there. `TEAL_SEED` and `TEAL_PAIRS` play other pairs.
//! Clippy counts helpers as no tests, hence what is allowed here.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "../../../../tests/engine.rs"]
mod engine;
mod generator;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use teal_catalog::{Catalog, Declaration};
use teal_client::{ClientError, EmbeddedEngine, Format, Server, Session};
use teal_migrate::{Journal, Migrating, Operator, OperatorOptions, Silent, history};
use teal_plan::{Cutover, Operation, Plan, PlanOptions, make_plan};
use teal_schema::{Column, QualifiedName, Table, create_table, quote_ident, quote_string};

use crate::engine::OwnEngine;
use crate::generator::{Declared, Generator, value};

const PAIRS: u64 = 140;
const ROWS: u64 = 60;
/// So many of them are there twice: of one id, two versions, or a row and what cancels it.
const TWICE: u64 = 10;
/// Schemas that a pair tries as its second, until one is not refused.
const TRIES: usize = 4;
/// The ids of rows that are written after a change.
const LATER: u64 = 100;

#[test]
fn one_schema_becomes_another() {
    play(1, PAIRS);
}

#[test]
fn one_schema_becomes_another_with_other_seeds() {
    play(1_000_001, PAIRS / 3);
}

fn play(first: u64, pairs: u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("TEAL_SEED").unwrap_or(first);
    let pairs = number("TEAL_PAIRS").unwrap_or(pairs);
    let engine = OwnEngine::open();
    let mut outcomes = BTreeMap::<String, u64>::new();
    for seed in first..first + pairs {
        // Shown when it fails.
        eprintln!("TEAL_SEED={seed} TEAL_PAIRS=1");
        for outcome in Pair::new(&engine, seed).play() {
            *outcomes.entry(outcome).or_default() += 1;
        }
    }
    eprintln!("{outcomes:#?}");
    // Pairs of each class were among them, and nearly all could be done.
    if pairs >= PAIRS {
        for class in CLASSES {
            assert!(outcomes.contains_key(class), "{class}: {outcomes:?}");
        }
        let refused = outcomes.get("refused to the end").copied().unwrap_or(0);
        assert!(refused * 20 < pairs, "{outcomes:?}");
    }
}

/// What must be among the outcomes.
const CLASSES: [&str; 14] = [
    "metadata only",
    "mutation",
    "clone",
    "rewrite",
    "a refusal",
    "a refusal of values that do not fit",
    "a view's SELECT",
    "another sampling key",
    "a MergeTree",
    "a ReplacingMergeTree",
    "a SummingMergeTree",
    "a AggregatingMergeTree",
    "a CollapsingMergeTree",
    "a VersionedCollapsingMergeTree",
];

struct Pair<'a> {
    engine: &'a EmbeddedEngine,
    session: Box<dyn Session + 'a>,
    generator: Generator,
    database: String,
}

impl<'a> Pair<'a> {
    fn new(engine: &'a EmbeddedEngine, seed: u64) -> Self {
        let mut session = engine.session(&[]).unwrap();
        let database = format!("pair_{seed}");
        session.command(&format!("CREATE DATABASE {database}")).unwrap();
        let generator = Generator { random: SmallRng::seed_from_u64(seed) };
        Self { engine, session, generator, database }
    }

    /// Gives the classes of what was done.
    fn play(&mut self) -> Vec<String> {
        let (before, _) = self.valid(None, Generator::declared);
        let mut classes = Vec::new();
        assert!(self.apply(&before, &mut classes).is_ok(), "a new table was refused");
        let table = before.table.qualified(&self.database);
        self.fill(&table, &before.table, &all_columns(&before.table)).unwrap();
        let as_it_was = self.everything(&before);
        for _ in 0..TRIES {
            let (after, Trial { made, rows }) = match self.generator.random.random_ratio(1, 40) {
                true => self.valid(Some(&before.table), Generator::declared),
                false => self.valid(Some(&before.table), |generator| generator.edited(&before)),
            };
            let kept = kept_columns(&before.table, &after.table);
            let mut done = Vec::new();
            match self.apply(&after, &mut done) {
                Err(plan) => {
                    refusals::assert_expected(&plan, &before, &after, &kept);
                    assert_eq!(self.everything(&before), as_it_was, "refused, and yet changed");
                    classes.push("a refusal".to_owned());
                    if rows.is_err() {
                        let is_for_values = refusals::is_for_values(&plan);
                        assert!(
                            is_for_values || !plan.conflicts.is_empty(),
                            "{}",
                            plan.to_yaml().unwrap()
                        );
                        classes.push("a refusal of values that do not fit".to_owned());
                    }
                }
                Ok(()) => {
                    assert_eq!(self.made(&table, &after.table), made);
                    self.assert_rows(&before, &after, &kept, &rows.unwrap());
                    self.assert_views(&after);
                    if before.table.sample_by != after.table.sample_by {
                        done.push("another sampling key".to_owned());
                    }
                    done.push(format!("a {}", after.table.engine.name));
                    classes.extend(done);
                    return self.end(classes);
                }
            }
        }
        classes.push("refused to the end".to_owned());
        self.end(classes)
    }

    fn end(&mut self, classes: Vec<String>) -> Vec<String> {
        self.session.command(&format!("DROP DATABASE {} SYNC", self.database)).unwrap();
        classes
    }

    fn assert_rows(
        &mut self,
        before: &Declared,
        after: &Declared,
        kept: &[(Column, Column)],
        expected: &str,
    ) {
        let name = after.table.qualified(&self.database);
        let rows = self.rows(&name, &after.table, kept).unwrap();
        assert_eq!(expected, rows, "{}", refusals::change(&before.table, &after.table));
        let plan = self.plan(after);
        assert!(plan.is_empty(), "{}", plan.to_yaml().unwrap());
    }

    /// The views read the table as it is now.
    fn assert_views(&mut self, after: &Declared) {
        let schema = after.schema();
        if schema.views.is_empty() {
            return;
        }
        let name = after.table.qualified(&self.database);
        self.insert(&name, &all_columns(&after.table), (LATER, ROWS), (1, 0)).unwrap();
        for view in schema.views {
            let rows = match &view.target {
                Some(target) => format!("{}.{} WHERE id >= {LATER}", self.database, target.name),
                None => view.qualified(&self.database).sql(),
            };
            assert!(self.count(&rows).unwrap() >= ROWS, "{}", view.name);
        }
    }

    /// What tells whether anything was changed.
    fn everything(&mut self, declared: &Declared) -> (String, String) {
        let definitions = format!(
            "SELECT database, create_table_query FROM system.tables \
             WHERE database = {} OR startsWith(database, '_teal_shadow') ORDER BY ALL",
            quote_string(&self.database)
        );
        let table = &declared.table;
        let rows = self.rows(&table.qualified(&self.database), table, &all_columns(table));
        (self.text(&definitions).unwrap(), rows.unwrap())
    }

    fn plan(&self, declared: &Declared) -> Plan {
        let options = PlanOptions {
            database: self.database.clone(),
            cutover: Cutover::App,
            allow_drop: vec!["*".to_owned(), "*.*".to_owned()],
        };
        let migrations = Migrating::all(&Journal::peek(self.engine).unwrap()).unwrap();
        make_plan(
            self.engine,
            self.engine,
            &declared.schema(),
            &BTreeSet::new(),
            &history(&migrations),
            &options,
        )
        .unwrap()
    }

    /// Brings the database to what is declared, through a cutover and its cleanup where it takes one;
    /// views that wait for that come with a second plan. Gives the plan that was refused.
    fn apply(&self, declared: &Declared, classes: &mut Vec<String>) -> Result<(), Box<Plan>> {
        for _ in 0..2 {
            let plan = self.plan(declared);
            if plan.is_blocked() {
                return Err(Box::new(plan));
            }
            let operator =
                Operator::open(self.engine, OperatorOptions::default(), &Silent).unwrap();
            let applied = operator.apply(&plan);
            assert!(applied.is_ok(), "{}\n{}", applied.unwrap_err(), plan.to_yaml().unwrap());
            let mut waits = false;
            for operation in &plan.operations {
                match operation {
                    Operation::AlterTable { cost, .. } => classes.push(cost.to_string()),
                    Operation::ChangeView { .. } => classes.push("a view's SELECT".to_owned()),
                    Operation::Migrate { migration, before, .. } => {
                        waits = !declared.schema().views.is_empty();
                        classes.push(migration.strategy.to_string());
                        let engine = |sql: &str| {
                            let (_, engine) = sql.split_once("ENGINE = ").unwrap();
                            let end = engine.find(|c: char| !c.is_alphanumeric());
                            engine[..end.unwrap_or(engine.len())].to_owned()
                        };
                        classes.push(format!("from {}", engine(before.as_ref().unwrap())));
                        classes.push(format!("to {}", engine(&migration.create_green)));
                        let migrations = operator.migrations().unwrap();
                        let mut migrating = migrations.into_iter().next_back().unwrap();
                        operator.cutover(&mut migrating, Cutover::Exchange).unwrap();
                        operator.cleanup(&mut migrating, false).unwrap();
                    }
                    _ => (),
                }
            }
            if !waits {
                break;
            }
        }
        Ok(())
    }

    /// Inserts rows into the columns `kept`, of which each has been a value of the first type before. The
    /// table that they were in first tells which rows are there twice: where it folds a row and one of
    /// another sign into nothing, it is such rows.
    fn fill(
        &mut self,
        name: &QualifiedName,
        first: &Table,
        kept: &[(Column, Column)],
    ) -> Result<(), ClientError> {
        let (sign, version) = match first.engine.name.ends_with("CollapsingMergeTree") {
            true => (-1, 0),
            false => (1, 1),
        };
        self.insert(name, kept, (0, ROWS), (1, 0))?;
        self.insert(name, kept, (0, TWICE), (sign, version))
    }

    fn insert(
        &mut self,
        name: &QualifiedName,
        kept: &[(Column, Column)],
        numbers: (u64, u64),
        (sign, version): (i8, u8),
    ) -> Result<(), ClientError> {
        let names = kept.iter().map(|(_, new)| quote_ident(&new.name)).collect::<Vec<_>>();
        let values = values(kept, numbers, (sign, version));
        let sql = format!("INSERT INTO {} ({}) {values}", name.sql(), names.join(", "));
        self.session.command(&sql).map(drop)
    }

    /// The rows as readers see them, of the columns that stay, as text.
    fn rows(
        &mut self,
        name: &QualifiedName,
        table: &Table,
        kept: &[(Column, Column)],
    ) -> Result<String, ClientError> {
        let values = kept
            .iter()
            .map(|(_, new)| format!("ifNull(toString({}), 'NULL')", quote_ident(&new.name)));
        self.text(&format!(
            "SELECT id, [{}] FROM {}{} ORDER BY ALL",
            values.collect::<Vec<_>>().join(", "),
            name.sql(),
            if table.engine.folds_rows() { " FINAL" } else { "" }
        ))
    }

    fn text(&mut self, sql: &str) -> Result<String, ClientError> {
        let answer = self.session.run(sql, Format::TSV)?;
        Ok(String::from_utf8(answer.body).unwrap())
    }

    fn count(&mut self, from: &str) -> Result<u64, ClientError> {
        let text = self.text(&format!("SELECT count() FROM {from}"))?;
        Ok(text.trim().parse().unwrap())
    }

    /// What the server says the table is.
    fn made(&mut self, name: &QualifiedName, table: &Table) -> Table {
        let catalog = Catalog::read(self.session.as_mut(), &[&name.database]).unwrap();
        let made = catalog.table(name).unwrap();
        let mut declared = made.declared(Declaration::of(table)).unwrap();
        // The sorting key is the primary key, said or not.
        let text = |key: &str| key.replace(['`', '(', ')', ' '], "");
        let sorting_key = text(&declared.order_by.join(","));
        declared.primary_key = declared.primary_key.filter(|key| text(key) != sorting_key);
        // In which order these came to be is of no matter.
        declared.indexes.sort_by_key(|index| index.name.clone());
        declared.projections.sort_by_key(|projection| projection.name.clone());
        declared.constraints.sort_by_key(|constraint| constraint.name.clone());
        declared
    }

    /// Random tables and views that the server takes, and what becomes of the rows of `first` in them.
    fn valid(
        &mut self,
        first: Option<&Table>,
        next: impl Fn(&mut Generator) -> Declared,
    ) -> (Declared, Trial) {
        loop {
            let declared = next(&mut self.generator);
            let trial = self.trial(first.unwrap_or(&declared.table), &declared.table);
            self.session
                .command(&format!("DROP TABLE IF EXISTS {} SYNC", self.trial_name().sql()))
                .unwrap();
            if let Some(trial) = trial {
                return (declared, trial);
            }
        }
    }

    /// Makes a table by its declaration alone, and fills it as `first` was filled. Nothing where the server
    /// does not make it, or cannot make or read a row of it: a default may give what is no value of its
    /// column's type.
    fn trial(&mut self, first: &Table, table: &Table) -> Option<Trial> {
        let name = self.trial_name();
        self.session.command(&create_table(table, &name, &[])).ok()?;
        let kept = kept_columns(first, table);
        let rows = self.fill(&name, first, &kept).and_then(|()| self.rows(&name, table, &kept));
        let all = format!(
            "SELECT * FROM {} FORMAT Null SETTINGS asterisk_include_alias_columns = 1",
            name.sql()
        );
        match &rows {
            Ok(_) => self.session.command(&all).map(drop).ok()?,
            // That the values do not fit is said of the change, not of the table.
            Err(_) => {
                let values = self.session.command(&values(&kept, (0, ROWS), (1, 0)));
                values.is_err().then_some(())?;
            }
        }
        Some(Trial { made: self.made(&name, table), rows })
    }

    fn trial_name(&self) -> QualifiedName {
        QualifiedName::new(&self.database, "trial")
    }
}

/// What is expected of a table.
struct Trial {
    made: Table,
    /// An error where a value does not fit its column's new type.
    rows: Result<String, ClientError>,
}

/// A SELECT of rows of the columns `kept`.
fn values(
    kept: &[(Column, Column)],
    (from, rows): (u64, u64),
    (sign, version): (i8, u8),
) -> String {
    let values = kept.iter().map(|(old, new)| match old.data_type == new.data_type {
        true => value(old),
        false => format!("CAST(CAST({} AS {}) AS {})", value(old), old.data_type, new.data_type),
    });
    format!(
        "WITH {sign} AS sign_of_row, {version} AS version_of_row SELECT {} FROM numbers({from}, {rows})",
        values.collect::<Vec<_>>().join(", ")
    )
}

fn all_columns(table: &Table) -> Vec<(Column, Column)> {
    let given = table.columns.iter().filter(|column| column.is_insertable());
    given.map(|column| (column.clone(), column.clone())).collect()
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
