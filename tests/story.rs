//! Whole migrations, from the first plan to the cleanup.

use serde_json::Value;

use crate::support::{
    ITEMS_CLONED, ITEMS_REWRITTEN, ITEMS_V00, ITEMS_V01_REWRITTEN, MIGRATE_ITEMS, Project,
    difference, filled_items, insert_items, until,
};

#[test]
fn a_plan_changes_nothing_and_check_says_whether_there_is_something_to_do() {
    let project = filled_items(ITEMS_REWRITTEN);
    let tables = "SELECT name FROM system.tables WHERE database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema') AND NOT name LIKE 'lock_%' ORDER BY name";
    let before = project.query(tables);
    let run = project.teal(&["plan", "--check"]);
    assert_eq!(run.code, Some(4), "{}", run.said());
    assert!(run.stdout.contains("migrate items 0.0 → 0.1"), "{}", run.said());
    assert!(run.stdout.contains("rewrite (another sorting key"), "{}", run.said());
    assert_eq!(project.query(tables), before);
    project.must(&["apply"]);
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
}

#[test]
fn the_plan_is_the_same_as_yaml_and_as_json() {
    let project = filled_items(ITEMS_REWRITTEN);
    let json: Value = project.json(&["plan"]);
    let file = project.path().join("plan.yaml");
    project.must(&["plan", "--save", file.to_str().unwrap()]);
    let yaml: Value = serde_norway::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(json, yaml);
    assert_eq!(json["operations"][0]["kind"], "migrate");
    assert_eq!(json["operations"][0]["strategy"], "rewrite");
    assert_eq!(json["operations"][0]["fence"], "write gate");
    assert_eq!(json["operations"][0]["rows"], 90_500);
}

#[test]
fn a_partition_that_has_the_parts_of_the_last_proof_is_not_read_again() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(&["apply"]);
    let all = project.must(&["verify"]).stdout;
    assert!(all.contains("0 sums equal") && all.contains("90500 rows"), "{all}");
    // One of the partitions gets rows.
    project.query(
        "INSERT INTO items_0_0 SELECT 1000000, 'new', toDateTime('2024-02-02 00:00:00'), NULL",
    );
    let some = project.must(&["verify"]).stdout;
    assert!(
        some.contains("90501 rows") && some.contains("partitions as in the proof before"),
        "{some}"
    );
    assert!(some.contains(" 16 sums equal"), "{some}");
    let sample = project.must(&["verify", "--sample", "1%"]).stdout;
    assert!(sample.contains("the same rows in 1 of 3 partitions"), "{sample}");
    let all = project.must(&["verify", "--sample", "100%"]).stdout;
    assert!(all.contains("in 3 of 3 partitions: 90501 rows"), "{all}");
    // Rows of another go, of one table only; then in the new one only they are others.
    project.query("ALTER TABLE items_0_1 DELETE WHERE id = 1 SETTINGS mutations_sync = 1");
    project.teal(&["verify"]).failed(3, &["green lacks 1 and has 0 too many"]);
    let said = &["differ in 3 of 3 partitions", "not the same in 1 of 48 buckets"];
    project.teal(&["verify", "--sample", "100%"]).failed(3, said);
    project.must(&["repair"]);
    project.query(
        "ALTER TABLE items_0_0 UPDATE note = 'other' WHERE id = 2 SETTINGS mutations_sync = 1",
    );
    project.teal(&["verify"]).failed(3, &["green lacks 1 and has 1 too many"]);
}

#[test]
fn an_exchange_moves_the_name_and_keeps_the_old_table_current_until_the_cleanup() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(&["apply"]);
    project.query(&insert_items(1_000_000, 1_000));
    project.must(&["verify"]);
    project.must(&["cutover", "--by", "exchange"]);
    let key = "SELECT sorting_key FROM system.tables WHERE name = 'items_0_0'";
    assert_eq!(project.query(key), "name, id");
    // What is written to the known name goes to the new layout, and from there to the old one.
    project.query(&insert_items(2_000_000, 1_000));
    assert_eq!(project.query("SELECT count() FROM items_0_0"), "92500");
    assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0");
    project.must(&["verify"]);
    project.must(&["cleanup"]);
    assert_eq!(project.query("SELECT count() FROM items_0_0"), "92500");
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "92500");
    let status: Value = project.json(&["status"]);
    assert_eq!(status[0]["phase"], "cleaned");
    assert!(project.must(&["apply"]).stdout.contains("Nothing to do"));
}

