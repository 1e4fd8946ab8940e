//! What can go wrong around a migration on a server, provoked: blue is changed behind the view, green is
//! written to, tables are altered, statements are killed, two operators come at once.

use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use teal_client::{Format, Server as _};

use crate::chaos::Proxy;
use crate::server_migration::{CLONED, REWRITTEN, ROWS, SLEEPING, Stage, insert};
use crate::servers::Modern;
use crate::support::{Background, Held, Run};
use crate::under_way::ROW;

const STAGED: &str =
    "SELECT count() FROM system.tables WHERE database = '_teal' AND name LIKE '%_staging_0'";

#[test]
fn a_mutation_during_the_backfill_is_found_and_a_second_operator_is_refused() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.under_traffic(1, || {
        let apply = stage.slowly("chunk-copied", 400, &["apply", "--chunk-rows", "10000"]);
        stage.wait_for(STAGED);
        stage.teal(&["apply"]).failed(3, &["another teal works"]);
        stage.query("ALTER TABLE events DELETE WHERE id % 10 = 3 SETTINGS mutations_sync = 1");
        let run = Run::of(apply.wait_with_output().unwrap());
        assert_eq!(run.code, Some(0), "{}", run.said());
        assert!(run.stderr.contains("DELETE WHERE"), "{}", run.said());
    });
    assert_eq!(stage.difference(), "0");
}

/// Stopping the merges would cancel it, and its user be told that it has failed.
#[test]
fn a_mutation_that_began_just_before_a_cut_is_waited_for() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let apply = stage.slowly("fence-opened", 2000, &["apply"]);
    stage.wait_for("SELECT count() FROM _teal.journal WHERE kind = 'fenceOpened'");
    // Three seconds for each part.
    stage.query("ALTER TABLE events UPDATE town = 'changed' WHERE id < 50 AND sleep(3) = 0 SETTINGS mutations_sync = 1");
    let run = Run::of(apply.wait_with_output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert!(run.stderr.contains("the end of a mutation of default.events"), "{}", run.said());
    assert_eq!(stage.query("SELECT countIf(town = 'changed') FROM events_1"), "50");
    stage.assert_exact(ROWS, "the cut");
}

/// The last entries of its log go with it, and of an INSERT that was forwarded perhaps those of green alone.
#[test]
fn a_server_that_is_started_anew_within_a_cut_makes_it_be_tried_again() {
    let mut stage = Stage::new(Modern::start(), REWRITTEN);
    let proxy = Proxy::start(stage.modern.port(), 0);
    let mut command = stage.project.command(&["--url", &proxy.url(), "apply"]);
    command.env("FAILPOINTS", "view-created=1*sleep(4000)");
    let apply = Background::start(command);
    stage.wait_for(
        "SELECT count() FROM system.tables WHERE database = 'default' AND name = 'mv_events'",
    );
    stage.query(&insert(9_000_000, 1_000, 0));
    stage.query("SYSTEM FLUSH LOGS");
    stage.query(
        "ALTER TABLE system.part_log DELETE WHERE table = 'events_1' SETTINGS mutations_sync = 1",
    );
    stage.modern.kill_and_start_again();
    proxy.lead_to(stage.modern.port());
    let run = apply.finish();
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert!(run.stderr.contains("it was started anew"), "{}", run.said());
    stage.assert_exact(ROWS + 1_000, "started anew");
}

