//! The cutover by alias: planned, under traffic on a server, and killed at each of its steps.
//! (`every_write.rs` kills it behind each write, `teal-migrate/tests/alias.rs` has the traffic on the
//! embedded engine.)

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use teal_client::Server as _;

use crate::preflight::with_config;
use crate::server_migration::{REWRITTEN, ROWS, Stage, StopsAll};
use crate::servers::Modern;
use crate::support::{Held, Project, Run, until};

const EVENTS_0: &str = "-- teal: table events version 0\n\
     CREATE TABLE events_0 (id UInt64, town String, at DateTime) ENGINE = MergeTree \
     PARTITION BY toYYYYMM(at) ORDER BY id;\n";
const VIEW: &str = "CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events_0;\n";

fn both() -> String {
    format!("{EVENTS_0}-- teal: table events version 1\n{REWRITTEN}{VIEW}")
}

/// A project whose cutovers are by alias.
fn project(models: &str) -> Project {
    let project = Project::new(&[("app/events.sql", models)]);
    project.write("teal.toml", &format!("{}\n[migrate]\ncutover = \"alias\"\n", project.config()));
    project
}

pub(crate) fn insert(into: &str, from: u64, rows: u64) -> String {
    format!(
        "INSERT INTO {into} SELECT {from} + number, concat('town ', toString(number % 9)), \
         toDateTime('2024-01-01 00:00:00') + (number % 80) * 86400 FROM numbers({rows})"
    )
}

const TABLES: &str = "SELECT groupArray(concat(name, ' ', if(engine = 'Alias', engine_full, engine))) \
     FROM (SELECT * FROM system.tables WHERE database = 'default' ORDER BY name)";

fn assert_empty_plan(project: &Project) {
    // What is in no model may go, and an alias is not that.
    for arguments in [&["plan", "--check"][..], &["plan", "--check", "--allow-drop", "*"]] {
        let plan = project.teal(arguments);
        assert_eq!(plan.code, Some(0), "{}", plan.said());
        assert!(!plan.stdout.contains("in no model"), "{}", plan.said());
    }
}

#[test]
fn a_versioned_table_gets_an_alias_which_goes_from_version_to_version() {
    let project = project(EVENTS_0);
    let plan: Value = project.json(&["plan"]);
    assert_eq!(plan["operations"][1]["kind"], "createAlias", "{plan}");
    project.must(&["apply"]);
    assert_eq!(
        project.query(TABLES),
        r"['events Alias(\'default\', \'events_0\')','events_0 MergeTree']"
    );
    assert_empty_plan(&project);
    project.query(&insert("events", 0, 1000));
    project.query("CREATE TABLE ids (id UInt64) ENGINE = MergeTree ORDER BY id");
    project.query("CREATE MATERIALIZED VIEW to_ids TO ids AS SELECT id FROM events");

    project.write("app/events.sql", &both());
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("alias, by `teal cutover`"), "{plan}");
    assert!(!plan.contains("create alias"), "{plan}");
    project.must(&["apply"]);
    let said = project.must(&["cutover"]);
    for words in ["default.events is an alias of default.events_1", "default.to_ids follows"] {
        assert!(said.stderr.contains(words), "{}", said.said());
    }
    project.query(&insert("events", 1000, 10));
    assert_eq!(project.query("SELECT count() FROM ids"), "10");
    project.query("DROP VIEW to_ids");
    project.query("DROP TABLE ids");
    let counts = "SELECT (SELECT count() FROM events), (SELECT count() FROM events_0), (SELECT count() FROM events_1)";
    // A view keeps the old one current.
    assert_eq!(project.query(counts), "1010\t1010\t1010");
    project.teal(&["abort"]).failed(3, &["teal rollback"]);

    project.must(&["rollback"]);
    project.query(&insert("events", 2000, 10));
    assert_eq!(project.query(counts), "1020\t1020\t1020");
    project.must(&["cutover"]);
    project.must(&["cleanup"]);
    let at_the_end = r"['events Alias(\'default\', \'events_1\')','events_1 MergeTree']";
    assert_eq!(project.query(TABLES), at_the_end);
    assert_eq!(project.query("SELECT count() FROM events"), "1020");
    assert_empty_plan(&project);
    // The old model can go, and the alias is none to be declared.
    project.write("app/events.sql", &format!("-- teal: table events version 1\n{REWRITTEN}"));
    assert_empty_plan(&project);
    let pulled = project.must(&["pull", "--lang", "sql"]);
    assert!(pulled.stdout.contains("The models declare all"), "{}", pulled.said());
}

