//! The exchange, on a server, of a table whose engine adds rows up: its parts tell what its rows do not.

use std::time::Duration;

use crate::server_exchange::{BOTH, EXCHANGE, applied, exchange_with_late_rows};
use crate::server_migration::{ROWS, Stage, insert};
use crate::support::Held;

/// The ids are added up for each town and time.
const BY_SUM: &str = "CREATE TABLE events_1 (id UInt64, town String, at DateTime) ENGINE = SummingMergeTree \
     PARTITION BY toYYYYMM(at) ORDER BY (town, at);\n";

/// These tables have the sums of all rows that were written, and merges are on.
fn assert_sums(stage: &Stage, tables: &[&str], said: &str) {
    let sum = |from: u64, rows: u64| (from..from + rows).sum::<u64>();
    let written = stage.inserted().into_iter().map(|(from, rows)| sum(from, rows)).sum::<u64>();
    let expected = (sum(0, ROWS) + written).to_string();
    let seen = |table: &str| stage.query(&format!("SELECT sum(id) FROM {table}"));
    for table in tables {
        assert_eq!(seen(table), expected, "{said}: {table}");
    }
    stage.assert_merges_are_on(said);
    for table in tables {
        assert_eq!(seen(table), expected, "{said}: {table}, merged");
    }
    let by_key = |table: &str| {
        format!(
            "SELECT sum(cityHash64(*)) FROM (SELECT town, at, sum(id) FROM {table} GROUP BY town, at)"
        )
    };
    let first = stage.query(&by_key(tables[0]));
    assert!(tables.iter().all(|table| stage.query(&by_key(table)) == first), "{said}");
}

#[test]
fn a_table_that_adds_rows_up_is_exchanged_on_a_server_there_and_back() {
    let stage = applied(BY_SUM);
    stage.under_traffic(4, || drop(stage.must(EXCHANGE)));
    assert_eq!(stage.sorting_key("events"), "town, at");
    assert_sums(&stage, BOTH, "exchanged");
    stage.under_traffic(4, || drop(stage.must(&["rollback"])));
    assert_eq!(stage.sorting_key("events"), "id");
    assert_sums(&stage, BOTH, "rolled back");
    stage.must(EXCHANGE);
    stage.must(&["cleanup"]);
    assert_sums(&stage, &["events"], "cleaned");
}

/// The readers' table has every row. What the other one has missed, folded rows do not tell.
#[test]
fn an_exchange_of_sums_that_is_killed_loses_nothing_that_readers_see() {
    let before = ["view-dropped", "carried-attached"];
    let behind = ["exchanged", "view-made-anew"];
    for step in before.into_iter().chain(behind) {
        let mut stage = applied(BY_SUM);
        stage.pace = (50, Duration::from_millis(20));
        let failpoint = format!("{step}=return");
        stage.under_traffic(2, || stage.killed_at(&failpoint, EXCHANGE));
        stage.under_traffic(2, || drop(stage.must(&["status"])));
        let run = stage.teal(EXCHANGE);
        assert_eq!(run.code, Some(0), "{step}: {}", run.said());
        assert_eq!(stage.sorting_key("events"), "town, at", "{step}");
        let is_current = stage.query("EXISTS VIEW mv_events") == "1";
        // Parts are attached before the exchange and behind it.
        let is_either = step == "carried-attached";
        assert!(is_either || is_current == before.contains(&step), "{step}: {}", run.said());
        assert_eq!(run.stderr.contains("it is not kept current"), !is_current, "{}", run.said());
        stage.under_traffic(1, || ());
        assert_sums(&stage, if is_current { BOTH } else { &["events"] }, step);
        if is_current {
            stage.under_traffic(2, || stage.killed_at(&failpoint, &["rollback"]));
            stage.must(&["rollback"]);
            assert_eq!(stage.sorting_key("events"), "id", "{step}");
            let whole = if is_either { &BOTH[..1] } else { BOTH };
            assert_sums(&stage, whole, &format!("{step}, rolled back"));
            stage.must(&["abort", "--force"]);
        } else {
            stage.teal(&["rollback"]).failed(3, &["cannot be carried back"]);
            stage.must(&["cleanup"]);
        }
        assert_sums(&stage, &["events"], step);
        eprintln!("killed at {step}: no sum is another");
    }
}

/// Where its names have changed places already, the readers are on a whole table too.
#[test]
fn a_rollback_of_sums_that_is_killed_loses_nothing_that_readers_see() {
    let mut stage = applied(BY_SUM);
    stage.must(EXCHANGE);
    stage.pace = (50, Duration::from_millis(20));
    stage.under_traffic(2, || stage.killed_at("exchanged=return", &["rollback"]));
    stage.under_traffic(2, || drop(stage.must(&["rollback"])));
    assert_eq!(stage.sorting_key("events"), "id");
    assert_sums(&stage, &["events"], "rolled back");
    // The new table may have missed what came in that moment.
    stage.must(&["abort", "--force"]);
    assert_sums(&stage, &["events"], "aborted");
}

