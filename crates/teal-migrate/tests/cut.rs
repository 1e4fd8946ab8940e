//! What other sessions of the same process do while names change places: a thread of theirs runs where the
//! failpoint is.
//! Clippy counts helpers as no tests, hence what is allowed here.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "failpoints")]

#[path = "../../../tests/engine.rs"]
mod engine;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use teal_client::{EmbeddedEngine, Format, Server, Session};
use teal_migrate::{
    Event, Journal, Migrating, Observer, Operator, OperatorOptions, Silent, Step, Update, history,
};
use teal_plan::{Cutover, Plan, PlanOptions, make_plan};
use teal_schema::{Column, Engine, LifeCycle, Location, Schema, Table, create_table};

use crate::engine::OwnEngine;

const DATABASE: &str = "cut";

#[test]
fn a_change_of_blue_between_the_proof_and_the_exchange_is_in_the_new_table() {
    let engine = open();
    let mut session = engine.user_session(&[]).unwrap();
    let operator = Operator::open(&*engine, OperatorOptions::default(), &Silent).unwrap();
    let mut key = "id";
    for (change, rows) in [
        ("ALTER TABLE cut.t DELETE WHERE id % 10 = 3 SETTINGS mutations_sync = 1", "27000\t0"),
        // Not waited for.
        ("ALTER TABLE cut.t UPDATE town = 'changed' WHERE id < 10", "27000\t27"),
        ("ALTER TABLE cut.t DROP PARTITION 2", "18000\t18"),
    ] {
        key = if key == "id" { "kind, id" } else { "id" };
        let mut migrating = applied(&engine, &operator, key);
        let user = parking_lot::Mutex::new(Some(engine.user_session(&[]).unwrap()));
        fail::cfg_callback("cutover-opened", move || {
            if let Some(mut session) = user.lock().take() {
                session.command(change).unwrap();
            }
        })
        .unwrap();
        operator.cutover(&mut migrating, Cutover::Exchange).unwrap();
        fail::remove("cutover-opened");
        let found = read(session.as_mut(), "SELECT count(), countIf(town = 'changed') FROM cut.t");
        assert_eq!(found, rows, "{change}");
        let found = read(
            session.as_mut(),
            "SELECT sorting_key FROM system.tables WHERE database = 'cut' AND name = 't'",
        );
        assert_eq!(found, key);
        operator.cleanup(&mut migrating, false).unwrap();
    }
}

/// A table of many partitions is cloned before the gate is closed; what comes and goes until then is in the clone too. (The
/// proof would find what is not, and repair it.)
#[test]
fn a_clone_that_was_made_ahead_is_that_of_the_moment_of_the_cut() {
    let engine = open();
    let mut session = engine.user_session(&[]).unwrap();
    for insert in [
        "SELECT number, 9, 'many', number % 106 FROM numbers(318)",
        "SELECT 1000 + number, 9, 'many', 88 + number % 4 FROM numbers(40)",
    ] {
        let insert =
            format!("INSERT INTO cut.t {insert} SETTINGS max_partitions_per_insert_block = 0");
        session.command(&insert).unwrap();
    }
    let changes = [
        "INSERT INTO cut.t SELECT 5000 + number, 2, 'late', 79 + number % 3 FROM numbers(9)",
        "INSERT INTO cut.t SELECT 6000 + number, 2, 'new', 220 FROM numbers(9)",
        "OPTIMIZE TABLE cut.t PARTITION 90 FINAL",
        "ALTER TABLE cut.t DROP PARTITION 91",
        "ALTER TABLE cut.t REPLACE PARTITION 92 FROM cut.t",
        "ALTER TABLE cut.t DETACH PARTITION 93",
        "ALTER TABLE cut.t ATTACH PARTITION 93",
        "INSERT INTO cut.t SELECT 7000, 2, 'gone', 221",
        "ALTER TABLE cut.t DROP PARTITION 221",
    ];
    // Two rewrites, of which one finds too much changed and clones all once more, and a clone.
    for (engine_name, key, change) in [
        ("MergeTree", "kind, id", "DELETE FROM cut.t IN PARTITION 94 WHERE id = 94"),
        (
            "MergeTree",
            "id, kind",
            "INSERT INTO cut.t SELECT 8000 + number, 2, 'all', number FROM numbers(106) \
             SETTINGS max_partitions_per_insert_block = 0",
        ),
        (
            "ReplacingMergeTree",
            "id, kind",
            "ALTER TABLE cut.t UPDATE town = 'changed' IN PARTITION 95 WHERE 1 SETTINGS mutations_sync = 1",
        ),
    ] {
        let steps = Steps::default();
        let operator = Operator::open(&*engine, OperatorOptions::default(), &steps).unwrap();
        let user = parking_lot::Mutex::new(Some(engine.user_session(&[]).unwrap()));
        fail::cfg_callback("cloned-ahead", move || {
            if let Some(mut session) = user.lock().take() {
                for change in changes.iter().chain([&change]) {
                    session.command(change).unwrap();
                }
            }
        })
        .unwrap();
        let next = Table {
            engine: Engine { name: engine_name.to_owned(), arguments: vec![] },
            ..table(key)
        };
        let mut migrating = applied_to(&engine, &operator, next);
        fail::remove("cloned-ahead");
        let migration = &migrating.migration;
        let mut of = |table: &str| {
            let query = format!(
                "SELECT count(), sum(cityHash64(*)), countIf(town = 'late') FROM cut.{table}"
            );
            read(session.as_mut(), &query)
        };
        assert_eq!(of(&migration.blue.name), of(&migration.green.name), "{engine_name} {key}");
        let steps = steps.0.lock().clone();
        assert!(!steps.contains(&Step::Repair), "{engine_name} {key}: {steps:?}");
        operator.cutover(&mut migrating, Cutover::Exchange).unwrap();
        operator.cleanup(&mut migrating, false).unwrap();
    }
}

