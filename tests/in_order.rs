//! Engines that go by the order in which rows came: a rewrite puts the history in front of what was written
//! meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use teal_client::Server as _;

use crate::server_migration::{EVENTS, SLEEPING, Stage, StopsAll, run};
use crate::servers::Modern;
use crate::support::{Held, Project};

const BLUE: &str = "CREATE TABLE t (id UInt64, town String, n UInt64, at Date) \
     ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY id;\n";
const LAST: &str = "-- teal: table t version 1\n\
     CREATE TABLE t_1 (id UInt64, town String, n UInt64, at Date) \
     ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(at) ORDER BY (town, id);\n";
const VIEW: &str = "CREATE MATERIALIZED VIEW mv TO t_1 AS SELECT * FROM t;\n";
/// Pieces of parts, and so several chunks of a partition.
const APPLY: &[&str] = &["apply", "--chunk-rows", "1500"];

/// 1,000 keys in 5 partitions, each once: `n` grows with each INSERT, and no key says so.
fn round(n: u64) -> String {
    format!(
        "INSERT INTO t SELECT number % 1000, concat('town ', toString(number % 7)), {n}, \
         toDate('2024-01-01') + (number % 5) * 31 FROM numbers(1000)"
    )
}

fn filled(rounds: u64) -> Project {
    let project = Project::new(&[("app/t.sql", BLUE)]);
    project.must(&["apply"]);
    (1..=rounds).for_each(|n| drop(project.query(&round(n))));
    project.write("app/t.sql", &format!("{BLUE}{LAST}{VIEW}"));
    project
}

/// What a reader sees of green: each key once, as it was written last.
fn assert_shows(project: &Project, n: u64, said: &str) {
    let seen = project.query("SELECT count(), uniqExact(id), min(n), max(n) FROM t_1 FINAL");
    assert_eq!(seen, format!("1000\t1000\t{n}\t{n}"), "{said}");
}

fn assert_clean(project: &Project, said: &str) {
    let left = project.query(
        "SELECT groupArray(name) FROM system.tables WHERE database = '_teal' AND name != 'journal' \
             AND NOT name LIKE 'lock\\_%' OR database = 'default' AND match(engine_full, 'max_bytes_to_merge')",
    );
    assert_eq!(left, "[]", "{said}");
}

#[test]
fn rows_that_were_written_during_the_copy_are_later_than_those_that_were_copied() {
    let filled = filled(6);
    let plan = filled.must(&["plan"]).stdout;
    assert!(plan.contains("put behind it"), "{plan}");
    for killed_at in ["published=2*off->return", "staging-dropped"] {
        let project = filled.copy();
        project.killed_at(killed_at, APPLY);
        project.query(&round(7));
        project.query(&round(8));
        project.must(APPLY);
        assert_shows(&project, 8, killed_at);
        project.query(&round(9));
        assert_shows(&project, 9, killed_at);
        project.must(&["verify"]);
        project.query("OPTIMIZE TABLE t_1 FINAL");
        assert_shows(&project, 9, killed_at);
        project.must(&["verify"]);
        assert_clean(&project, killed_at);
        // What was written first is what green shows: no row count tells that.
        project.query("INSERT INTO t_1 SELECT * REPLACE (1 AS n) FROM t WHERE n = 1 AND id < 9");
        project.teal(&["verify"]).failed(3, &["green lacks 9 and has 9 too many"]);
    }
}

#[test]
fn the_exchange_for_the_ordered_table_is_made_once_however_it_is_killed() {
    let filled = filled(3);
    for (first, second) in [
        ("history-in-front", "green-behind"),
        ("green-behind", "ordered"),
        ("ordered", "backfilled"),
    ] {
        let project = filled.copy();
        let said = format!("killed at {first}, then at {second}");
        project.killed_at("published", APPLY);
        project.query(&round(4));
        project.killed_at(first, APPLY);
        project.query(&round(5));
        project.killed_at(second, APPLY);
        project.query(&round(6));
        project.must(APPLY);
        assert_shows(&project, 6, &said);
        assert_clean(&project, &said);
        assert_eq!(project.query("SELECT count() FROM t"), "6000", "{said}");
    }
}