/// The new table's TTL may come to a row before the old table's does: that is no row that a cleanup loses.
#[test]
fn a_cleanup_does_not_ask_for_rows_whose_time_is_over() {
    let events = |version: &str, key: &str| {
        format!(
            "-- teal: table events version 0.{version}\n\
             CREATE TABLE events_0_{version} (id UInt64, at DateTime) ENGINE = MergeTree ORDER BY {key} \
             TTL at + INTERVAL 1 YEAR SETTINGS max_number_of_merges_with_ttl_in_pool = 0;\n"
        )
    };
    let project = Project::new(&[("app/events.sql", &events("0", "id"))]);
    project.must(&["apply"]);
    project.query(
        // An INSERT leaves out what is over already (26.7).
        "INSERT INTO events_0_0 SELECT number, now() + 15 - toIntervalYear(number % 10 = 3 ? 1 : 0) FROM numbers(1000)",
    );
    let view = "CREATE MATERIALIZED VIEW mv TO events_0_1 AS SELECT * FROM events_0_0;\n";
    let both = events("0", "id") + &events("1", "(at, id)") + view;
    project.write("app/events.sql", &both);
    project.must(&["apply"]);
    let counts = "SELECT (SELECT count() FROM events_0_0), (SELECT count() FROM events_0_1)";
    assert_eq!(project.query(counts), "1000\t1000");
    project.must(&["cutover", "--by", "exchange"]);
    let is_over = "SELECT max(at + toIntervalYear(1)) < now() FROM events_0_0 WHERE id % 10 = 3";
    until("the end of a row's time", || (project.query(is_over) == "1").then_some(()));
    project.query("OPTIMIZE TABLE events_0_0 FINAL");
    assert_eq!(project.query(counts), "900\t1000");
    project.must(&["cleanup"]);
}

#[test]
fn a_parked_table_has_its_day_in_its_name_and_goes_when_that_has_come() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(&["apply"]);
    project.must(&["cutover"]);
    let taken = project.query(
        "SELECT concat('items_0_0_drop_', formatDateTime(now('UTC') + INTERVAL 7 DAY, '%Y%m%d'))",
    );
    let make = |table: &str| {
        project.query(&format!("CREATE TABLE {table} (id UInt64) ENGINE = MergeTree ORDER BY id"))
    };
    make(&taken);
    project.teal(&["cleanup", "--park", "7d"]).failed(3, &[&taken, "there is something"]);
    project.query(&format!("DROP TABLE {taken}"));
    let said = project.must(&["cleanup", "--park", "7d"]).stdout;
    assert!(said.contains(&taken), "{said}");
    assert_eq!(project.query(&format!("SELECT count() FROM {taken}")), "90500");
    let status: Value = project.json(&["status"]);
    assert_eq!(status[0]["parked"]["table"]["name"], taken.as_str());
    assert!(status[0]["next"].as_str().unwrap().contains(&taken), "{status}");
    assert!(project.must(&["apply"]).stdout.contains("Nothing to do"));
    // Its time is not over, nor is it when the next migration is cleaned up.
    project.must(&["cleanup"]);
    assert_eq!(project.query("SHOW TABLES"), format!("{taken}\nitems_0_1"));

    let project = filled_items(ITEMS_REWRITTEN);
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.must(&["cleanup", "--park", "0s"]);
    let parked = project.query("SELECT name FROM system.tables WHERE name LIKE 'items_0_0_drop%'");
    project.killed_at("parked-dropped", &["cleanup"]);
    // Not the one that was parked.
    project.query(&format!("CREATE TABLE {parked} (id UInt64) ENGINE = MergeTree ORDER BY id"));
    project.must(&["cleanup"]);
    assert_eq!(project.query("SHOW TABLES"), format!("{parked}\nitems_0_1"));
    let status: Value = project.json(&["status"]);
    assert_eq!(status[0].get("parked"), Some(&Value::Null));
}

#[test]
fn an_app_cutover_leaves_the_names_alone_and_the_cleanup_waits_for_the_last_writer() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(&["apply"]);
    project.must(&["cutover", "--by", "app"]);
    project.query(&insert_items(1_000_000, 10));
    project.teal(&["cleanup"]).failed(3, &["items_0_0 got 10 rows", "--force"]);
    project.must(&["cleanup", "--force"]);
    assert_eq!(project.query("SHOW TABLES"), "items_0_1");
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "90510");
    // The old model may stay in the code: its table is not made again.
    assert!(project.must(&["apply"]).stdout.contains("Nothing to do"));
}

#[test]
fn an_engine_change_takes_the_clone_path() {
    let project = filled_items(ITEMS_CLONED);
    let plan: Value = project.json(&["plan"]);
    assert_eq!(plan["operations"][0]["strategy"], "clone");
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT count() FROM items_0_1 FINAL"), "90000");
    project
        .query("INSERT INTO items_0_0 SELECT 7, 'seven', toDateTime('2024-02-02 00:00:00'), NULL");
    project.must(&["verify"]);
    assert_eq!(
        project.query("SELECT name FROM items_0_1 FINAL WHERE id = 7 AND toYYYYMM(at) = 202402"),
        "seven"
    );
}

