//! The exchange of names on a server, where INSERTs go on: under traffic and beside the bare
//! `EXCHANGE TABLES`. (`server_killed.rs` kills it behind each of its writes.)

use std::time::{Duration, Instant};

use teal_catalog::{LeftOut, uses};
use teal_client::Server as _;
use teal_schema::{QualifiedName, quote_ident};

use crate::chaos::Proxy;
use crate::server_migration::{CLONED, EVENTS, REWRITTEN, ROWS, Stage, insert, open_insert};
use crate::servers::Modern;
use crate::support::{Background, Failpoint, Held, NO_REPAIR, Project, Run, until};

pub(crate) const EXCHANGE: &[&str] = &["cutover", "--by", "exchange"];

pub(crate) fn applied(next: &str) -> Stage {
    let stage = Stage::new(Modern::start(), next);
    allow(&stage, 300);
    stage.exactly(&["apply"]);
    stage
}

/// There or back, exactly. But a cut that the machine was too busy for is undone or brought to its end later, as after
/// a crash, and what one of the two tables lacks then is brought by a repair.
pub(crate) fn exchanged(stage: &Stage, arguments: &[&str]) {
    let run = Run::of(stage.command(arguments).env("FAILPOINTS", NO_REPAIR).output().unwrap());
    let is_clean =
        !["waiting for", "brought to its end later"].iter().any(|it| run.stderr.contains(it));
    assert!(run.code == Some(0) || run.killed && !is_clean, "teal {arguments:?}: {}", run.said());
    if !is_clean {
        stage.must(arguments);
        stage.must(&[if arguments == EXCHANGE { "verify" } else { "repair" }]);
    }
}

/// Lets cuts be tried for so many seconds: on a busy machine one may not be clean.
pub(crate) fn allow(stage: &Stage, seconds: u64) {
    let config = stage.config();
    let config = config.split("[migrate]").next().unwrap_or_default();
    stage.project.write("teal.toml", &format!("{config}\n[migrate]\nfence_timeout = {seconds}\n"));
}

#[test]
fn an_exchange_on_a_server_is_exact_under_traffic_there_and_back() {
    for (next, old_key, new_key) in [(REWRITTEN, "id", "town, id"), (CLONED, "id", "id")] {
        let stage = applied(next);
        let mut rows = ROWS;
        rows += stage.under_traffic(4, || exchanged(&stage, EXCHANGE));
        assert_eq!(stage.sorting_key("events"), new_key);
        stage.assert_exact(rows, "exchanged");
        rows += stage.under_traffic(4, || exchanged(&stage, &["rollback"]));
        assert_eq!(stage.sorting_key("events"), old_key);
        stage.assert_exact(rows, "rolled back");
    }
}

/// What the rest is good for: under the same traffic the bare statement leaves rows in one table only,
/// or twice in one.
#[test]
fn a_bare_exchange_fails_the_same_check() {
    let stage = applied(REWRITTEN);
    let server = stage.modern.open(|_| ());
    // Rows in one table only, and rows that one table has twice.
    let count = "SELECT countIf(least(old, new) = 0), countIf(greatest(old, new) > 1) FROM (\
         SELECT countIf(is_old) AS old, countIf(NOT is_old) AS new FROM (\
             SELECT 1 AS is_old, * FROM events UNION ALL SELECT 0 AS is_old, * FROM events_1) GROUP BY id, town, at)";
    // Mostly both are there after the first of these times.
    let has_both = |_| {
        stage.under_traffic(4, || {
            let mut session = teal_client::Server::user_session(&server, &[]).unwrap();
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(2) {
                // An even number of them, so that the names are as before.
                for _ in 0..20 {
                    session.command("EXCHANGE TABLES events AND events_1").unwrap();
                }
            }
        });
        let counted = stage.query(count);
        counted.split('\t').all(|rows| rows != "0")
    };
    assert!((0..10).any(has_both));
    assert_ne!(stage.difference(), "0");
}