/// A proof of a large table takes hours, and what is attached to the old table meanwhile is in no part that it has
/// read. Where no view can run back, the two tables are not compared afterwards.
#[test]
fn what_comes_past_the_view_behind_the_last_proof_is_told_before_the_old_table_goes() {
    for (how, old, new) in [("exchange", "events_1", "events"), ("app", "events", "events_1")] {
        let stage = Stage::new(Modern::start(), REWRITTEN);
        let upper = "SELECT id, upper(town) AS town, at FROM events";
        let models = std::fs::read_to_string(stage.project.path().join("app/events.sql")).unwrap();
        stage.project.write("app/events.sql", &models.replace("SELECT * FROM events", upper));
        stage.must(&["apply"]);
        stage.query("CREATE TABLE aside AS events");
        stage.query("INSERT INTO aside SELECT number, 'aside', '2030-01-01' FROM numbers(7)");
        let cutover = Held::at("verified", "", stage.command(&["cutover", "--by", how]));
        stage.query("ALTER TABLE events ATTACH PARTITION 203001 FROM aside");
        stage.query(&insert(9_000_000, 1_000, 0));
        let words = [old, "has 7 rows", "not through the view", "\"town\":\"ASIDE\""];
        cutover.go_on().failed(3, &words);
        stage.teal(&["cutover"]).failed(3, &words);
        stage.teal(&["cleanup"]).failed(3, &words);
        stage.query(&format!(
            "INSERT INTO {new} SELECT id, upper(town), at FROM {old} WHERE toYYYYMM(at) = 203001"
        ));
        // The log has that INSERT for a use of the old table, which it reads.
        stage.teal(&["cutover"]);
        stage.must(&["cutover"]);
        // What users delete later is theirs to delete.
        let deleted =
            format!("ALTER TABLE {new} DELETE WHERE id < 9000007 SETTINGS mutations_sync = 2");
        stage.query(&deleted);
        stage.must(&["cutover"]);
        let run = stage.teal(&["cleanup"]);
        assert!(run.said().contains("has been used since the cutover"), "{}", run.said());
        stage.must(&["cleanup", "--force"]);
        assert_eq!(stage.query(&format!("SELECT count() FROM {new}")), "993");
    }
}

/// It is not done when the tables are compared, and is older than what the proof notes of blue.
#[test]
fn a_mutation_that_begins_just_before_a_proof_is_known_to_the_next_one() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    // It has looked for mutations.
    let proof = Held::at("verify-begins", "", stage.command(&["repair"]));
    stage.query("SYSTEM STOP MERGES events");
    stage.query(
        "ALTER TABLE events UPDATE town = 'changed' WHERE id < 50 SETTINGS mutations_sync = 0",
    );
    let run = thread::scope(|scope| {
        let proof = scope.spawn(|| proof.go_on());
        // It has found by then that there is something to wait for; or has not, and passed.
        thread::sleep(Duration::from_millis(1500));
        stage.query("SYSTEM START MERGES events");
        proof.join().unwrap()
    });
    assert!(matches!(run.code, Some(0 | 3)), "{}", run.said());
    stage.must(&["repair"]);
    assert_eq!(stage.difference(), "0");
    assert_eq!(stage.query("SELECT countIf(town = 'changed') FROM events_1"), "50");
}

/// Part_log tells that somebody writes to green, so rows stay that a dropped partition would explain.
#[test]
fn what_somebody_wrote_to_green_stays_also_where_blue_was_changed() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    // By `teal query`; and it reads blue, as what goes through the view does.
    stage.query("INSERT INTO events_1 SELECT id, 'direct', at FROM events WHERE toYYYYMM(at) = 202402 LIMIT 5");
    stage.query("ALTER TABLE events DROP PARTITION 202402");
    let words = ["INSERTs have written to green itself", "--drop-extra"];
    stage.teal(&["repair"]).failed(3, &words);
    stage.teal(&["cutover"]).failed(3, &words);
    assert_eq!(stage.query("SELECT count() FROM events_1 WHERE town = 'direct'"), "5");
    stage.must(&["repair", "--drop-extra"]);
    assert_eq!(stage.difference(), "0");
    // From here on the two are in step again.
    stage.query("CREATE TABLE other AS events");
    let some = "INSERT INTO other SELECT id, if(id < 500, town, 'other'), at FROM events WHERE toYYYYMM(at) = 202401";
    for changes in [
        &[some, "ALTER TABLE events REPLACE PARTITION 202401 FROM other"][..],
        &["ALTER TABLE events MOVE PARTITION 202401 TO TABLE other"],
        &["ALTER TABLE events DETACH PARTITION 202403"],
        &["ALTER TABLE events ATTACH PARTITION 202403"],
        &["TRUNCATE TABLE events"],
    ] {
        changes.iter().for_each(|change| drop(stage.query(change)));
        assert_ne!(stage.difference(), "0", "{changes:?}");
        stage.must(&["repair"]);
        assert_eq!(stage.difference(), "0", "{changes:?}");
    }
    stage.query("DROP TABLE other SYNC");
    stage.query(&insert(9_000_000, 1_000, 0));
    stage.query("ALTER TABLE events DROP PARTITION 202403");
    stage.must(&["cutover"]);
    assert_eq!(stage.difference(), "0");
}

