//! The end of a migration, and what else hangs on its tables: further versions, views, dictionaries, models that
//! are edited meanwhile.

use crate::support::Project;

const T_0: &str = "-- teal: table t version 0.0\nCREATE TABLE t_0_0 (id UInt64, s String) ENGINE = MergeTree ORDER BY id;\n";
const T_1: &str = "-- teal: table t version 0.1\nCREATE TABLE t_0_1 (id UInt64, s String) ENGINE = MergeTree ORDER BY (s, id);\n";
const T_2: &str = "-- teal: table t version 0.2\nCREATE TABLE t_0_2 (id UInt64, s String) ENGINE = MergeTree ORDER BY (id, s);\n";
const T_3: &str = "-- teal: table t version 0.3\nCREATE TABLE t_0_3 (id UInt64, s String) ENGINE = MergeTree ORDER BY s;\n";
const TO_1: &str = "CREATE MATERIALIZED VIEW mv_1 TO t_0_1 AS SELECT * FROM t_0_0;\n";
const TO_2: &str = "CREATE MATERIALIZED VIEW mv_2 TO t_0_2 AS SELECT * FROM t_0_1;\n";

fn filled(models: &str) -> Project {
    let project = Project::new(&[("app/t.sql", T_0)]);
    project.must(&["apply"]);
    project.query("INSERT INTO t_0_0 SELECT number, toString(number % 7) FROM numbers(1000)");
    project.write("app/t.sql", models);
    project
}

fn first() -> String {
    format!("{T_0}{T_1}{TO_1}")
}

fn both() -> String {
    format!("{T_0}{T_1}{TO_1}{T_2}{TO_2}")
}

#[test]
fn versions_may_be_exchanged_one_after_the_other() {
    let project = filled(&first());
    project.must(&["apply"]);
    project.must(&["cutover", "--by", "exchange"]);
    let again = "CREATE MATERIALIZED VIEW mv_3 TO t_0_2 AS SELECT * FROM t_0_0;\n";
    let from_the_old_one = format!("{T_0}{T_1}{TO_1}{T_2}{again}");
    let goes_by = "the rows of default.t_0_1 go by the name default.t_0_0";
    let newer = "a view that reads the newer version, t_0_1";
    project.write("app/t.sql", &both());
    project.teal(&["apply"]).failed(3, &[goes_by, "`teal cleanup t_0_1` first"]);
    project.write("app/t.sql", &from_the_old_one);
    project.teal(&["apply"]).failed(3, &[goes_by, newer]);
    project.write("app/t.sql", &first());
    project.must(&["cleanup"]);
    project.write(
        "app/t.sql",
        &first().replace(
            "s String) ENGINE = MergeTree ORDER BY (s",
            "s String, n UInt8) ENGINE = MergeTree ORDER BY (s",
        ),
    );
    project.teal(&["apply"]).failed(3, &["column n", "declare a further version"]);
    project.write("app/t.sql", &from_the_old_one);
    project.teal(&["apply"]).failed(3, &[goes_by, newer]);
    // What no model knows would go with the old table.
    project.write("app/t.sql", &both());
    project.query("ALTER TABLE t_0_0 ADD COLUMN extra String DEFAULT 'x'");
    project
        .teal(&["apply"])
        .failed(3, &["column extra is in no model", "--allow-drop t_0_0.COLUMN"]);
    project.query("ALTER TABLE t_0_0 DROP COLUMN extra");
    // A further version has the rows by the name that they go by.
    project.killed_at("view-created", &["apply"]);
    project.query("INSERT INTO t_0_0 VALUES (5000, 'x')");
    project.must(&["apply"]);
    project.query("INSERT INTO t_0_1 VALUES (5001, 'y')");
    project.must(&["verify"]);
    assert_eq!(project.query("SELECT count() FROM t_0_2"), "1002");
    let third = "CREATE MATERIALIZED VIEW mv_3 TO t_0_3 AS SELECT * FROM t_0_0;\n";
    project.write("app/t.sql", &format!("{}{T_3}{third}", both()));
    project.teal(&["apply"]).failed(3, &[goes_by, newer]);
    project.write("app/t.sql", &both());
    project.teal(&["cutover", "--by", "app"]).failed(3, &["can only be exchanged"]);
    project.must(&["cutover"]);
    project.query("INSERT INTO t_0_0 VALUES (5002, 'z')");
    project.must(&["rollback"]);
    project.must(&["cutover", "t_0_2", "--by", "exchange"]);
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
    project.must(&["cleanup", "t_0_2"]);
    assert_eq!(
        project.query("SELECT sorting_key FROM system.tables WHERE name = 't_0_0'"),
        "id, s"
    );
    for name in ["t_0_0", "t_0_1", "t_0_2"] {
        let count = format!("SELECT count(), uniq(id) FROM {name}");
        assert_eq!(project.query(&count), "1003\t1003", "{name}");
    }
    let nothing = project.must(&["plan", "--check"]).said();
    assert!(nothing.contains("t_0_1 has had the layout of t_0_2"), "{nothing}");
    // The models of versions that are over may go.
    let third = third.replace("FROM t_0_0", "FROM t_0_2");
    project.write("app/t.sql", &format!("{T_2}{T_3}{third}"));
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.must(&["cleanup"]);
    assert_eq!(project.query("SELECT count(), uniq(id) FROM t_0_0"), "1003\t1003");
    assert_eq!(project.query("SELECT count() FROM t_0_1"), "1003");
    project.must(&["plan", "--check"]);
}