/// A SELECT without a way back: the view goes for good, and what ran across is in the new layout.
#[test]
fn an_exchange_of_a_select_without_a_way_back_leaves_no_row_behind() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let models = std::fs::read_to_string(stage.project.path().join("app/events.sql")).unwrap();
    let upper = "SELECT id, upper(town) AS town, at FROM events";
    allow(&stage, 300);
    stage.project.write("app/events.sql", &models.replace("SELECT * FROM events", upper));
    stage.exactly(&["apply"]);
    let written = stage.under_traffic(3, || exchanged(&stage, EXCHANGE));
    assert_eq!(stage.sorting_key("events"), "town, id");
    let counts =
        stage.query("SELECT count(), uniqExact(id), countIf(town LIKE 'TOWN %') > 0 FROM events");
    let rows = ROWS + written;
    assert_eq!(counts, format!("{rows}\t{rows}\t1"));
    stage.assert_merges_are_on("exchanged");
}

#[test]
fn without_part_log_an_exchange_needs_a_quiet_moment() {
    let mut stage = Stage::new(Modern::start_with("<clickhouse/>"), REWRITTEN);
    stage.must(&["apply"]);
    stage.pace = (50, Duration::ZERO);
    let written = stage.under_traffic(3, || {
        allow(&stage, 5);
        stage.teal(EXCHANGE).failed(3, &["no clean cut", "part_log"]);
    });
    assert_eq!(stage.sorting_key("events"), "id");
    stage.must(EXCHANGE);
    assert_eq!(stage.sorting_key("events"), "town, id");
    stage.assert_exact(ROWS + written, "quiet");
}

#[test]
fn a_migration_in_place_on_a_server_keeps_its_name_and_every_row() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.query("CREATE VIEW towns AS SELECT town, count() AS n FROM events GROUP BY town");
    allow(&stage, 300);
    stage.project.write("app/events.sql", &EVENTS.replace("ORDER BY id", "ORDER BY (town, id)"));
    let written = stage.under_traffic(2, || {
        stage.must(&["apply"]);
        let said = stage.teal(&["cutover"]);
        assert_eq!(said.code, Some(0), "{}", said.said());
        assert!(said.stderr.contains("default.towns follows"), "{}", said.said());
        stage.must(&["cleanup"]);
    });
    assert_eq!(stage.sorting_key("events"), "town, id");
    let rows = ROWS + written;
    assert_eq!(stage.query("SELECT count(), uniqExact(id) FROM events"), format!("{rows}\t{rows}"));
    assert_eq!(stage.query("SELECT sum(n) FROM towns"), rows.to_string());
    assert_eq!(stage.query("SHOW TABLES"), "events\ntowns");
}

#[test]
fn a_table_whose_new_engine_goes_by_the_order_is_not_exchanged_on_a_server() {
    let last = CLONED.replace("ENGINE = MergeTree", "ENGINE = ReplacingMergeTree");
    let stage = Stage::new(Modern::start(), &last);
    stage.must(&["apply"]);
    stage.teal(EXCHANGE).failed(3, &["default.events_1 folds rows", "--by app"]);
    assert_eq!(stage.query("SELECT count() FROM events"), ROWS.to_string());
}

/// Of the 5,000 keys the row with the greatest id stays, in whatever order they come.
const BY_VERSION: &str = "CREATE TABLE events_1 (id UInt64, town String, at DateTime) ENGINE = ReplacingMergeTree(id) \
     PARTITION BY toYYYYMM(at) ORDER BY (town, id % 5000);\n";

pub(crate) const BOTH: &[&str] = &["events", "events_1"];

/// These tables have the newest of all rows that were written, and merges are on.
fn assert_newest(stage: &Stage, tables: &[&str], said: &str) {
    let mut newest = std::collections::BTreeMap::new();
    let first = (0..ROWS).map(|id| (id, 1));
    for (from, rows) in first.chain(stage.inserted()) {
        for id in from..from + rows {
            let newest = newest.entry(id % 5000).or_insert(id);
            *newest = id.max(*newest);
        }
    }
    let expected = format!("{}\t{}", newest.len(), newest.values().sum::<u64>());
    let seen = |table: &str| {
        format!(
            "SELECT count(), sum(newest) FROM (SELECT max(id) AS newest FROM {table} GROUP BY town, id % 5000)"
        )
    };
    for table in tables {
        assert_eq!(stage.query(&seen(table)), expected, "{said}: {table}");
    }
    stage.assert_merges_are_on(said);
    for table in tables {
        assert_eq!(stage.query(&seen(table)), expected, "{said}: {table}, merged");
    }
}