/// Whoever writes to green was asked for before.
#[test]
fn what_somebody_writes_to_green_while_a_partition_goes_from_it_stays() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    stage.query("ALTER TABLE events DROP PARTITION 202402");
    let repair = Held::at("stale", "", stage.command(&["repair"]));
    stage.query("INSERT INTO events_1 SELECT 1, 'direct', toDateTime('2024-02-05 00:00:00')");
    repair.go_on().failed(3, &["direct", "INSERTs have written to green itself"]);
    let left = stage.query("SELECT groupArray(town) FROM events_1 WHERE toYYYYMM(at) = 202402");
    assert_eq!(left, "['direct']");
}

#[test]
fn rows_that_expired_in_blue_go_from_green() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let text = std::fs::read_to_string(stage.project.path().join("app/events.sql")).unwrap();
    let ttl = "ORDER BY id TTL at + INTERVAL 900 DAY SETTINGS merge_with_ttl_timeout = 0";
    stage.query("DROP TABLE events SYNC");
    stage
        .project
        .write("app/events.sql", &text[..=text.find(';').unwrap()].replace("ORDER BY id", ttl));
    stage.must(&["apply"]);
    stage.query("SYSTEM STOP TTL MERGES events");
    // 100 rows are younger.
    stage.query("INSERT INTO events SELECT number, 'a', if(number < 100, now(), toDateTime('2024-01-01 00:00:00')) FROM numbers(1000)");
    stage.project.write("app/events.sql", &text.replacen("ORDER BY id", ttl, 1));
    stage.must(&["apply"]);
    assert_eq!(stage.query("SELECT count() FROM events_1"), "1000");
    stage.query("SYSTEM START TTL MERGES events");
    stage.query("INSERT INTO events SELECT 5000 + number, 'b', now() FROM numbers(3000)");
    stage.wait_for("SELECT count() = 3100 FROM events");
    let run = stage.teal(&["cutover"]);
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert!(run.stderr.contains("900 rows too many"), "{}", run.said());
    assert_eq!(stage.difference(), "0");
}

#[test]
fn an_alter_during_the_backfill_stops_it_before_the_next_publication() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let written = stage.under_traffic(1, || {
        let apply = stage.slowly("chunk-copied", 500, &["apply", "--chunk-rows", "10000"]);
        stage.wait_for(STAGED);
        stage.query("ALTER TABLE events_1 ADD COLUMN more UInt8");
        let run = Run::of(apply.wait_with_output().unwrap());
        run.failed(3, &["default.events_1", "column more: new, UInt8", "nothing is lost"]);
        stage.query("ALTER TABLE events_1 DROP COLUMN more SETTINGS mutations_sync = 1");
        stage.exactly(&["apply", "--chunk-rows", "10000"]);
    });
    assert_eq!(stage.query("SELECT count() FROM events_1"), (ROWS + written).to_string());
    assert_eq!(stage.difference(), "0");
}

#[test]
fn a_killed_copy_is_an_error_and_goes_on() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.query("INSERT INTO events SELECT number, toString(cityHash64(number)), toDateTime('2024-04-01 00:00:00') FROM numbers(3000000)");
    let apply = stage.slowly("none", 0, &["apply"]);
    let killed = "KILL QUERY WHERE Settings['log_comment'] LIKE 'teal backfill%' AND query_kind = 'Insert' SYNC";
    let server = stage.modern.open(|_| ());
    let mut session = server.user_session(&[]).unwrap();
    let began = Instant::now();
    while session.run(killed, Format::TSV).unwrap().body.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(120), "nothing to kill");
    }
    let run = Run::of(apply.wait_with_output().unwrap());
    run.failed(1, &["QUERY_WAS_CANCELLED"]);
    stage.exactly(&["apply"]);
    assert_eq!(stage.query("SELECT count() FROM events_1"), (ROWS + 3_000_000).to_string());
    assert_eq!(stage.difference(), "0");
}

/// More than a server takes of one INSERT, if it is not told otherwise.
#[test]
fn what_comes_meanwhile_may_be_of_very_many_partitions() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let many = |from: u64| {
        stage.query(&format!(
            "INSERT INTO events SELECT {from} + number, 'many', toDateTime('2000-01-01 00:00:00') + number * 2700000 \
             FROM numbers(120) SETTINGS max_partitions_per_insert_block = 0"
        ));
    };
    let apply = Held::at("blue-cloned", "", stage.command(&["apply"]));
    many(1_000_000);
    apply.go_on().failed(0, &["120 of them not through the view"]);
    let cutover = Held::at("swapping", "", stage.command(&["cutover", "--by", "exchange"]));
    many(2_000_000);
    let run = cutover.go_on();
    run.failed(0, &[]);
    stage.assert_exact(ROWS + 240, &run.said());
}

