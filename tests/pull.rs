//! What a server has, as models in every language: a plan of them is empty.

use std::process::Command;

use crate::change::{EVENTS, insert};
use crate::every;
use crate::support::{ITEMS_REWRITTEN, Project, filled_items};

/// What takes a setting to be created, which a plan does not give.
const NEED_SETTINGS: &[&str] = &["Time", "Time64(3)"];

fn every_table() -> String {
    let needs_setting =
        |table: &String| NEED_SETTINGS.iter().any(|name| table.contains(&format!("value {name})")));
    let tables = every::tables();
    let tables = tables.iter().filter(|table| !needs_setting(table)).enumerate();
    let mut sql =
        tables.map(|(i, rest)| format!("CREATE TABLE t{i} {rest};\n")).collect::<String>();
    sql.push_str(
        "CREATE TABLE `odd ``name` (a UInt8) ENGINE = MergeTree ORDER BY a;\n\
         CREATE VIEW plain AS SELECT id, 'it''s\n``${x}\\\\' AS text FROM t0;\n\
         CREATE VIEW of_plain AS SELECT id FROM plain;\n\
         CREATE VIEW of_both AS SELECT t0.id, t1.value FROM t0 JOIN t1 ON t0.id = t1.id;\n\
         CREATE VIEW in_full AS SELECT default.t0.id FROM default.t0;\n\
         CREATE VIEW among AS SELECT id FROM t0 WHERE id IN `odd ``name` OR notIn(id, `odd ``name`);\n\
         CREATE MATERIALIZED VIEW forwards TO t1 AS SELECT id, toInt16(value) AS value FROM t0;\n",
    );
    sql
}

#[test]
fn what_is_pulled_in_any_language_plans_nothing() {
    let project = Project::new(&[("app/all.sql", &every_table())]);
    project.must(&["apply"]);
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0), "a second plan is empty");
    let nothing = project.must(&["pull"]);
    assert!(nothing.stdout.contains("declare all"), "{}", nothing.said());
    project.remove("app/all.sql");
    for language in ["sql", "ts", "py"] {
        let pulled = project.must(&["pull", "--lang", language]);
        assert!(!pulled.stderr.contains("warning"), "{language}: {}", pulled.said());
        let objects = every_table().matches("CREATE ").count();
        let files = pulled.stdout.lines().filter(|file| !file.ends_with("__init__.py")).count();
        assert_eq!(files, objects, "{}", pulled.said());
        let plan = project.teal(&["plan", "--check"]);
        assert_eq!(plan.code, Some(0), "{language}: {}", plan.said());
        std::fs::remove_dir_all(project.path().join("app")).unwrap();
    }
}

