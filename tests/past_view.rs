//! Rows that come to the old table past the view, behind the last proof: they do not go with it untold. On a server,
//! `server_hazards` has one more.

use crate::support::Project;

const OLD: &str = "-- teal: table t version 0.0\nCREATE TABLE t_0_0 (id UInt64, s String) \
     ENGINE = MergeTree PARTITION BY id >= 1000000 ORDER BY id;\n";
const EXCHANGE: &[&str] = &["cutover", "--by", "exchange"];

/// A migration to a table of this engine that is ready for its cutover, and a table with seven rows beside it.
fn ready(engine: &str, select: &str) -> Project {
    let project = Project::new(&[("app/t.sql", OLD)]);
    project.must(&["apply"]);
    project.query("INSERT INTO t_0_0 SELECT number, toString(number % 7) FROM numbers(1000)");
    let new = format!(
        "-- teal: table t version 0.1\nCREATE TABLE t_0_1 (id UInt64, s String) ENGINE = {engine};\n"
    );
    let view = format!("CREATE MATERIALIZED VIEW mv_1 TO t_0_1 AS SELECT {select} FROM t_0_0;\n");
    project.write("app/t.sql", &format!("{OLD}{new}{view}"));
    project.must(&["apply"]);
    project.query("CREATE TABLE aside AS t_0_0");
    project.query("INSERT INTO aside SELECT 1000000 + number, 'aside' FROM numbers(7)");
    project
}

fn attach(project: &Project, to: &str) {
    project.query(&format!("ALTER TABLE {to} ATTACH PARTITION 1 FROM aside"));
}

/// A further look is made although one has passed; and the count of the old table's rows, that begins anew when
/// somebody was told of them, is no proof that they are in the new one.
#[test]
fn what_comes_behind_a_look_that_has_passed_is_told_too() {
    let project = ready("MergeTree ORDER BY s", "id, upper(s) AS s");
    project.must(&["cutover"]);
    attach(&project, "t_0_0");
    let words = ["default.t_0_0 has 7 rows", "not through the view", "ASIDE"];
    project.teal(&["cleanup"]).failed(3, &["got 7 rows"]);
    project.teal(&["cutover"]).failed(3, &words);
    project.teal(&["cleanup"]).failed(3, &words);
    project.query("INSERT INTO t_0_1 SELECT id, upper(s) FROM t_0_0 WHERE id >= 1000000");
    project.must(&["cutover"]);

    // The same rows once more: the new table has each of them once.
    attach(&project, "t_0_0");
    project.teal(&["cutover"]).failed(3, &words);
    project.teal(&["cleanup"]).failed(3, &words);
    project.query("INSERT INTO t_0_1 SELECT id, upper(s) FROM aside");
    project.must(&["cutover"]);

    // What users delete in the new table is no row that it lacks, also where it was merged with later ones.
    project.query("INSERT INTO t_0_0 VALUES (5000, 'straggler')");
    project.query("OPTIMIZE TABLE t_0_0 FINAL");
    project.query("DELETE FROM t_0_1 WHERE id < 10");
    project.teal(&["cutover"]).failed(3, &["got 1 rows", "counts from here"]);
    let said = project.must(&["cutover"]).said();
    assert!(said.contains("t_0_0 has 10 rows that default.t_0_1 lacks"), "{said}");
    // But it excuses none that lie in parts of their own.
    project.query("ALTER TABLE t_0_0 DETACH PARTITION 1");
    project.query("ALTER TABLE t_0_0 DROP DETACHED PARTITION 1 SETTINGS allow_drop_detached = 1");
    project.query("TRUNCATE TABLE aside");
    project.query("INSERT INTO aside SELECT 2000000 + number, 'aside' FROM numbers(7)");
    attach(&project, "t_0_0");
    project.teal(&["cutover"]).failed(3, &["17 rows"]);
    project.teal(&["cleanup"]).failed(3, &["17 rows"]);
    project.query("INSERT INTO t_0_1 SELECT id, upper(s) FROM aside");
    project.must(&["cutover"]);
    project.must(&["cleanup"]);
    assert_eq!(project.query("SELECT count() FROM t_0_1"), (1000 - 10 + 14 + 1 + 7).to_string());
}

