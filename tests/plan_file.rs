//! A plan that was saved is what is applied: all of it, nothing else, and only where it still fits.

use crate::support::{ITEMS_REWRITTEN, Project, difference, filled_items};

const EVENTS: &str =
    "CREATE TABLE events (id UInt64, town String, at DateTime) ENGINE = MergeTree ORDER BY id;\n";
const MORE: &str = "CREATE TABLE events (id UInt64, town String COMMENT 'where', at DateTime, more UInt8) \
     ENGINE = MergeTree ORDER BY id TTL at + INTERVAL 50 YEAR COMMENT 'events';\n\
     CREATE TABLE other (id UInt64) ENGINE = MergeTree ORDER BY id;\n";

/// A project with a saved plan of three statements to alter a table, and of one to create another.
fn planned() -> Project {
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["apply"]);
    project.query("INSERT INTO events VALUES (1, 'a', now()), (2, 'b', now())");
    project.write("app/events.sql", MORE);
    project.must(&["plan", "--save", &file(&project)]);
    project
}

fn file(project: &Project) -> String {
    project.path().join("plan.yaml").display().to_string()
}

fn text(project: &Project) -> String {
    std::fs::read_to_string(file(project)).unwrap()
}

/// What the target has, but for the journal and the locks.
fn definitions(project: &Project) -> String {
    project.query(
        "SELECT groupArray(create_table_query) FROM (SELECT create_table_query FROM system.tables WHERE database = 'default' ORDER BY name)",
    )
}

fn refused(project: &Project, words: &[&str]) {
    let before = definitions(project);
    project.teal(&["apply", "--plan", &file(project)]).failed(3, words);
    assert_eq!(definitions(project), before);
}

#[test]
fn a_saved_plan_is_applied_whatever_the_models_say_meanwhile() {
    let project = planned();
    project.write("app/events.sql", "this is no SQL");
    // What the plan is not about may change.
    project.query("CREATE TABLE unrelated (a UInt8) ENGINE = MergeTree ORDER BY a");
    let done = project.must(&["apply", "--plan", &file(&project)]).stdout;
    assert_eq!(done, "created default.other\nchanged default.events\n");
    project.write("app/events.sql", MORE);
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
    assert_eq!(project.query("SELECT count() FROM events WHERE more = 0"), "2");
    // Once more, it has all been done.
    project.must(&["apply", "--plan", &file(&project)]);
}

#[test]
fn a_plan_that_was_cut_off_or_changed_is_refused() {
    let project = planned();
    let whole = text(&project);
    for length in [0, 10, whole.len() / 2, whole.len() - 100, whole.len() - 2] {
        project.write("plan.yaml", &whole[..length]);
        refused(&project, &["plan.yaml"]);
    }
    for (from, to) in [
        ("ORDER BY", "ORDER by"),
        ("table: events", "table: wherever"),
        ("database: default", "database: other"),
        ("cost: mutation", "cost: metadata"),
    ] {
        if whole.contains(from) {
            project.write("plan.yaml", &whole.replacen(from, to, 1));
            refused(&project, &["plan.yaml"]);
        }
    }
    project.write("plan.yaml", &whole.replacen("more", "less", 1));
    refused(&project, &["changed since it was made", "make a new one"]);
    project.write("plan.yaml", &whole.replace("formatVersion: 1", "formatVersion: 9"));
    refused(&project, &["version 9", "make a new one"]);
    // White space and comments are the reader's own.
    project.write("plan.yaml", &format!("# reviewed\n\n{whole}"));
    project.must(&["apply", "--plan", &file(&project)]);
    project.teal(&["apply", "--plan", "/nowhere/plan.yaml"]).failed(2, &["/nowhere/plan.yaml"]);
}

#[test]
fn a_plan_for_another_target_is_refused() {
    let project = planned();
    let other = Project::new(&[("app/events.sql", EVENTS)]);
    other.write("plan.yaml", &text(&project));
    refused(&other, &["for another target", project.data().to_str().unwrap()]);
}