#[test]
fn what_models_cannot_declare_is_said() {
    let project = Project::new(&[("app/t.sql", "CREATE TABLE t (a UInt8) ENGINE = Memory;")]);
    project.must(&["apply"]);
    project.query("CREATE MATERIALIZED VIEW own ENGINE = Memory AS SELECT a FROM t");
    project.query("CREATE TABLE other (a UInt8) ENGINE = Memory");
    let pulled = project.must(&["pull"]);
    assert!(pulled.stdout.trim_end().ends_with("app/tables/other.ts"), "{}", pulled.said());
    assert!(pulled.stderr.contains("warning: own: "), "{}", pulled.said());
    assert!(project.must(&["plan"]).stdout.contains("Nothing to do"));
    project.query("CREATE TABLE Other (a UInt8) ENGINE = Memory");
    for (view, table) in [("upper", "Other"), ("lower", "other")] {
        project.query(&format!("CREATE VIEW {view} AS SELECT a FROM {table}"));
    }
    let pulled = project.must(&["pull"]);
    assert!(pulled.stderr.contains("is there already"), "{}", pulled.said());
    let without = "upper: the file of its table Other is another one's";
    assert!(pulled.stderr.contains(without), "{}", pulled.said());
    project.remove("app/tables/other.ts");
    let pulled = project.must(&["pull"]);
    assert!(pulled.stderr.contains("its file would be that of"), "{}", pulled.said());
    let without = "lower: the file of its table other is another one's";
    assert!(pulled.stderr.contains(without), "{}", pulled.said());
    assert!(pulled.stdout.contains("app/views/upper.ts"), "{}", pulled.said());
    ["upper", "lower"].iter().for_each(|view| drop(project.query(&format!("DROP VIEW {view}"))));

    for statement in [
        "CREATE TABLE s (id UInt64 STATISTICS(tdigest), c String SETTINGS (max_compress_block_size = 8192), \
             PROJECTION p INDEX c TYPE basic, \
             PROJECTION q (SELECT c ORDER BY c) WITH SETTINGS (index_granularity = 128)) \
         ENGINE = MergeTree ORDER BY id",
        "CREATE DICTIONARY d (a UInt8) PRIMARY KEY a SOURCE(CLICKHOUSE(TABLE 't')) LAYOUT(FLAT()) LIFETIME(0)",
        "CREATE MATERIALIZED VIEW r REFRESH EVERY 1 YEAR APPEND TO other AS SELECT a FROM t",
        "CREATE VIEW v DEFINER = default SQL SECURITY DEFINER AS SELECT a FROM t",
        "CREATE VIEW w AS SELECT a FROM t COMMENT 'mine'",
        "CREATE TABLE o (day Date, id UInt64) ENGINE = MergeTree(day, id, 8192) \
         SETTINGS allow_deprecated_syntax_for_merge_tree = 1",
    ] {
        project.query(statement);
    }
    project.remove("app/t.sql");
    std::fs::remove_dir_all(project.path().join("app")).unwrap();
    let shown = project.must(&["pull", "--lang", "sql", "--dry-run"]);
    let pulled = project.must(&["pull", "--lang", "sql"]);
    for words in [
        "s: models cannot declare STATISTICS (tdigest) of column id",
        "s: models cannot declare SETTINGS (max_compress_block_size = 8192) of column c",
        "s: models cannot declare SETTINGS (index_granularity = 128) of projection q",
        "d: it is a dictionary",
        "r: it runs by the clock (REFRESH)",
        "v: models cannot declare whose rights it runs with",
        "w: models cannot declare the comment of a view",
        "o: its engine is of the syntax without ORDER BY",
    ] {
        for run in [&shown, &pulled] {
            assert!(run.stderr.contains(words), "{words}: {}", run.said());
        }
    }
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("Nothing to do") && plan.contains("in no model"), "{plan}");

    // What a plan would take from it is told, or refused.
    project.remove("app/views/v.sql");
    let file = "app/tables/s.sql";
    let table = std::fs::read_to_string(project.path().join(file)).unwrap();
    assert!(table.contains("PROJECTION `p` INDEX c TYPE basic"), "{table}");
    project.write(file, &table.replace("ORDER BY `id`", "ORDER BY (`c`, `id`)"));
    project.write("app/v.sql", "CREATE VIEW v AS SELECT a + 1 AS a FROM t");
    project.remove("app/views/w.sql");
    project.write("app/w.sql", "CREATE VIEW w AS SELECT a + 1 AS a FROM t");
    let plan = project.must(&["plan"]).stdout;
    for words in [
        "without the STATISTICS (tdigest) of column id",
        "conflict: default.v",
        "DEFINER",
        "view default.w is made anew, and is without its comment then ('mine')",
    ] {
        assert!(plan.contains(words), "{plan}");
    }
}

#[test]
fn a_table_made_under_a_setting_is_pulled_and_not_made_anew() {
    let project = Project::new(&[("app/t.sql", "CREATE TABLE t (a UInt8) ENGINE = Memory;")]);
    project.query(
        "CREATE TABLE unusual (a LowCardinality(UInt8), b Time, c Nullable(Tuple(a UInt8, b String)), d Nullable(Point), e UInt8) \
         ENGINE = MergeTree ORDER BY a \
         SETTINGS allow_suspicious_low_cardinality_types = 1, enable_time_time64_type = 1, enable_nullable_tuple_type = 1",
    );
    project.query("CREATE VIEW reader AS SELECT e FROM unusual");
    project.remove("app/t.sql");
    let is_empty = || {
        let plan = project.must(&["plan"]);
        assert!(plan.stdout.contains("Nothing to do"), "{}", plan.said());
    };
    for language in ["ts", "py", "sql"] {
        let _ = std::fs::remove_dir_all(project.path().join("app"));
        project.must(&["pull", "--lang", language, "unusual", "reader"]);
        is_empty();
    }
    let file = "app/tables/unusual.sql";
    let model = std::fs::read_to_string(project.path().join(file)).unwrap();
    project.write(file, &model.replace("`e` UInt8", "`e` UInt16 COMMENT 'more'"));
    project.must(&["apply"]);
    is_empty();
    // Nor need it be declared to be read.
    project.remove(file);
    project.remove("app/views/reader.sql");
    let copies = "CREATE TABLE t (e UInt16) ENGINE = Null; CREATE MATERIALIZED VIEW copies TO t AS SELECT e FROM unusual;";
    project.write("app/t.sql", copies);
    project.must(&["apply"]);
    is_empty();
    project.query("DROP VIEW copies");
    project.query("DROP TABLE unusual");
    project.remove("app/t.sql");
    project.write(file, &model);
    let plan = project.teal(&["plan"]);
    assert_eq!(plan.code, Some(1), "{}", plan.said());
    assert!(plan.stderr.contains("allow_suspicious_low_cardinality_types"), "{}", plan.said());
}