/// Of an INSERT that is sent again the new table takes none, where it knows its blocks: so the log says, and the row is in
/// the old one alone.
#[test]
fn what_the_new_table_has_not_taken_within_a_cut_is_copied() {
    let window = " SETTINGS non_replicated_deduplication_window = 100;\n";
    let stage = Stage::new(Modern::start(), &REWRITTEN.replace(";\n", window));
    let apply = Held::at("view-created", "", stage.command(&["apply"]));
    for _ in 0..2 {
        stage.query(
            "INSERT INTO events SETTINGS insert_deduplication_token = 'again' \
             VALUES (9000000, 'again', '2024-01-01 00:00:00')",
        );
    }
    let rows = "SELECT (SELECT count() FROM events WHERE id = 9000000), (SELECT count() FROM events_1 WHERE id = 9000000)";
    assert_eq!(stage.query(rows), "2\t1");
    let run = apply.go_on();
    run.failed(0, &["2 parts came meanwhile, 1 of them not through the view"]);
    stage.assert_exact(ROWS + 2, &run.said());
}

/// A server goes on with what a teal has sent that was killed meanwhile: the next one ends it, or it would come to its
/// end beside the same copy.
#[test]
fn what_a_killed_teal_has_sent_is_ended_by_the_next_one() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    // A block for each of the three parts.
    stage.query("OPTIMIZE TABLE events FINAL");
    let file = "app/events.sql";
    let models = std::fs::read_to_string(stage.project.path().join(file)).unwrap();
    let slow = "SELECT id, town, at FROM events WHERE sleep(2) = 0";
    stage.project.write(file, &models.replace("SELECT * FROM events", slow));
    let apply = Background::start(stage.command(&["apply"]));
    stage.wait_for(&format!("SELECT count() FROM system.processes WHERE {COPY}"));
    apply.kill();
    stage.must(&["apply"]);
    stage.query("SYSTEM FLUSH LOGS");
    let ended =
        format!("SELECT count() FROM system.query_log WHERE {COPY} AND exception_code = 394");
    assert_ne!(stage.query(&ended), "0");
    stage.assert_exact(ROWS, "in the end");
}

/// A chunk's INSERT.
const COPY: &str = "query_kind = 'Insert' AND query LIKE '%_staging_%'";

/// Blue is fed by a view itself; the fence tells its parts by the INSERT into the view's source.
#[test]
fn a_blue_that_a_view_writes_to_is_migrated_exactly_under_traffic() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.query(
        "CREATE TABLE source (id UInt64, town String, at DateTime) ENGINE = MergeTree ORDER BY id",
    );
    stage.query(
        "CREATE MATERIALIZED VIEW feed TO events AS SELECT id, upper(town) AS town, at FROM source",
    );
    let written = stage.under_traffic_to(&["source", "source", "events"], || {
        stage.exactly(&["apply", "--chunk-rows", "10000"]);
    });
    assert_eq!(stage.query("SELECT count() FROM events_1"), (ROWS + written).to_string());
    assert_eq!(stage.difference(), "0");
}