#[test]
fn an_alias_points_to_the_version_that_the_readers_are_on() {
    // Both versions are new: the readers are on the older one until the cutover.
    let project = project(&both());
    let plan: Value = project.json(&["plan"]);
    let kinds = plan["operations"].as_array().unwrap().iter().map(|it| it["kind"].clone());
    let kinds = kinds.collect::<Vec<_>>();
    assert_eq!(kinds, ["createTable", "createAlias", "migrate"], "{plan}");
    assert_eq!(
        plan["operations"][1]["sql"],
        "CREATE TABLE `default`.`events` ENGINE = Alias('default', 'events_0')"
    );
    let file = project.path().join("plan.yaml").display().to_string();
    project.must(&["plan", "--save", &file]);
    project.must(&["apply", "--plan", &file]);
    // Once more, it has all been done.
    project.must(&["apply", "--plan", &file]);
    project.must(&["cutover"]);
    project.query("DROP TABLE events");
    let plan: Value = project.json(&["plan"]);
    assert_eq!(plan["operations"][0]["target"]["name"], "events_1", "{plan}");
    // A plan does not take another alias for its own.
    project.query("CREATE TABLE events ENGINE = Alias('default', 'events_1')");
    project.teal(&["apply", "--plan", &file]).failed(3, &["default.events", "is now"]);
}

#[test]
fn a_name_that_cannot_be_an_alias_is_said_beforehand() {
    let taken = project(EVENTS_0);
    taken.query("CREATE TABLE events (a UInt8) ENGINE = MergeTree ORDER BY a");
    let applied = taken.must(&["apply"]);
    assert!(!applied.said().contains("created default.events\n"), "{}", applied.said());
    let plan = taken.must(&["plan"]).stdout;
    assert!(plan.contains("default.events does not become an alias"), "{plan}");
    taken.write("app/events.sql", &both());
    taken.teal(&["apply"]).failed(3, &["a table or view has that name", "exchange", "\"app\""]);
    taken.query("DROP TABLE events");
    taken.query("CREATE TABLE other (a UInt8) ENGINE = MergeTree ORDER BY a");
    taken.query("CREATE TABLE events ENGINE = Alias('default', 'other')");
    taken.teal(&["apply"]).failed(3, &["is an alias of another table", "DROP TABLE"]);
    taken.query("DROP TABLE events");
    taken.must(&["apply"]);
    taken.must(&["cutover"]);

    let unversioned =
        EVENTS_0.replace("-- teal: table events version 0\n", "").replace("events_0", "events");
    let project = project(&unversioned);
    project.must(&["apply"]);
    assert_eq!(project.query(TABLES), "['events MergeTree']");
    project.query(&insert("events", 0, 100));
    let version = format!("-- teal: table events version 1\n{REWRITTEN}");
    let view = VIEW.replace("events_0", "events");
    project.write("app/events.sql", &format!("{unversioned}{version}{view}"));
    project.teal(&["apply"]).failed(3, &["has no version", "exchange"]);
    // A migration in place is an exchange whatever the default is.
    let reordered = unversioned.replace("ORDER BY id", "ORDER BY (town, id)");
    project.write("app/events.sql", &reordered);
    project.must(&["apply"]);
    project.teal(&["cutover", "--by", "alias"]).failed(3, &["can only be exchanged"]);
    project.must(&["cutover"]);
}

/// An alias lets nobody do what he may not do with the table behind it.
#[test]
fn two_versions_at_once_take_one_cutover_after_the_other() {
    let project = project(EVENTS_0);
    project.must(&["apply"]);
    let third = both().replace("events_1", "events_2").replace("events_0", "events_1");
    let third = third.replace("version 1", "version 2").replace("mv_events", "mv_later");
    let (_, third) = third.split_once("-- teal: table events version 2").unwrap();
    let third = format!("-- teal: table events version 2{third}");
    project.write("app/events.sql", &format!("{}{third}", both()));
    let says = ["another migration of this plan", "leave the models of default.events_2 out"];
    project.teal(&["apply"]).failed(3, &says);
    project.write("app/events.sql", &both());
    project.must(&["apply"]);
    project.must(&["cutover"]);
}

