//! What a kill of teal leaves behind every single statement that changes something on the target: the same command
//! must go on from there, end exact, and leave nothing behind. Rows are written before it goes on too.
//!
//! The state behind a write is the state before the next one, so these are all there are.

use crate::support::{Background, Failpoint, Project};

const ITEMS: &str = "-- teal: table items version 0\n\
     CREATE TABLE items_0 (id UInt64, town String, at DateTime) ENGINE = MergeTree \
     PARTITION BY toYYYYMM(at) ORDER BY id;\n";
/// Rows are rewritten.
const SORTED_ANEW: &str = "-- teal: table items version 1\n\
     CREATE TABLE items_1 (id UInt64, town String, at DateTime) ENGINE = MergeTree \
     PARTITION BY toYYYYMM(at) ORDER BY (town, id);\n";
/// Parts are cloned.
const SET_ANEW: &str = "-- teal: table items version 1\n\
     CREATE TABLE items_1 (id UInt64, town String, at DateTime) ENGINE = MergeTree \
     PARTITION BY toYYYYMM(at) ORDER BY id SETTINGS merge_with_ttl_timeout = 7200;\n";
const VIEW: &str = "CREATE MATERIALIZED VIEW mv_items TO items_1 AS SELECT * FROM items_0;\n";

const OLD_KEY: &str = "id";
const NEW_KEY: &str = "town, id";

const ROWS: u64 = 9_000;
/// Some chunks, of several partitions and of pieces of one.
const APPLY: &[&str] = &["apply", "--chunk-rows", "4000"];

fn filled(next: &str) -> Project {
    filled_in(Project::new(&[("app/items.sql", ITEMS)]), next)
}

fn filled_in(project: Project, next: &str) -> Project {
    project.must(&["apply"]);
    project.query(&insert(0, ROWS - 2_000));
    project.query(&insert(ROWS - 2_000, 2_000));
    project.write("app/items.sql", &format!("{ITEMS}{next}{VIEW}"));
    project
}

fn insert(from: u64, rows: u64) -> String {
    insert_into("items_0", from, rows)
}

fn insert_into(table: &str, from: u64, rows: u64) -> String {
    format!(
        "INSERT INTO {table} (id, town, at) SELECT {from} + number, concat('town ', toString(number % 100)), \
         toDateTime('2024-01-01 00:00:00') + (number % 80) * 86400 FROM numbers({rows})"
    )
}

/// Lets `go_on` do what follows on what a kill behind each of the command's writes leaves, each time with some rows
/// more. Gives the number of writes.
fn killed_behind_every_write(
    filled: &Project,
    arguments: &[&str],
    go_on: impl Fn(&Project, &str),
) -> usize {
    let left = left_behind(&["write"], filled, arguments);
    let writes = left.len();
    assert!(writes > 1, "no command of these writes so little as {arguments:?}");
    for (number, project) in left.into_iter().enumerate() {
        // Where there is an alias, it is what users know. What is written to the new table only is carried
        // back bucket by bucket, so that is little.
        let (name, rows) = match project.config().contains("\"alias\"") {
            true => ("items", 10),
            false => ("items_0", 1_000),
        };
        project.query(&insert_into(name, 1_000_000, rows));
        go_on(&project, &format!("{arguments:?} killed behind its write {number}"));
    }
    writes
}

/// The data as the command has it at each of these failpoints. It runs once, and is stopped at each.
fn left_behind(failpoints: &[&str], filled: &Project, arguments: &[&str]) -> Vec<Project> {
    let (project, failpoint) = (filled.copy(), Failpoint::new());
    let mut command = project.command(arguments);
    let held = failpoints.iter().map(|name| format!("{name}={}", failpoint.action()));
    command.env("FAILPOINTS", held.collect::<Vec<_>>().join(";"));
    let mut run = Background::start(command);
    let mut left = Vec::new();
    while failpoint.is_reached_by(&mut run) {
        left.push(run.while_stopped(|| project.copy()));
        failpoint.release();
    }
    let run = run.finish();
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.said());
    left
}

/// The rows of one table, and by how many the two differ.
const ROWS_AND_DIFFERENCE: &str = "(SELECT count() FROM items_0), \
     (SELECT toUInt64(sum(abs(n))) FROM (SELECT sum(sign) AS n FROM (\
         SELECT 1::Int64 AS sign, * FROM items_0 UNION ALL SELECT -1::Int64 AS sign, * FROM items_1) \
     GROUP BY id, town, at))";

/// Both tables hold the same rows, so many, `items_0` in this order; teal has left nothing, and merges are on.
fn assert_exact(project: &Project, said: &str, rows: u64, sorting_key: &str) {
    let found = project.query(&format!(
        "SELECT {ROWS_AND_DIFFERENCE}, \
             (SELECT sorting_key FROM system.tables WHERE database = 'default' AND name = 'items_0'), \
             (SELECT groupArray(name) FROM system.tables WHERE database LIKE '\\_teal%' \
                 AND name != 'journal' AND NOT name LIKE 'lock\\_%'), \
             (SELECT count() FROM system.tables WHERE database = 'default' \
                 AND match(engine_full, 'max_bytes_to_merge|merges_with_ttl|force_merge'))"
    ));
    assert_eq!(
        found,
        format!("{rows}\t0\t{sorting_key}\t[]\t0"),
        "{said}: rows, difference, sorting key, left behind, unmerged"
    );
}

