//! Tables of the users' that are dropped: nobody who reads them is waited for, and for some minutes they can be had
//! back.

use crate::server_migration::{REWRITTEN, ROWS, Stage};
use crate::servers::Modern;
use crate::support::{Background, Held, until};

/// Reads the table for a minute.
fn read_slowly(stage: &Stage, table: &str) -> Background {
    let slow = format!(
        "SELECT sleepEachRow(1) FROM {table} LIMIT 60 FORMAT Null \
         SETTINGS function_sleep_max_microseconds_per_block = 60000000"
    );
    let started = Background::start(stage.command(&["query", &slow]));
    until("the reader", || (stage.query(READERS) == "1").then_some(()));
    started
}

const READERS: &str = "SELECT countIf(query LIKE '%sleepEachRow(1) FROM %' AND query NOT LIKE '%system.processes%') \
     FROM system.processes";

#[test]
fn a_table_is_dropped_while_it_is_read_and_can_be_had_back() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    stage.must(&["cutover"]);
    let _reader = read_slowly(&stage, "events");
    stage.teal(&["cleanup"]).failed(3, &["has been used", "sleepEachRow"]);
    stage.must(&["cleanup", "--force"]);
    assert_eq!(stage.query(READERS), "1", "it reads on");
    assert_eq!(stage.query("EXISTS TABLE events"), "0");
    // Nor does the next command wait for it.
    stage.teal(&["verify"]).failed(3, &["the old table is gone"]);
    assert_eq!(stage.query(READERS), "1", "it reads on");

    let dropped = "SELECT table FROM system.dropped_tables WHERE database = '_teal' AND table LIKE '%_retired'";
    let table = stage.query(dropped);
    stage.query(&format!("UNDROP TABLE _teal.`{table}`"));
    assert_eq!(stage.query(&format!("SELECT count() FROM _teal.`{table}`")), ROWS.to_string());
}

/// Nothing forwards what comes to the old table behind the last look at it.
#[test]
fn what_comes_to_the_old_table_while_its_cleanup_goes_on_is_not_dropped_with_it() {
    let late = |id: u64| format!("INSERT INTO OLD VALUES ({id}, 'late', '2024-01-02 00:00:00')");
    for (by, old, new, step) in [
        ("exchange", "events_1", "events", "cleanup-opened"),
        ("app", "events", "events_1", "retiring-view-dropped"),
    ] {
        let stage = Stage::new(Modern::start(), REWRITTEN);
        stage.must(&["apply"]);
        stage.query(&late(7).replace("OLD", "events"));
        stage.must(&["cutover", "--by", by]);
        if by == "exchange" {
            // What both have is no matter, though it is as new, nor what users delete from the new one.
            stage.query(&late(7).replace("OLD", new));
            stage.query("DELETE FROM events WHERE id < 5");
        }
        // What comes stays apart for now.
        stage.query(&format!("SYSTEM STOP MERGES {old}"));
        let kill = if by == "app" { "retiring-gate-opened=return" } else { "" };
        let cleanup = Held::at(step, kill, stage.command(&["cleanup"]));
        stage.query(&late(8).replace("OLD", old));
        let words = ["_retired has 1 rows that", "when its cleanup had begun", "late", "--force"];
        match cleanup.go_on() {
            run if kill.is_empty() => run.failed(3, &words),
            run => assert!(run.killed, "{}", run.said()),
        }
        stage.teal(&["cleanup"]).failed(3, &words);
        let retired = stage.query(
            "SELECT name FROM system.tables WHERE database = '_teal' AND name LIKE '%_retired'",
        );
        if by == "exchange" {
            // A merge with older rows, of which users have deleted some, takes nothing of that back.
            stage.query(&format!("SYSTEM START MERGES _teal.`{retired}`"));
            stage.query(&format!("OPTIMIZE TABLE _teal.`{retired}` FINAL"));
            stage.teal(&["cleanup"]).failed(3, &[" rows that", "when its cleanup had begun"]);
        }
        stage.query(&format!("INSERT INTO {new} SELECT * FROM _teal.`{retired}` WHERE id = 8"));
        stage.must(if by == "exchange" { &["cleanup", "--force"] } else { &["cleanup"] });
        assert_eq!(
            stage.query(&format!("SELECT count() FROM {new} WHERE id = 8 AND town = 'late'")),
            "1",
            "{by}"
        );
        assert_eq!(stage.query("SHOW TABLES FROM _teal LIKE '%retired'"), "");
    }
}

/// As somebody does who wants to see whether anybody misses it.
#[test]
fn an_old_table_that_is_detached_is_not_taken_for_one_that_is_gone() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    stage.must(&["cutover"]);
    stage.query("DETACH TABLE events");
    for options in [&["cleanup"][..], &["cleanup", "--park", "7d"], &["cleanup", "--force"]] {
        stage.teal(options).failed(3, &["default.events is detached", "ATTACH TABLE"]);
    }
    stage.query("ATTACH TABLE events");
    stage.killed_at("cleanup-opened=return", &["cleanup", "--force"]);
    stage.query("DETACH TABLE events");
    stage.teal(&["cleanup"]).failed(3, &["default.events is detached", "ATTACH TABLE"]);
    stage.query("ATTACH TABLE events");
    stage.must(&["cleanup"]);
    assert_eq!(stage.query("SHOW TABLES"), "events_1");
}

#[test]
fn a_place_to_park_that_somebody_takes_meanwhile_is_another_one() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    stage.must(&["cutover"]);
    let place = stage.query(
        "SELECT concat('events_drop_', formatDateTime(now('UTC') + INTERVAL 7 DAY, '%Y%m%d'))",
    );
    let park = &["cleanup", "--park", "7d", "--force"];
    let make = format!("CREATE TABLE {place} (id UInt64) ENGINE = MergeTree ORDER BY id");
    stage.query(&make);
    stage.query(&format!("DETACH TABLE {place}"));
    stage.teal(park).failed(3, &["there is something of that name"]);
    stage.query(&format!("ATTACH TABLE {place}"));
    stage.query(&format!("DROP TABLE {place} SYNC"));

    let cleanup = Held::at("retiring-view-dropped", "", stage.command(park));
    stage.query(&make);
    cleanup.go_on().failed(1, &["TABLE_ALREADY_EXISTS"]);
    let run = stage.teal(&["cleanup"]);
    run.failed(0, &[&format!("blue is default.{place}_2 now")]);
    assert_eq!(stage.query(&format!("SELECT count() FROM {place}_2")), ROWS.to_string());
    assert_eq!(stage.query("SHOW TABLES"), format!("events_1\n{place}\n{place}_2"));
}
