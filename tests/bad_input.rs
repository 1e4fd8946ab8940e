//! Bad input: each a clear error that names the file or the object, the exit code as designed,
//! nothing lost, no panic.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{
    ITEMS_REWRITTEN, ITEMS_V00, ITEMS_V01_REWRITTEN, MIGRATE_ITEMS, Project, Run, difference,
    filled_items,
};

fn with_table(declaration: &str) -> Project {
    let imports =
        "import { ClickHouseEngines, MaterializedView, OlapTable, sql } from \"teal-sdk\";\n";
    let row = "interface Row { id: string; at: Date }\n";
    Project::new(&[("app/models.ts", &format!("{imports}{row}{declaration}\n"))])
}

#[test]
fn a_missing_engine_is_named_with_what_to_do() {
    let project = Project::new(&[("app/tables/items.ts", ITEMS_V00)]);
    let run = |variable: &str, value: &str| {
        let mut command = project.command(&["plan"]);
        command.env_remove("TEAL_LIBCHDB").env(variable, value);
        command.output().unwrap()
    };
    let no_file = run("TEAL_LIBCHDB", "/nowhere/libchdb.so");
    let said = String::from_utf8(no_file.stderr).unwrap();
    assert_eq!(no_file.status.code(), Some(1), "{said}");
    assert!(said.contains("/nowhere/libchdb.so"), "{said}");
    let empty = tempfile::tempdir().unwrap();
    let not_fetched = run("TEAL_CACHE_DIR", empty.path().to_str().unwrap());
    let said = String::from_utf8(not_fetched.stderr).unwrap();
    assert_eq!(not_fetched.status.code(), Some(1), "{said}");
    assert!(said.contains("teal engine install"), "{said}");
}

#[test]
fn a_file_that_is_no_engine_is_named() {
    let project = Project::new(&[("app/tables/items.ts", ITEMS_V00)]);
    project.write("libchdb.so", "this is no library");
    let library = project.path().join("libchdb.so");
    // What is not teal's has not the version of what is.
    let info =
        project.command(&["--json", "engine", "info"]).env("TEAL_LIBCHDB", &library).output();
    let info = String::from_utf8(info.unwrap().stdout).unwrap();
    assert!(info.contains("libchdb.so") && !info.contains("version"), "{info}");
    let run = project.command(&["plan"]).env("TEAL_LIBCHDB", &library).output().unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains(library.to_str().unwrap()), "{said}");
}

#[test]
fn a_data_directory_that_is_named_needs_no_project() {
    let project = Project::new(&[]);
    project.query("CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id AS SELECT 7");
    project.remove("teal.toml");
    let data = project.data();
    let run = project.must(&["--data", data.to_str().unwrap(), "query", "SELECT id FROM t"]);
    assert_eq!(run.stdout, "7\n");
    project.teal(&["query", "SELECT 1"]).failed(2, &["teal.toml", "teal init"]);
    // One that is mistyped is not made.
    project.write("teal.toml", "");
    project.write("app/t.sql", "CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id;");
    let nosuch = project.path().join("nosuch");
    for command in [&["query", "SELECT 1"][..], &["plan"], &["doctor"]] {
        let run = project.teal(&[&["--data", nosuch.to_str().unwrap()], command].concat());
        run.failed(2, &["there is no data directory", "`teal apply` makes it"]);
        assert!(!nosuch.exists());
    }
}

#[test]
fn a_data_directory_that_is_named_is_the_target_where_teal_toml_has_a_server() {
    let project = Project::new(&[]);
    // Nobody listens there, and nobody has set the variable.
    let server =
        "kind = \"server\"\nurl = \"http://127.0.0.1:1\"\npassword = \"${TEAL_TEST_NO_SUCH}\"\n";
    project.write("teal.toml", &format!("[targets.default]\n{server}"));
    let data = project.path().join("tried");
    std::fs::create_dir(&data).unwrap();
    let data = data.to_str().unwrap();
    let sql = "SELECT currentDatabase()";
    assert_eq!(project.must(&["--data", data, "query", sql]).stdout, "default\n");
    let of = |flags: &[&str], variables: &[(&str, &str)]| {
        let mut command = project.command(&[flags, &["query", sql]].concat());
        Run::of(command.envs(variables.iter().copied()).output().unwrap())
    };
    let url = "http://127.0.0.1:1";
    assert_eq!(of(&[], &[("TEAL_DATA", data)]).stdout, "default\n");
    assert_eq!(of(&["--data", data], &[("TEAL_URL", url)]).stdout, "default\n");
    of(&["--url", url], &[("TEAL_DATA", data)]).failed(1, &["127.0.0.1:1"]);
    of(&["--url", url, "--data", data], &[]).failed(2, &["--url", "--data", "give one"]);
    of(&[], &[("TEAL_URL", url), ("TEAL_DATA", data)]).failed(2, &["TEAL_DATA", "give one"]);
    // A target that the command line names is no other, whatever the shell was told long ago.
    let here = format!("[targets.here]\nkind = \"embedded\"\npath = {data:?}\n");
    project.write("teal.toml", &format!("[targets.default]\n{server}{here}"));
    for elsewhere in [("TEAL_URL", url), ("TEAL_DATA", "/nosuch"), ("TEAL_TARGET", "default")] {
        assert_eq!(of(&["--target", "here"], &[elsewhere]).stdout, "default\n", "{elsewhere:?}");
    }
    of(&["--target", "here", "--url", url], &[]).failed(2, &["--target", "give one"]);
}