#[test]
fn a_fence_that_was_cut_off_and_an_abort_leave_no_history() {
    let project = filled(2);
    project.killed_at("blue-cloned", APPLY);
    project.query(&round(3));
    project.killed_at("green-behind", APPLY);
    project.must(&["abort"]);
    assert_clean(&project, "aborted");
    assert_eq!(project.query("SELECT count() FROM t"), "3000");
}

#[test]
fn a_row_cancels_the_one_that_came_before_it() {
    let blue = BLUE.replace("n UInt64,", "n UInt64, sign Int8,");
    let green = LAST.replace("n UInt64,", "n UInt64, sign Int8,");
    let green = green.replace("ReplacingMergeTree", "CollapsingMergeTree(sign)");
    let project = Project::new(&[("app/t.sql", blue.as_str())]);
    project.must(&["apply"]);
    let change = |n: u64| {
        format!(
            "INSERT INTO t SELECT number % 100, 'a', n, if(n = {n}, 1, -1), '2024-01-01' \
             FROM numbers(100) ARRAY JOIN [{}] AS n",
            if n > 1 { format!("{}, {n}", n - 1) } else { n.to_string() }
        )
    };
    (1..=5).for_each(|n| drop(project.query(&change(n))));
    project.write("app/t.sql", &format!("{blue}{green}{VIEW}"));
    project.killed_at("published", &["apply", "--chunk-rows", "200"]);
    project.query(&change(6));
    project.must(&["apply", "--chunk-rows", "200"]);
    project.query(&change(7));
    let seen = || project.query("SELECT count(), sum(sign), min(n), max(n) FROM t_1 FINAL");
    assert_eq!(seen(), "100\t100\t7\t7");
    project.query("OPTIMIZE TABLE t_1 FINAL");
    assert_eq!(seen(), "100\t100\t7\t7");
    project.must(&["verify"]);
}

#[test]
fn where_blue_has_lost_the_order_the_plan_refuses() {
    let refused = |green: &str, select: &str, says: &str| {
        let instead = match green.contains("Collapsing") {
            true => "VersionedCollapsingMergeTree",
            false => "ReplacingMergeTree(updated_at)",
        };
        let view = VIEW.replace("SELECT *", select);
        let project = Project::new(&[("app/t.sql", BLUE)]);
        project.must(&["apply"]);
        project.write("app/t.sql", &format!("{BLUE}{green}{view}"));
        project.teal(&["apply"]).failed(3, &[says, instead]);
    };
    refused(&LAST.replace("(town, id)", "town"), "SELECT *", "may differ by `id`");
    let unpartitioned = LAST.replace("PARTITION BY toYYYYMM(at) ", "");
    refused(&unpartitioned, "SELECT *", "may differ by toYYYYMM(at)");
    refused(LAST, "SELECT id, upper(town) AS town, n, at", "does not give blue's rows as they are");
    refused(&LAST.replace("(town, id)", "tuple()"), "SELECT *", "all rows are one");
    let signed = LAST.replace("n UInt64,", "n UInt64, sign Int8 DEFAULT 1,");
    let signed = signed.replace("ReplacingMergeTree", "CollapsingMergeTree(sign)");
    refused(&signed, "SELECT *", "does not fill column sign");
    let blue = BLUE.replace("BY id;", "BY id SETTINGS optimize_row_order = 1;");
    let project = Project::new(&[("app/t.sql", &blue)]);
    project.must(&["apply"]);
    project.write("app/t.sql", &format!("{blue}{LAST}{VIEW}"));
    project.teal(&["apply"]).failed(3, &["optimize_row_order"]);
    // Each month's rows have their own day.
    let project = filled(3);
    let by_day = unpartitioned.replace("(town, id)", "(at, town, id)");
    project.write("app/t.sql", &format!("{BLUE}{by_day}{VIEW}"));
    project.must(APPLY);
    assert_shows(&project, 3, "by day");
}

#[test]
fn a_table_that_keeps_the_last_row_gets_another_order_of_its_key() {
    let blue = BLUE.replace("MergeTree", "ReplacingMergeTree").replace("BY id", "BY (id, town)");
    let project = Project::new(&[("app/t.sql", blue.as_str())]);
    project.must(&["apply"]);
    (1..=4).for_each(|n| drop(project.query(&round(n))));
    project.query("OPTIMIZE TABLE t PARTITION 202401 FINAL");
    project.write("app/t.sql", &format!("{blue}{LAST}{VIEW}"));
    project.killed_at("published", APPLY);
    project.query(&round(5));
    project.must(APPLY);
    project.query("OPTIMIZE TABLE t FINAL");
    assert_shows(&project, 5, "another order");
    project.must(&["verify"]);
}

