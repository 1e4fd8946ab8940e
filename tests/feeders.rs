//! What writes to the old table without a client that names it: Buffers, queues, views, Distributed tables.

use crate::server_migration::{REWRITTEN, ROWS, Stage};
use crate::servers::Modern;
use crate::support::{Held, Project};

const EVENTS: &str =
    "CREATE TABLE events (id UInt64, town String) ENGINE = MergeTree ORDER BY id;\n";
const VERSIONED: &str = "-- teal: table events version 1\n\
     CREATE TABLE events_1 (id UInt64, town String) ENGINE = MergeTree ORDER BY (town, id);\n\
     CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events;\n";

fn buffer(before: &str) -> String {
    format!(
        "CREATE TABLE buffer AS {before} ENGINE = Buffer(default, {before}, 1, 1000, 1000, 1000000, 1000000, 100000000, 100000000)"
    )
}

#[test]
fn a_buffer_is_told_and_its_table_does_not_go_while_it_is_there() {
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["apply"]);
    project.query("INSERT INTO events SELECT number, toString(number) FROM numbers(1000)");
    project.query(&buffer("events"));
    project.must(&["query", "INSERT INTO buffer VALUES (1000, 'late')"]);
    project.write("app/events.sql", &format!("{EVENTS}{VERSIONED}"));
    let told = [
        "default.buffer (Buffer)",
        "in the background",
        "OPTIMIZE TABLE `default`.`buffer`, DROP TABLE",
    ];
    project.teal(&["apply"]).failed(3, &told);
    project.query("DROP TABLE buffer");
    project.must(&["apply"]);
    project.must(&["cutover", "--by", "app"]);
    project.query(&buffer("events"));
    project.must(&["cutover"]);
    project
        .teal(&["cleanup"])
        .failed(3, &["default.buffer (Buffer) writes to default.events", "OPTIMIZE TABLE"]);
    project.query("DROP TABLE buffer");
    project.must(&["cleanup"]);
    assert_eq!(project.query("SELECT count() FROM events_1"), "1001");
}

/// One id of the background may stand for rows that were forwarded and for others.
#[test]
fn rows_that_come_from_the_background_within_a_cut_make_it_be_tried_again() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let apply = Held::at("view-created", "", stage.command(&["apply"]));
    stage.query(&buffer("events").replace("1, 1000, 1000", "1, 1, 1"));
    stage.query("INSERT INTO buffer VALUES (9000000, 'late', '2024-01-01 00:00:00')");
    stage.wait_for("SELECT count() FROM events WHERE id = 9000000");
    stage.query("DROP TABLE buffer");
    // The library gives them none (26.9), and newer servers one for all.
    stage.query("SYSTEM FLUSH LOGS");
    stage.query("ALTER TABLE system.part_log UPDATE query_id = 'BgBufSchPool::7' WHERE query_id = '' AND event_type = 'NewPart' SETTINGS mutations_sync = 1");
    let named = "SELECT countDistinct(table) FROM system.part_log WHERE query_id = 'BgBufSchPool::7' AND table LIKE 'events%'";
    assert_eq!(stage.query(named), "2");
    let run = apply.go_on();
    run.failed(0, &["without rows of the background"]);
    stage.assert_exact(ROWS + 1, &run.said());
}

#[test]
fn a_queue_is_told_with_all_that_its_rows_go_through() {
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["apply"]);
    project.query("CREATE TABLE raw (id UInt64, town String) ENGINE = MergeTree ORDER BY id");
    project.query("CREATE MATERIALIZED VIEW mv_raw TO events AS SELECT * FROM raw");
    // A process that has had the engine open before refuses it such a table (26.7).
    for statement in [
        "CREATE TABLE queue (id UInt64, town String) ENGINE = Kafka('127.0.0.1:1', 'topic', 'group', 'CSV')",
        "CREATE MATERIALIZED VIEW mv_queue TO raw AS SELECT * FROM queue",
    ] {
        project.must(&["query", statement]);
    }
    project.write("app/events.sql", &format!("{EVENTS}{VERSIONED}"));
    let plan = project.must(&["plan"]).said();
    let told = "default.queue (a queue, by default.mv_queue, default.mv_raw) writes";
    assert!(plan.contains(told), "{plan}");
    assert!(plan.contains("default.mv_raw (a view) writes into it, and goes on to"), "{plan}");
    project.must(&["query", "DROP TABLE queue"]);
    project.must(&["apply"]);
}

#[test]
fn a_table_stays_while_a_buffer_writes_to_it() {
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["apply"]);
    project.query(&buffer("events"));
    project.write("app/events.sql", "");
    project
        .teal(&["apply", "--allow-drop", "events"])
        .failed(3, &["default.buffer (Buffer) writes into it", "DROP TABLE `default`.`buffer`"]);
    project.query("DROP TABLE buffer");
    project.must(&["apply", "--allow-drop", "events"]);
}

/// A flush that runs across it may be in one table only, or in both, and nothing waits for it.
#[test]
fn an_exchange_on_a_server_is_refused_while_a_buffer_writes_to_either_name() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.query(&buffer("events"));
    let plan = stage.must(&["plan"]);
    assert!(plan.contains("default.buffer (Buffer) writes into it in the background"), "{plan}");
    stage.must(&["apply"]);
    let exchange = ["cutover", "--by", "exchange"];
    let told = ["default.buffer (Buffer) writes to default.events", "DETACH TABLE"];
    stage.teal(&exchange).failed(3, &told);
    stage.query("DETACH TABLE buffer");
    stage.must(&exchange);
    stage.query("ATTACH TABLE buffer");
    stage.teal(&["rollback"]).failed(3, &told);
    stage.query("DROP TABLE buffer");
    stage.must(&["rollback"]);
    stage.assert_exact(ROWS, "rollback");
}
