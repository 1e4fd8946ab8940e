//! `kill -9` at chosen steps: a second one during the recovery from the first, into an engine that folds rows,
//! under the demo's traffic. The test `every_write` has what a kill leaves behind each write of a plain migration.

use crate::support::{
    Held, ITEMS_CLONED, ITEMS_MIGRATION, ITEMS_REWRITTEN, Project, difference, filled_items,
    insert_items,
};

/// Behind the entry that it is there, nobody makes the view again: it is brought to the disk before, and where it cannot
/// be, there is no entry.
#[test]
fn a_view_whose_definition_is_not_on_the_disk_is_not_attached() {
    let project = filled_items(ITEMS_REWRITTEN);
    let apply = Held::at("gate-opened", "", project.command(APPLY));
    let [file, aside] =
        ["metadata/default/mv_items_to_0_1.sql", "aside.sql"].map(|name| project.data().join(name));
    std::fs::rename(&file, &aside).unwrap();
    apply.go_on().failed(1, &["cannot be written to the disk"]);
    std::fs::rename(&aside, &file).unwrap();
    let attached = "SELECT count() FROM _teal.journal WHERE kind = 'attached'";
    assert_eq!(project.query(attached), "0");
    project.must(APPLY);
    assert_exact_and_clean(&project, "in the end", 90_500);
}

/// The steps up to the verification.
const EVERY: &[&str] = &[
    "started",
    "green-created",
    "prepared",
    "fence-opened",
    "view-created",
    "blue-cloned",
    "gate-opened",
    "attached",
    "verified",
];

/// The steps of a clone: its verification compares clones, since the new engine folds rows.
const CLONE: &[&str] = &["verify-tables-made", "verify-tables-cloned"];

const APPLY: &[&str] = &["apply", "--chunk-rows", "20000"];

/// What must hold after a migration, whatever happened on the way.
fn assert_exact_and_clean(project: &Project, said: &str, rows: u64) {
    let count = project.query("SELECT count() FROM items_0_0");
    assert_eq!(count, rows.to_string(), "{said}: rows of blue");
    assert_eq!(difference(project, "items_0_0", "items_0_1"), "0", "{said}: parity");
    assert_no_leftovers(project, said);
}

fn assert_no_leftovers(project: &Project, said: &str) {
    let left = project.query(
        "SELECT name FROM system.tables WHERE database = '_teal' AND name != 'journal' AND NOT name LIKE 'lock_%' \
         UNION ALL SELECT name FROM system.databases WHERE name LIKE '_teal_%' \
         UNION ALL SELECT concat('merges of ', name) FROM system.tables \
             WHERE database = 'default' AND match(engine_full, 'max_bytes_to_merge|merges_with_ttl|force_merge')",
    );
    assert_eq!(left, "", "{said}: left behind");
}

fn kill_and_go_on(filled: &Project, failpoint: &str, second: &str) {
    let project = filled.copy();
    project.killed_at(failpoint, APPLY);
    project.query(&insert_items(1_000_000, 1_000));
    project.killed_at(second, APPLY);
    project.query(&insert_items(2_000_000, 1_000));
    project.exactly(APPLY);
    let rows = 90_500 + 2_000;
    let said = format!("killed at {failpoint} and {second}");
    assert_exact_and_clean(&project, &said, rows);
    // The view is in place, once.
    project.query(&insert_items(3_000_000, 1_000));
    assert_exact_and_clean(&project, &said, rows + 1_000);
    let run = project.must(&["apply"]);
    assert!(run.stdout.contains("Nothing to do"), "{said}: {}", run.said());
}

#[test]
fn a_recovery_killed_in_its_turn_goes_on_as_well() {
    let filled = filled_items(ITEMS_REWRITTEN);
    for (failpoint, second) in [
        ("blue-cloned", "undo-view-dropped"),
        ("gate-opened", "undo-snapshot-dropped"),
        ("publishing", "publication-finished"),
        ("chunk-attached", "publication-finished"),
    ] {
        kill_and_go_on(&filled, failpoint, second);
    }
}

