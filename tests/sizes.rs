//! Tables of unusual sizes: empty ones, thousands of partitions, rows of megabytes.

use crate::server_migration::{CLONED, EVENTS, REWRITTEN, ROWS, Stage};
use crate::servers::Modern;
use crate::stale::{APPLY, VERSION, VIEW, assert_equal, insert};
use crate::support::{Project, Run};

#[test]
fn an_empty_table_is_migrated_and_what_comes_meanwhile_is_in_green() {
    for (next, failpoint) in [(REWRITTEN, "attached"), (CLONED, "blue-cloned")] {
        let project = Project::new(&[("app/events.sql", EVENTS)]);
        project.must(&["apply"]);
        project.write("app/events.sql", &format!("{EVENTS}{VERSION}{next}{VIEW}"));
        project.killed_at(failpoint, APPLY);
        project.query(&insert(0, 100));
        project.must(APPLY);
        project.query(&insert(100, 100));
        project.must(&["verify"]);
        assert_equal(&project, VIEW, failpoint);
        assert_eq!(project.query("SELECT count() FROM events_1"), "200");
    }
}

#[test]
fn an_empty_table_is_migrated_on_a_server_under_traffic_from_its_first_row() {
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    let stage = Stage::of(Modern::start(), project, EVENTS);
    stage.query("TRUNCATE TABLE events");
    for next in [REWRITTEN, CLONED] {
        stage.project.write("app/events.sql", &format!("{EVENTS}{VERSION}{next}{VIEW}"));
        // Nothing is there at all.
        stage.must(APPLY);
        stage.assert_exact(0, next);
        stage.must(&["abort"]);
        let rows = stage.under_traffic(2, || drop(stage.exactly(&["apply"])));
        stage.assert_exact(rows, next);
        stage.must(&["abort"]);
        stage.query("TRUNCATE TABLE events");
    }
}

/// Of a table too large for its hashes to be held, a repair reads what can differ, and what differs is in that.
#[test]
fn a_few_rows_of_a_million_are_repaired() {
    let blue = "CREATE TABLE t (id UInt64, n UInt64) ENGINE = MergeTree ORDER BY id;\n";
    let green = "-- teal: table t version 1\nCREATE TABLE t_1 (id UInt64, n UInt64) ENGINE = MergeTree ORDER BY n;\n\
                 CREATE MATERIALIZED VIEW mv TO t_1 AS SELECT * FROM t;\n";
    let project = Project::new(&[("app/t.sql", blue)]);
    project.must(&["apply"]);
    project.query("INSERT INTO t SELECT number, number % 1000 FROM numbers(1200000)");
    project.query("INSERT INTO t SELECT 7, 7 FROM numbers(3)");
    project.write("app/t.sql", &format!("{blue}{green}"));
    project.must(&["apply"]);
    project.query(
        "ALTER TABLE t_1 DELETE WHERE id = 7 OR id % 300000 = 1 SETTINGS mutations_sync = 1",
    );
    project.teal(&["verify"]).failed(3, &["green lacks 8"]);
    let said = project.must(&["repair"]).said();
    assert!(said.contains("8 rows copied"), "{said}");
    let sum =
        |table: &str| project.query(&format!("SELECT count(), sum(sipHash64(*)) FROM {table}"));
    assert_eq!(sum("t_1"), sum("t"));
    project.must(&["cutover"]);
}

