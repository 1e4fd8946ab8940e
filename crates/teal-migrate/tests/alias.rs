//! The cutover by alias on the embedded engine, there and back again and again under traffic: no INSERT and
//! no SELECT fails, and no row is lost or doubled.
//! Clippy counts helpers as no tests, hence what is allowed here.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/engine.rs"]
mod engine;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use teal_client::{Format, Server as _};
use teal_migrate::{Journal, Migrating, Operator, OperatorOptions, Silent, history};
use teal_plan::{Cutover, PlanOptions, make_plan};
use teal_schema::Schema;

use crate::engine::OwnEngine;

const ROUNDS: u32 = 4;
/// Between two statements of a user.
const PAUSE: Duration = Duration::from_millis(2);
const WRITERS: u64 = 4;
const READERS: u64 = 2;

/// `events` 0 and 1, another sorting key, and the view between them.
fn schema() -> Schema {
    let at = serde_json::json!({"file": "app/events.ts", "line": 1});
    let columns =
        serde_json::json!([{"name": "writer", "type": "UInt64"}, {"name": "id", "type": "UInt64"}]);
    let table = |version: &str, order_by: [&str; 2]| {
        serde_json::json!({
            "name": "events", "version": version, "columns": columns, "orderBy": order_by, "location": at,
        })
    };
    let [old, new] =
        ["0", "1"].map(|version| serde_json::json!({"name": "events", "version": version}));
    serde_json::from_value(serde_json::json!({
        "tables": [table("0", ["id", "writer"]), table("1", ["writer", "id"])],
        "views": [{
            "name": "mv_events", "select": "SELECT * FROM events_0", "selectTables": [old], "target": new,
            "location": at,
        }],
    }))
    .unwrap()
}

#[test]
fn a_swap_of_the_alias_loses_and_doubles_nothing_there_and_back() {
    let engine = OwnEngine::open();
    let plan = || {
        let database = "default".to_owned();
        let options = PlanOptions { database, cutover: Cutover::Alias, allow_drop: Vec::new() };
        let past = history(&Migrating::all(&Journal::peek(&*engine).unwrap()).unwrap());
        make_plan(&*engine, &*engine, &schema(), &BTreeSet::new(), &past, &options).unwrap()
    };
    let query = |sql: &str| {
        let body = engine.session(&[]).unwrap().run(sql, Format::TSV).unwrap().body;
        String::from_utf8(body).unwrap().trim_end().to_owned()
    };
    let operator = Operator::open(&*engine, OperatorOptions::default(), &Silent).unwrap();
    operator.apply(&plan()).unwrap();
    assert_eq!(plan().operations, []);
    let mut migrating = operator.migrations().unwrap().pop().unwrap();

    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let (engine, stop, written) = (&engine, &stop, &written);
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let mut session = engine.user_session(&[]).unwrap();
                let mut from = 0;
                while !stop.load(Ordering::Relaxed) {
                    let rows = 1 + from % 50;
                    session
                        .command(&format!(
                            "INSERT INTO events SELECT {writer}, {from} + number FROM numbers({rows})"
                        ))
                        .unwrap();
                    from += rows;
                    thread::sleep(PAUSE);
                }
                written.fetch_add(from, Ordering::Relaxed);
            });
        }
        for _ in 0..READERS {
            scope.spawn(move || {
                let mut session = engine.user_session(&[]).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    session.command("SELECT count() FROM events WHERE id < 100").unwrap();
                    thread::sleep(PAUSE);
                }
            });
        }
        for _ in 0..ROUNDS {
            operator.cutover(&mut migrating, Cutover::Alias).unwrap();
            operator.rollback(&mut migrating, false).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let rows = written.into_inner();
    let each = format!("{rows}\t{rows}");
    for table in ["events", "events_0", "events_1"] {
        let found = query(&format!("SELECT count(), uniqExact(writer, id) FROM {table}"));
        assert_eq!(found, each, "{table}");
    }
    operator.cutover(&mut migrating, Cutover::Alias).unwrap();
    operator.cleanup(&mut migrating, false).unwrap();
    assert_eq!(query("SHOW TABLES"), "events\nevents_1");
    assert_eq!(query("SELECT count(), uniqExact(writer, id) FROM events"), each);
}