#[test]
fn a_plan_for_another_database_of_the_same_target_is_refused() {
    let project = planned();
    let config = std::fs::read_to_string(project.path().join("teal.toml")).unwrap();
    project.write("teal.toml", &config.replace("\"default\"", "\"other\""));
    refused(&project, &["for another target", "database default", "database other"]);
    project.write("teal.toml", &config);
    project.must(&["apply", "--plan", &file(&project)]);
}

#[test]
fn drift_of_the_old_table_of_a_migration_is_refused_before_it_begins() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(&["plan", "--save", &file(&project)]);
    project.query("ALTER TABLE items_0_0 ADD COLUMN late UInt8");
    refused(
        &project,
        &["not as the plan found it", "default.items_0_0", "column late: new, UInt8"],
    );
    // The rows are not part of the definition: what came meanwhile is copied too.
    project.query("ALTER TABLE items_0_0 DROP COLUMN late");
    project.query("INSERT INTO items_0_0 VALUES (1000000, 'late', now(), NULL)");
    project.must(&["apply", "--plan", &file(&project)]);
    assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0");
}

#[test]
fn what_came_up_since_the_plan_was_saved_is_found_as_a_fresh_apply_finds_it() {
    const UPDATE: &str = "ALTER TABLE items_0_0 UPDATE note = toString(throwIf(id = 7, 'broken')) WHERE 1 SETTINGS mutations_sync = 0";
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(&["plan", "--save", &file(&project)]);
    project.query(UPDATE);
    let found = ["something stands in the way", "blocked: default.items_0_0: the mutation"];
    project.teal(&["apply"]).failed(3, &found);
    refused(&project, &found);
    // A plan that was saved while something stood in its way is carried out when that has gone.
    project.must(&["plan", "--save", &file(&project)]);
    assert!(text(&project).contains("blocks: true"));
    refused(&project, &found);
    project.query("KILL MUTATION WHERE table = 'items_0_0' SYNC");
    project.must(&["apply", "--plan", &file(&project)]);
    assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0");
}

#[test]
fn a_saved_drop_is_of_the_table_that_the_plan_saw() {
    let project = planned();
    let make = "CREATE TABLE old (id UInt64) ENGINE = MergeTree ORDER BY id";
    let save = ["plan", "--allow-drop", "old", "--save", &file(&project)];
    project.query(make);
    project.must(&save);
    project.query("INSERT INTO old SELECT number FROM numbers(7)");
    refused(&project, &["it had 0 rows when the plan was made, and has 7 now", "anew"]);
    project.must(&save);
    let done = project.must(&["apply", "--plan", &file(&project)]).stdout;
    assert!(done.contains("dropped default.old"), "{done}");
    let done = project.must(&["apply", "--plan", &file(&project)]).stdout;
    assert_eq!(done, "Nothing to do: the plan has been carried out.\n");
    project.query(make);
    refused(&project, &["made anew since the plan was made"]);
    // One that was filled anew.
    project.query("INSERT INTO old SELECT number FROM numbers(7)");
    project.must(&save);
    project.query("TRUNCATE TABLE old");
    project.query("INSERT INTO old SELECT number FROM numbers(5)");
    refused(&project, &["it had 7 rows when the plan was made, and has 5 now"]);
}

/// Neither the definition of a table nor its rows tell that a migration reads them.
#[test]
fn a_saved_plan_does_not_touch_what_a_migration_needs_by_now() {
    const NEXT: &str = "-- teal: table events version 1\n\
         CREATE TABLE events_1 (id UInt64, town String, at DateTime) ENGINE = MergeTree ORDER BY (town, id);\n\
         CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events;\n";
    let project = planned();
    project.must(&["apply", "--plan", &file(&project)]);
    project.write("app/events.sql", EVENTS);
    let save = ["plan", "--allow-drop", "events", "--save", &file(&project)];
    project.write("app/events.sql", "");
    project.must(&save);
    let migrates = MORE.replace("CREATE TABLE other", &format!("{NEXT}CREATE TABLE other"));
    let migrates =
        migrates.replace("(id UInt64, town String, at", "(id UInt64, town String, more UInt8, at");
    project.write("app/events.sql", &migrates);
    project.must(&["apply"]);
    let needs = "and needs it as it is";
    refused(&project, &["blocked: default.events: the migration", needs, "make the plan anew"]);
    project.must(&["cutover"]);
    refused(&project, &["blocked: default.events: the migration", needs]);
    project.must(&["rollback"]);
    project.must(&["abort"]);

    // An ALTER of the old table.
    project.write("app/events.sql", &MORE.replace("more UInt8", "more UInt16"));
    project.must(&["plan", "--save", &file(&project)]);
    project.write("app/events.sql", &migrates);
    project.must(&["apply"]);
    refused(&project, &["blocked: default.events: the migration", needs]);
}