#[test]
fn a_data_directory_in_use_is_refused_with_the_holder() {
    let project = Project::new(&[("app/tables/items.ts", ITEMS_V00)]);
    project.must(&["apply"]);
    let sleep = "SELECT sleepEachRow(1) FROM numbers(120) SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0";
    let mut holder = project
        .command(&["query", sleep])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The holder is in when its pid stands in the engine's status file.
    let status = project.data().join("status");
    let pid = format!("PID: {}", holder.id());
    let began = Instant::now();
    while !std::fs::read_to_string(&status).unwrap_or_default().contains(&pid) {
        assert!(began.elapsed() < Duration::from_secs(60), "the holder did not open the directory");
        std::thread::sleep(Duration::from_millis(10));
    }
    let run = project.teal(&["plan"]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    run.failed(3, &[project.data().to_str().unwrap(), &pid[5..]]);
    project.must(&["plan"]);
}

#[test]
fn a_syntax_error_is_shown_with_file_line_and_column() {
    let project = Project::new(&[(
        "app/models.ts",
        "import { OlapTable } from \"teal-sdk\";\nconst a = = 1;\n",
    )]);
    project.teal(&["plan"]).failed(1, &["app/models.ts:2:11", "syntax error"]);
}

#[test]
fn an_error_in_the_users_code_is_shown_with_its_own_trace() {
    let project = Project::new(&[(
        "app/models.ts",
        "function f() { throw new Error(\"no luck\"); }\n\nf();\n",
    )]);
    project.teal(&["plan"]).failed(1, &["app/models.ts:1", "no luck", "app/models.ts:3"]);
}

#[test]
fn an_unknown_engine_is_named_with_the_known_ones() {
    let project = with_table(
        "export const t = new OlapTable<Row>(\"t\", { engine: \"MergeTre\" as never, orderByFields: [\"id\"] });",
    );
    project.teal(&["plan"]).failed(1, &["app/models.ts:3", "MergeTre", "ReplacingMergeTree"]);
}

#[test]
fn two_models_with_one_physical_name_are_refused_with_both_places() {
    let project = with_table(
        "export const a = new OlapTable<Row>(\"t\", { version: \"1.0\", orderByFields: [\"id\"] });\n\
         export const b = new OlapTable<Row>(\"t_1\", { version: \"0\", orderByFields: [\"id\"] });",
    );
    project.teal(&["plan"]).failed(1, &["t_1_0", "app/models.ts:3", "app/models.ts:4"]);
}

#[test]
fn a_view_that_names_an_unknown_column_is_refused_with_its_place() {
    let project = Project::new(&[
        ("app/tables/items.ts", ITEMS_V00),
        ("app/tables/items_v01.ts", ITEMS_V01_REWRITTEN),
        (
            "app/views/migrate.ts",
            &MIGRATE_ITEMS.replace("SELECT * FROM", "SELECT id, nosuch AS name, at, note FROM"),
        ),
    ]);
    let run = project.teal(&["apply"]);
    run.failed(1, &["app/views/migrate.ts:5", "mv_items_to_0_1", "nosuch", "UNKNOWN_IDENTIFIER"]);
    // The shadow database's name is teal's own business.
    assert!(!run.stderr.contains("_teal_shadow"), "{}", run.said());
    assert_eq!(project.query("SHOW TABLES"), "");
    assert_eq!(
        project.query("SELECT name FROM system.databases WHERE name LIKE '_teal_shadow%'"),
        ""
    );
}

#[test]
fn a_select_that_could_not_be_copied_exactly_is_refused_with_the_reason() {
    for (select, reason) in [
        (
            "SELECT id, any(name) AS name, max(at) AS at, any(note) AS note FROM ${items} GROUP BY id",
            "would not add up",
        ),
        ("SELECT DISTINCT * FROM ${items}", "DISTINCT"),
        ("SELECT * FROM ${items} LIMIT 10", "LIMIT"),
        ("SELECT id, name, now() AS at, note FROM ${items}", "now"),
    ] {
        let project = Project::new(&[
            ("app/tables/items.ts", ITEMS_V00),
            ("app/tables/items_v01.ts", ITEMS_V01_REWRITTEN),
            ("app/views/migrate.ts", &MIGRATE_ITEMS.replace("SELECT * FROM ${items}", select)),
        ]);
        project.teal(&["plan"]).failed(3, &["app/views/migrate.ts:5", reason, "help:"]);
    }
}

#[test]
fn a_full_disk_stops_the_backfill_and_a_larger_one_lets_it_go_on() {
    let on_small_disk = ITEMS_REWRITTEN.replace(';', " SETTINGS storage_policy = 'small';");
    let project = filled_items(&on_small_disk);
    // A disk that keeps more free than any disk has is a full one.
    let config = |kept_free: &str| {
        format!(
            "<clickhouse><storage_configuration><disks><small><type>local</type><path>{}/</path>\
             <keep_free_space_bytes>{kept_free}</keep_free_space_bytes></small></disks>\
             <policies><small><volumes><main><disk>small</disk></main></volumes></small></policies>\
             </storage_configuration></clickhouse>",
            project.path().join("small").display()
        )
    };
    project.write("engine.xml", &config("1000000000000000"));
    let file = project.path().join("engine.xml");
    let apply = ["--engine-config", file.to_str().unwrap(), "apply"];
    project.teal(&apply).failed(3, &["the storage policy small has 0 bytes free"]);
    // One that is full by then.
    project.write("engine.xml", &config("0"));
    project.killed_at("attached", &apply);
    project.write("engine.xml", &config("1000000000000000"));
    project.teal(&apply).failed(1, &["NOT_ENOUGH_SPACE"]);
    project.write("engine.xml", &config("0"));
    project.must(&apply);
    // Every command needs the disk now.
    let config = std::fs::read_to_string(project.path().join("teal.toml")).unwrap();
    project.write("teal.toml", &format!("{config}config = \"engine.xml\"\n"));
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "90500");
    assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0");
}