/// One that is sent piece by piece, and of which no piece comes.
#[test]
fn a_cut_that_is_held_up_names_the_inserts() {
    let engine = open();
    let patience = Duration::from_millis(10);
    let options = OperatorOptions {
        gate_patience: patience,
        fence_timeout: Duration::ZERO,
        ..OperatorOptions::default()
    };
    let operator = Operator::open(&*engine, options, &Silent).unwrap();
    let plan = plan_for(&engine, table("kind, id"));
    let mut user = engine.user_session(&[]).unwrap();
    let long = user.insert("INSERT INTO cut.t (id, town)", Format::JSON_EACH_ROW).unwrap();
    let refused = operator.apply(&plan).unwrap_err().to_string();
    drop(long);
    let words = ["query_id ", " of default, for ", " s now (INSERT INTO cut.t (id, town) "];
    assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    operator.apply(&plan).unwrap();
}

/// The steps that were taken.
#[derive(Default)]
struct Steps(parking_lot::Mutex<Vec<Step>>);

impl Observer for Steps {
    fn update(&self, update: Update<'_>) {
        if let Update::Began { step, .. } = update {
            self.0.lock().push(step);
        }
    }
}

/// An INSERT that fails behind the proof, between its two tables, is in the old one alone.
#[test]
fn what_an_insert_that_was_cut_off_left_in_the_old_table_comes_to_the_new_one() {
    let engine = open();
    let operator = Operator::open(&*engine, OperatorOptions::default(), &Silent).unwrap();
    let mut migrating = applied(&engine, &operator, "kind, id");
    let user = parking_lot::Mutex::new(engine.user_session(&[]).unwrap());
    fail::cfg_callback("cutover-opened", move || {
        user.lock()
            .command(
                "INSERT INTO cut.t SELECT 1000000 + number, 1, 'cut off', 0 FROM numbers(3) \
                 WHERE throwIf(number = 2) = 0 SETTINGS max_threads = 1, max_insert_threads = 1, \
                     max_block_size = 1, min_insert_block_size_rows = 1, \
                     min_insert_block_size_rows_for_materialized_views = 1000000",
            )
            .unwrap_err();
    })
    .unwrap();
    operator.cutover(&mut migrating, Cutover::Exchange).unwrap();
    fail::remove("cutover-opened");
    let mut session = engine.user_session(&[]).unwrap();
    let mut count = |table| read(session.as_mut(), &format!("SELECT count() FROM cut.{table}"));
    let new = migrating.migration.blue.name.clone();
    let old = migrating.migration.green.name.clone();
    assert_eq!((count(&old), count(&new)), ("30001".to_owned(), "30001".to_owned()));

    // Whoever writes to the old table itself, by the new version's name, is not forgotten.
    let mut user = engine.user_session(&[]).unwrap();
    user.command(&format!("INSERT INTO cut.{old} SELECT 2000000, 1, 'lost', 0")).unwrap();
    let refused = operator.cleanup(&mut migrating, false).unwrap_err().to_string();
    assert!(refused.contains("1 rows that cut.t lacks"), "{refused}");
    operator.cleanup(&mut migrating, true).unwrap();
}

/// `teal verify --watch` proves every minute, and what each proof and look found of parts grows with the table.
#[test]
fn of_proofs_and_looks_only_the_last_is_read_with_its_parts() {
    let engine = open();
    let operator = Operator::open(&*engine, OperatorOptions::default(), &Silent).unwrap();
    let mut migrating = applied(&engine, &operator, "kind, id");
    operator.prove(&mut migrating).unwrap();
    let entries = Journal::peek(&*engine).unwrap().pop_last().unwrap().1;
    let (mut proven, mut seen) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry.event {
            Event::Verified { parity, proven: of } => proven.push((parity.blue_rows, of.len())),
            Event::Seen { blue } => seen.push((blue.time > 0, blue.parts.len())),
            _ => (),
        }
    }
    assert_eq!(proven, [(30_000, 0), (30_000, 3)]);
    // The first is of the fence.
    assert_eq!(seen, [(true, 0), (true, 0), (true, 3)]);
}

