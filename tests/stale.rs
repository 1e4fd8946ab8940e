//! Somebody changes the old table while it is migrated, in ways that no view forwards. The new table must
//! end as the old one is then, without a word from the user; but what somebody wrote to the new table
//! itself is not touched.

use crate::server_migration::{CLONED, Stage};
use crate::servers::Modern;
use crate::support::Project;

pub(crate) const EVENTS: &str = "CREATE TABLE events (id UInt64, town String, at DateTime) ENGINE = MergeTree \
     PARTITION BY toYYYYMM(at) ORDER BY id;\n";
pub(crate) const VERSION: &str = "-- teal: table events version 1\n";
pub(crate) const REWRITTEN: &str = "CREATE TABLE events_1 (id UInt64, town String, at DateTime) ENGINE = MergeTree \
     PARTITION BY toYYYYMM(at) ORDER BY (town, id);\n";
/// Other partitions, and other rows than blue has.
const REGROUPED: &str = "CREATE TABLE events_1 (id UInt64, town String, at DateTime) ENGINE = MergeTree \
     PARTITION BY id % 4 ORDER BY (town, id);\n";
const FOLDED: &str = "CREATE TABLE events_1 (id UInt64, town String, at DateTime) ENGINE = ReplacingMergeTree \
     PARTITION BY toYYYYMM(at) ORDER BY id;\n";
pub(crate) const VIEW: &str =
    "CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events;\n";
pub(crate) const UPPER: &str = "CREATE MATERIALIZED VIEW mv_events TO events_1 AS \
     SELECT id, upper(town) AS town, at FROM events WHERE id != 77;\n";
pub(crate) const APPLY: &[&str] = &["apply", "--chunk-rows", "1000"];

/// What is done to blue, and what teal must say of it.
const CHANGES: &[(&[&str], &str)] = &[
    (&["ALTER TABLE events DELETE WHERE id % 10 = 3 SETTINGS mutations_sync = 1"], "DELETE WHERE"),
    // Not waited for.
    (&["ALTER TABLE events UPDATE town = 'changed' WHERE id < 50"], "UPDATE town"),
    (&["DELETE FROM events WHERE id BETWEEN 10 AND 200"], "_row_exists"),
    (
        &[
            "ALTER TABLE events DROP PARTITION 202402",
            "ALTER TABLE events DROP PARTITION 202403",
            "INSERT INTO events VALUES (1, 'late', '2024-03-05 00:00:00')",
        ],
        "partition 202402, 202403 went",
    ),
    (&["TRUNCATE TABLE events"], "partition 202401, 202402, 202403 went"),
    (
        &[
            "CREATE TABLE other AS events",
            // As many rows, and some of the same.
            "INSERT INTO other SELECT id, if(id < 500, town, 'other'), at FROM events WHERE toYYYYMM(at) = 202401",
            "ALTER TABLE events REPLACE PARTITION 202401 FROM other",
            "DROP TABLE other SYNC",
        ],
        "partition 202401 went",
    ),
    (
        &[
            "CREATE TABLE other AS events",
            "ALTER TABLE events MOVE PARTITION 202401 TO TABLE other",
            "ALTER TABLE events DETACH PARTITION 202402",
            "DROP TABLE other SYNC",
        ],
        "partition 202401, 202402 went",
    ),
    // Some of equal rows go.
    (&["ALTER TABLE events DROP PART '202402_8_8_0'"], "40 rows too many"),
    (
        &[
            "CREATE TABLE other AS events",
            "INSERT INTO other SELECT 7, 'twin', if(number < 40, '2024-02-01', '2024-03-01') FROM numbers(50)",
            "ALTER TABLE events ATTACH PARTITION 202402 FROM other",
            "ALTER TABLE other MOVE PARTITION 202403 TO TABLE events",
            "DROP TABLE other SYNC",
        ],
        "50 rows copied that green lacked",
    ),
];