#[test]
fn a_corrupt_journal_is_refused_with_its_entry_and_nothing_is_touched() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.killed_at("published", &["apply", "--chunk-rows", "20000"]);
    for (damage, said) in [
        (
            "ALTER TABLE _teal.journal DELETE WHERE sequence = 2 SETTINGS mutations_sync = 2",
            "entry 2 was expected",
        ),
        (
            "ALTER TABLE _teal.journal UPDATE body = 'x' WHERE sequence = 1 SETTINGS mutations_sync = 2",
            "entry 1",
        ),
        (
            "ALTER TABLE _teal.journal UPDATE body = '{\"kind\":\"cleaned\"}' WHERE sequence = 1 SETTINGS mutations_sync = 2",
            "cannot follow",
        ),
    ] {
        let damaged = project.copy();
        damaged.query(damage);
        let tables = "SELECT database, name, total_rows FROM system.tables WHERE database IN ('default', '_teal') AND NOT name LIKE 'lock_%' ORDER BY ALL";
        let before = damaged.query(tables);
        for command in [&["apply"][..], &["plan"], &["status"], &["cutover"]] {
            damaged.teal(command).failed(3, &["_teal.journal is corrupt", "items_0_1_", said]);
        }
        assert_eq!(damaged.query(tables), before);
    }
}

#[test]
fn a_green_table_with_rows_of_its_own_is_not_touched() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.query("CREATE TABLE items_0_1 AS items_0_0");
    project.query("INSERT INTO items_0_1 SELECT * FROM items_0_0 LIMIT 3");
    project.teal(&["apply"]).failed(3, &["default.items_0_1", "3 rows"]);
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "3");
}

#[test]
fn rows_written_into_green_before_the_fence_are_not_dropped() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.killed_at("prepared", &["apply"]);
    project.query("INSERT INTO items_0_1 SELECT * FROM items_0_0 LIMIT 3");
    project.teal(&["apply"]).failed(3, &["default.items_0_1 has 3 rows"]);
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "3");
    project.query("TRUNCATE TABLE items_0_1");
    project.must(&["apply"]);
    assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0");
}