#[test]
fn a_table_of_a_thousand_partitions_is_migrated_on_a_server_under_traffic() {
    let by_day = |text: &str| text.replace("toYYYYMM(at)", "toDate(at)");
    let project = Project::new(&[("app/events.sql", &by_day(EVENTS))]);
    let mut stage = Stage::of(Modern::start(), project, &by_day(EVENTS));
    // Below the parts at which the server itself slows INSERTs down.
    stage.pace = (3000, std::time::Duration::from_millis(300));
    stage.query(
        "INSERT INTO events SELECT number, 'far', toDateTime('2000-01-01 00:00:00') + (number % 1000) * 86400 FROM numbers(3000) \
         SETTINGS max_partitions_per_insert_block = 0",
    );
    let mut rows = ROWS + 3000;
    for next in [REWRITTEN, CLONED] {
        let models = format!("{EVENTS}{VERSION}{next}{VIEW}");
        stage.project.write("app/events.sql", &by_day(&models));
        rows += stage.under_traffic(1, || drop(stage.exactly(&["apply"])));
        assert_eq!(stage.query("SELECT count() FROM events_1"), rows.to_string(), "{next}");
        assert_eq!(stage.difference(), "0", "{next}");
        let partitions = "SELECT uniqExact(partition_id), count() < 4000 FROM system.parts \
             WHERE active AND database = 'default' AND table = 'events_1'";
        assert_eq!(stage.query(partitions), "1080\t1", "{next}");
        stage.must(&["abort"]);
    }
}

/// Of which teal is killed in the middle, and some go meanwhile.
#[test]
fn a_table_of_thousands_of_partitions_goes_on_after_a_kill() {
    let of = |table: &str, key: &str| {
        format!(
            "CREATE TABLE {table} (id UInt64, day Date) ENGINE = MergeTree PARTITION BY day ORDER BY {key};\n"
        )
    };
    let project = Project::new(&[("app/t.sql", &of("t", "id"))]);
    project.must(&["apply"]);
    let insert = |first: u32, days: u32| {
        format!(
            "INSERT INTO t SELECT {first} + number, toDate('2000-01-01') + number % {days} \
             FROM numbers(6000) SETTINGS max_partitions_per_insert_block = 0"
        )
    };
    project.query(&insert(0, 2000));
    let view = "CREATE MATERIALIZED VIEW mv TO t_1 AS SELECT * FROM t;\n";
    let green = of("t_1", "(day, id)");
    project
        .write("app/t.sql", &format!("{}-- teal: table t version 1\n{green}{view}", of("t", "id")));
    project.killed_at("chunk-attached", &["apply", "--chunk-rows", "3000"]);
    project.query(&insert(50_000, 100));
    project.query("ALTER TABLE t DROP PARTITION '2000-02-10', DROP PARTITION '2004-06-01'");
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT count(), uniqExact(_partition_id) FROM t_1"), "11934\t1998");
    project.query("ALTER TABLE t DROP PARTITION '2001-01-01'");
    project.must(&["cutover"]);
    let same = "SELECT (SELECT sum(sipHash64(*)) FROM t) = (SELECT sum(sipHash64(*)) FROM t_1), count() FROM t_1";
    assert_eq!(project.query(same), "1\t11931");
    project.must(&["cleanup"]);
}

/// By the table's average row, all the wide ones would be in one chunk.
#[test]
fn rows_of_megabytes_are_copied_some_at_a_time() {
    const WIDE: u64 = 400;
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    let stage = Stage::of(Modern::start(), project, EVENTS);
    // 2 MB each, and 800 MB in all.
    stage.query(&format!(
        "INSERT INTO events SELECT number, concat(randomString(1000), repeat('w', 1000000), repeat('x', 1000000)), \
             toDateTime('2031-05-01 00:00:00') FROM numbers({WIDE}) SETTINGS max_block_size = 20"
    ));
    stage.project.write("app/events.sql", &format!("{EVENTS}{VERSION}{REWRITTEN}{VIEW}"));
    let written = stage.under_traffic(1, || drop(stage.exactly(&["apply"])));
    stage.assert_exact(ROWS + WIDE + written, REWRITTEN);
    let published = "SELECT groupArray(toUInt64(extract(body, '\"rows\":(\\d+)'))) FROM _teal.journal WHERE kind = 'published'";
    let published = serde_json::from_str::<Vec<u64>>(&stage.query(published)).unwrap();
    let few = published.iter().filter(|rows| **rows < WIDE);
    assert!(few.clone().sum::<u64>() >= WIDE && few.count() >= 2, "{published:?}");
}