#[test]
fn a_table_that_goes_by_a_version_is_exchanged_on_a_server_there_and_back() {
    let mut stage = applied(BY_VERSION);
    stage.under_traffic(4, || exchanged(&stage, EXCHANGE));
    assert_eq!(stage.sorting_key("events"), "town, id % 5000");
    assert_newest(&stage, BOTH, "exchanged");
    stage.under_traffic(4, || exchanged(&stage, &["rollback"]));
    assert_eq!(stage.sorting_key("events"), "id");
    assert_newest(&stage, BOTH, "rolled back");

    stage.pace = (50, Duration::from_millis(20));
    let steps = ["carried-attached", "view-made-anew"];
    for step in steps {
        let failpoint = format!("{step}=return");
        stage.under_traffic(2, || stage.killed_at(&failpoint, EXCHANGE));
        stage.under_traffic(1, || drop(stage.must(EXCHANGE)));
        assert_eq!(stage.sorting_key("events"), "town, id % 5000", "{step}");
        assert_newest(&stage, BOTH, step);
        stage.under_traffic(2, || stage.killed_at(&failpoint, &["rollback"]));
        stage.under_traffic(1, || {
            stage.must(&["rollback"]);
            // What came while there was no view.
            stage.must(&["repair"]);
        });
        assert_eq!(stage.sorting_key("events"), "id", "{step}");
        assert_newest(&stage, BOTH, step);
    }
    stage.must(EXCHANGE);
    stage.must(&["cleanup"]);
}

/// The everyday case: such a table gets another order, and nothing else.
#[test]
fn a_table_that_goes_by_a_version_gets_another_order_in_place_on_a_server() {
    let before =
        BY_VERSION.replace("events_1", "events").replace("town, id % 5000", "id % 5000, town");
    let project = Project::new(&[("app/events.sql", &before)]);
    let stage = Stage::of(Modern::start(), project, &BY_VERSION.replace("events_1", "events"));
    allow(&stage, 300);
    stage.under_traffic(3, || {
        stage.exactly(&["apply", "--chunk-rows", "10000"]);
        stage.must(&["cutover"]);
    });
    assert_eq!(stage.sorting_key("events"), "town, id % 5000");
    assert_newest(&stage, &["events"], "in place");
    stage.must(&["cleanup"]);
    assert_newest(&stage, &["events"], "cleaned");
    assert_eq!(stage.query("SHOW TABLES"), "events");
}

/// A user writes a row over with one of the same version, while a rollback looks at clones of the two tables: what it
/// brings back must not hide that row.
#[test]
fn a_row_that_is_written_over_between_two_clones_stays_so() {
    let before = "CREATE TABLE events (id UInt64, town String, at DateTime) ENGINE = ReplacingMergeTree(at) ORDER BY id;\n";
    let after = before.replace("ORDER BY id", "PARTITION BY id % 2 ORDER BY id");
    let view = "CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events;\n";
    let models = format!(
        "{before}-- teal: table events version 1\n{}{view}",
        after.replace("events", "events_1")
    );
    let project = Project::new(&[("app/events.sql", before)]);
    let stage = Stage::of(Modern::start(), project, &models);
    stage.must(&["apply"]);
    let write = |table: &str, from: u64, town: &str| {
        // So many that each bucket of a comparison has some.
        stage.query(&format!(
            "INSERT INTO {table} SELECT {from} + number, '{town}', '2025-01-01 00:00:00' FROM numbers(200)"
        ));
    };
    write("events", 0, "first");
    write("events_1", 9_000_000, "to be brought back");
    let mut rollback = stage.command(&["rollback"]);
    // Behind the clone of green that rows are taken from.
    rollback.env("FAILPOINTS", "verify-table-cloned=4*off->1*sleep(6000)->off");
    let rollback = Background::start(rollback);
    let is_between = || {
        let clones = stage.query("SELECT sum(name LIKE '%verify_green' AND total_rows > 0), sum(name LIKE '%verify_later' AND total_rows = 0) FROM system.tables WHERE database = '_teal'");
        clones == "1\t1"
    };
    until("the clone", || {
        let was_between = is_between();
        std::thread::sleep(Duration::from_secs(1));
        (was_between && is_between()).then_some(())
    });
    write("events", 0, "second");
    stage.query("OPTIMIZE TABLE events FINAL");
    let run = rollback.finish();
    assert_eq!(run.code, Some(0), "{}", run.said());
    let shown = "SELECT countIf(town = 'second'), countIf(id >= 9000000) FROM events FINAL";
    assert_eq!(stage.query(shown), "200\t200", "{}", run.said());
}