/// An application that was deployed too early writes to the new table while the fence stands open.
#[test]
fn what_somebody_wrote_to_green_behind_an_open_fence_is_not_thrown_away() {
    let direct = "INSERT INTO events_1 SELECT id, 'direct', at FROM events WHERE id < 3 LIMIT 3";
    let words = ["events_1 has 3 rows", "direct", "nothing is lost", "teal abort --force"];
    for (next, steps) in
        [(REWRITTEN, &["fence-opened", "view-created"][..]), (CLONED, &["blue-cloned"])]
    {
        let filled = filled(next, VIEW);
        for step in steps {
            let project = filled.copy();
            project.killed_at(step, APPLY);
            project.query(&insert(1_000_000, 1_000));
            project.query(direct);
            project.teal(APPLY).failed(3, &words);
            if *step == "blue-cloned" {
                project.teal(&["abort"]).failed(3, &words);
                let copy = project.copy();
                copy.must(&["abort", "--force"]);
                assert_eq!(copy.query("SHOW TABLES"), "events", "{step}");
            }
            let left = project.query("SELECT count() FROM events_1 WHERE town = 'direct'");
            assert_eq!(left, "3", "{step}");
            project.query(match *step {
                "view-created" => "INSERT INTO events SELECT * FROM events_1 WHERE town = 'direct'",
                _ => {
                    "ALTER TABLE events_1 DELETE WHERE town = 'direct' SETTINGS mutations_sync = 1"
                }
            });
            project.must(APPLY);
            assert_equal(&project, VIEW, step);
        }
    }
}

/// Who works on another table need not wait for it, and who gives leave neither.
#[test]
fn a_long_look_at_green_is_left_to_the_commands_on_its_migration() {
    let events = "CREATE TABLE events (id UInt64) ENGINE = MergeTree ORDER BY id;\n";
    let next = "CREATE TABLE events_1 (id UInt64) ENGINE = MergeTree ORDER BY id SETTINGS merge_with_ttl_timeout = 7200;\n";
    let project = Project::new(&[("app/events.sql", events)]);
    project.must(&["apply"]);
    for from in [0, 1_100_000] {
        project.query(&format!("INSERT INTO events SELECT {from} + number FROM numbers(1100000)"));
    }
    project.write("app/events.sql", &format!("{events}{VERSION}{next}{VIEW}"));
    project.killed_at("blue-cloned", &["apply"]);
    // No part of green is one of blue any more.
    project.query("OPTIMIZE TABLE events FINAL");
    let healed = project.copy();
    let words = "a look at 4400000 rows";
    let run = healed.must(&["apply"]);
    assert!(run.stderr.contains(words), "{}", run.said());
    let run = project.must(&["abort", "--force"]);
    assert!(
        run.stderr.contains("not undone yet: before default.events_1 is emptied, 4400000 rows"),
        "{}",
        run.said()
    );
    assert!(!run.stderr.contains(words), "{}", run.said());
    assert_eq!(project.query("SHOW TABLES"), "events");
}

/// Two INSERTs of the same rows are twice as many rows, unless a user asks for one; teal's own copies of them
/// never.
#[test]
fn equal_blocks_are_copied_as_often_as_they_are_there() {
    let windowed = |table: &str| {
        table.replace(";\n", " SETTINGS non_replicated_deduplication_window = 1000;\n")
    };
    let events = windowed(EVENTS);
    let project = Project::new(&[("app/events.sql", &events)]);
    project.must(&["apply"]);
    let twice = |from| {
        for _ in 0..2 {
            project.query(&format!("{} SETTINGS insert_deduplicate = 0", insert(from, 1_000)));
        }
        // A retry, which ClickHouse drops; it does not those of `INSERT … SELECT` (26.7).
        for _ in 0..2 {
            project.query(&format!(
                "INSERT INTO events VALUES ({from}, 'once', '2024-01-01 00:00:00')"
            ));
        }
    };
    twice(0);
    project.write("app/events.sql", &format!("{events}{VERSION}{}{VIEW}", windowed(REWRITTEN)));
    project.must(APPLY);
    twice(1_000_000);
    // As an INSERT leaves them that failed in the view.
    project.query("ALTER TABLE events_1 DELETE WHERE id % 2 = 0 SETTINGS mutations_sync = 1");
    project.must(&["repair"]);
    assert_equal(&project, VIEW, "repaired");
    project.must(&["cutover"]);
    assert_eq!(project.query("SELECT count(), uniqExact(id) FROM events_1"), "4002\t2000");
}