/// Of a table of many pieces: the copy has as many as what differs, and not as the table.
#[test]
fn what_differs_in_a_large_table_is_repaired_in_as_many_pieces_as_it_has() {
    let of = |table: &str, engine: &str, order: &str| {
        format!(
            "CREATE TABLE {table} (id UInt64, n UInt64) ENGINE = {engine} PARTITION BY id % 2 ORDER BY {order};\n"
        )
    };
    let view = "CREATE MATERIALIZED VIEW mv TO t_1 AS SELECT * FROM t;\n";
    for (engine, order) in [("MergeTree", "n"), ("ReplacingMergeTree(n)", "id")] {
        let blue = of("t", "MergeTree", "id");
        let project = Project::new(&[("app/t.sql", &blue)]);
        project.must(&["apply"]);
        project.query("INSERT INTO t SELECT number, number * 7 FROM numbers(30000)");
        project.query("INSERT INTO t SELECT 7, 49 FROM numbers(3)");
        let green = of("t_1", engine, order);
        project.write("app/t.sql", &format!("{blue}-- teal: table t version 1\n{green}{view}"));
        project.must(&["apply"]);
        project.query(
            "ALTER TABLE t_1 DELETE WHERE id % 20 = 4 OR id = 7 SETTINGS mutations_sync = 1",
        );
        let repair = |arguments: &[&str], failpoints: &str| {
            let mut command = project.command(arguments);
            Run::of(command.env("FAILPOINTS", failpoints).output().unwrap())
        };
        // 1,504 rows differ, or 1,501 keys: two pieces of 800, and not the 38 that 30,003 rows are.
        let run = repair(&["repair"], "piece-rows=return(800);bucket-repaired=2*off->return");
        assert_eq!(run.code, Some(0), "{engine}: {}", run.said());
        let sum =
            |table: &str| project.query(&format!("SELECT count(), sum(sipHash64(*)) FROM {table}"));
        if engine == "MergeTree" {
            project.query("INSERT INTO t_1 SELECT id, n + 1 FROM t WHERE id % 20 IN (4, 8)");
            let run = repair(&["repair", "--drop-extra"], "piece-rows=return(800)");
            assert_eq!(run.code, Some(0), "{}", run.said());
            assert_eq!(sum("t_1"), sum("t"));
        }
        project.must(&["verify"]);
        let left =
            "SELECT count() FROM system.tables WHERE database = '_teal' AND name LIKE '%surplus'";
        assert_eq!(project.query(left), "0", "{engine}");
    }
}

/// A partition that was equal in both is not read again for another that is not.
#[test]
fn a_further_look_reads_what_was_different_only() {
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    let stage = Stage::of(Modern::start(), project, &format!("{EVENTS}{VERSION}{REWRITTEN}{VIEW}"));
    stage.must(APPLY);
    stage.query("ALTER TABLE events_1 DELETE WHERE id = 35 SETTINGS mutations_sync = 1");
    stage.query("INSERT INTO events SELECT * FROM events WHERE id IN (3, 35, 75)");
    stage.teal(&["verify"]).failed(3, &["green lacks 1"]);
    stage.query("SYSTEM FLUSH LOGS");
    let looks = "SELECT count() > 1, countIf(query LIKE '% IN (''(202402)'')%') = count() - 1 FROM (\
             SELECT query FROM system.query_log WHERE type = 'QueryFinish' \
                 AND query LIKE '%hash_sum%' AND query NOT LIKE '%system%' AND query NOT LIKE '%verify_%' \
                 AND event_time_microseconds > (SELECT max(event_time_microseconds) FROM system.query_log \
                     WHERE query LIKE '%WHERE id IN (3, 35, 75)%' AND query NOT LIKE '%system%'))";
    assert_eq!(stage.query(looks), "1\t1");
}
