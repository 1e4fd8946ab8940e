//! The shadow database, on the embedded engine.
//! Clippy counts helpers as no tests, hence what is allowed here.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/engine.rs"]
mod engine;

use std::collections::BTreeSet;

use teal_catalog::{Catalog, Shadow, made_alike};
use teal_client::{Server as _, Session};
use teal_schema::{QualifiedName, Schema};

use crate::engine::OwnEngine;

fn schema(value: serde_json::Value) -> Schema {
    serde_json::from_value(value).unwrap()
}

fn count(session: &mut dyn Session, sql: &str) -> u64 {
    #[derive(serde::Deserialize)]
    struct Row {
        n: u64,
    }
    session.row::<Row>(&format!("SELECT count() AS n FROM {sql}")).unwrap().n
}

fn table(name: &str, data_type: &str, order_by: &str) -> serde_json::Value {
    serde_json::json!({
        "name": name,
        "columns": [{ "name": "id", "type": data_type }, { "name": "made", "type": "Date" }],
        "engine": { "name": "MergeTree" },
        "orderBy": [order_by],
        "location": { "file": "app/t.ts", "line": 1 },
    })
}

/// Of all that the schema has, beside an empty target.
fn shadow_of<'e>(engine: &'e OwnEngine, schema: &Schema) -> Shadow<'e> {
    let (there, accepted) = (Catalog::default(), BTreeSet::new());
    Shadow::create(&**engine, &**engine, &there, schema, "default", &accepted).unwrap()
}

#[test]
fn a_view_in_the_shadow_gets_no_rows_of_the_users() {
    let engine = OwnEngine::open();
    let mut session = engine.session(&[]).unwrap();
    session.command("CREATE TABLE raw (id UInt64) ENGINE = MergeTree ORDER BY id").unwrap();
    // `raw` is declared in no model.
    let schema = schema(serde_json::json!({
        "tables": [table("events", "UInt64", "id")],
        "views": [{
            "name": "mv",
            "select": "SELECT id, today() AS made FROM raw",
            "selectTables": [],
            "target": { "name": "events" },
            "location": { "file": "app/v.ts", "line": 1 },
        }],
    }));
    let mut shadow = shadow_of(&engine, &schema);
    session.command("INSERT INTO raw VALUES (1)").unwrap();
    let target = shadow.name(&QualifiedName::new("default", "events"));
    assert_eq!(count(session.as_mut(), &target.sql()), 0);
    let view = shadow.name(&QualifiedName::new("default", "mv"));
    let catalog = shadow.catalog().unwrap();
    let text = shadow.unshadowed(&catalog.table(&view).unwrap().as_select);
    assert_eq!(text, "SELECT id, today() AS made FROM default.raw");
}

#[test]
fn only_the_statement_that_made_a_table_is_alike() {
    let engine = OwnEngine::open();
    let mut session = engine.session(&[]).unwrap();
    session
        .command("CREATE TABLE a (id UInt64, made Date) ENGINE = MergeTree ORDER BY (id, made % 7)")
        .unwrap();
    let catalog = Catalog::read(session.as_mut(), &["default"]).unwrap();
    let a = catalog.table(&QualifiedName::new("default", "a")).unwrap();
    let declared = schema(serde_json::json!({ "tables": [
        table("a", "UInt64", "(id, made%7)"),
        // The same type by another name: no shadow tells that they are the same.
        table("a", "BIGINT UNSIGNED", "(id, made % 7)"),
        table("a", "UInt32", "(id, made % 7)"),
        table("a", "UInt64", "(id, made % 8)"),
        table("a", "UInt64", "(id, "),
    ]}));
    let pairs = declared.tables.iter().map(|table| (table, a)).collect::<Vec<_>>();
    let alike = made_alike(session.as_mut(), &pairs).unwrap();
    assert_eq!(alike, [true, false, false, false, false]);
}

#[test]
fn a_table_that_needs_none_has_no_shadow() {
    let engine = OwnEngine::open();
    let schema = schema(serde_json::json!({
        "tables": [table("a", "UInt64", "id"), table("b", "UInt64", "id"), table("c", "UInt64", "id")],
        "views": [{
            "name": "v",
            "select": "SELECT id FROM b",
            "selectTables": [{ "name": "b" }],
            "location": { "file": "app/v.ts", "line": 1 },
        }],
    }));
    let without = schema.tables.iter().map(teal_schema::Table::reference).take(2).collect();
    let mut shadow =
        Shadow::create(&*engine, &*engine, &Catalog::default(), &schema, "default", &without)
            .unwrap();
    let catalog = shadow.catalog().unwrap();
    let names = catalog.tables().map(|table| table.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["b", "c", "v"]);
}

#[test]
fn a_queue_has_no_shadow_that_could_consume_it() {
    let engine = OwnEngine::open();
    let kafka = serde_json::json!({
        "name": "queue",
        "columns": [{ "name": "id", "type": "BIGINT" }],
        "engine": { "name": "Kafka", "arguments": [
            "'127.0.0.1:1'", "'topic'", "'group'", "'JSONEachRow'",
        ] },
        "settings": { "kafka_num_consumers": "1" },
        "comment": "ENGINE = none",
        "location": { "file": "app/t.ts", "line": 1 },
    });
    let mut replicated = table("replicated", "UInt64", "id");
    replicated["engine"] = serde_json::json!({ "name": "ReplicatedReplacingMergeTree", "arguments": [
        "'/tables/{shard}/replicated'", "'{replica}'", "made",
    ] });
    let schema = schema(serde_json::json!({ "tables": [kafka, replicated] }));
    let mut shadow = shadow_of(&engine, &schema);
    let queue = shadow.name(&QualifiedName::new("default", "queue"));
    #[derive(serde::Deserialize)]
    struct Row {
        engine: String,
    }
    let made = |name: &str| {
        let sql = format!(
            "SELECT engine FROM system.tables WHERE database = {} AND name = '{name}'",
            teal_schema::quote_string(&queue.database)
        );
        engine.session(&[]).unwrap().row::<Row>(&sql).unwrap().engine
    };
    assert_eq!(made("queue"), "Null");
    assert_eq!(made("replicated"), "ReplacingMergeTree");
    // What it says of them is what was declared.
    let catalog = shadow.catalog().unwrap();
    let said = catalog.table(&queue).unwrap();
    assert_eq!(said.columns[0].data_type, "Int64");
    assert_eq!(
        said.engine_full,
        "Kafka('127.0.0.1:1', 'topic', 'group', 'JSONEachRow') SETTINGS kafka_num_consumers = 1"
    );
    let replicated = shadow.name(&QualifiedName::new("default", "replicated"));
    assert_eq!(
        catalog.table(&replicated).unwrap().engine_full,
        "ReplicatedReplacingMergeTree('/tables/{shard}/replicated', '{replica}', made) ORDER BY id \
         SETTINGS index_granularity = 8192"
    );
}