#[test]
fn an_exchange_for_the_ordered_table_that_fails_leaves_no_merges_stopped() {
    let before = format!("{EVENTS}{BLUE}");
    let project = Project::new(&[("app/events.sql", before.as_str())]);
    let stage = Stage::of(Modern::start(), project, &format!("{before}{LAST}{VIEW}"));
    (1..=3).for_each(|n| drop(stage.query(&round(n))));
    let apply = Held::at("history-in-front", "", stage.command(APPLY));
    let ordered = stage.query("SELECT name FROM system.tables WHERE name LIKE '%_ordered'");
    stage.query(&format!("DROP TABLE _teal.`{ordered}` SYNC"));
    apply.go_on().failed(1, &["UNKNOWN_TABLE"]);
    let stopped = "SELECT count() FROM system.tables WHERE database = 'default' AND match(engine_full, 'max_bytes_to_merge')";
    assert_eq!(stage.query(stopped), "0");
    stage.query(&round(4));
    stage.must(APPLY);
    let seen = stage.query("SELECT count(), min(n), max(n) FROM t_1 FINAL");
    assert_eq!(seen, "1000\t4\t4");
}

/// An INSERT meets the parts of the history as soon as they are in front of its own.
#[test]
fn the_parts_of_the_history_are_merged_before_inserts_meet_them() {
    let project = Project::new(&[("app/t.sql", BLUE)]);
    project.must(&["apply"]);
    let one_month = |n| round(n).replace("(number % 5) * 31", "0");
    (1..=6).for_each(|n| drop(project.query(&one_month(n))));
    let few = " SETTINGS parts_to_delay_insert = 20, parts_to_throw_insert = 30;\n";
    let next = LAST.trim_end().trim_end_matches(';');
    project.write("app/t.sql", &format!("{BLUE}{next}{few}{VIEW}"));
    project.must(&["apply", "--chunk-rows", "100"]);
    project.query(&one_month(7));
    assert_shows(&project, 7, "merged");
    assert_clean(&project, "merged");
}

/// What is merged there for long would hold the exchange up, and the next try would meet it again.
#[test]
fn a_merge_of_green_that_takes_long_is_ended() {
    let before = format!("{EVENTS}{BLUE}");
    let project = Project::new(&[("app/events.sql", before.as_str())]);
    // Each row that is merged takes its time.
    let slow = LAST.replace("at Date)", "at Date, INDEX slow sleep(0.03) TYPE minmax)");
    let slow = slow.trim_end().trim_end_matches(';');
    let slow = format!("{slow} SETTINGS merge_max_block_size = 1;\n");
    let stage = Stage::of(Modern::start(), project, &format!("{before}{slow}{VIEW}"));
    let one_month = |n| round(n).replace("(number % 5) * 31", "0");
    stage.query(&one_month(1));
    stage.killed_at("published=return", APPLY);
    (2..=3).for_each(|n| drop(stage.query(&one_month(n))));
    thread::scope(|scope| {
        let server = stage.modern.open(|_| ());
        let merge = scope.spawn(move || {
            let mut session = server.user_session(&[]).unwrap();
            session.command("OPTIMIZE TABLE t_1 FINAL")
        });
        stage.wait_for("SELECT count() FROM system.merges WHERE table = 't_1'");
        stage.must(APPLY);
        assert!(merge.join().unwrap().unwrap_err().to_string().contains("ABORTED"));
    });
    let seen = stage.query("SELECT count(), min(n), max(n) FROM t_1 FINAL");
    assert_eq!(seen, "1000\t3\t3");
}