#[test]
fn a_view_by_another_name_of_the_table_keeps_an_exchange_from_being_made() {
    let project = filled(&first());
    project.must(&["apply"]);
    project.must(&["cutover", "--by", "exchange"]);
    project.must(&["cleanup"]);
    // A server without the engine Alias has nothing of the newer name.
    let without = project.copy();
    without.query("DROP TABLE t_0_1");
    without.write("app/t.sql", &T_1.replace("s String)", "s String, n UInt8)"));
    without.teal(&["apply"]).failed(3, &["column n", "declare a further version"]);
    without.write("app/t.sql", T_1);
    without.must(&["plan", "--check"]);
    let narrower = both().replace("t_0_2 (id UInt64, s String)", "t_0_2 (id UInt64)");
    let narrower = narrower
        .replace("ORDER BY (id, s)", "ORDER BY id")
        .replace("TO t_0_2 AS SELECT * FROM", "TO t_0_2 AS SELECT id FROM");
    project.write("app/t.sql", &narrower);
    project.must(&["apply"]);
    project.query("CREATE TABLE texts (s String) ENGINE = MergeTree ORDER BY s");
    project.query("CREATE MATERIALIZED VIEW by_alias TO texts AS SELECT s FROM t_0_1");
    project.teal(&["cutover"]).failed(3, &["by_alias"]);
    project.query("DROP TABLE by_alias");
    project.must(&["cutover"]);
}

#[test]
fn what_ends_a_migration_leaves_the_next_one_its_tables() {
    let project = filled(&first());
    project.must(&["apply"]);
    project.write("app/t.sql", &both());
    project.must(&["apply"]);
    project.must(&["cutover", "t_0_2"]);
    let says =
        ["default.t_0_1 is a table of the migration of default.t_0_2 too, which is cut over"];
    project.teal(&["abort", "t_0_1"]).failed(3, &says);
    project.teal(&["cutover", "t_0_1", "--by", "exchange"]).failed(3, &says);
    let says =
        ["default.t_0_1 is a table of the migration of default.t_0_1 too, which is verified"];
    project.teal(&["cleanup", "t_0_2"]).failed(3, &says);
    project.must(&["cutover", "t_0_1"]);
    project.teal(&["rollback", "t_0_1"]).failed(3, &["which is cut over"]);
    project.must(&["cleanup", "t_0_1"]);
    project.must(&["cleanup", "t_0_2"]);
    assert_eq!(project.query("SELECT count() FROM t_0_2"), "1000");
}