/// What is done to blue in an exchange, at these moments: behind the proof, before the last look, and behind
/// it. The last is found when the names have changed places, and told.
#[test]
fn what_changes_blue_in_the_midst_of_an_exchange_is_not_lost() {
    const DELETE: &str = "ALTER TABLE events DELETE WHERE id % 10 = 3";
    const DROP: &str = "ALTER TABLE events DROP PARTITION 202402";
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    for (failpoint, change) in [
        ("cutover-opened", format!("{DELETE} SETTINGS mutations_sync = 1")),
        ("view-dropped", "ALTER TABLE events UPDATE town = 'changed' WHERE id < 50".to_owned()),
        ("cutover-opened", DROP.to_owned()),
    ] {
        let cutover = reaching(&stage, failpoint);
        stage.query(&change);
        let run = Run::of(cutover.wait_with_output().unwrap());
        assert_eq!(run.code, Some(0), "{failpoint}: {}", run.said());
        let rows = stage.query("SELECT count() FROM events");
        assert_eq!(stage.difference(), "0", "{failpoint}, {change}: {}", run.said());
        stage.must(&["rollback"]);
        assert_eq!(stage.query("SELECT count() FROM events"), rows);
    }
    let found = stage.query(
        "SELECT countIf(id % 10 = 3), countIf(toYYYYMM(at) = 202402), countIf(town = 'changed') FROM events",
    );
    assert_eq!(found, "0\t0\t28");

    let cutover = reaching(&stage, "swapping");
    let change = "DELETE WHERE id % 10 = 4";
    stage.query(&format!("ALTER TABLE events {change}"));
    let run = Run::of(cutover.wait_with_output().unwrap());
    let words = ["default.events_1 was changed", "DELETE WHERE", "default.events lacks"];
    run.failed(3, &words);
    assert_eq!(stage.sorting_key("events"), "town, id");
    stage.teal(&["cleanup"]).failed(3, &words);
    stage.teal(&["rollback"]).failed(3, &words);
    stage.query(&format!("ALTER TABLE events {change} SETTINGS mutations_sync = 1"));
    stage.must(&["cutover", "--by", "exchange"]);
    assert_eq!(stage.difference(), "0");
    stage.must(&["cleanup", "--force"]);
    assert_eq!(stage.query("SELECT countIf(id % 10 = 4), count() > 0 FROM events"), "0\t1");
}

/// Of three million rows 200 are lost, in every bucket. What tells them takes memory for some, not for all.
#[test]
fn the_rows_that_differ_are_found_with_little_memory() {
    const MORE: u64 = 3_000_000;
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.query(&insert(ROWS, MORE, 0));
    stage.must(&["apply"]);
    stage.query(
        "ALTER TABLE events_1 DELETE WHERE id >= 3000000 AND id < 3000200 SETTINGS mutations_sync = 1",
    );
    stage.teal(&["verify"]).failed(3, &["green lacks 200 and has 0 too many"]);
    stage.query("SYSTEM FLUSH LOGS");
    let memory = stage.query(
        "SELECT max(memory_usage) FROM system.query_log \
         WHERE type = 'QueryFinish' AND position(query, '_teal_side') > 0",
    );
    let memory = memory.parse::<u64>().unwrap();
    assert!(0 < memory && memory < 100_000_000, "{memory} bytes");
}

/// An exchange that is at this failpoint, and stays there for 2 s.
fn reaching(stage: &Stage, failpoint: &str) -> Child {
    let entries = "SELECT count() FROM _teal.journal WHERE kind = ";
    let is_there = match failpoint {
        "view-dropped" => {
            "SELECT count() = 0 FROM system.tables WHERE name = 'mv_events'".to_owned()
        }
        "swapping" => {
            let before = stage.query(&format!("{entries}'swapping'"));
            format!("SELECT ({entries}'swapping') > {before}")
        }
        _ => {
            let before = stage.query(&format!("{entries}'cutoverOpened'"));
            format!("SELECT ({entries}'cutoverOpened') > {before}")
        }
    };
    let cutover = stage.slowly(failpoint, 2000, &["cutover", "--by", "exchange"]);
    stage.wait_for(&is_there);
    cutover
}

/// The clones have the changed row, and the old table has it as it was.
#[test]
fn what_is_changed_while_a_rollback_compares_is_not_carried_back() {
    let stage = Stage::new(Modern::start(), &REWRITTEN.replace("(town, id)", "(at, id)"));
    stage.must(&["apply"]);
    stage.must(&["cutover"]);
    stage.query(&format!("INSERT INTO events_1 {ROW}"));
    let rollback = stage.slowly("verify-tables-made", 3000, &["rollback"]);
    let made =
        "SELECT count() FROM system.tables WHERE database = '_teal' AND name LIKE '%_verify_green'";
    stage.wait_for(made);
    stage.query(
        "ALTER TABLE events_1 UPDATE town = 'changed' WHERE id = 5 SETTINGS mutations_sync = 1",
    );
    let run = Run::of(rollback.wait_with_output().unwrap());
    run.failed(3, &["default.events_1 was changed in place", "town = 'changed'"]);
    assert_eq!(stage.query("SELECT groupArray(town != 'changed') FROM events WHERE id = 5"), "[1]");
}