/// What takes no row from blue explains none that green has too many: neither building an index, nor a merge
/// that drops rows which were deleted before.
#[test]
fn what_changes_no_rows_is_no_reason_to_remove_any() {
    let events = EVENTS.replace("at DateTime)", "at DateTime, INDEX towns town TYPE minmax)");
    let project = Project::new(&[("app/events.sql", &events)]);
    project.must(&["apply"]);
    project.query(&insert(0, 2000));
    project.query("DELETE FROM events WHERE id < 100");
    project.write("app/events.sql", &format!("{events}{VERSION}{REWRITTEN}{VIEW}"));
    project.must(APPLY);
    project.query("INSERT INTO events_1 SELECT id, 'direct', at FROM events LIMIT 3");
    for change in [
        "ALTER TABLE events MATERIALIZE INDEX towns SETTINGS mutations_sync = 1",
        "OPTIMIZE TABLE events FINAL",
    ] {
        project.query(change);
        project.teal(&["cutover"]).failed(3, &["no sign that blue has lost any"]);
        let left = project.query("SELECT count() FROM events_1 WHERE town = 'direct'");
        assert_eq!(left, "3", "{change}");
    }
}

/// By which an UPDATE writes a patch.
fn patched(table: &str) -> String {
    table.replace(
        ";\n",
        " SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1;\n",
    )
}

/// A clone of the part alone would be as before the update. Releases before 26.7 make it, and say nothing.
#[test]
fn an_update_that_lies_in_a_patch_is_to_be_applied_before_a_clone() {
    let events = patched(EVENTS);
    let project = Project::new(&[("app/events.sql", &events)]);
    project.must(&["apply"]);
    project.query(&insert(0, 2000));
    project.write("app/events.sql", &format!("{events}{VERSION}{REWRITTEN}{VIEW}"));
    for (command, rows) in [(APPLY, 500), (&["cutover"], 200)] {
        project.query(&format!("UPDATE events SET town = '{rows}' WHERE id < {rows}"));
        project.teal(command).failed(3, &["no clone takes along", "APPLY PATCHES"]);
        project.query("ALTER TABLE events APPLY PATCHES SETTINGS mutations_sync = 1");
        project.must(command);
        assert_equal(&project, VIEW, "applied");
    }
    let updated = "SELECT countIf(town = '500'), countIf(town = '200') FROM events_1";
    assert_eq!(project.query(updated), "300\t200");
}

/// Some minutes long it lies beside the parts that have it by then, and is in no clone.
#[test]
fn a_patch_that_was_applied_holds_up_no_cut_on_a_server() {
    let events = patched(EVENTS);
    let project = Project::new(&[("app/events.sql", &events)]);
    let stage = Stage::of(Modern::start(), project, &format!("{events}{VERSION}{REWRITTEN}{VIEW}"));
    stage.query("UPDATE events SET town = 'patched' WHERE id < 500");
    stage.teal(APPLY).failed(3, &["no clone takes along"]);
    stage.query("ALTER TABLE events APPLY PATCHES SETTINGS mutations_sync = 1");
    let left =
        "SELECT count() > 0 FROM system.parts WHERE active AND startsWith(partition_id, 'patch-')";
    assert_eq!(stage.query(left), "1");
    stage.must(&["apply", "--fence-timeout", "3"]);
    assert_eq!(stage.difference(), "0");
    assert_eq!(stage.query("SELECT count() FROM events_1 WHERE town = 'patched'"), "500");
}