/// Rows that are the same without the columns that stay behind lie in several partitions of the old table.
#[test]
fn equal_rows_of_other_partitions_do_not_stand_for_those_that_came_past_the_view() {
    let project = ready("MergeTree ORDER BY s", "id, upper(s) AS s");
    let models = std::fs::read_to_string(project.path().join("app/t.sql")).unwrap();
    project.must(&["abort"]);
    project.query("INSERT INTO t_0_0 SELECT number, 'aside' FROM numbers(7)");
    let models =
        models.replace("t_0_1 (id UInt64, s", "t_0_1 (s").replace("SELECT id, ", "SELECT ");
    project.write("app/t.sql", &models);
    project.must(&["apply"]);
    project.must(&["cutover"]);
    attach(&project, "t_0_0");
    let words = ["default.t_0_0 has 7 rows", "not through the view", "ASIDE"];
    project.teal(&["cutover"]).failed(3, &words);
    project.teal(&["cleanup"]).failed(3, &words);
}

/// The new table has their keys, but nothing that is as new.
#[test]
fn newer_rows_of_keys_that_are_there_are_told() {
    let project = ready("ReplacingMergeTree(id) ORDER BY (id % 100)", "id, upper(s) AS s");
    project.must(&["cutover"]);
    attach(&project, "t_0_0");
    project.teal(&["cutover"]).failed(3, &["default.t_0_0 has 7 rows", "ASIDE"]);
    project.query("INSERT INTO t_0_1 SELECT id, upper(s) FROM aside");
    project.must(&["cutover"]);
    project.must(&["cleanup"]);
}

/// Rows that merges add up tell nothing one by one. While the view brings all of them, the sums do.
#[test]
fn an_exchange_of_sums_is_compared_before_the_old_table_goes() {
    let old = "-- teal: table t version 0.0\nCREATE TABLE t_0_0 (n SimpleAggregateFunction(sum, UInt64), s String) \
         ENGINE = MergeTree ORDER BY s;\n";
    let new = old
        .replace("0.0", "0.1")
        .replace("t_0_0", "t_0_1")
        .replace("MergeTree", "AggregatingMergeTree");
    let view = "CREATE MATERIALIZED VIEW mv_1 TO t_0_1 AS SELECT * FROM t_0_0;\n";
    let project = Project::new(&[("app/t.sql", old)]);
    project.must(&["apply"]);
    project.query("INSERT INTO t_0_0 SELECT number, toString(number % 7) FROM numbers(1000)");
    project.write("app/t.sql", &format!("{old}{new}{view}"));
    project.must(&["apply"]);
    project
        .query("CREATE TABLE aside ENGINE = MergeTree ORDER BY s AS SELECT * FROM t_0_0 LIMIT 0");
    project.query("INSERT INTO aside VALUES (7, '3')");
    let differs = ["do not hold the same rows"];

    // Before they were compared, and behind it.
    let compared = project.copy();
    project.killed_at("cut-over", EXCHANGE);
    compared.must(EXCHANGE);
    for project in [&project, &compared] {
        // The old data goes by that name now.
        project.query("ALTER TABLE t_0_1 ATTACH PARTITION tuple() FROM aside");
        project.teal(&["cleanup"]).failed(3, &differs);
    }
    project.teal(EXCHANGE).failed(3, &differs);
    // A TTL may have come to one of them only.
    let expiring = compared.copy();
    expiring.query(
        "ALTER TABLE t_0_0 MODIFY TTL toDateTime('2100-01-01 00:00:00') + toIntervalDay(length(s))",
    );
    let run = expiring.teal(&["cleanup"]);
    assert!(!run.said().contains(differs[0]), "{}", run.said());
    // Where both have got the same, it goes.
    compared.query("DROP TABLE mv_1");
    compared.query("INSERT INTO t_0_0 SELECT * FROM aside");
    compared.must(&["cleanup"]);
}