#[test]
fn a_user_who_has_no_rights_on_the_new_version_is_named() {
    let project = project(EVENTS_0);
    project.must(&["apply"]);
    project.write("app/events.sql", &both());
    let grant = "<query>GRANT SELECT, INSERT ON default.events_0</query>";
    let ana = format!(
        "<ana>COMMON<grants>{grant}<query>GRANT SELECT ON default.events_1</query></grants></ana>"
    );
    let own = "<access_management>1</access_management>";
    let plan = with_config(&project, "", &ana, own, &["plan"]).stdout;
    for words in ["ana has INSERT on it", "GRANT INSERT ON `default`.`events_1` TO `ana`"] {
        assert!(plan.contains(words), "{words}: {plan}");
    }
}

/// The cutover may be another one than planned: the alias does not stay behind on a table that goes.
#[test]
fn an_alias_is_taken_along_by_the_other_cutovers() {
    let filled = project(EVENTS_0);
    filled.must(&["apply"]);
    filled.query(&insert("events", 0, 1000));
    filled.write("app/events.sql", &both());
    filled.must(&["apply"]);
    for by in ["app", "exchange"] {
        let project = filled.copy();
        project.must(&["cutover", "--by", by]);
        project.must(&["cleanup"]);
        project.query(&insert("events", 1000, 10));
        assert_eq!(project.query("SELECT count() FROM events_1"), "1010", "{by}");
        let key = "SELECT sorting_key FROM system.tables WHERE name LIKE 'events%' AND engine = 'MergeTree'";
        assert_eq!(project.query(key), "town, id", "{by}");
        assert_empty_plan(&project);
    }
    // Somebody else has swapped it: green does not go while the alias is on it.
    let project = filled.copy();
    project.query("DROP TABLE events");
    project.query("CREATE TABLE events ENGINE = Alias('default', 'events_1')");
    project.must(&["abort"]);
    assert_eq!(
        project.query(TABLES),
        r"['events Alias(\'default\', \'events_0\')','events_0 MergeTree']"
    );
    assert_eq!(project.query("SELECT count() FROM events"), "1000");
    project.query("DROP TABLE events");
    let project = filled;
    project.query("DROP TABLE events");
    project
        .teal(&["cutover"])
        .failed(3, &["default.events cannot be swapped", "`teal apply` makes it"]);
}

/// Nothing is noted as done that was not.
#[test]
fn an_alias_that_somebody_has_made_another_tables_is_neither_swapped_nor_taken_for_swapped() {
    let project = project(EVENTS_0);
    project.must(&["apply"]);
    project.query(&insert("events", 0, 1000));
    project.write("app/events.sql", &both());
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.query(&insert("events", 1000, 10));
    project.query("CREATE TABLE other (id UInt64) ENGINE = MergeTree ORDER BY id");
    project.query("DROP TABLE events");
    project.query("CREATE TABLE events ENGINE = Alias('default', 'other')");
    for _ in 0..2 {
        project.teal(&["rollback"]).failed(3, &["default.events cannot be swapped", "somebody"]);
        let status: Value = project.json(&["status"]);
        assert_eq!(status[0]["phase"], "cut over", "{status}");
    }
    project.query("DROP TABLE events");
    project.query("CREATE TABLE events ENGINE = Alias('default', 'events_1')");
    project.must(&["rollback"]);
    project.query("DROP TABLE other");
    let counts = "SELECT (SELECT count() FROM events), (SELECT count() FROM events_0), (SELECT count() FROM events_1)";
    assert_eq!(project.query(counts), "1010\t1010\t1010");
}

pub(crate) fn stage() -> Stage {
    Stage::of(Modern::start(), project(EVENTS_0), &both())
}

/// Reads through the alias all the time until `work` is done; no SELECT fails.
fn with_readers(stage: &Stage, work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let server = stage.modern.open(|_| ());
        let stop = &stop;
        scope.spawn(move || {
            let mut session = server.user_session(&[]).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let read = session.command("SELECT count() FROM events WHERE id < 100");
                assert!(read.is_ok(), "a user's SELECT failed: {}", read.unwrap_err());
                thread::sleep(Duration::from_millis(5));
            }
        });
        let _stop = StopsAll(stop);
        work();
    });
}

fn assert_rows(stage: &Stage, rows: u64, said: &str) {
    let found = stage.query("SELECT count(), uniqExact(id) FROM events");
    assert_eq!(found, format!("{rows}\t{rows}"), "{said}");
}

