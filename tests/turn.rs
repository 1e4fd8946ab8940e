//! Turning the view, after a cutover by app: the old table is kept current. (`alias.rs` has the cutover by
//! alias, which ends with it, and `every_write.rs` kills it behind each of its writes.)

use std::time::Duration;

use serde_json::Value;

use crate::server_migration::{REWRITTEN, ROWS, Stage, insert};
use crate::servers::Modern;
use crate::support::{
    ITEMS_MIGRATION, ITEMS_REWRITTEN, Project, difference, filled_items, insert_items,
};

const APPLY: &[&str] = &["apply", "--chunk-rows", "20000"];

fn insert_new(from: u64, rows: u64) -> String {
    insert_items(from, rows).replace("items_0_0", "items_0_1")
}

fn cut_over() -> Project {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(APPLY);
    project.must(&["cutover"]);
    project
}

fn assert_both(project: &Project, rows: u64, said: &str) {
    assert_eq!(project.query("SELECT count() FROM items_0_0"), rows.to_string(), "{said}");
    assert_eq!(difference(project, "items_0_0", "items_0_1"), "0", "{said}");
}

#[test]
fn the_view_is_turned_when_nobody_writes_to_the_old_table_and_rows_come_back_by_it() {
    let project = cut_over();
    // One writer has moved, another has not.
    project.query(&insert_new(1_000_000, 1_000));
    project.query(&insert_items(2_000_000, 500));
    let status: Value = project.json(&["status"]);
    assert!(status[0]["next"].as_str().unwrap().starts_with("teal cutover"), "{status}");
    project.teal(&["cutover"]).failed(3, &["default.items_0_0 got 500 rows", "teal cutover"]);
    project.query(&insert_items(3_000_000, 500));
    assert_eq!(difference(&project, "items_0_0", "items_0_1"), "1000", "the view forwards");
    project.teal(&["cutover"]).failed(3, &["500 rows"]);

    let said = project.must(&["cutover"]);
    assert!(said.stderr.contains("1000 rows carried to it"), "{}", said.said());
    assert_both(&project, 92_500, "turned");
    project.query(&insert_new(4_000_000, 1_000));
    assert_both(&project, 93_500, "forwarded back");
    project.must(&["verify"]);
    let status: Value = project.json(&["status"]);
    assert_eq!(status[0]["next"], "teal cleanup", "{status}");
    project.teal(&["abort"]).failed(3, &["teal rollback"]);
    project.teal(&["repair"]).failed(3, &["teal cutover"]);

    // A writer that nobody knew of.
    project.query(&insert_items(5_000_000, 200));
    project.teal(&["verify"]).failed(3, &["green lacks 200", "teal cutover"]);
    project
        .teal(&["cleanup"])
        .failed(3, &["200 rows that default.items_0_1 lacks", "teal cutover"]);
    for by in ["cutover", "rollback"] {
        let project = project.copy();
        project.must(&[by]);
        if by == "rollback" {
            project.query(&insert_items(6_000_000, 200));
            project.must(APPLY);
            assert_both(&project, 93_900, by);
            project.must(&["cutover"]);
            project.must(&["cutover"]);
        }
        project.query(&insert_new(7_000_000, 100));
        let rows = if by == "rollback" { 94_000 } else { 93_800 };
        assert_both(&project, rows, by);
        project.must(&["cleanup"]);
        let tables = project.query(
            "SELECT groupArray(name) FROM system.tables WHERE database IN ('default', '_teal') AND NOT name LIKE 'lock_%'",
        );
        assert_eq!(tables, "['journal','items_0_1']", "{by}");
        assert_eq!(project.query("SELECT count() FROM items_0_1"), rows.to_string(), "{by}");
    }
}

/// What its TTL has set to other values, the old table has as it was: no row that the new one lacks.
#[test]
fn nothing_is_carried_where_a_ttl_gives_rows_other_values() {
    let ttl = " TTL at + INTERVAL 50 YEAR GROUP BY name, id SET at = max(at);";
    let project = filled_items(&ITEMS_REWRITTEN.replace(';', ttl));
    project.must(APPLY);
    project.must(&["cutover"]);
    project.must(&["cutover"]);
    project.query(&insert_items(5_000_000, 200));
    let reason = "default.items_0_1 has a TTL that changes rows";
    project.teal(&["cutover"]).failed(3, &[reason]);
    project.teal(&["cleanup"]).failed(3, &["200 rows", reason]);
    assert_eq!(difference(&project, "items_0_0", "items_0_1"), "200");
    project.query("ALTER TABLE items_0_1 REMOVE TTL");
    project.must(&["cutover"]);
    assert_both(&project, 90_700, "carried");
}