/// Blue with several parts in three partitions, and the models of what comes next.
pub(crate) fn filled(next: &str, view: &str) -> Project {
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["apply"]);
    project.query("SYSTEM STOP MERGES events");
    for from in [0, 2000] {
        project.query(&insert(from, 2000));
    }
    for rows in [500, 40] {
        project.query(&format!("INSERT INTO events SELECT 7, 'twin', toDateTime('2024-02-01 00:00:00') FROM numbers({rows})"));
    }
    project.write("app/events.sql", &format!("{EVENTS}{VERSION}{next}{view}"));
    project
}

pub(crate) fn insert(from: u64, rows: u64) -> String {
    format!(
        "INSERT INTO events SELECT {from} + number, concat('town ', toString(number % 100)), \
             toDateTime('2024-01-01 00:00:00') + (number % 80) * 86400 FROM numbers({rows})"
    )
}

/// Asserts that green is blue as the view sees it, and nothing is left behind.
pub(crate) fn assert_equal(project: &Project, view: &str, said: &str) {
    let select = view.split_once(" AS ").unwrap().1.trim_end().trim_end_matches(';').trim();
    let found = project.query(&format!(
        "SELECT (SELECT ifNull(sum(abs(n)), 0) FROM (SELECT sum(sign) AS n FROM (\
                 SELECT 1::Int64 AS sign, * FROM ({select}) UNION ALL SELECT -1::Int64 AS sign, * FROM events_1) \
             GROUP BY id, town, at)) AS rows_that_differ, \
             (SELECT groupArray(name) FROM system.tables \
                 WHERE database = '_teal' AND name != 'journal' AND NOT name LIKE 'lock_%') AS left_behind"
    ));
    assert_eq!(found, "0\t[]", "{said}");
}

fn change(filled: &Project, view: &str, then: &[&str]) {
    for (statements, word) in CHANGES {
        let project = filled.copy();
        for statement in *statements {
            project.query(statement);
        }
        let run = project.must(then);
        let said = format!("{statements:?}: {}", run.said());
        assert!(run.stderr.contains(word), "{said}");
        // The users' values are not kept.
        let values = "SELECT count() FROM _teal.journal \
             WHERE kind = 'stale' AND (position(body, '\\'changed') > 0 OR position(body, '% 10') > 0)";
        assert_eq!(project.query(values), "0", "{said}");
        // The view forwards as before.
        project.query(&insert(1_000_000, 100));
        assert_equal(&project, view, &said);
    }
}

#[test]
fn what_is_changed_in_the_backfill_is_changed_in_green_too() {
    let filled = filled(REWRITTEN, VIEW);
    filled.killed_at("chunk-attached=2*off->return", APPLY);
    change(&filled, VIEW, APPLY);
}

#[test]
fn what_is_changed_while_the_cutover_is_waited_for_is_changed_in_green_too() {
    let filled = filled(REGROUPED, UPPER);
    filled.must(APPLY);
    change(&filled, UPPER, &["cutover", "--by", "app"]);
}

/// The removal and the copy that follows it, killed at each step; the engine dies with teal, and a mutation
/// goes on when it comes back.
#[test]
fn a_repair_killed_at_any_step_goes_on() {
    let filled = filled(REWRITTEN, VIEW);
    filled.must(APPLY);
    filled.query("ALTER TABLE events DROP PARTITION 202403");
    filled.query(
        "ALTER TABLE events UPDATE town = 'changed' WHERE id % 10 = 3 SETTINGS mutations_sync = 1",
    );
    for step in [
        "stale-rows-collected",
        "stale",
        "stale-partition-dropped",
        "stale-rows-mutation",
        "stale-rows-mutation=1*off->return",
        "stale-rows-removed",
        "removal-settled",
        "bucket-repaired",
    ] {
        let project = filled.copy();
        project.killed_at(step, &["repair"]);
        // Some of what comes meanwhile is equal to what went.
        project.query(&insert(0, 300));
        project.query("ALTER TABLE events DELETE WHERE id = 5 SETTINGS mutations_sync = 1");
        let run = project.must(&["cutover", "--by", "app"]);
        assert_equal(&project, VIEW, &format!("killed at {step}: {}", run.said()));
    }
}