/// A server may refuse the statement that publishes a chunk. The view goes on to make parts of green then.
#[test]
fn a_publication_that_the_server_refuses_leaves_merges_on() {
    let engine = open();
    let operator = Operator::open(&*engine, OperatorOptions::default(), &Silent).unwrap();
    let plan = plan_for(&engine, table("kind, id"));
    let mut session = engine.session(&[]).unwrap();
    const GREEN: &str =
        "FROM system.tables WHERE database = 'cut' AND name != 't' AND engine = 'MergeTree'";
    let alter = |what: &'static str| {
        let user = parking_lot::Mutex::new(engine.user_session(&[]).unwrap());
        move || {
            let mut user = user.lock();
            let green = read(user.as_mut(), &format!("SELECT name {GREEN}"));
            user.command(&format!("ALTER TABLE cut.`{green}` {what}")).unwrap();
        }
    };
    fail::cfg_callback("publishing", alter("ADD COLUMN IF NOT EXISTS other UInt8")).unwrap();
    let mut merges_are_off = || {
        let sql = format!("SELECT engine_full LIKE '%max_bytes_to_merge%' {GREEN}");
        read(session.as_mut(), &sql)
    };
    // As long as what is in the way is there, nothing more can be done.
    operator.apply(&plan).unwrap_err();
    assert_eq!(merges_are_off(), "1");
    alter("DROP COLUMN other")();
    fail::cfg_callback("publication-failed", alter("DROP COLUMN IF EXISTS other")).unwrap();
    operator.apply(&plan).unwrap_err();
    assert_eq!(merges_are_off(), "0");
    fail::remove("publishing");
    fail::remove("publication-failed");
    operator.apply(&plan).unwrap();
    let mut migrating = operator.migrations().unwrap().pop().unwrap();
    operator.cutover(&mut migrating, Cutover::Exchange).unwrap();
    let found = read(session.as_mut(), "SELECT count(), uniqExact(id, part) FROM cut.t");
    assert_eq!(found, "30000\t30000");
}

/// An engine with a table of three partitions.
fn open() -> OwnEngine {
    let engine = OwnEngine::open();
    let mut session = engine.user_session(&[]).unwrap();
    session.command(&format!("CREATE DATABASE {DATABASE}")).unwrap();
    let old = table("id");
    session.command(&create_table(&old, &old.qualified(DATABASE), &[])).unwrap();
    for partition in 0..3 {
        let insert = format!(
            "INSERT INTO cut.t SELECT number, number % 7, 'a', {partition} FROM numbers(10000)"
        );
        session.command(&insert).unwrap();
    }
    drop(session);
    engine
}

/// A migration to this sorting key, up to its proof.
fn applied(engine: &EmbeddedEngine, operator: &Operator<'_>, key: &str) -> Migrating {
    applied_to(engine, operator, table(key))
}

fn applied_to(engine: &EmbeddedEngine, operator: &Operator<'_>, next: Table) -> Migrating {
    operator.apply(&plan_for(engine, next)).unwrap();
    operator.migrations().unwrap().pop().unwrap()
}

fn plan_for(engine: &EmbeddedEngine, next: Table) -> Plan {
    let schema = Schema { tables: vec![next], views: Vec::new() };
    let options =
        PlanOptions { database: DATABASE.to_owned(), cutover: Cutover::App, allow_drop: vec![] };
    let past = Migrating::all(&Journal::peek(engine).unwrap()).unwrap();
    make_plan(engine, engine, &schema, &BTreeSet::new(), &history(&past), &options).unwrap()
}

fn read(session: &mut dyn Session, sql: &str) -> String {
    let answer = session.run(sql, Format::TSV).unwrap();
    String::from_utf8(answer.body).unwrap().trim_end().to_owned()
}

fn table(key: &str) -> Table {
    let column = |name: &str, data_type: &str| Column {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
        key: false,
        default: None,
        comment: None,
        codec: None,
        ttl: None,
        renamed_from: None,
    };
    Table {
        name: "t".to_owned(),
        version: None,
        database: None,
        columns: [("id", "UInt64"), ("kind", "UInt8"), ("town", "String"), ("part", "UInt8")]
            .map(|(name, data_type)| column(name, data_type))
            .to_vec(),
        engine: Engine::merge_tree(),
        order_by: key.split(", ").map(str::to_owned).collect(),
        primary_key: None,
        partition_by: Some("part".to_owned()),
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
    }
}