/// Without a view, such a row is in the old table before anybody can refuse it.
#[test]
fn a_row_that_only_green_refuses_holds_up_nobody() {
    let checked =
        BY_SUM.replace("at DateTime)", "at DateTime, CONSTRAINT few CHECK id < 9000000000)");
    let stage = applied(&checked);
    let cutover = Held::at("view-dropped", "", stage.command(EXCHANGE));
    stage.query(&insert(9_000_000_000, 1, 0));
    cutover.go_on().failed(1, &["few", "may lack rows", "`teal abort`"]);
    assert_eq!(stage.sorting_key("events"), "id");
    stage.must(&["abort", "--force"]);
    stage.query("OPTIMIZE TABLE events FINAL");
    assert_eq!(stage.query("SELECT count() FROM events"), (ROWS + 1).to_string());

    // The same when the names have changed places.
    stage.query("ALTER TABLE events DELETE WHERE id >= 9000000000 SETTINGS mutations_sync = 1");
    stage.must(&["apply"]);
    let cutover = Held::at("swapping", "", stage.command(EXCHANGE));
    stage.query(&insert(9_000_000_000, 1, 0));
    cutover.go_on().failed(1, &["few", "delete it from default.events_1"]);
    assert_eq!(stage.sorting_key("events"), "town, at");
    stage.query("OPTIMIZE TABLE events FINAL");
    stage.query("ALTER TABLE events_1 DELETE WHERE id >= 9000000000 SETTINGS mutations_sync = 1");
    stage.query(&insert(1_000_000, 100, 0));
    // It is told that the old table was changed; nothing else is left to do.
    stage.teal(EXCHANGE).failed(3, &["had happened", "changed in the moment of the cutover"]);
    stage.must(&["cleanup", "--force"]);
    let sum = (0..ROWS).chain(1_000_000..1_000_100).sum::<u64>();
    assert_eq!(stage.query("SELECT sum(id) FROM events"), sum.to_string());
}

/// With no view to the old table, what comes between the last look and the exchange is carried by its parts.
#[test]
fn what_is_written_in_a_rollback_of_sums_comes_back_with_it() {
    let stage = applied(BY_SUM);
    stage.killed_at("exchanged=return", EXCHANGE);
    stage.killed_at("view-given-up=return", EXCHANGE);
    stage.must(EXCHANGE);
    assert_eq!(stage.query("EXISTS VIEW mv_events"), "0");
    let rollback = Held::at("carried-back", "", stage.command(&["rollback"]));
    stage.query(&insert(5_000_000_000, 100, 0));
    let run = rollback.go_on();
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert_eq!(stage.sorting_key("events"), "id");
    let sum = (0..ROWS).sum::<u64>() + (5_000_000_000..5_000_000_100).sum::<u64>();
    assert_eq!(stage.query("SELECT sum(id) FROM events"), sum.to_string());
}

/// A merge hides that a part was dropped: its key is in the old table alone.
#[test]
fn what_was_dropped_from_sums_does_not_come_back() {
    let stage = applied(BY_SUM);
    stage.must(EXCHANGE);
    stage.query("SYSTEM STOP MERGES events");
    for town in ["one", "two", "three"] {
        stage.query(&format!(
            "INSERT INTO events SELECT 1, '{town}', toDateTime('2024-01-05 00:00:00')"
        ));
    }
    let part = "SELECT DISTINCT _part FROM events WHERE town = 'two'";
    stage.query(&format!("ALTER TABLE events DROP PART '{}'", stage.query(part)));
    stage.query("SYSTEM START MERGES events");
    stage.query("OPTIMIZE TABLE events FINAL");
    stage.teal(&["rollback"]).failed(3, &["was changed in place since the cutover", "lost rows"]);
    assert_eq!(stage.sorting_key("events"), "town, at");
}

/// The log of a server that was killed does not tell what the old table has missed while there was no view.
#[test]
fn a_rollback_of_sums_that_is_taken_back_untold_leaves_no_view() {
    let mut stage = applied(BY_SUM);
    stage.must(EXCHANGE);
    stage.query(&insert(5_000_000_000, 500, 0));
    stage.killed_at("view-dropped=return", &["rollback"]);
    stage.query(&insert(6_000_000_000, 500, 0));
    stage.modern.kill_and_start_again();
    stage.teal(EXCHANGE).failed(0, &["may lack rows", "it is not kept current"]);
    assert_eq!(stage.query("EXISTS VIEW mv_events"), "0");
    stage.must(&["cleanup"]);
    let written = (5_000_000_000..5_000_000_500).chain(6_000_000_000..6_000_000_500).sum::<u64>();
    let sum = (0..ROWS).sum::<u64>() + written;
    assert_eq!(stage.query("SELECT sum(id) FROM events"), sum.to_string());
    stage.query("OPTIMIZE TABLE events FINAL");
}

/// Of merged parts it is not known which of their rows were carried.
#[test]
fn sums_that_are_merged_in_the_midst_of_an_exchange_are_told() {
    let stage = applied(BY_SUM);
    exchange_with_late_rows(&stage, "exchanged", "town, at");
    stage.query("SYSTEM START MERGES events_1");
    stage.query("OPTIMIZE TABLE events_1 FINAL");
    let run = stage.teal(EXCHANGE);
    run.failed(0, &["were merged in the midst of the exchange", "it may lack some"]);
    stage.query(&insert(7_000_000_000, 500, 0));
    stage.query("OPTIMIZE TABLE events FINAL");
    stage.query("OPTIMIZE TABLE events_1 FINAL");
}