/// The parts do not tell any more what was carried, and a version does.
#[test]
fn where_a_version_tells_it_parts_may_be_merged_in_the_midst_of_an_exchange() {
    let stage = applied(BY_VERSION);
    exchange_with_late_rows(&stage, "exchanged", "town, id % 5000");
    stage.query("SYSTEM START MERGES events_1");
    stage.query("OPTIMIZE TABLE events_1 FINAL");
    stage.query(&insert(6_000_000_000, 500, 0));
    let run = stage.teal(EXCHANGE);
    run.failed(0, &["were merged in the midst of the exchange"]);
    let shown = "SELECT max(id) FROM events";
    assert_eq!(stage.query(shown), "6000000499", "{}", run.said());
    let lost = "SELECT count() FROM (SELECT max(id) FROM events_1 GROUP BY town, id % 5000 \
         EXCEPT SELECT max(id) FROM events GROUP BY town, id % 5000)";
    assert_eq!(stage.query(lost), "0", "{}", run.said());
    stage.must(&["rollback"]);
}

#[test]
fn an_old_table_is_not_dropped_while_it_is_kept_or_used() {
    let stage = applied(REWRITTEN);
    stage.must(&["cutover"]);
    stage.teal(&["cleanup", "--retention", "7d"]).failed(3, &["default.events is kept until"]);
    stage.query("SELECT count() FROM events WHERE town = 'secret'");
    let refused = stage.teal(&["cleanup"]);
    refused
        .failed(3, &["default.events has been used since the cutover", "1 SELECTs, 0 INSERTs, "]);
    refused.failed(3, &[" a minute, the last at "]);
    assert!(!refused.stderr.contains("secret"), "{}", refused.said());
    let status = stage.must(&["status"]);
    assert!(status.contains("used     still, by default: 1 SELECTs"), "{status}");
    stage.must(&["cleanup", "--force"]);
    assert_eq!(stage.query("SHOW TABLES"), "events_1");
}

/// The log quotes a name that is no plain word where it is read, and not where it is written.
#[test]
fn whoever_uses_a_table_is_found_whatever_its_name() {
    let modern = Modern::start();
    let server = modern.open(|_| ());
    let mut user = server.user_session(&[]).unwrap();
    for (database, name) in
        [("my-shop", "events"), ("default", "all `events`"), ("default", "plain")]
    {
        let table = QualifiedName::new(database, name);
        for statement in [
            format!("CREATE DATABASE IF NOT EXISTS {}", quote_ident(database)),
            format!("CREATE TABLE {} (id UInt8) ENGINE = MergeTree ORDER BY id", table.sql()),
            format!("INSERT INTO {} SELECT 1", table.sql()),
            format!("SELECT id FROM {}", table.sql()),
            "SYSTEM FLUSH LOGS".to_owned(),
        ] {
            user.command(&statement).unwrap();
        }
        let mut session = server.session(&[]).unwrap();
        let hour = Duration::from_secs(3600);
        let used = uses(session.as_mut(), &table, &LeftOut::default(), hour).unwrap();
        let counts = used.iter().map(|by| (by.selects, by.inserts, by.per_minute));
        // Of an hour.
        assert_eq!(counts.collect::<Vec<_>>(), [(1, 1, Some(0.0333))], "{table}");
    }
}

#[test]
fn an_insert_that_is_only_forwarded_to_the_old_table_does_not_keep_it() {
    let stage = applied(REWRITTEN);
    stage.must(EXCHANGE);
    stage.query("INSERT INTO events VALUES (1000000000, 'new', now())");
    assert_eq!(
        stage.query(
            "SELECT count() FROM system.parts WHERE active AND table = 'events_1' AND rows = 1"
        ),
        "1"
    );
    stage.must(&["cleanup"]);
    // The other name stands for the new layout now.
    assert_eq!(stage.query("SELECT count() FROM events_1"), (ROWS + 1).to_string());
}