#[test]
fn what_a_migration_has_made_is_not_pulled() {
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["apply"]);
    insert(&project, 0, 10);
    project.write("app/events.sql", &EVENTS.replace("ORDER BY id", "ORDER BY (town, id)"));
    project.must(&["apply"]);
    let pulled = project.must(&["pull", "--lang", "sql"]);
    assert!(pulled.stdout.contains("The models declare all"), "{}", pulled.said());
    // The table itself is the users' own, for whoever has no model of it.
    project.remove("app/events.sql");
    let shown = project.must(&["pull", "--lang", "sql", "--dry-run"]);
    assert!(shown.stdout.contains("CREATE TABLE `events`"), "{}", shown.said());
    assert!(!shown.stdout.contains("events_green"), "{}", shown.said());
}

#[test]
fn a_new_version_that_a_migration_makes_is_told_and_the_old_one_pulled() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(&["apply"]);
    for model in ["items", "items_v01", "migrate"] {
        project.remove(&format!("app/{model}.sql"));
    }
    let shown = project.must(&["pull", "--lang", "sql", "--dry-run"]);
    assert!(shown.stdout.contains("CREATE TABLE `items_0_0`"), "{}", shown.said());
    assert!(!shown.stdout.contains("`items_0_1`"), "{}", shown.said());
    assert!(shown.stderr.contains("items_0_1: a migration makes it"), "{}", shown.said());
}

#[test]
fn a_name_chooses_and_a_dry_run_writes_nothing() {
    let project = Project::new(&[]);
    for name in ["a_one", "a_two", "b"] {
        project.query(&format!("CREATE TABLE {name} (a UInt8) ENGINE = Memory"));
    }
    let shown = project.must(&["pull", "--lang", "sql", "--dry-run", "a_*"]);
    assert!(shown.stdout.contains("CREATE TABLE `a_two`") && !shown.stdout.contains("`b`"));
    assert!(!project.path().join("app").exists());
}

#[test]
fn init_makes_a_project_in_each_language_that_plans_at_once() {
    for language in ["ts", "py", "sql"] {
        let project = Project::new(&[]);
        project.remove("teal.toml");
        let place = project.path().to_str().unwrap().to_owned();
        project.must(&["init", "--lang", language, &place]);
        let plan = project.must(&["plan"]);
        assert!(plan.stdout.contains("1. create table default.events_0_0"), "{}", plan.said());
        let alone = project.must(&["plan", "--no-target"]);
        assert!(alone.stdout.contains("Plan for an empty target"), "{}", alone.said());
        project.teal(&["init", &place]).failed(3, &["teal.toml"]);
    }
}

/// Whoever registers these names must not get to run anything.
#[test]
fn a_new_project_takes_the_sdk_from_teal_and_from_no_registry() {
    let project = Project::new(&[]);
    project.remove("teal.toml");
    let place = project.path().to_str().unwrap().to_owned();
    project.must(&["init", "--lang", "ts", &place]);
    let text = |file| std::fs::read_to_string(project.path().join(file)).unwrap();
    assert!(!text("package.json").contains("teal"));
    // The compiler finds the package's types, as an editor does.
    let sdk = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/typescript");
    let tsc = format!("{sdk}/node_modules/typescript/bin/tsc");
    let checked = Command::new("node").args([&tsc, "-p", &place]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let foreign = "node_modules/teal-sdk";
    project.write(&format!("{foreign}/package.json"), "{ \"main\": \"extract.cjs\" }");
    project.write(&format!("{foreign}/extract.cjs"), "throw new Error('a stranger');");
    project.write(&format!("{foreign}/dist/cjs/extract/main.js"), "");
    assert!(project.must(&["plan", "--no-target"]).stdout.contains("create table"));
    project.remove("teal.toml");
    project.must(&["init", "--lang", "py", &place]);
    assert!(text("pyproject.toml").contains("dependencies = [\"pydantic>=2\"]"));
}

#[test]
fn init_from_a_server_declares_what_it_has() {
    let there = Project::new(&[]);
    there.query("CREATE TABLE users (id UInt64) ENGINE = MergeTree ORDER BY id");
    let data = there.data();
    for language in ["ts", "py", "sql"] {
        let new = Project::new(&[]);
        new.remove("teal.toml");
        let place = new.path().to_str().unwrap().to_owned();
        let away = ["init", "--from", "http://127.0.0.1:1", "--lang", language, &place];
        new.teal(&away).failed(1, &["nothing listens at this port"]);
        assert_eq!(std::fs::read_dir(new.path()).unwrap().count(), 0);
        new.must(&["init", "--lang", language, "--from", data.to_str().unwrap(), &place]);
        assert!(new.path().join(format!("app/tables/users.{language}")).exists());
        assert!(new.must(&["plan"]).stdout.contains("Nothing to do"));
    }
    there.query("DROP TABLE users");
    let new = Project::new(&[]);
    new.remove("teal.toml");
    let from = ["--from", data.to_str().unwrap(), new.path().to_str().unwrap()];
    let none = new.must(&[&["init"], &from[..]].concat()).stderr;
    for words in ["warning: the database default has no tables", "clickhouse://host/NAME"] {
        assert!(none.contains(words), "{none}");
    }
}