/// The rows that a rollback has copied are proven before they are attached. Equal ones come each by itself, whatever a
/// profile says of joins.
#[test]
fn what_a_rollback_carries_is_proven() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    stage.must(&["cutover"]);
    stage.query(&format!("INSERT INTO events_1 {ROW} FROM numbers(3)"));
    let rollback = Held::at("piece-carried-back", "", stage.command(&["rollback"]));
    let back = "SELECT name FROM system.tables WHERE database = '_teal' AND name LIKE '%_back'";
    stage.query(&format!("TRUNCATE TABLE _teal.{}", stage.query(back)));
    rollback.go_on().failed(3, &["has 3 rows that default.events lacks"]);
    let carried = "SELECT count() FROM events WHERE id = 1000000";
    assert_eq!(stage.query(carried), "0");

    let url = format!("{}?join_default_strictness=ANY", stage.modern.url());
    stage.project.must(&["--url", &url, "rollback"]);
    assert_eq!(stage.query(carried), "3");
}

/// A column that only one of the two has is not compared, and would be lost with its table.
#[test]
fn an_alter_in_the_moment_of_an_exchange_or_before_a_rollback_is_not_lost() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    // ClickHouse lets no column go that a view reads, and `SELECT *` reads them all.
    let models = std::fs::read_to_string(stage.project.path().join("app/events.sql")).unwrap();
    stage.project.write("app/events.sql", &models.replace("SELECT *", "SELECT id, town, at"));
    stage.must(&["apply"]);
    let cutover = reaching(&stage, "cutover-opened");
    stage.query("ALTER TABLE events ADD COLUMN source String");
    let run = Run::of(cutover.wait_with_output().unwrap());
    let column = "column source: new, String";
    run.failed(3, &["default.events", column]);
    assert_eq!(stage.sorting_key("events"), "id");
    stage.query("ALTER TABLE events DROP COLUMN source SETTINGS mutations_sync = 1");
    // An index has no values of its own.
    stage.must(&["cutover", "--by", "exchange"]);
    stage.query("ALTER TABLE events ADD INDEX towns town TYPE set(10) GRANULARITY 1");
    stage.must(&["rollback"]);
    stage.query("ALTER TABLE events_1 DROP INDEX towns SETTINGS mutations_sync = 1");
    stage.must(&["cutover", "--by", "exchange"]);
    stage.query("ALTER TABLE events ADD COLUMN source String");
    stage.teal(&["rollback"]).failed(3, &["default.events", column, "--force"]);
    stage.must(&["rollback", "--force"]);
    stage.query("ALTER TABLE events_1 DROP COLUMN source SETTINGS mutations_sync = 1");
    assert_eq!(stage.sorting_key("events"), "id");
    stage.assert_exact(ROWS, "there and back");
}

/// From the entry on it goes on, whatever its user does next; before, nothing has begun. Who works on other tables
/// need not wait for it.
#[test]
fn a_cleanup_that_cannot_go_on_says_what_will_become_of_it() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let config = stage.config().replace("[migrate]", "");
    stage.project.write("teal.toml", &format!("{config}\n[migrate]\nfence_timeout = 1\n"));
    stage.must(&["apply"]);
    stage.must(&["cutover", "--by", "exchange"]);
    let long = "INSERT INTO events SELECT number, 'long', now() FROM numbers(600) WHERE sleepEachRow(1) = 1 \
                SETTINGS max_block_size = 1, max_threads = 1";
    let running = "SELECT count() FROM system.processes WHERE query_kind = 'Insert'";
    let server = stage.modern.open(|_| ());
    let while_it_runs = |begin: &dyn Fn() -> Option<Child>, meanwhile: &dyn Fn()| {
        thread::scope(|scope| {
            let cleanup = begin();
            scope.spawn(|| drop(server.user_session(&[]).unwrap().command(long)));
            stage.wait_for(running);
            let run = match cleanup {
                Some(cleanup) => Run::of(cleanup.wait_with_output().unwrap()),
                None => stage.teal(&["cleanup", "--force"]),
            };
            meanwhile();
            stage.query("KILL QUERY WHERE query_kind = 'Insert' SYNC");
            run
        })
    };
    while_it_runs(&|| None, &|| ()).failed(3, &["no clean cut"]);
    stage.must(&["verify"]);
    let cleanup = || {
        let cleanup = stage.slowly("cleanup-opened", 3000, &["cleanup", "--force"]);
        stage.wait_for("SELECT count() FROM _teal.journal WHERE kind = 'cleanupOpened'");
        Some(cleanup)
    };
    let other = || {
        let other = "CREATE TABLE other (id UInt64) ENGINE = MergeTree ORDER BY id;\n";
        stage.project.write("app/other.sql", other);
        let run = stage.teal(&["apply"]);
        run.failed(0, &["default.events_1 is about to be dropped"]);
        assert_eq!(stage.query("EXISTS other"), "1", "{}", run.said());
    };
    let run = while_it_runs(&cleanup, &other);
    run.failed(3, &["default.events_1 is about to be dropped", "the next command of any kind"]);
    stage.must(&["apply"]);
    assert_eq!(stage.query("SELECT engine FROM system.tables WHERE name = 'events_1'"), "Alias");
}