/// teal and the server die just behind the exchange, with rows in the old table that came in its last moment;
/// equal rows are written to the new one before teal comes back, and the server has merged what it could.
#[test]
fn an_exchange_on_a_server_that_was_started_anew_in_its_midst_loses_no_equal_row() {
    for killed_at in ["exchanged", "carrying", "carried-attached", "carried"] {
        let mut stage = applied(REWRITTEN);
        exchange_with_late_rows(&stage, killed_at, "town, id");
        stage.modern.kill_and_start_again();
        for from in [0, 5_000_000_000, 6_000_000_000] {
            stage.query(&insert(from, 500, 0));
        }
        for _ in 0..2 {
            stage.query(TWINS);
        }
        for table in ["events", "events_1"] {
            stage.query(&format!("OPTIMIZE TABLE {table}"));
        }
        stage.must(EXCHANGE);
        stage.assert_exact(ROWS + 20 + 2000 + 1500 + 20, killed_at);
    }
}

/// The ATTACH of late parts stopped in its midst: those of one partition are in the readers' table, two are not.
#[test]
fn late_parts_of_which_some_are_attached_are_each_attached_once() {
    let stage = applied(REWRITTEN);
    exchange_with_late_rows(&stage, "carrying", "town, id");
    attach_one_partition(&stage, "across", "events");
    let run = stage.teal(EXCHANGE);
    run.failed(0, &[]);
    assert!(!run.stderr.contains("were merged in the midst"), "{}", run.said());
    stage.assert_exact(ROWS + 20 + 2000, &run.said());
}

/// One that writes to the old table still: the readers' table must be merged meanwhile, and not when the late parts
/// are attached.
#[test]
fn an_insert_that_runs_across_an_exchange_for_long_holds_back_no_merges_of_the_readers_table() {
    let stage = applied(REWRITTEN);
    let (swapping, carrying) = (Failpoint::new(), Failpoint::new());
    let mut command = stage.command(EXCHANGE);
    let failpoints = [
        format!("swapping=1*{}", swapping.action()),
        format!("carrying=1*{}", carrying.action()),
        "longest-hold=return(2)".to_owned(),
    ];
    command.env("FAILPOINTS", failpoints.join(";"));
    let mut cutover = Background::start(command);
    assert!(swapping.is_reached_by(&mut cutover));
    let stopped = |table: &str| {
        stage.query(&format!(
            "SELECT count() FROM system.tables WHERE database = 'default' AND name = '{table}' \
                 AND match(engine_full, 'max_bytes_to_merge')"
        ))
    };
    let server = stage.modern.open(|_| ());
    let mut session = server.user_session(&[]).unwrap();
    let (insert, _) = open_insert(&stage, session.as_mut(), 5_000_000_000);
    swapping.release();
    until("the exchange", || (stage.sorting_key("events") == "town, id").then_some(()));
    until("merges", || (stopped("events") == "0").then_some(()));
    assert_eq!(stopped("events_1"), "1");
    insert.finish().unwrap();
    assert!(carrying.is_reached_by(&mut cutover));
    assert_eq!(stopped("events"), "1");
    carrying.release();
    let run = cutover.finish();
    run.failed(0, &[]);
    stage.assert_exact(ROWS + 1, &run.said());
    assert_eq!([stopped("events"), stopped("events_1")], ["0", "0"]);
}

/// It has begun merges before it knew of the stops: parts do not tell what is late then, and of equal rows nothing would.
#[test]
fn a_server_that_is_started_anew_just_before_an_exchange_makes_it_be_tried_again() {
    let mut stage = applied(REWRITTEN);
    let proxy = Proxy::start(stage.modern.port(), 0);
    let url = proxy.url();
    let command = stage.project.command(&[&["--url", &url], EXCHANGE].concat());
    let cutover = Held::at("swapping", "", command);
    stage.modern.kill_and_start_again();
    proxy.lead_to(stage.modern.port());
    let run = cutover.go_on();
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert!(run.stderr.contains("it was started anew"), "{}", run.said());
    assert_eq!(stage.sorting_key("events"), "town, id");
    stage.assert_exact(ROWS, &run.said());
}