#[test]
fn a_model_that_is_edited_before_the_end_is_not_taken_for_done() {
    let project = filled(&first());
    project.must(&["apply"]);
    let edited = first().replace(
        "s String) ENGINE = MergeTree ORDER BY (s",
        "s String, n UInt8 DEFAULT 1) ENGINE = MergeTree ORDER BY (s",
    );
    project.write("app/t.sql", &edited);
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(4));
    project.teal(&["apply"]).failed(3, &["column n", "`teal abort t_0_1`"]);
    project.write("app/t.sql", &first());
    project.must(&["plan", "--check"]);
    project.must(&["cutover"]);
    project.write("app/t.sql", &edited);
    project.teal(&["apply"]).failed(3, &["column n", "`teal cleanup t_0_1`"]);
    project.must(&["cleanup"]);
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT sum(n) FROM t_0_1"), "1000");
}

/// Its SELECT works, and what it gives does not fit into its table.
#[test]
fn a_view_whose_table_would_not_take_the_rows_keeps_an_exchange_from_being_made() {
    let next = "-- teal: table t version 0.1\nCREATE TABLE t_0_1 (id Int64, s String) ENGINE = MergeTree ORDER BY (s, id);\n\
         CREATE MATERIALIZED VIEW mv_1 TO t_0_1 AS SELECT * FROM t_0_0;\n";
    let project = filled(&format!("{T_0}{next}"));
    project.query("CREATE DATABASE other");
    project.query("CREATE TABLE other.mean (s String, mean AggregateFunction(avg, UInt64)) ENGINE = AggregatingMergeTree ORDER BY s");
    project.query("CREATE MATERIALIZED VIEW other.means TO other.mean AS SELECT s, avgState(id) AS mean FROM default.t_0_0 GROUP BY s");
    project.must(&["apply"]);
    project
        .teal(&["cutover", "--by", "exchange"])
        .failed(3, &["other.means", "every INSERT would fail", "AggregateFunction"]);
    project.query("DROP VIEW other.means");
    let fits = "CREATE MATERIALIZED VIEW other.means TO other.mean AS SELECT s, avgState(toUInt64(id)) AS mean FROM default.t_0_0 GROUP BY s";
    project.query(fits);
    project.must(&["cutover", "--by", "exchange"]);
    project.query("INSERT INTO t_0_0 VALUES (5001, 'x')");
    assert_eq!(project.query("SELECT avgMerge(mean) FROM other.mean WHERE s = 'x'"), "5001");
}

/// What is over is no reason not to mention or to drop what no model declares; and what is parked goes by itself.
#[test]
fn what_a_migration_has_left_is_in_no_model_when_its_models_go() {
    let next = "-- teal: table t version 0.1\nCREATE TABLE t_0_1 (id UInt64, s String) ENGINE = MergeTree ORDER BY (s, id);\n\
         CREATE MATERIALIZED VIEW mv_1 TO t_0_1 AS SELECT * FROM t_0_0;\n";
    let project = filled(&format!("{T_0}{next}"));
    project.must(&["apply"]);
    project.must(&["cutover", "--by", "app"]);
    project.must(&["cleanup", "--force", "--park", "7d"]);
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("default.t_0_0 was put aside as default.t_0_0_drop_"), "{plan}");
    assert!(!plan.contains("in no model"), "{plan}");
    let plan = project.must(&["plan", "--allow-drop", "*"]).stdout;
    assert!(!plan.contains("DROP"), "{plan}");
    let pulled = project.must(&["pull", "--lang", "sql", "--dry-run"]).stdout;
    assert!(!pulled.contains("_drop_"), "{pulled}");
    project.write("app/t.sql", "CREATE TABLE other (a UInt8) ENGINE = MergeTree ORDER BY a;");
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("in no model of default, and left alone: "), "{plan}");
    project.must(&["apply", "--allow-drop", "t_*"]);
    let left = project
        .query("SELECT arraySort(groupArray(name)) FROM system.tables WHERE database = 'default'");
    assert!(left.starts_with("['other','t_0_0_drop_") && !left.contains("t_0_1"), "{left}");
}