#[test]
fn drift_is_reported_field_by_field() {
    let project = planned();
    project.query("ALTER TABLE events ADD COLUMN quick UInt8 AFTER id, MODIFY COLUMN town LowCardinality(String), MODIFY SETTING merge_with_ttl_timeout = 7200");
    refused(
        &project,
        &[
            "not as the plan found it",
            "default.events",
            "column quick: new, UInt8",
            "type of column town: String → LowCardinality(String)",
            "setting merge_with_ttl_timeout: new, 7200",
            "make a new plan",
        ],
    );
    project.query("DROP TABLE events");
    refused(&project, &["it was there, and is not any more"]);

    let project = planned();
    project.query("CREATE TABLE other (a String) ENGINE = Log");
    refused(&project, &["default.other", "it was not there, and is now"]);
}

#[test]
fn a_plan_goes_on_where_it_was_killed() {
    for statement in 1..=4 {
        let project = planned();
        let failpoint = format!("statement-done={}*off->return", statement - 1);
        project.killed_at(&failpoint, &["apply", "--plan", &file(&project)]);
        project.must(&["apply", "--plan", &file(&project)]);
        assert_eq!(project.teal(&["plan", "--check"]).code, Some(0), "{statement}");
    }
}

#[test]
fn a_saved_migration_is_carried_out_and_goes_on_after_a_kill() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(&["plan", "--save", &file(&project)]);
    assert!(
        project.must(&["plan"]).stdout.contains("to be attached at an exact cut\n   fence    ")
    );
    project.killed_at("attached", &["apply", "--plan", &file(&project)]);
    let said = project.must(&["plan"]).stdout;
    assert!(said.contains(", attached at an exact cut\n   copy     "), "{said}");
    project.must(&["apply", "--plan", &file(&project)]);
    assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0");
    // It is verified, and that is all that the plan is about.
    project.must(&["apply", "--plan", &file(&project)]);
    // And so it stays: another cutover, after one by app, would mean that nobody writes to the old table any more.
    project.must(&["cutover"]);
    let done = project.must(&["apply", "--plan", &file(&project)]).stdout;
    assert_eq!(done, "Nothing to do: the plan has been carried out.\n");
}

#[test]
fn every_operation_is_explained() {
    let project = planned();
    let first = project.must(&["plan", "--explain", "1"]).stdout;
    for words in ["alter table default.events", "tried on an empty copy", "back"] {
        assert!(first.contains(words), "{words}: {first}");
    }
    let other = project.must(&["plan", "--explain", "other"]).stdout;
    assert!(other.contains("no table of this name"), "{other}");
    project
        .teal(&["plan", "--explain", "7"])
        .failed(2, &["no operation 7", "it has 2", "1  events", "2  other"]);
    let project = filled_items(ITEMS_REWRITTEN);
    let migration = project.must(&["plan", "--explain", "items_0_0"]).stdout;
    let fence = "fence    write gate: new INSERTs wait";
    for words in ["another sorting key", fence, "never both", "goes on", "carries to it"] {
        assert!(migration.contains(words), "{words}: {migration}");
    }
    for name in ["items", "items_0_1", "default.items_0_1", "mv_items_to_0_1"] {
        assert_eq!(project.must(&["plan", "--explain", name]).stdout, migration, "{name}");
    }
    let names = "1  items, items_0_0, items_0_1, mv_items_to_0_1";
    project.teal(&["plan", "--explain", "item"]).failed(2, &["no operation item", names]);
}