#[test]
fn parts_that_a_user_merges_in_the_midst_of_an_exchange_are_told_apart_by_their_rows() {
    let stage = applied(REWRITTEN);
    exchange_with_late_rows(&stage, "exchanged", "town, id");
    stage.query("SYSTEM START MERGES events_1");
    stage.query("OPTIMIZE TABLE events_1 FINAL");
    stage.query(&insert(6_000_000_000, 500, 0));
    let run = stage.teal(EXCHANGE);
    run.failed(0, &["were merged in the midst of the exchange"]);
    stage.assert_exact(ROWS + 20 + 2000 + 500, &run.said());
}

/// A merge gives parts that were carried new names, and some minutes later the server has forgotten the old ones.
#[test]
fn late_parts_that_were_attached_and_then_merged_are_not_attached_again() {
    let mut stage = applied(REWRITTEN);
    exchange_with_late_rows(&stage, "carried-attached", "town, id");
    // Until then `SYSTEM STOP MERGES` keeps also a user from merging.
    stage.modern.kill_and_start_again();
    stage.query("ALTER TABLE events MODIFY SETTING old_parts_lifetime = 1, cleanup_delay_period = 1, cleanup_delay_period_random_add = 0");
    stage.query("OPTIMIZE TABLE events FINAL");
    let outdated = "SELECT count() FROM system.parts WHERE table = 'events' AND NOT active";
    until("the end of the parts", || (stage.query(outdated) == "0").then_some(()));
    let run = stage.teal(EXCHANGE);
    run.failed(0, &["were merged in the midst of the exchange"]);
    stage.assert_exact(ROWS + 20 + 2000, &run.said());
}

/// The rows of the old table do not tell what users have deleted in the new one from what it has not got yet.
#[test]
fn what_is_deleted_in_the_midst_of_an_exchange_does_not_come_back() {
    let mut stage = applied(REWRITTEN);
    exchange_with_late_rows(&stage, "carrying", "town, id");
    stage.modern.kill_and_start_again();
    stage.query(&insert(6_000_000_000, 500, 0));
    stage.query("DELETE FROM events WHERE id = 5");
    let rows = stage.query("SELECT count() FROM events");
    let run = stage.teal(EXCHANGE);
    run.failed(
        3,
        &["were merged in the midst of the exchange", "has changed default.events since"],
    );
    assert_eq!(stage.query("SELECT count() FROM events"), rows);
    // It has come to its end all the same.
    assert!(stage.must(&["status"]).contains("cut over"));
    stage.query("OPTIMIZE TABLE events FINAL");
    stage.query("OPTIMIZE TABLE events_1 FINAL");
}

/// What came first to a partition, or has been dropped there untold, is not told by rows either.
#[test]
fn a_partition_that_the_new_table_has_not_keeps_no_exchange_from_its_end() {
    let mut stage = applied(REWRITTEN);
    let cutover = Held::at("swapping", "exchanged=return", stage.command(EXCHANGE));
    stage.query("INSERT INTO events VALUES (1, 'late', '2030-01-01 00:00:00')");
    assert!(cutover.go_on().killed);
    stage.modern.kill_and_start_again();
    stage.query("INSERT INTO events_1 VALUES (2, 'late', '2030-01-01 00:00:00')");
    stage.query("OPTIMIZE TABLE events_1 FINAL");
    let run = stage.teal(EXCHANGE);
    run.failed(3, &["were merged in the midst of the exchange", "no rows of partition 203001"]);
    assert!(stage.must(&["status"]).contains("cut over"));
    stage.query("INSERT INTO events SELECT * FROM events_1 WHERE town = 'late'");
    stage.query("OPTIMIZE TABLE events FINAL");
    stage.query("OPTIMIZE TABLE events_1 FINAL");
}