#[test]
fn what_somebody_wrote_to_green_is_removed_by_leave_only() {
    let project = filled(REWRITTEN, VIEW);
    project.must(APPLY);
    project.query("INSERT INTO events_1 SELECT id, 'direct', at FROM events WHERE toYYYYMM(at) = 202401 LIMIT 3");
    let words = [
        "has 3 too many",
        "direct",
        "partition 202401",
        "no sign that blue has lost any",
        "--drop-extra",
    ];
    project.teal(&["cutover"]).failed(3, &words);
    project.teal(&["repair"]).failed(3, &words);
    // What has happened to another partition is no reason.
    project.query("ALTER TABLE events DROP PARTITION 202402");
    let word = "no sign that blue has lost any of partition 202401";
    project.teal(&["repair"]).failed(3, &[word]);
    project.teal(&["abort"]).failed(3, &["rows that default.events lacks"]);
    assert_eq!(project.query("SELECT count() FROM events_1 WHERE town = 'direct'"), "3");

    let copy = project.copy();
    let run = copy.must(&["repair", "--drop-extra"]);
    assert!(run.stdout.contains("rows removed that blue lacks"), "{}", run.said());
    assert_equal(&copy, VIEW, "dropped");
    copy.must(&["cutover"]);
}

/// A row that blue has lost is in green alone, like one that was written there.
#[test]
fn what_blue_has_lost_is_not_brought_back_by_a_rollback() {
    let words = ["default.events was changed in place", "INSERT INTO", "--force"];
    let filled = filled(REWRITTEN, VIEW);
    filled.must(APPLY);

    let project = filled.copy();
    project.query("ALTER TABLE events DROP PARTITION 202402");
    project.query("INSERT INTO events_1 SELECT id, 'direct', at FROM events LIMIT 3");
    project.teal(&["repair"]).failed(3, &["no sign that blue has lost any", "teal rollback"]);
    project.teal(&["rollback"]).failed(3, &words);
    assert_eq!(project.query("SELECT count() FROM events WHERE toYYYYMM(at) = 202402"), "0");
    project.query("INSERT INTO events SELECT * FROM events_1 WHERE town = 'direct'");
    project.must(&["repair", "--drop-extra"]);
    assert_equal(&project, VIEW, "by hand");
    assert_eq!(project.query("SELECT count() FROM events WHERE town = 'direct'"), "3");

    // After a cutover by app some are on the old table still.
    for change in [
        "ALTER TABLE events UPDATE town = 'changed' WHERE id = 5 SETTINGS mutations_sync = 1",
        "DELETE FROM events WHERE id = 5",
    ] {
        let project = filled.copy();
        project.must(&["cutover", "--by", "app"]);
        project.query("INSERT INTO events_1 VALUES (1000000, 'direct', '2024-01-01 00:00:00')");
        let copy = project.copy();
        project.query(change);
        project.teal(&["rollback"]).failed(3, &words);
        let former = "SELECT count() FROM events WHERE id = 5 AND town = 'town 5'";
        assert_eq!(project.query(former), "0", "{change}");
        project.must(&["rollback", "--force"]);
        project.must(&["repair", "--drop-extra"]);
        assert_equal(&project, VIEW, change);
        // What changes no rows is no such thing.
        copy.query("ALTER TABLE events ADD INDEX towns town TYPE minmax");
        copy.query("ALTER TABLE events MATERIALIZE INDEX towns SETTINGS mutations_sync = 1");
        copy.must(&["rollback"]);
        assert_eq!(copy.query("SELECT count() FROM events WHERE town = 'direct'"), "1");
    }
}