/// It ran across the exchange, through the view and what reads green.
#[test]
fn a_late_part_comes_to_no_view_of_green_once_more() {
    let before = format!("{EVENTS}{BLUE}");
    let project = Project::new(&[("app/events.sql", before.as_str())]);
    let stage = Stage::of(Modern::start(), project, &format!("{before}{LAST}{VIEW}"));
    (1..=3).for_each(|n| drop(stage.query(&round(n))));
    stage.killed_at("prepared=return", APPLY);
    stage.query("CREATE TABLE counted (n UInt64) ENGINE = SummingMergeTree ORDER BY tuple()");
    stage.query("CREATE MATERIALIZED VIEW counts TO counted AS SELECT count() AS n FROM t_1");
    let apply = Held::at("green-behind", "", stage.command(APPLY));
    thread::scope(|scope| {
        let server = stage.modern.open(|_| ());
        let insert = scope.spawn(move || {
            let mut session = server.user_session(&[]).unwrap();
            run(session.as_mut(), &format!("{} WHERE sleep(2) = 0", round(4)));
        });
        stage.wait_for(SLEEPING);
        assert_eq!(apply.go_on().code, Some(0));
        insert.join().unwrap();
    });
    let seen = stage.query("SELECT count(), min(n), max(n) FROM t_1 FINAL");
    assert_eq!(seen, "1000\t4\t4");
    assert_eq!(stage.query("SELECT sum(n) FROM counted"), "1000");
    let left = stage.query(
        "SELECT groupArray(name) FROM system.tables WHERE database = '_teal' AND name LIKE 't_1%'",
    );
    assert_eq!(left, "[]");
}

/// They are told by the hashes of parts, which a merge of green would change.
#[test]
fn merges_are_held_back_on_a_server_until_late_parts_are_carried() {
    let before = format!("{EVENTS}{BLUE}");
    let project = Project::new(&[("app/events.sql", before.as_str())]);
    let stage = Stage::of(Modern::start(), project, &format!("{before}{LAST}{VIEW}"));
    (1..=3).for_each(|n| drop(stage.query(&round(n))));
    // Late parts, which are carried and not yet known to be.
    let apply = Held::at("green-behind", "late-parts-carried=return", stage.command(APPLY));
    stage.query(&round(4));
    let run = apply.go_on();
    assert!(run.killed, "{}", run.said());
    let stopped = "SELECT count() FROM system.tables WHERE database = 'default' AND name = 't_1' \
         AND match(engine_full, 'max_bytes_to_merge')";
    assert_eq!(stage.query(stopped), "1");
    // It heals what it can, and leaves the copy to `apply`.
    stage.teal(&["verify"]).failed(3, &["apply"]);
    assert_eq!(stage.query(stopped), "1");
    stage.must(APPLY);
    assert_eq!(stage.query(stopped), "0");
    let seen = stage.query("SELECT count(), min(n), max(n) FROM t_1 FINAL");
    assert_eq!(seen, "1000\t4\t4");
}

/// Each writer has keys of its own, and writes some of them with each INSERT: most of those that are written
/// during the copy are not written after it.
#[test]
fn under_traffic_on_a_server_the_last_row_of_each_key_stays() {
    let before = format!("{EVENTS}{BLUE}");
    let project = Project::new(&[("app/events.sql", before.as_str())]);
    let stage = Stage::of(Modern::start(), project, &format!("{before}{LAST}{VIEW}"));
    let insert = |writer: u64, keys: std::ops::Range<u64>, n: u64| {
        format!(
            "INSERT INTO t SELECT {writer} * 10000 + number AS id, 'a', {n}, \
             toDate('2024-01-01') + (id % 2) * 31 + sleepEachRow({}) FROM numbers({}, {})",
            if n > 10 && n.is_multiple_of(5) { 0.01 } else { 0.0 },
            keys.start,
            keys.end - keys.start
        )
    };
    for n in 1..10 {
        (0..3).for_each(|writer| drop(stage.query(&insert(writer, 0..4000, n))));
    }
    let (stop, server) = (AtomicBool::new(false), stage.modern.open(|_| ()));
    thread::scope(|scope| {
        for writer in 0..3 {
            let (stop, server) = (&stop, &server);
            scope.spawn(move || {
                let mut session = server.user_session(&[]).unwrap();
                for n in 11.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let first = n * 20 % 4000;
                    run(session.as_mut(), &insert(writer, first..first + 20, n));
                    thread::sleep(Duration::from_millis(10));
                }
            });
        }
        let _stops = StopsAll(&stop);
        stage.must(&["apply", "--chunk-rows", "20000"]);
    });
    stage.must(&["verify"]);
    let rows = |of: &str| stage.query(&format!("SELECT count(), sum(cityHash64(id, n)) FROM {of}"));
    let last = rows("(SELECT id, max(n) AS n FROM t GROUP BY id)");
    assert!(last.starts_with("12000\t"), "{last}");
    assert_eq!(rows("t_1 FINAL"), last);
}