/// An INSERT that fails between the two tables is in the old one alone. Behind the proof and before the
/// exchange, nothing forwards it any more.
#[test]
fn what_an_insert_that_was_cut_off_left_in_the_old_table_comes_to_the_new_one() {
    let stage = applied(REWRITTEN);
    let run = cut_off_behind(&stage, "cutover-opened", "exchanged=return", EXCHANGE);
    assert!(run.killed, "{}", run.said());

    let words = ["default.events_1 has 1 rows that default.events lacks", "`teal cutover`"];
    stage.teal(&["cleanup"]).failed(3, &words);
    stage.must(EXCHANGE);
    assert_eq!(stage.sorting_key("events"), "town, id");
    stage.assert_exact(ROWS + 1, "cut off");

    // On the way back it is the other table that lacks them.
    let run = cut_off_behind(&stage, "rollback-opened", "", &["rollback"]);
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert_eq!(stage.sorting_key("events"), "id");
    stage.assert_exact(ROWS + 2, "cut off on the way back");

    // What was deleted in the new table does not come back with it.
    stage.killed_at("exchanged=return", EXCHANGE);
    stage.query("DELETE FROM events WHERE id % 10 = 3 SETTINGS lightweight_deletes_sync = 0");
    stage.teal(EXCHANGE).failed(3, &["default.events was changed in place", "_row_exists = 0"]);
    assert_eq!(stage.query("SELECT countIf(id % 10 = 3) FROM events"), "0");
}

/// What the new table lacks later, users have deleted there: also of what came behind the exchange.
#[test]
fn what_is_deleted_in_the_new_table_stays_so() {
    let stage = applied(REWRITTEN);
    stage.must(EXCHANGE);
    stage.query("INSERT INTO events SELECT 1, 'later', toDateTime('2030-01-01 00:00:00')");
    for change in ["DROP PARTITION 203001", "DELETE WHERE id < 10 SETTINGS mutations_sync = 1"] {
        stage.query(&format!("ALTER TABLE events {change}"));
        let rows = stage.query("SELECT count() FROM events");
        stage.teal(EXCHANGE).failed(3, &["default.events_1 do not hold the same rows"]);
        assert_eq!(stage.query("SELECT count() FROM events"), rows, "{change}");
    }
    stage.must(&["cleanup"]);
}

/// A command that waits at a failpoint, and an INSERT that fails meanwhile.
fn cut_off_behind(stage: &Stage, failpoint: &str, others: &str, arguments: &[&str]) -> Run {
    let rows = stage.query("SELECT count() FROM events").parse::<u64>().unwrap();
    let command = Held::at(failpoint, others, stage.command(arguments));
    stage.teal(&["query", CUT_OFF]).failed(1, &["FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"]);
    assert_eq!(stage.query("SELECT count() FROM events"), (rows + 1).to_string());
    command.go_on()
}

/// It fails at the last of three rows, when one is in the table (a block is committed with the next one, 26.9) and
/// the view holds all of them back.
const CUT_OFF: &str = "INSERT INTO events \
     SELECT 9000000000 + number, 'cut off', toDateTime('2024-02-01 00:00:00') FROM numbers(3) WHERE throwIf(number = 2) = 0 \
     SETTINGS max_threads = 1, max_insert_threads = 1, max_block_size = 1, min_insert_block_size_rows = 1, \
         min_insert_block_size_rows_for_materialized_views = 1000000";

/// Of what teal was killed before it attached it, what the server may have done.
pub(crate) fn attach_one_partition(stage: &Stage, from: &str, to: &str) {
    let own = stage.query(&format!(
        "SELECT name FROM system.tables WHERE database = '_teal' AND total_rows > 0 AND match(name, '_{from}$')"
    ));
    let parts = "SELECT count() FROM system.parts WHERE active AND partition_id";
    let left = stage.query(&format!("{parts} != '202401' AND table = '{own}'"));
    assert_ne!(left, "0", "all of {own} is of one partition");
    stage.query(&format!("ALTER TABLE {to} ATTACH PARTITION ID '202401' FROM _teal.{own}"));
}

const TWINS: &str =
    "INSERT INTO events SELECT 7, 'twin', toDateTime('2024-02-01 00:00:00') FROM numbers(10)";

/// An exchange of which teal is killed, and which 2010 rows come to between the last list of parts and the
/// exchange of the names; some of them equal others.
pub(crate) fn exchange_with_late_rows(stage: &Stage, killed_at: &str, new_key: &str) {
    stage.query(TWINS);
    let kill = format!("{killed_at}=return");
    let cutover = Held::at("swapping", &kill, stage.command(EXCHANGE));
    for from in [0, 5_000_000_000] {
        stage.query(&insert(from, 1000, 0));
    }
    stage.query(TWINS);
    let run = cutover.go_on();
    assert!(run.killed, "{killed_at} was not reached: {}", run.said());
    assert_eq!(stage.sorting_key("events"), new_key);
}