#[test]
fn what_was_deleted_in_the_new_table_does_not_come_back_by_a_turn() {
    let delete = "ALTER TABLE items_0_1 DELETE WHERE id = 7 SETTINGS mutations_sync = 2";
    let dropped = "ALTER TABLE items_0_1 DROP PARTITION 202401";
    let view = "SHOW TABLES LIKE 'mv_items_to_0_1'";
    let left = "SELECT count() FROM items_0_1";
    for change in [delete, dropped] {
        let project = cut_over();
        project.query(change);
        let rows = project.query(left);
        project.teal(&["cutover"]).failed(3, &["default.items_0_1"]);
        assert_eq!(project.query(view), "mv_items_to_0_1", "not turned: {change}");
        assert_eq!(project.query(left), rows, "{change}");
        project.must(&["cleanup"]);

        let project = cut_over();
        project.must(&["cutover"]);
        project.query(change);
        project.query(&insert_items(1_000_000, 10));
        project.teal(&["cutover"]).failed(3, &["changed in place"]);
        assert_eq!(project.query(left), rows, "{change}");
        project.teal(&["cleanup"]).failed(3, &["changed in place", "--force"]);
        project.must(&["cleanup", "--force"]);
        assert_eq!(project.query(left), rows, "{change}");
    }
}

/// No log of parts tells of a partition that came behind the last look, and went.
#[test]
fn a_new_partition_that_was_dropped_from_the_new_table_does_not_come_back_by_a_cutover() {
    let project = cut_over();
    project.must(&["cutover"]);
    project.query("INSERT INTO items_0_1 SELECT 3, 'new', toDateTime('2030-01-01 00:00:00'), NULL");
    project.query("ALTER TABLE items_0_1 DROP PARTITION 203001");
    project.teal(&["cleanup"]).failed(3, &["1 rows"]);
    project.teal(&["cutover"]).failed(3, &["no rows of partition 203001", "--force"]);
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "90500");
    project.teal(&["rollback"]).failed(3, &["1 rows that default.items_0_1 lacks", "dropped"]);
    project.must(&["cleanup", "--force"]);
}

/// A job that keeps both tables short is no reason not to go back.
#[test]
fn what_was_dropped_from_both_tables_keeps_nobody_from_going_back() {
    let project = cut_over();
    project.must(&["cutover"]);
    for table in ["items_0_0", "items_0_1"] {
        project.query(&format!("ALTER TABLE {table} DROP PARTITION 202401"));
    }
    project.query(&insert_new(3_000_000, 10));
    project.must(&["rollback"]);
    let rows = project.query("SELECT count() FROM items_0_0").parse().unwrap();
    assert_both(&project, rows, "back");
}

/// With the old table goes what tells of it.
#[test]
fn what_was_deleted_in_the_old_table_is_told_before_that_goes() {
    let delete = |table: &str| {
        format!("ALTER TABLE {table} DELETE WHERE id = 8 SETTINGS mutations_sync = 1")
    };
    let project = cut_over();
    project.query(&delete("items_0_0"));
    // A view that is not turned yet: users may have written to the new table alone.
    let copy = project.copy();
    let said = copy.must(&["cleanup"]).said();
    assert!(said.contains("default.items_0_0 was changed in place since the cutover"), "{said}");
    project.teal(&["cutover"]).failed(3, &["default.items_0_0 was changed in place"]);
    for command in ["cleanup", "rollback"] {
        let words = ["default.items_0_0 was changed in place", "DELETE WHERE", "has 1 rows"];
        project.teal(&[command]).failed(3, &words);
    }
    project.query(&delete("items_0_1"));
    project.must(&["cleanup"]);
}