#[test]
fn a_view_that_someone_else_made_meanwhile_is_not_dropped() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.killed_at("prepared", &["apply"]);
    project
        .query("CREATE MATERIALIZED VIEW mv_items_to_0_1 TO items_0_1 AS SELECT * FROM items_0_0");
    project.teal(&["apply"]).failed(3, &["default.mv_items_to_0_1", "did not attach"]);
    assert_eq!(
        project.query("SELECT count() FROM system.tables WHERE name = 'mv_items_to_0_1'"),
        "1"
    );
}

#[test]
fn models_that_change_in_the_middle_of_a_migration_are_refused() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.killed_at("attached", &["apply"]);
    let changed = ITEMS_REWRITTEN.replace("(name, id)", "(id, name)");
    project.write("app/items_v01.sql", &changed);
    project
        .teal(&["apply"])
        .failed(3, &["default.items_0_1", "its models have changed since", "instead:"]);
    project.write("app/items_v01.sql", ITEMS_REWRITTEN);
    project.must(&["apply"]);
    assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0");
}

#[test]
fn wrong_usage_is_told_from_failure() {
    let nowhere = tempfile::tempdir().unwrap();
    let project = Project::new(&[("app/tables/items.ts", ITEMS_V00)]);
    project.teal(&["no-such-command"]).failed(2, &["no-such-command"]);
    project.teal(&["--target", "production", "plan"]).failed(2, &["production", "default"]);
    project.write("teal.toml", "[models]\nfolders = \"app\"\n");
    project.teal(&["plan"]).failed(2, &["teal.toml", "folders"]);
    let elsewhere = project.command(&["-C", nowhere.path().to_str().unwrap(), "plan"]).output();
    // The flag is there twice then, which is wrong usage too.
    assert_eq!(elsewhere.unwrap().status.code(), Some(2));
    project.remove("teal.toml");
    project.teal(&["plan"]).failed(2, &["teal.toml", "teal init"]);
}

/// Its path may be mistyped; and none is made by asking.
#[test]
fn a_data_directory_that_is_not_there_is_no_empty_target() {
    let project = Project::new(&[("app/tables/items.ts", ITEMS_V00)]);
    let says = ["there is no data directory", "teal apply"];
    for command in ["status", "verify", "cutover", "cleanup", "pull"] {
        project.teal(&[command]).failed(2, &says);
    }
    assert!(!project.data().exists());
    project.must(&["plan"]);
    assert_eq!(project.must(&["status"]).stdout, "No migration has been started on this target.\n");
}

#[test]
fn a_plan_without_a_target_is_one_of_the_targets_database() {
    let table = "CREATE TABLE web.t (id UInt64) ENGINE = MergeTree ORDER BY id;";
    let project = Project::new(&[("app/t.sql", table)]);
    project.write("teal.toml", &project.config().replace("\"default\"", "\"web\""));
    let plan = project.must(&["plan", "--no-target"]).said();
    assert!(plan.contains("web.t") && !plan.contains("blocked"), "{plan}");
}

#[test]
fn a_project_is_made_where_the_command_is_to_run() {
    let parent = tempfile::tempdir().unwrap();
    let project = Project::new(&[]);
    let mut command = Command::new(project.command(&[]).get_program());
    let place = parent.path().to_str().unwrap();
    let run = Run::of(command.args(["-C", place, "init", "--lang", "sql"]).output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert!(parent.path().join("teal.toml").exists(), "{}", run.said());
}

/// As to a log on a disk that is full.
#[test]
fn messages_that_cannot_be_written_do_not_end_a_migration() {
    let project = filled_items(ITEMS_REWRITTEN);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = project.command(&["apply"]).stderr(full).stdout(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(0));
    project.must(&["verify"]);
}

#[test]
fn a_project_without_models_is_told_where_they_should_be() {
    Project::new(&[]).teal(&["plan"]).failed(1, &["there is no model", "/app"]);
}

#[test]
fn models_that_do_not_parse_leave_an_interrupted_migration_alone() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.killed_at("attached", &["apply"]);
    project.write("app/broken.ts", "export const x = ;");
    project.teal(&["apply"]).failed(1, &["app/broken.ts:1"]);
    project.remove("app/broken.ts");
    project.must(&["apply"]);
    assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0");
}