/// Only then the database of teal's own tables is made, and its journal.
#[test]
fn the_first_apply_of_all_killed_behind_any_write_goes_on() {
    let project = Project::new(&[("app/items.sql", ITEMS)]);
    let left = left_behind(&["write", "made-if-missing"], &project, &["apply"]);
    for (number, project) in left.iter().enumerate() {
        project.must(&["apply"]);
        let again = project.must(&["apply"]);
        assert!(again.stdout.contains("Nothing to do"), "killed at {number}: {}", again.said());
    }
    assert!(left.len() > 4, "{} writes are not all of a first apply", left.len());
}

#[test]
fn an_alter_killed_behind_any_write_goes_on() {
    let project = Project::new(&[("app/items.sql", ITEMS)]);
    project.must(&["apply"]);
    project.query(&insert(0, ROWS));
    // A mutation, and what is none.
    let altered = ITEMS.replace(
        "at DateTime",
        "at DateTime, note String DEFAULT 'none', INDEX towns town TYPE set(100)",
    );
    project.write("app/items.sql", &altered);
    let writes = killed_behind_every_write(&project, &["apply"], |project, said| {
        project.must(&["apply"]);
        let found = project.query(
            "SELECT count(), countIf(note = 'none'), \
                 (SELECT count() FROM system.data_skipping_indices WHERE table = 'items_0') \
             FROM items_0",
        );
        assert_eq!(found, "10000\t10000\t1", "{said}");
        let again = project.must(&["apply"]);
        assert!(again.stdout.contains("Nothing to do"), "{said}: {}", again.said());
    });
    assert!(writes > 3, "{writes} writes are not all of two ALTERs");
}

fn applied(next: &str) -> usize {
    killed_behind_every_write(&filled(next), APPLY, |project, said| {
        project.exactly(APPLY);
        assert_exact(project, said, ROWS + 1_000, OLD_KEY);
    })
}

#[test]
fn a_rewrite_killed_behind_any_write_goes_on() {
    let writes = applied(SORTED_ANEW);
    assert!(writes > 40, "{writes} writes are not all of a rewrite");
}

#[test]
fn a_clone_killed_behind_any_write_goes_on() {
    let writes = applied(SET_ANEW);
    assert!(writes > 8, "{writes} writes are not all of a clone");
}

#[test]
fn an_exchange_and_its_way_back_killed_behind_any_write_go_on() {
    let project = filled(SORTED_ANEW);
    project.must(APPLY);
    let exchange = ["cutover", "--by", "exchange"];
    let writes = killed_behind_every_write(&project, &exchange, |project, said| {
        project.exactly(&exchange);
        assert_exact(project, said, ROWS + 1_000, NEW_KEY);
    });
    assert!(writes > 3, "{writes} writes are not all of an exchange");

    project.must(&exchange);
    let writes = killed_behind_every_write(&project, &["rollback"], |project, said| {
        project.must(&["rollback"]);
        project.exactly(APPLY);
        assert_exact(project, said, ROWS + 1_000, OLD_KEY);
    });
    assert!(writes > 3, "{writes} writes are not all of a rollback");
}

#[test]
fn a_turn_of_the_view_and_its_way_back_killed_behind_any_write_go_on() {
    let project = filled(SORTED_ANEW);
    project.must(APPLY);
    project.must(&["cutover"]);
    // Each bucket is a write.
    project.query(&insert_into("items_1", 2_000_000, 1));
    let views = "(SELECT count() FROM system.tables WHERE name LIKE '%\\_reverse'), \
         (SELECT count() FROM system.tables WHERE name = 'mv_items')";
    let writes = killed_behind_every_write(&project, &["cutover"], |project, said| {
        // What the kill was followed by are rows of somebody who writes to the old table still: told, if the
        // view is not turned, and carried, if it is.
        let run = project.teal(&["cutover"]);
        if run.code != Some(0) {
            run.failed(3, &["default.items_0 got 1000 rows"]);
            project.must(&["cutover"]);
        }
        project.query(&insert_into("items_1", 3_000_000, 10));
        let found = project.query(&format!("SELECT {views}, {ROWS_AND_DIFFERENCE}"));
        assert_eq!(found, format!("1\t0\t{}\t0", ROWS + 1_011), "{said}: views, rows, difference");
    });
    assert!(writes > 20, "{writes} writes are not all of a turn");

    project.must(&["cutover"]);
    let writes = killed_behind_every_write(&project, &["rollback"], |project, said| {
        project.must(&["rollback"]);
        assert_eq!(project.query(&format!("SELECT {views}")), "0\t1", "{said}");
        // What was written to the old table while no view forwarded it, a repair brings.
        project.must(APPLY);
        assert_exact(project, said, ROWS + 1_001, OLD_KEY);
    });
    assert!(writes > 4, "{writes} writes are not all of a rollback");
}