/// A teal that was killed in the midst of a cleanup may be looked for long after.
#[test]
fn what_came_to_the_old_table_behind_a_cleanup_that_was_cut_off_does_not_go_with_it() {
    let project = cut_over();
    project.must(&["cutover"]);
    project.killed_at("retiring-view-dropped", &["cleanup"]);
    project.query(&insert_items(1_000_000, 10));
    project.query(&insert_new(2_000_000, 10));
    project.teal(&["cleanup"]).failed(3, &["10 rows", "when its cleanup had begun", "--force"]);
    assert_eq!(project.query("SELECT count() FROM items_0_0"), "90510");
    let forced = project.copy();
    project.query("INSERT INTO items_0_1 SELECT * FROM items_0_0 WHERE id >= 1000000");
    project.must(&["cleanup"]);
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "90520");
    forced.must(&["cleanup", "--force"]);
    assert_eq!(forced.query("SELECT count() FROM items_0_1"), "90510");
}

/// While no view reads the old table, its columns can be altered; a view that reads them could not be made then.
#[test]
fn a_way_back_that_the_old_table_has_lost_is_not_begun() {
    let project = cut_over();
    project.must(&["cutover"]);
    project.query("ALTER TABLE items_0_0 RENAME COLUMN name TO title");
    project.teal(&["rollback"]).failed(3, &["title"]);
    project.teal(&["rollback", "--force"]).failed(3, &["cannot be made again", "no column title"]);
    project.must(&["status"]);
    project.query("ALTER TABLE items_0_0 RENAME COLUMN title TO name");
    project.must(&["rollback"]);
    assert_both(&project, 90_500, "back");
}

#[test]
fn where_rows_cannot_come_back_as_they_are_nothing_is_turned() {
    let project = filled_items(ITEMS_REWRITTEN);
    let view = ITEMS_MIGRATION.replace("SELECT *", "SELECT id, upper(name) AS name, at, note");
    project.write("app/migrate.sql", &view);
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("has no inverse"), "{plan}");
    project.must(APPLY);
    for _ in 0..2 {
        let said = project.must(&["cutover"]).stdout;
        assert!(said.contains(": `teal cleanup`"), "{said}");
    }
    assert_eq!(project.query("SHOW TABLES LIKE 'mv_items_to_0_1'"), "mv_items_to_0_1");
}

#[test]
fn a_turn_on_a_server_and_its_way_back_are_exact_under_traffic() {
    let mut stage = Stage::new(Modern::start(), REWRITTEN);
    stage.pace = (1000, Duration::from_millis(20));
    stage.must(&["apply"]);
    stage.must(&["cutover"]);
    let mut rows = ROWS;
    // Half of the writers have moved.
    rows += stage.under_traffic_to(&["events", "events_1"], || {
        stage.teal(&["cutover"]).failed(3, &["default.events got", "INSERTs"]);
    });
    stage.query(&insert(900_000_000, 10, 0));
    rows += 10;
    stage.teal(&["cutover"]).failed(3, &["default.events got"]);
    rows += stage.under_traffic_to(&["events_1"; 4], || {
        stage.must(&["cutover"]);
    });
    assert_eq!(stage.difference(), "0", "turned");
    assert_eq!(stage.query("SELECT count() FROM events"), rows.to_string());
    rows += stage.under_traffic_to(&["events_1"; 4], || {
        stage.must(&["rollback"]);
    });
    // Writers of the new table come back.
    stage.must(&["rollback"]);
    stage.assert_exact(rows, "rolled back");
    rows += stage.under_traffic(2, || drop(stage.must(&["cutover"])));
    stage.query(&insert(910_000_000, 10, 0));
    rows += 10;
    stage.teal(&["cutover"]).failed(3, &["default.events got"]);
    rows += stage.under_traffic_to(&["events_1"; 2], || {
        stage.must(&["cutover"]);
        let told = stage.must(&["--json", "status"]);
        assert!(told.replace(' ', "").contains("\"oldIsKeptCurrent\":true"), "{told}");
    });
    assert_eq!(stage.difference(), "0", "turned again");
    stage.must(&["cleanup", "--force"]);
    assert_eq!(stage.query("SELECT count() FROM events_1"), rows.to_string());
    assert_eq!(stage.query("SHOW TABLES"), "events_1");
}