#[test]
fn a_view_that_would_break_inserts_keeps_an_exchange_from_being_made() {
    let next = "-- teal: table t version 0.1\nCREATE TABLE t_0_1 (id UInt64, town String) ENGINE = MergeTree ORDER BY (town, id);\n\
         CREATE MATERIALIZED VIEW mv_1 TO t_0_1 AS SELECT id, s AS town FROM t_0_0;\n";
    let project = filled(&format!("{T_0}{next}"));
    project.query("CREATE DATABASE other");
    project.query("CREATE MATERIALIZED VIEW other.towns (s String) ENGINE = MergeTree ORDER BY s AS SELECT s FROM default.t_0_0");
    project.must(&["apply"]);
    project
        .teal(&["cutover", "--by", "exchange"])
        .failed(3, &["other.towns", "every INSERT would fail"]);
    project.query("INSERT INTO t_0_0 VALUES (5000, 'x')");
    project.query("DROP VIEW other.towns");
    project.must(&["cutover", "--by", "exchange"]);
    project.query("INSERT INTO t_0_0 VALUES (5001, 'x')");
}

#[test]
fn a_cleanup_names_what_reads_the_old_table() {
    let project = filled(&first());
    project.must(&["apply"]);
    project.query("CREATE DATABASE other");
    project.query("CREATE VIEW other.report AS SELECT count() FROM default.t_0_0");
    project.query("CREATE VIEW other.found AS SELECT (1, 'x') IN default.t_0_0 AS is_in");
    project.query(
        "CREATE DICTIONARY other.names (id UInt64, s String) PRIMARY KEY id \
         SOURCE(CLICKHOUSE(TABLE 't_0_0' DB 'default')) LAYOUT(FLAT()) LIFETIME(0)",
    );
    project.must(&["cutover"]);
    project.must(&["cutover"]);
    let says = ["default.t_0_0 cannot be dropped while other.names is loaded from it"];
    project.teal(&["cleanup", "--force"]).failed(3, &says);
    // Nothing has begun: the old table is kept current still.
    project.query("INSERT INTO t_0_1 VALUES (7000, 'x')");
    assert_eq!(project.query("SELECT count() FROM t_0_0"), "1001");
    project.query("DROP DICTIONARY other.names");
    let says = ["default.t_0_0 is read by other.found, other.report", "--force"];
    project.teal(&["cleanup"]).failed(3, &says);
    project.must(&["cleanup", "--force"]);
}

#[test]
fn a_rollback_that_is_refused_leaves_the_view_as_it_was() {
    let parted =
        |models: &str| models.replace("MergeTree ORDER", "MergeTree PARTITION BY id % 2 ORDER");
    let project = Project::new(&[("app/t.sql", &parted(T_0))]);
    project.must(&["apply"]);
    project.query("INSERT INTO t_0_0 SELECT number, 's' FROM numbers(1000)");
    project.write("app/t.sql", &parted(&first()));
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.must(&["cutover"]);
    project.query("ALTER TABLE t_0_1 DROP PARTITION 0");
    project.teal(&["rollback"]).failed(3, &["--force"]);
    project.query("INSERT INTO t_0_1 VALUES (7001, 'x')");
    assert_eq!(project.query("SELECT count() FROM t_0_0"), "1001");
}

#[test]
fn a_cutover_is_not_made_in_another_way_afterwards() {
    let project = filled(&first());
    project.must(&["apply"]);
    project.must(&["cutover"]);
    let says = ["in another way", "`teal rollback` first"];
    project.teal(&["cutover", "--by", "exchange"]).failed(3, &says);
    project.must(&["rollback"]);
    let said = project.must(&["cutover", "--by", "exchange"]).said();
    assert!(!said.contains("once more"), "{said}");
}