/// It is history like the rest, which a person fills such views with by hand.
#[test]
fn what_a_cut_copies_into_green_comes_to_no_view_of_green() {
    let stage = Stage::new(Modern::start(), CLONED);
    stage.killed_at("prepared=return", &["apply"]);
    stage.query("CREATE TABLE counted (n UInt64) ENGINE = SummingMergeTree ORDER BY tuple()");
    stage.query("CREATE MATERIALIZED VIEW counts TO counted AS SELECT count() AS n FROM events_1");
    let apply = Held::at("blue-cloned", "", stage.command(&["apply"]));
    thread::scope(|scope| {
        let insert = scope.spawn(|| stage.query(&insert(1_000_000, 10, 2000)));
        stage.wait_for(SLEEPING);
        let run = apply.go_on();
        assert_eq!(run.code, Some(0), "{}", run.said());
        assert!(run.said().contains("1 of them not through the view"), "{}", run.said());
        insert.join().unwrap();
    });
    stage.assert_exact(ROWS + 10, "cloned");
    assert_eq!(stage.query("SELECT sum(n) FROM counted"), "0");
}

/// The server drops no larger table without being told so twice, and counts a snapshot as large as its table.
#[test]
fn tables_beyond_the_limit_for_drops_are_migrated_and_cleaned_up() {
    let limits = "<clickhouse><max_table_size_to_drop>1000</max_table_size_to_drop>\
                  <max_partition_size_to_drop>1000</max_partition_size_to_drop></clickhouse>";
    let stage = Stage::new(Modern::start_with(limits), REWRITTEN);
    let refused = stage.teal(&["query", "DROP TABLE events"]);
    assert!(
        refused.stderr.contains("TABLE_SIZE_EXCEEDS_MAX_DROP_SIZE_LIMIT"),
        "{}",
        refused.said()
    );
    stage.must(&["apply"]);
    stage.must(&["abort"]);
    stage.must(&["apply"]);
    stage.must(&["cutover", "--by", "exchange"]);
    stage.must(&["cleanup"]);
    assert_eq!(stage.query("SELECT count() FROM events"), ROWS.to_string());
}

/// Where nothing else is merged either, its turn will not come.
#[test]
fn a_removal_that_the_server_does_not_begin_ends_with_the_cause() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    stage.query("ALTER TABLE events DELETE WHERE id = 5 SETTINGS mutations_sync = 1");
    stage.query("SYSTEM STOP MERGES events_1");
    let config = stage.config();
    stage.project.write("teal.toml", &format!("{config}\n[migrate]\nfence_timeout = 1\n"));
    stage.teal(&["repair"]).failed(1, &["does not begin the mutation", "SYSTEM START MERGES"]);
    stage.query("SYSTEM START MERGES events_1");
    stage.must(&["repair"]);
    stage.assert_exact(ROWS - 1, "after the merges began again");
}

/// The table of a server stays, and no time would bring an entry.
#[test]
fn a_part_log_that_was_switched_off_is_named_as_the_cause() {
    let stage = Stage::new(Modern::start_with("<clickhouse></clickhouse>"), REWRITTEN);
    stage.query(
        "CREATE TABLE system.part_log (event_date Date, event_time DateTime, event_type String, merge_reason String, \
             error UInt16, query_id String, database String, `table` String, table_uuid UUID, part_name String, \
             partition_id String, rows UInt64) ENGINE = MergeTree ORDER BY event_time",
    );
    let config = stage.config();
    stage.project.write("teal.toml", &format!("{config}\n[migrate]\nfence_timeout = 1\n"));
    stage.under_traffic(3, || {
        stage.teal(&["apply"]).failed(3, &["which has none since", "switched it off"]);
    });
}