#[test]
fn a_select_with_expressions_and_a_condition_is_copied_and_verified() {
    let project = Project::new(&[("app/tables/items.ts", ITEMS_V00)]);
    project.must(&["apply"]);
    project.query(&insert_items(0, 50_000));
    project.write(
        "app/tables/items_v01.ts",
        "import { OlapTable, UInt64 } from \"teal-sdk\";\n\
         export interface ItemV01 { id: UInt64; name: string; day: Date; length: UInt64 }\n\
         export const itemsV01 = new OlapTable<ItemV01>(\"items\", { version: \"0.1\", orderByFields: [\"day\", \"id\"] });\n",
    );
    project.write(
        "app/views/migrate.ts",
        &MIGRATE_ITEMS
            .replace("import { Item, items }", "import { items }")
            .replace("import { itemsV01 }", "import { ItemV01, itemsV01 }")
            .replace("MaterializedView<Item>", "MaterializedView<ItemV01>")
            .replace(
                "SELECT * FROM ${items}",
                "SELECT id, upper(items.name) AS name, toStartOfDay(at) AS day, length(name) AS length FROM ${items} AS items WHERE id % 10 != 0",
            ),
    );
    project.must(&["apply", "--chunk-rows", "7000"]);
    project.query(&insert_items(100_000, 1_000));
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "45900");
    project.must(&["verify"]);
    // There is no way back through this SELECT, so the old table is not kept current.
    project.must(&["cutover", "--by", "exchange"]);
    assert_eq!(
        project.query("SELECT count() FROM system.tables WHERE name = 'mv_items_to_0_1'"),
        "0"
    );
}

#[test]
fn a_row_that_green_lacks_and_one_that_it_has_too_often_are_found_and_shown() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(&["apply"]);
    project.query("ALTER TABLE items_0_1 DELETE WHERE id = 4711 SETTINGS mutations_sync = 2");
    project.query("INSERT INTO items_0_1 SELECT * FROM items_0_1 WHERE id = 42");
    let run = project.teal(&["verify"]);
    run.failed(3, &["green lacks 1 and has 1 too many", "\"id\":4711", "\"id\":42"]);
    // Nothing is believed: no cutover with a row too many.
    project.teal(&["cutover"]).failed(3, &["do not hold the same rows"]);
    assert_eq!(
        project.query("SELECT sorting_key FROM system.tables WHERE name = 'items_0_0'"),
        "id"
    );
}

#[test]
fn a_repair_copies_exactly_what_is_missing_and_drops_nothing() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(&["apply"]);
    // Of the 500 twins 20 go, with some other rows.
    project.query("ALTER TABLE items_0_1 DELETE WHERE id BETWEEN 100 AND 109 OR name = 'twin' SETTINGS mutations_sync = 2");
    project.query("INSERT INTO items_0_1 SELECT 7, 'twin', toDateTime('2024-02-01 00:00:00'), NULL FROM numbers(480)");
    project.teal(&["verify"]).failed(3, &["green lacks 30 and has 0 too many", "teal repair"]);
    project.killed_at("bucket-repaired", &["repair"]);
    project.query(&insert_items(5_000_000, 100));
    project.must(&["repair"]);
    assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0");
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "90600");
    project.query("INSERT INTO items_0_1 SELECT * FROM items_0_1 WHERE id = 42");
    project.teal(&["repair"]).failed(3, &["has 1 too many"]);
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "90601");
}

#[test]
fn a_cutover_before_the_copy_is_refused() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.teal(&["cutover"]).failed(2, &["there is no migration"]);
    project.killed_at("attached", &["apply"]);
    project.teal(&["cutover"]).failed(3, &["teal apply"]);
    project.teal(&["cleanup"]).failed(3, &["teal cutover"]);
    project.teal(&["verify"]).failed(3, &["teal apply"]);
}

#[test]
fn rows_that_expire_meanwhile_do_not_stop_or_double_the_copy() {
    // A part whose TTL is over is merged by itself, which must not happen to the parts that a
    // publication is about to find again.
    let ttl = "settings: { merge_with_ttl_timeout: \"0\" }, ttl: \"at + INTERVAL 1 SECOND DELETE WHERE id >= 1000000\", partitionBy:";
    let project = Project::new(&[("app/tables/items.ts", ITEMS_V00)]);
    project.must(&["apply"]);
    project.query(&insert_items(0, 30_000));
    project.query(&insert_items(1_000_000, 30_000));
    project.write("app/tables/items_v01.ts", &ITEMS_V01_REWRITTEN.replace("partitionBy:", ttl));
    project.write("app/views/migrate.ts", MIGRATE_ITEMS);
    project.killed_at("chunk-attached=1*off->return", &["apply", "--chunk-rows", "10000"]);
    // Green's merges stay stopped until the publication is ended, expired rows or not.
    project.query("SELECT sleep(3)");
    let run = project.teal(&["apply", "--chunk-rows", "10000"]);
    assert!(!run.stderr.contains("neither in green nor in"), "{}", run.said());
    let doubled = "SELECT count() FROM (SELECT id FROM items_0_1 GROUP BY id HAVING count() > 1)";
    assert_eq!(project.query(doubled), "0", "{}", run.said());
    assert_eq!(project.query("SELECT count() FROM items_0_1 WHERE id < 1000000"), "30000");
}