/// Readers and writers are on the old table again, and both have all rows.
pub(crate) fn assert_rolled_back(stage: &Stage, rows: u64, said: &str) {
    assert_kept(stage, rows, said);
    assert_eq!(stage.sorting_key("events_0"), "id");
    let alias =
        "SELECT engine_full FROM system.tables WHERE database = 'default' AND name = 'events'";
    assert_eq!(stage.query(alias), r"Alias(\'default\', \'events_0\')", "{said}");
    let own = stage.query(
        "SELECT groupArray(name) FROM system.tables WHERE database = '_teal' AND name != 'journal' AND NOT name LIKE 'lock_%'",
    );
    assert_eq!(own, "[]", "{said}: left behind");
}

/// Both tables have all rows, once.
pub(crate) fn assert_kept(stage: &Stage, rows: u64, said: &str) {
    assert_rows(stage, rows, said);
    let difference = stage.query(
        "SELECT ifNull(sum(abs(n)), 0) FROM (SELECT sum(sign) AS n FROM (\
             SELECT 1::Int64 AS sign, * FROM events_0 UNION ALL SELECT -1::Int64 AS sign, * FROM events_1) \
         GROUP BY id, town, at)",
    );
    assert_eq!(difference, "0", "{said}");
}

#[test]
fn a_cutover_by_alias_on_a_server_is_exact_under_traffic_there_and_back() {
    let mut stage = stage();
    // Else the test is about how fast rows are compared.
    stage.pace = (300, Duration::from_millis(40));
    let mut rows = ROWS;
    with_readers(&stage, || {
        rows += stage.under_traffic(3, || {
            stage.exactly(&["apply", "--chunk-rows", "10000"]);
            stage.exactly(&["cutover"]);
            thread::sleep(Duration::from_millis(500));
        });
        assert_kept(&stage, rows, "cut over");
        rows += stage.under_traffic(3, || {
            stage.must(&["rollback"]);
            thread::sleep(Duration::from_millis(500));
        });
        assert_rolled_back(&stage, rows, "rolled back");
        rows += stage.under_traffic(3, || drop(stage.exactly(&["cutover"])));
        rows += stage.under_traffic(2, || {
            stage.must(&["cleanup"]);
        });
    });
    assert_rows(&stage, rows, "cleaned");
    assert_eq!(stage.query("SHOW TABLES"), "events\nevents_1");
}

/// An INSERT that began before the swap back writes to the new table, and is carried when it has ended.
#[test]
fn an_insert_that_runs_across_a_swap_is_in_both_tables_after_the_rollback() {
    let stage = stage();
    stage.must(&["apply"]);
    let slow = |from: u64| {
        let server = stage.modern.open(|_| ());
        move || {
            let sql = format!("{} WHERE sleep(2) = 0", insert("events", from, 1000));
            let written = server.user_session(&[]).unwrap().command(&sql).map(drop);
            assert!(written.is_ok(), "a user's INSERT failed: {}", written.unwrap_err());
        }
    };
    thread::scope(|scope| {
        scope.spawn(slow(1_000_000_000));
        thread::sleep(Duration::from_millis(500));
        stage.must(&["cutover"]);
        let said = stage.query("SELECT count() FROM events");
        assert_eq!(said, (ROWS + 1000).to_string(), "the view forwards what began before the swap");
        scope.spawn(slow(2_000_000_000));
        thread::sleep(Duration::from_millis(500));
        stage.must(&["rollback"]);
    });
    assert_rolled_back(&stage, ROWS + 2000, "across");
}