#[test]
fn a_parked_tables_end_is_not_that_of_another_migration() {
    let other = |version: &str, key: &str| {
        format!(
            "-- teal: table u version 0.{version}\nCREATE TABLE u_0_{version} (id UInt64) ENGINE = MergeTree ORDER BY {key};\n"
        )
    };
    let project = filled(&first());
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.must(&["cleanup", "--park", "0s"]);
    project.write("app/u.sql", &other("0", "id"));
    project.must(&["apply"]);
    let view = "CREATE MATERIALIZED VIEW mv_u TO u_0_1 AS SELECT * FROM u_0_0;\n";
    project.write("app/u.sql", &format!("{}{}{view}", other("0", "id"), other("1", "-id")));
    project.must(&["apply"]);
    project.must(&["cutover", "u_0_1"]);
    let said = project.must(&["cleanup"]).said();
    assert!(said.contains("was parked, and is dropped"), "{said}");
    assert!(
        said.contains("the migration of u is as it was; to end it: `teal cleanup u_0_1`"),
        "{said}"
    );
    assert_eq!(project.query("EXISTS u_0_0"), "1");
    project.must(&["cleanup"]);
    assert_eq!(project.query("EXISTS u_0_0"), "0");
}

#[test]
fn a_plan_tells_what_reads_both_versions_and_what_no_model_declares() {
    let project = filled(&first());
    project.query("CREATE TABLE every AS t_0_0 ENGINE = Merge('default', '^t_0_')");
    project.query("CREATE TABLE one AS t_0_0 ENGINE = Merge('default', '^t_0_0$')");
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("default.every (a Merge table) reads both"), "{plan}");
    assert!(!plan.contains("default.one"), "{plan}");
    project.killed_at("chunk-attached", &["apply"]);
    project.write("app/t.sql", T_0);
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("no model declares its view any more"), "{plan}");
    project.must(&["abort", "t_0_1"]);
}

#[test]
fn an_alias_goes_from_version_to_version_in_order() {
    let project = Project::new(&[("app/t.sql", T_0)]);
    let by_alias = format!("{}\n[migrate]\ncutover = \"alias\"\n", project.config());
    project.write("teal.toml", &by_alias);
    project.must(&["apply"]);
    project.write("app/t.sql", &first());
    project.must(&["apply"]);
    project.write("app/t.sql", &both());
    project.teal(&["apply"]).failed(3, &["`teal cutover t_0_1` first"]);
    project.must(&["cutover", "t_0_1"]);
    project.must(&["apply"]);
}

/// Whatever was true when the step began that is ended now.
#[test]
fn what_ends_a_step_of_long_ago_does_not_drop_the_last_copy() {
    let filled = filled(&first());
    filled.must(&["apply"]);
    let rows =
        |project: &Project, table: &str| project.query(&format!("SELECT count() FROM {table}"));

    let project = filled.copy();
    project.killed_at("abort-opened", &["abort"]);
    project.query("DROP TABLE t_0_0 SYNC");
    project.teal(&["abort"]).failed(3, &["default.t_0_0 is gone"]);
    assert_eq!(rows(&project, "t_0_1"), "1000");
    // No view is left to fail the INSERTs into a table that comes back.
    let views = "SELECT count() FROM system.tables WHERE engine = 'MaterializedView'";
    assert_eq!(project.query(views), "0");

    filled.must(&["cutover"]);
    let project = filled.copy();
    project.killed_at("cleanup-opened", &["cleanup"]);
    project.query("DROP TABLE t_0_1 SYNC");
    for arguments in [&["cleanup"][..], &["cleanup", "--force"]] {
        project.teal(arguments).failed(3, &["default.t_0_1 is gone", "1000 rows"]);
    }
    assert_eq!(rows(&project, "t_0_0"), "1000");
    // The way out that the refusal tells.
    project.query("RENAME TABLE t_0_0 TO t_0_1");
    project.must(&["cleanup", "--force"]);
    assert_eq!(rows(&project, "t_0_1"), "1000");

    // The old one has another name already.
    let project = filled.copy();
    project.killed_at("retiring-gate-opened", &["cleanup"]);
    project.query("DROP TABLE t_0_1 SYNC");
    project.teal(&["cleanup"]).failed(3, &["default.t_0_1 is gone", "1000 rows"]);

    let project = filled.copy();
    project.must(&["cleanup", "--park", "0s"]);
    project.query("DROP TABLE t_0_1 SYNC");
    let said = project.must(&["cleanup"]).said();
    assert!(said.contains("default.t_0_1, which took its place, is gone"), "{said}");
    let parked = "SELECT name FROM system.tables WHERE name LIKE 't_0_0_drop_%'";
    assert_eq!(rows(&project, &project.query(parked)), "1000");
    // As an application does that starts.
    project.query(&format!("CREATE TABLE t_0_1 AS {}", project.query(parked)));
    let said = project.must(&["cleanup"]).said();
    assert!(
        said.contains("default.t_0_1, which took its place, is gone or was made anew"),
        "{said}"
    );
    assert_eq!(rows(&project, &project.query(parked)), "1000");
}