#[test]
fn an_abort_and_a_cleanup_killed_behind_any_write_are_finished() {
    let project = filled(SORTED_ANEW);
    project.must(APPLY);
    let tables = "arraySort((SELECT groupArray(concat(name, ' ', engine)) FROM system.tables \
         WHERE database = 'default'))";
    let writes = killed_behind_every_write(&project, &["abort"], |project, said| {
        project.must(&["abort"]);
        let found = project.query(&format!("SELECT {tables}, count() FROM items_0"));
        assert_eq!(found, "['items_0 MergeTree']\t10000", "{said}");
    });
    assert!(writes > 2, "{writes} writes are not all of an abort");

    project.must(&["cutover", "--by", "exchange"]);
    let park = &["cleanup", "--park", "7d"];
    let parked = "SELECT count() FROM system.tables WHERE match(name, '^items_0_drop_[0-9]{8}$')";
    let writes = killed_behind_every_write(&project, park, |project, said| {
        project.must(park);
        assert_eq!(project.query(parked), "1", "{said}");
        assert_exact(project, said, ROWS + 1_000, NEW_KEY);
    });
    assert!(writes > 2, "{writes} writes are not all of a cleanup that parks");

    let writes = killed_behind_every_write(&project, &["cleanup"], |project, said| {
        project.must(&["cleanup"]);
        let tables = project.query(&format!("SELECT {tables}"));
        assert_eq!(tables, "['items_0 MergeTree','items_1 Alias']", "{said}");
        assert_exact(project, said, ROWS + 1_000, NEW_KEY);
    });
    assert!(writes > 2, "{writes} writes are not all of a cleanup");
}

#[test]
fn a_cleanup_behind_a_cutover_by_app_killed_behind_any_write_is_finished() {
    let project = filled(SORTED_ANEW);
    project.must(APPLY);
    project.must(&["cutover"]);
    let left = left_behind(&["write"], &project, &["cleanup"]);
    for (number, project) in left.iter().enumerate() {
        // Everybody is on the new table by now.
        project.query(&insert_into("items_1", 1_000_000, 1_000));
        project.must(&["cleanup"]);
        let found = project.query(
            "SELECT count(), (SELECT groupArray(name) FROM system.tables WHERE database = 'default') FROM items_1",
        );
        assert_eq!(found, "10000\t['items_1']", "cleanup killed behind its write {number}");
    }
    assert!(left.len() > 4, "{} writes are not all of a cleanup", left.len());
}

/// Readers and writers use the alias `items`.
fn applied_with_alias() -> Project {
    let project = Project::new(&[("app/items.sql", ITEMS)]);
    let by_alias = format!("{}\n[migrate]\ncutover = \"alias\"\n", project.config());
    project.write("teal.toml", &by_alias);
    let project = filled_in(project, SORTED_ANEW);
    project.must(APPLY);
    project
}

fn assert_alias(project: &Project, table: &str, rows: u64, said: &str) {
    let found = project.query(
        "SELECT (SELECT engine_full FROM system.tables WHERE database = 'default' AND name = 'items'), \
             count(), uniqExact(id) FROM items",
    );
    let alias = format!(r"Alias(\'default\', \'{table}\')");
    assert_eq!(found, format!("{alias}\t{rows}\t{rows}"), "{said}");
}

#[test]
fn a_swap_of_the_alias_and_a_cleanup_killed_behind_any_write_go_on() {
    let project = applied_with_alias();
    let writes = killed_behind_every_write(&project, &["cutover"], |project, said| {
        // Out, if it has not happened; else only back.
        let aborted = project.copy();
        let run = aborted.teal(&["abort"]);
        if run.code != Some(0) {
            run.failed(3, &["teal rollback"]);
            aborted.must(&["rollback"]);
            aborted.must(&["abort"]);
        }
        assert_alias(&aborted, "items_0", ROWS + 10, said);
        project.exactly(&["cutover"]);
        assert_alias(project, "items_1", ROWS + 10, said);
    });
    assert!(writes > 5, "{writes} writes are not all of a swap");

    project.must(&["cutover"]);
    let writes = killed_behind_every_write(&project, &["cleanup"], |project, said| {
        project.must(&["cleanup"]);
        assert_alias(project, "items_1", ROWS + 10, said);
    });
    assert!(writes > 5, "{writes} writes are not all of a cleanup");
}

#[test]
fn a_rollback_of_the_alias_killed_behind_any_write_goes_on() {
    let project = applied_with_alias();
    project.must(&["cutover"]);
    // Each bucket is a write.
    project.query(&insert_into("items", 2_000_000, 2));
    let writes = killed_behind_every_write(&project, &["rollback"], |project, said| {
        project.must(&["rollback"]);
        assert_exact(project, said, ROWS + 12, OLD_KEY);
        assert_alias(project, "items_0", ROWS + 12, said);
    });
    assert!(writes > 10, "{writes} writes are not all of a rollback");
}