/// Users who are on the old table again delete there, before what came to the new one is carried: rows of
/// before the cutover, and partitions that came behind it.
#[test]
fn what_is_deleted_just_behind_a_rollback_does_not_come_back() {
    let stage = stage();
    stage.must(&["apply"]);
    let mut rows = ROWS;
    for (change, said, gone) in [
        ("DELETE FROM events_0 WHERE id % 10 = 3", "_row_exists = 0", "id % 10 = 3"),
        ("ALTER TABLE events_0 DROP PARTITION 203001", "went", "toYYYYMM(at) = 203001"),
        ("ALTER TABLE events_0 DROP PARTITION 203101", "went", "toYYYYMM(at) = 203101"),
    ] {
        let late = |year: u32| {
            let at = format!("toDateTime('{year}-01-01 00:00:00')");
            stage.query(&format!("INSERT INTO events SELECT 9000000000, 'late', {at}"));
        };
        stage.must(&["cutover"]);
        late(2030);
        let rollback = Held::at("rolled-back", "", stage.command(&["rollback"]));
        late(2031);
        rows += 2;
        let deleted = stage.query(&format!("SELECT count() FROM events WHERE {gone}"));
        rows -= deleted.parse::<u64>().unwrap();
        stage.query(change);
        rollback.go_on().failed(3, &["default.events_0 was changed in place", said]);
        assert_eq!(stage.query(&format!("SELECT countIf({gone}) FROM events")), "0");
        stage.teal(&["repair"]).failed(3, &["the rollback has not carried all of them back yet"]);
        stage.must(&["rollback", "--force"]);
        stage.must(&["repair"]);
        let found = stage.query("SELECT count() FROM events");
        assert_eq!(found, rows.to_string(), "{change}");
        assert_eq!(stage.query("SELECT count() FROM events_1"), found, "{change}");
    }
}

#[test]
fn a_swap_that_an_insert_outlasts_is_noted_by_the_next_command() {
    let stage = stage();
    stage.must(&["apply"]);
    let config = stage.config().replace("[migrate]", "[migrate]\nfence_timeout = 1");
    stage.project.write("teal.toml", &config);
    let server = stage.modern.open(|_| ());
    thread::scope(|scope| {
        let slow = format!("{} WHERE sleep(3) = 0", insert("events", 1_000_000_000, 100));
        let slow = format!(
            "{slow} UNION ALL SELECT 1999999999, 'last but one', now() WHERE sleep(3) = 0 \
             UNION ALL SELECT 2000000000, 'last', now() WHERE sleep(3) = 0 SETTINGS max_threads = 1"
        );
        scope.spawn(move || server.user_session(&[]).unwrap().command(&slow).map(drop).unwrap());
        until("the slow INSERT", || {
            let running = "SELECT count() FROM system.processes WHERE query_kind = 'Insert'";
            (stage.query(running) != "0").then_some(())
        });
        let said = stage.teal(&["cutover"]);
        said.failed(
            3,
            &["default.events is an alias of default.events_1 now", "Run the command again"],
        );
    });
    let config = stage.config().replace("fence_timeout = 1", "fence_timeout = 60");
    stage.project.write("teal.toml", &config);
    let said = Run::of(stage.command(&["cutover"]).output().unwrap());
    assert!(said.stderr.contains("had happened"), "{}", said.said());
    assert_eq!(said.code, Some(0), "{}", said.said());
    assert_kept(&stage, ROWS + 102, "noted");
}

/// Who knows the old table by its own name is named, and the view goes on to forward from there.
#[test]
fn after_a_swap_the_view_is_not_turned_while_somebody_writes_to_the_old_table_itself() {
    let stage = stage();
    stage.must(&["apply"]);
    stage.query(&insert("events_0", 1_000_000, 10));
    let said = Run::of(stage.command(&["cutover"]).output().unwrap());
    assert_eq!(said.code, Some(0), "{}", said.said());
    for words in ["the cutover is done", "1 INSERTs", "events_0"] {
        assert!(said.stderr.contains(words), "{words}: {}", said.said());
    }
    stage.query(&insert("events_0", 2_000_000, 10));
    stage.query(&insert("events", 3_000_000, 10));
    assert_rows(&stage, ROWS + 30, "forwarded still");
    stage.teal(&["cutover"]).failed(3, &["default.events_0 got 10 rows", "1 INSERTs"]);
    stage.must(&["cutover"]);
    assert_kept(&stage, ROWS + 30, "turned");
    // What the view brings is no use of the old table.
    stage.query(&insert("events", 4_000_000, 10));
    stage.query("SYSTEM FLUSH LOGS");
    let status = stage.must(&["status"]);
    assert!(status.contains("kept current by a view"), "{status}");
    assert!(status.contains("1 INSERTs"), "{status}");
    stage.query("SELECT count() FROM events_0");
    stage.teal(&["cleanup"]).failed(3, &["default.events_0 has been used"]);
}