fn ordered(by: &str) -> String {
    format!("CREATE TABLE t (id UInt64, s String) ENGINE = MergeTree ORDER BY {by};\n")
}

/// A table of a thousand rows that got another order in place twice, and the commands behind each.
fn migrated_twice(first: &[&str], second: &[&str]) -> Project {
    let project = Project::new(&[("app/t.sql", &ordered("id"))]);
    project.must(&["apply"]);
    project.query("INSERT INTO t SELECT number, toString(number % 7) FROM numbers(1000)");
    for (by, then) in [("(s, id)", first), ("s", second)] {
        project.write("app/t.sql", &ordered(by));
        project.must(&["apply"]);
        project.must(&["cutover"]);
        project.must(then);
    }
    project
}

/// A later migration has given the name another table, which is known; but this is not that one either.
#[test]
fn a_parked_table_stays_where_the_one_of_a_later_migration_was_made_anew() {
    let project = migrated_twice(&["cleanup", "--park", "0s"], &["status"]);
    let parked = project.query("SELECT name FROM system.tables WHERE name LIKE 't_drop_%'");
    let filled = project.copy();
    project.query("DROP TABLE t SYNC");
    project.query(&ordered("s"));
    let said = project.must(&["cleanup", "--force"]).said();
    assert!(said.contains(&format!("{parked} stays, though its time is over")), "{said}");
    assert_eq!(project.query(&format!("SELECT count() FROM {parked}")), "1000");
    // That of the later migration itself is known.
    let said = filled.must(&["cleanup", "--force"]).said();
    assert!(said.contains(&format!("{parked} dropped, whose time is over")), "{said}");
}

/// Nor does one of before count as a later one, though it was of the same table.
#[test]
fn a_parked_table_stays_where_its_successor_is_gone() {
    let project = migrated_twice(&["cleanup"], &["cleanup", "--park", "0s"]);
    let parked = project.query("SELECT name FROM system.tables WHERE name LIKE 't_drop_%'");
    project.query("DROP TABLE t SYNC");
    let said = project.teal(&["cleanup", "--force"]).said();
    assert!(said.contains(&format!("{parked} stays, though its time is over")), "{said}");
    assert_eq!(project.query(&format!("SELECT count() FROM {parked}")), "1000");
}

/// Where no view can keep the old table current: a writer who has not moved yet is told, and counted once.
#[test]
fn who_writes_to_the_old_table_before_the_deploy_does_not_keep_it_for_ever() {
    let project = filled(&first().replace("SELECT * FROM", "SELECT id, upper(s) AS s FROM"));
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.query("INSERT INTO t_0_0 VALUES (7000, 'x')");
    project.teal(&["cleanup"]).failed(3, &["got 1 rows", "`teal cutover` again"]);
    project.teal(&["cutover"]).failed(3, &["got 1 rows", "counts from here"]);
    project.must(&["cutover"]);
    project.must(&["cleanup"]);
    assert_eq!(project.query("SELECT count() FROM t_0_1"), "1001");
}