#[test]
fn a_migration_of_a_changed_table_can_be_given_up_without_force() {
    let project = filled(REWRITTEN, VIEW);
    project.must(APPLY);
    project.query("ALTER TABLE events DROP PARTITION 202402");
    project.must(&["abort"]);
    assert_eq!(project.query("SHOW TABLES"), "events");
}

/// The server sets the parts of February aside, as those that it cannot read.
fn break_february(project: &Project, table: &str) {
    project.query(&format!("ALTER TABLE {table} DETACH PARTITION 202402"));
    let path = format!("SELECT data_paths[1] FROM system.tables WHERE name = '{table}'");
    let detached = project.data().join(project.query(&path)).join("detached");
    let mut set_aside = 0;
    for part in std::fs::read_dir(&detached).unwrap() {
        let name = part.unwrap().file_name().into_string().unwrap();
        let broken = detached.join(format!("broken_{name}"));
        std::fs::rename(detached.join(&name), broken).unwrap();
        set_aside += 1;
    }
    assert!(set_aside > 0);
}

/// As a power cut leaves parts that were written just before the cutover, or a bad sector at any time.
#[test]
fn the_old_table_stays_where_parts_of_the_new_one_are_broken() {
    let filled = filled(REWRITTEN, VIEW);
    filled.must(APPLY);
    let words = ["partition 202402", "broken", "last copy", "--force"];
    let february =
        |table: &str| format!("SELECT count() > 0 FROM {table} WHERE toYYYYMM(at) = 202402");
    for (by, old, new) in [("exchange", "events_1", "events"), ("app", "events", "events_1")] {
        let moved = filled.copy();
        moved.must(&["cutover", "--by", by]);
        let project = moved.copy();
        break_february(&project, new);
        for options in [&[][..], &["--park", "1d"]] {
            project.teal(&[&["cleanup"], options].concat()).failed(3, &words);
        }
        assert_eq!(project.query(&february(old)), "1", "{by}");
        project.must(&["cleanup", "--force"]);

        // Where it has begun.
        for step in ["cleanup-opened", "retiring-gate-opened"] {
            let project = moved.copy();
            project.killed_at(step, &["cleanup"]);
            break_february(&project, new);
            project.teal(&["cleanup"]).failed(3, &words);
            project.must(&["cleanup", "--force"]);
        }

        let project = moved.copy();
        project.must(&["cleanup", "--park", "0s"]);
        break_february(&project, new);
        let said = project.must(&["cleanup"]).said();
        assert!(said.contains("stays, though its time is over: the server has set"), "{said}");
        let parked = project.query("SELECT name FROM system.tables WHERE name LIKE '%_drop_%'");
        assert_eq!(project.query(&february(&parked)), "1", "{by}");
        let said = project.must(&["cleanup", "--force"]).said();
        assert!(said.contains("whose time is over"), "{said}");
    }
}

/// Where the server has set a part aside because it could not be read, green has the last copy.
#[test]
fn what_blue_lost_by_a_broken_part_is_kept() {
    let project = filled(REWRITTEN, VIEW);
    project.must(APPLY);
    break_february(&project, "events");
    let words = ["partition 202402", "broken", "last copy"];
    project.teal(&["cutover"]).failed(3, &words);
    project.teal(&["abort"]).failed(3, &words);
    assert_ne!(project.query("SELECT count() FROM events_1 WHERE toYYYYMM(at) = 202402"), "0");
}

#[test]
fn where_green_folds_rows_the_way_out_is_another_clone() {
    let project = filled(FOLDED, VIEW);
    project.must(APPLY);
    project.query("ALTER TABLE events DELETE WHERE id % 10 = 3 SETTINGS mutations_sync = 1");
    project.teal(&["cutover"]).failed(3, &["engine folds rows", "teal abort", "teal apply"]);
    project.must(&["abort"]);
    project.must(APPLY);
    let ids = "SELECT (SELECT arraySort(groupUniqArray(id)) FROM events) = (SELECT arraySort(groupUniqArray(id)) FROM events_1)";
    assert_eq!(project.query(ids), "1");
}