#[test]
fn a_cutover_by_alias_on_a_server_killed_at_any_step_goes_on_there_and_back() {
    let mut stage = stage();
    stage.must(&["apply"]);
    // Small INSERTs and pauses between them: it is about moments, not rows.
    stage.pace = (50, Duration::from_millis(20));
    let mut rows = ROWS;
    for step in [
        "opened",
        "next-alias-made",
        "alias-swapped",
        "done",
        "turn-opened",
        "turn-view-dropped",
        "turn-view-made",
    ] {
        let name = |of: [&'static str; 2]| match step {
            "opened" => of[0],
            "done" => of[1],
            other => other,
        };
        let failpoint = format!("{}=return", name(["cutover-opened", "cut-over"]));
        rows += stage.under_traffic(2, || {
            stage.killed_at(&failpoint, &["cutover"]);
            thread::sleep(Duration::from_millis(200));
            stage.must(&["cutover"]);
        });
        assert_kept(&stage, rows, step);

        let failpoint = format!("{}=return", name(["rollback-opened", "rolled-back"]));
        rows += stage.under_traffic(2, || {
            stage.killed_at(&failpoint, &["rollback"]);
            thread::sleep(Duration::from_millis(200));
            stage.must(&["rollback"]);
        });
        assert_rolled_back(&stage, rows, step);
    }
}

/// What the server does to the old table between the last look and the swap itself, the new one lacks; and the
/// turn must not take the rows for new ones, and bring them back.
#[test]
fn what_is_deleted_in_the_moment_of_the_swap_is_told() {
    let stage = stage();
    stage.must(&["apply"]);
    let cutover = Held::at("alias-looked", "", stage.command(&["cutover"]));
    let gone = "id % 10 = 3";
    stage.query(&format!("ALTER TABLE events DELETE WHERE {gone} SETTINGS mutations_sync = 1"));
    let words = ["default.events_0 was changed in the moment of the cutover", "DELETE WHERE"];
    cutover.go_on().failed(3, &words);
    stage.teal(&["cutover"]).failed(3, &["default.events_0 was changed in place", "DELETE WHERE"]);
    let count = |table: &str| stage.query(&format!("SELECT countIf({gone}) > 0 FROM {table}"));
    assert_eq!([count("events_0"), count("events_1")], ["0", "1"]);
    // Nor by the way back.
    stage.teal(&["rollback"]).failed(3, &["default.events_0 was changed in place", "DELETE WHERE"]);
    assert_eq!([count("events_0"), count("events_1")], ["0", "1"]);
    stage.query(&format!("ALTER TABLE events DELETE WHERE {gone} SETTINGS mutations_sync = 1"));
    stage.must(&["cutover"]);
    assert_eq!(
        stage.query("SELECT count() FROM events_0"),
        stage.query("SELECT count() FROM events")
    );
}

/// Users are on the new table from the swap on; the view is turned some seconds later.
#[test]
fn what_is_dropped_from_the_new_table_before_the_view_is_turned_does_not_come_back() {
    let stage = stage();
    stage.must(&["apply"]);
    let cutover = Held::at("alias-swapped", "", stage.command(&["cutover"]));
    stage.query("ALTER TABLE events_1 DROP PARTITION 202401");
    let run = cutover.go_on();
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert!(run.stderr.contains("partition 202401 lost rows"), "{}", run.said());
    let left = "SELECT countIf(toYYYYMM(at) = 202401) FROM events_1";
    assert_eq!(stage.query(left), "0");
    stage.teal(&["cutover"]).failed(3, &["partition 202401 lost rows"]);
    assert_eq!(stage.query(left), "0");
}

/// Rows that came by the alias until it was swapped back are users' rows, whatever else explains them.
#[test]
fn what_a_rollback_that_was_killed_has_not_carried_back_is_not_removed() {
    let stage = stage();
    stage.must(&["apply"]);
    stage.must(&["cutover"]);
    let rollback = Held::at("carried-back", "rolled-back=return", stage.command(&["rollback"]));
    stage.query(&insert("events", 5_000_000, 10));
    let run = rollback.go_on();
    assert!(run.killed, "{}", run.said());
    stage.query("ALTER TABLE events DELETE WHERE id = 1 SETTINGS mutations_sync = 1");
    let status = stage.must(&["status"]);
    assert!(status.contains("teal rollback"), "{status}");
    let words = ["the rollback has not carried all of them back yet"];
    stage.teal(&["cutover"]).failed(3, &words);
    stage.teal(&["repair"]).failed(3, &words);
    stage.teal(&["abort"]).failed(3, &["default.events_1 has"]);
    assert_eq!(stage.query("SELECT count() FROM events_1 WHERE id >= 5000000"), "10");
}