/// The number of rows alone would hide them.
#[test]
fn rows_that_only_the_old_table_got_are_seen_where_it_lost_others() {
    let project = filled(&first().replace("SELECT * FROM", "SELECT id, upper(s) AS s FROM"));
    project.must(&["apply"]);
    project.must(&["cutover", "--by", "exchange"]);
    // The old data goes by that name now.
    project.query("ALTER TABLE t_0_1 DELETE WHERE id < 100 SETTINGS mutations_sync = 2");
    project.query("INSERT INTO t_0_1 VALUES (7000, 'x')");
    project.teal(&["cleanup"]).failed(3, &["got 1 rows", "nothing forwards them"]);
}

/// What another database's migration has parked is another team's.
#[test]
fn a_cleanup_drops_what_its_own_database_has_parked() {
    let project = filled(&first());
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.must(&["cleanup", "--park", "0s"]);
    project.query("CREATE DATABASE other");
    let config = project.config();
    project.write("teal.toml", &config.replace("\"default\"", "\"other\""));
    project.teal(&["cleanup"]).failed(2, &["no migration"]);
    project.teal(&["cleanup", "nosuch"]).failed(2, &["no migration nosuch"]);
    project.write("teal.toml", &config);
    project.teal(&["cleanup", "nosuch"]).failed(2, &["no migration nosuch"]);
    let parked = "SELECT count() FROM system.tables WHERE name LIKE 't_0_0_drop_%'";
    assert_eq!(project.query(parked), "1");
    // What has been dropped is told also where the rest is refused.
    project.write("app/t.sql", &format!("{T_1}{T_2}{TO_2}"));
    project.must(&["apply"]);
    let run = project.teal(&["--json", "cleanup", "t"]);
    run.failed(3, &["verified"]);
    assert!(run.stdout.contains("default.t_0_0_drop_"), "{}", run.said());
    assert_eq!(project.query(parked), "0");
}

#[test]
fn an_old_table_that_is_gone_is_neither_dropped_nor_parked() {
    let project = filled(&first());
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.query("DROP TABLE t_0_0 SYNC");
    let run = project.must(&["--json", "cleanup", "--park", "7d"]);
    assert!(run.stderr.contains("default.t_0_0 is gone already"), "{}", run.said());
    let report = serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap();
    assert_eq!(report["dropped"], serde_json::json!([]));
    assert_eq!(report.get("parked"), None);
}

/// It keeps no other one from going, nor the migration that waits.
#[test]
fn a_parked_table_that_is_still_loaded_stays_and_is_told() {
    let project = filled(&first());
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.must(&["cleanup", "--park", "0s"]);
    let parked = project.query("SELECT name FROM system.tables WHERE name LIKE 't_0_0_drop_%'");
    project.query("CREATE DATABASE other");
    project.query(&format!(
        "CREATE DICTIONARY other.names (id UInt64, s String) PRIMARY KEY id \
         SOURCE(CLICKHOUSE(TABLE '{parked}' DB 'default')) LAYOUT(FLAT()) LIFETIME(0)"
    ));
    project.write("app/t.sql", &both());
    project.must(&["apply"]);
    project.must(&["cutover", "t_0_2"]);
    let said = project.must(&["cleanup"]).said();
    assert!(said.contains(&format!("{parked} stays, though its time is over: ")), "{said}");
    assert!(said.contains("tables depend on it: other.names"), "{said}");
    assert_eq!(project.query("EXISTS t_0_1"), "0", "{said}");
    project.query("DROP DICTIONARY other.names");
    project.must(&["cleanup"]);
    assert_eq!(project.query("SHOW TABLES"), "t_0_2");
}

/// A script may take it for a name that is free.
#[test]
fn a_cleanup_reports_no_name_as_dropped_that_is_an_alias_now() {
    for (by, dropped) in [("exchange", &[][..]), ("app", &["default.t_0_0"])] {
        let project = filled(&first());
        project.must(&["apply"]);
        project.must(&["cutover", "--by", by]);
        let report = project.json::<serde_json::Value>(&["cleanup"]);
        assert_eq!(report["dropped"], serde_json::json!(dropped), "{by}");
    }
}