#[test]
fn an_empty_table_is_migrated_too() {
    let project = Project::new(&[
        ("app/tables/items.ts", ITEMS_V00),
        ("app/tables/items_v01.ts", ITEMS_V01_REWRITTEN),
        ("app/views/migrate.ts", MIGRATE_ITEMS),
    ]);
    project.must(&["apply"]);
    project.query(&insert_items(0, 10));
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "10");
}

#[test]
fn the_demo_ends_exact_and_keeps_what_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("demo");
    let project = Project::new(&[]);
    let run = project.must(&[
        "--json",
        "demo",
        "--rows",
        "100000",
        "--seconds-before",
        "0.5",
        "--seconds-after",
        "0.5",
        "--keep",
        "--path",
        path.to_str().unwrap(),
    ]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    for zero in ["lost", "duplicated", "failedInserts", "failedReads", "readsBackwards"] {
        assert_eq!(report[zero], 0, "{zero}: {}", run.said());
    }
    let written = report["rowsWritten"].as_u64().unwrap();
    assert!(written > 0, "{}", run.said());
    let count = std::process::Command::new(env!("CARGO_BIN_EXE_teal"))
        .args(["-C", path.to_str().unwrap(), "query", "SELECT count() FROM flights_0_0"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(count.stdout).unwrap().trim(), (100_000 + written).to_string());
    // It does not play where something is already.
    let again = project.teal(&["demo", "--path", path.to_str().unwrap()]);
    again.failed(3, &["is not empty"]);
}

#[test]
fn a_new_project_plans_and_applies_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("new");
    let project = Project::new(&[]);
    for language in ["ts", "py"] {
        let at = at.join(language);
        let at = at.to_str().unwrap();
        project.must(&["init", at, "--lang", language]);
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_teal"))
            .args(["-C", at, "apply"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(
            String::from_utf8(run.stdout).unwrap(),
            "created default.events_0_0\n",
            "{said}"
        );
        project.teal(&["init", at]).failed(3, &["teal.toml is there already"]);
    }
}

/// Chunks are known by their numbers, which count the rows of the parts that the snapshot had.
#[test]
fn a_copy_does_not_go_on_from_a_snapshot_that_somebody_has_merged() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.query(&insert_items(500_000, 1_000));
    project.killed_at("published", &["apply", "--chunk-rows", "10000"]);
    let snapshot =
        "SELECT name FROM system.tables WHERE database = '_teal' AND endsWith(name, '_snapshot')";
    let snapshot = format!("_teal.`{}`", project.query(snapshot));
    project.query(&format!("ALTER TABLE {snapshot} MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1000000000, max_bytes_to_merge_at_min_space_in_pool = 1000000000"));
    project.query(&format!("OPTIMIZE TABLE {snapshot} FINAL"));
    let run = project.teal(&["apply", "--chunk-rows", "10000"]);
    run.failed(3, &["is not as it was when the copy began", "`teal abort`"]);
    project.must(&["abort"]);
    project.must(&["apply", "--chunk-rows", "10000"]);
    assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0");
}

#[test]
fn an_abort_leaves_what_somebody_else_has_made() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.killed_at("started", &["apply"]);
    project.query("CREATE TABLE items_0_1 (id UInt64) ENGINE = Log");
    project.query("INSERT INTO items_0_1 VALUES (1)");
    project.teal(&["apply"]).failed(3, &["somebody has made", "teal abort"]);
    let said = project.must(&["abort"]).said();
    assert!(said.contains("it is not what the migration makes"), "{said}");
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "1");
}

/// They hold every part of both tables, and nobody knows of them.
#[test]
fn the_clones_of_a_comparison_that_was_cut_off_go_with_the_next_command() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(&["apply"]);
    project.query("ALTER TABLE items_0_1 DELETE WHERE id = 2 SETTINGS mutations_sync = 1");
    project.killed_at("verify-tables-cloned", &["verify"]);
    let clones =
        "SELECT count() FROM system.tables WHERE database = '_teal' AND name LIKE '%verify%'";
    assert_eq!(project.query(clones), "2");
    project.teal(&["cleanup"]).failed(3, &["run `teal cutover` first"]);
    assert_eq!(project.query(clones), "0");
}