#[test]
fn a_clone_killed_at_any_step_goes_on_and_ends_exact() {
    let filled = filled_items(ITEMS_CLONED);
    for failpoint in EVERY.iter().chain(CLONE) {
        let project = filled.copy();
        project.killed_at(failpoint, APPLY);
        project.query(&insert_items(1_000_000, 1_000));
        project.exactly(APPLY);
        // Green folds the twins; every other row is there once.
        let said = format!("killed at {failpoint}");
        let green = project.query("SELECT count() FROM items_0_1 FINAL");
        assert_eq!(green, "91000", "{said}: rows of green");
        let missing = project.query(
            "SELECT count() FROM items_0_0 WHERE (id, name) NOT IN (SELECT id, name FROM items_0_1) AND name != 'twin'",
        );
        assert_eq!(missing, "0", "{said}: rows that green lacks");
        assert_no_leftovers(&project, &said);
    }
}

#[test]
fn an_exchange_that_was_cut_off_is_not_made_on_an_old_proof() {
    let filled = filled_items(ITEMS_REWRITTEN);
    // No way back through this SELECT: its view is dropped in the cut, before the exchange.
    let view = ITEMS_MIGRATION.replace("SELECT *", "SELECT id, upper(name) AS name, at, note");
    filled.write("app/migrate.sql", &view);
    filled.must(APPLY);
    // What the SELECT gives has no partitions in common with blue.
    let sample = filled.must(&["verify", "--sample", "10%"]).stdout;
    assert!(sample.contains("hold the same rows where "), "{sample}");
    for failpoint in ["cutover-opened", "view-dropped"] {
        let project = filled.copy();
        project.killed_at(failpoint, &["cutover", "--by", "exchange"]);
        project.query(&insert_items(1_000_000, 1_000));
        // As a crash in the middle of an INSERT leaves it: rows in blue that green lacks.
        project.query(
            "ALTER TABLE items_0_1 DELETE WHERE id BETWEEN 10 AND 19 SETTINGS mutations_sync = 2",
        );
        project.must(&["status"]);
        project.must(&["cutover", "--by", "exchange"]);
        let said = format!("killed at {failpoint}");
        let rows = "SELECT count(), uniqExact(id), countIf(name = upper(name)) FROM items_0_0";
        assert_eq!(project.query(rows), "91500\t91000\t91500", "{said}");
        assert_no_leftovers(&project, &said);
    }
}

#[test]
fn a_demo_killed_in_the_backfill_under_traffic_is_ended_by_apply() {
    for failpoint in ["chunk-copied", "chunk-attached", "gate-opened", "verify-started"] {
        // The demo makes a project of its own there.
        let project = Project::new(&[]);
        project.remove("teal.toml");
        let path = project.path().to_str().unwrap().to_owned();
        let demo =
            ["demo", "--rows", "200000", "--seconds-before", "0.5", "--keep", "--path", &path];
        project.killed_at(failpoint, &demo);
        project.must(&["apply"]);
        let said = format!("demo killed at {failpoint}");
        let columns = "date, delay, distance, origin, destination";
        let differ = project.query(&format!(
            "SELECT count() FROM (SELECT sum(sign) AS n FROM (\
                 SELECT 1::Int64 AS sign, {columns} FROM flights_0_0 \
                 UNION ALL SELECT -1::Int64 AS sign, {columns} FROM flights_0_1) \
             GROUP BY {columns} HAVING n != 0)"
        ));
        assert_eq!(differ, "0", "{said}");
        let rows = project.query("SELECT count() > 200000 FROM flights_0_1");
        assert_eq!(rows, "1", "{said}: the writers' rows");
        assert_no_leftovers(&project, &said);
    }
}

/// Merges that teal has stopped a user can force, and a merged part does not say of which parts it is.
#[test]
fn a_publication_whose_parts_were_merged_is_not_made_twice() {
    let filled = filled_items(ITEMS_REWRITTEN);
    for failpoint in ["publishing=return", "chunk-attached=return", "chunk-attached=1*off->return"]
    {
        for optimize in ["", " PARTITION 202401"] {
            let project = filled.copy();
            project.killed_at(failpoint, APPLY);
            project.query(&insert_items(1_000_000, 1_000));
            project.query(&format!("OPTIMIZE TABLE items_0_1{optimize} FINAL"));
            // What parts do not tell any more, a repair does.
            let run = project.must(APPLY);
            let said = format!("{failpoint}, merged{optimize}: {}", run.said());
            assert_exact_and_clean(&project, &said, 91_500);
        }
    }
}
