//! Views by which rows would come back to the table that they came from, or twice to where a migration brings them.

use crate::support::Project;

const EVENTS: &str =
    "CREATE TABLE events (id UInt64, town String) ENGINE = MergeTree ORDER BY id;\n";
const NEXT: &str = "-- teal: table events version 1\n\
     CREATE TABLE events_1 (id UInt64, town String) ENGINE = MergeTree ORDER BY (town, id);\n";
const VIEW: &str = "CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events;\n";
const BACK: &str = "CREATE MATERIALIZED VIEW back TO events AS SELECT * FROM events_1;\n";
const FILL: &str = "INSERT INTO events SELECT number, toString(number % 7) FROM numbers(100)";

fn filled() -> Project {
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["apply"]);
    project.query(FILL);
    project
}

/// The models with a view from the newer version to the older one: beside the migration's, and in its place.
fn refused_with_a_view_back(project: &Project, words: &[&str]) {
    for views in [format!("{VIEW}{BACK}"), BACK.to_owned()] {
        project.write("app/next.sql", &format!("{NEXT}{views}"));
        project.teal(&["apply"]).failed(3, words);
    }
    project.write("app/next.sql", &format!("{NEXT}{VIEW}"));
    assert_eq!(project.query("EXISTS VIEW back"), "0");
}

#[test]
fn no_view_runs_beside_that_of_a_migration() {
    let project = filled();
    project.write("app/next.sql", &format!("{NEXT}{VIEW}{BACK}"));
    project.teal(&["apply"]).failed(3, &["would come back to it (by default.back)", "leave out"]);
    assert_eq!(project.query("SHOW TABLES"), "events");

    project.write("app/next.sql", &format!("{NEXT}{VIEW}"));
    project.must(&["apply"]);
    let rollback = "`teal rollback events_1` is the way back";
    refused_with_a_view_back(&project, &["INSERTs would fail, or rows come twice", rollback]);
    for cutover in ["app", "exchange"] {
        project.must(&["cutover", "--by", cutover]);
        refused_with_a_view_back(&project, &["rows come twice", rollback]);
        project.query("INSERT INTO events VALUES (1000, 'again')");
        project.must(&["rollback"]);
    }
    assert_eq!(project.query("SELECT count() FROM events_1"), "102");

    // Cleaned up, the newer version is an alias of the older one's name.
    project.must(&["cutover", "--by", "exchange"]);
    project.must(&["cleanup", "--force"]);
    project.write("app/next.sql", &format!("{NEXT}{BACK}"));
    project
        .teal(&["apply"])
        .failed(3, &["rows that are written to default.events would come back"]);
}

#[test]
fn rows_of_both_versions_do_not_go_to_the_same_table_twice() {
    let sums =
        "CREATE TABLE sums (town String, n UInt64) ENGINE = SummingMergeTree ORDER BY town;\n";
    let view = |name: &str, of: &str| {
        format!(
            "CREATE MATERIALIZED VIEW {name} TO sums AS SELECT town, count() AS n FROM {of} GROUP BY town;\n"
        )
    };
    let old = format!("{EVENTS}{sums}{}", view("mv_sums", "events"));
    let project = Project::new(&[("app/events.sql", &old)]);
    project.must(&["apply"]);
    project.query(FILL);
    let words = ["the migration's view brings them from the one to the other", "one view, mv_sums"];
    let next = format!("{NEXT}{VIEW}");
    let both = format!("{next}{}", view("mv_more", "events_1"));
    // Before the migration, and in its midst.
    project.write("app/next.sql", &both);
    project.teal(&["apply"]).failed(3, &words);
    project.write("app/next.sql", &next);
    project.must(&["apply"]);
    project.write("app/next.sql", &both);
    project.teal(&["apply"]).failed(3, &words);
    project.write("app/next.sql", &next);
    project.must(&["cutover"]);
    // The one view reads the new version from now on, and misses nothing.
    project.query("INSERT INTO events SELECT number, 'a' FROM numbers(10)");
    let new = format!("{EVENTS}{sums}{}", view("mv_sums", "events_1"));
    project.write("app/events.sql", &new);
    project.must(&["apply"]);
    project.query("INSERT INTO events_1 SELECT number, 'b' FROM numbers(10)");
    assert_eq!(project.query("SELECT sum(n) FROM sums"), "120");
}

/// What a plan has that was saved before, nobody has held against the migration.
#[test]
fn a_saved_view_does_not_bring_rows_twice_beside_a_migration_of_since() {
    let view = |name: &str, of: &str| {
        format!("CREATE MATERIALIZED VIEW {name} TO copy AS SELECT * FROM {of};\n")
    };
    let copy = "CREATE TABLE copy (id UInt64, town String) ENGINE = MergeTree ORDER BY id;\n";
    let project = Project::new(&[("app/events.sql", &format!("{EVENTS}{copy}"))]);
    project.must(&["apply"]);
    project.query(FILL);
    let file = project.path().join("plan.yaml").display().to_string();
    project.write("app/view.sql", &view("mv_old", "events"));
    project.must(&["plan", "--save", &file]);
    project.write("app/view.sql", &view("mv_new", "events_1"));
    project.write("app/next.sql", &format!("{NEXT}{VIEW}"));
    project.must(&["apply"]);
    project
        .teal(&["apply", "--plan", &file])
        .failed(3, &["conflict", "so they would come there twice"]);
    assert_eq!(project.query("EXISTS VIEW mv_old"), "0");
}

#[test]
fn a_second_version_is_not_made_from_a_table_that_users_have_left() {
    let project = filled();
    let second = NEXT.replace("events_1", "events_2").replace("version 1", "version 2")
        + "CREATE MATERIALIZED VIEW mv_second TO events_2 AS SELECT * FROM events;\n";
    project.write("app/next.sql", &format!("{NEXT}{VIEW}"));
    project.must(&["apply"]);
    let copy = project.copy();
    project.must(&["cutover"]);
    project.write("app/second.sql", &second);
    let words = ["gone from there to default.events_1", "let it read default.events_1"];
    project.teal(&["apply"]).failed(3, &words);

    // Both were made before.
    copy.write("app/second.sql", &second);
    copy.must(&["apply"]);
    copy.must(&["cutover", "events_1"]);
    copy.query("INSERT INTO events_1 VALUES (1000, 'new')");
    let words = ["gone from default.events to default.events_1", "teal abort events_2"];
    copy.teal(&["cutover", "events_2"]).failed(3, &words);
    copy.must(&["abort", "events_2"]);
}

#[test]
fn a_repair_does_not_bring_rows_twice_to_the_version_that_users_are_on() {
    let project = filled();
    let second = NEXT.replace("events_1", "events_2").replace("version 1", "version 2")
        + "CREATE MATERIALIZED VIEW mv_second TO events_2 AS SELECT * FROM events_1;\n";
    project.write("app/next.sql", &format!("{NEXT}{VIEW}"));
    project.write("app/second.sql", &second);
    project.must(&["apply"]);
    project.must(&["cutover", "events_2"]);
    project.query("ALTER TABLE events_1 DELETE WHERE id < 20");
    for arguments in [["repair", "events_1"], ["cutover", "events_1"]] {
        project
            .teal(&arguments)
            .failed(3, &["events_1 is a table of the migration of default.events_2"]);
    }
    assert_eq!(project.query("SELECT count() FROM events_2"), "100");
}

#[test]
fn a_view_does_not_get_a_second_name_beside_the_first() {
    let sums =
        "CREATE TABLE sums (town String, n UInt64) ENGINE = SummingMergeTree ORDER BY town;\n";
    let view = "CREATE MATERIALIZED VIEW mv_sums TO sums AS SELECT town, count() AS n FROM events GROUP BY town;\n";
    let project = Project::new(&[("app/events.sql", &format!("{EVENTS}{sums}{view}"))]);
    project.must(&["apply"]);
    let renamed = view.replace("mv_sums", "mv_totals");
    project.write("app/events.sql", &format!("{EVENTS}{sums}{renamed}"));
    let rename = "RENAME TABLE `default`.`mv_sums` TO `default`.`mv_totals`";
    for arguments in [&["apply"][..], &["apply", "--allow-drop", "mv_sums"]] {
        let words = ["mv_sums brings the same rows to default.sums", rename];
        project.teal(arguments).failed(3, &words);
    }
    project.query(rename);
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
    project.query(FILL);
    assert_eq!(project.query("SELECT sum(n) FROM sums"), "100");
}

#[test]
fn a_view_to_a_table_that_a_cleanup_has_dropped_is_refused_by_the_plan() {
    let project = filled();
    project.write("app/next.sql", &format!("{NEXT}{VIEW}"));
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.must(&["cleanup", "--force"]);
    project.write("app/next.sql", &format!("{NEXT}{BACK}"));
    let words = ["default.events was dropped at the end of the migration", "events_1"];
    project.teal(&["apply"]).failed(3, &words);
}

#[test]
fn a_view_that_somebody_made_closes_no_circle_with_that_of_a_migration() {
    let project = filled();
    project.query("CREATE TABLE copy AS events");
    project.query(
        "CREATE TABLE events_1 (id UInt64, town String) ENGINE = MergeTree ORDER BY (town, id)",
    );
    project.query("CREATE MATERIALIZED VIEW first TO copy AS SELECT * FROM events_1");
    project.query("CREATE MATERIALIZED VIEW second TO events AS SELECT * FROM copy");
    project.write("app/next.sql", &format!("{NEXT}{VIEW}"));
    let words = ["default.events would come back to it (by default.first, default.second)"];
    project.teal(&["apply"]).failed(3, &words);
}

/// Else what it writes would be taken for rows that somebody wrote to the old table, and carried to the new one.
#[test]
fn no_view_is_turned_beside_another_that_brings_the_same_rows() {
    let project = filled();
    project.write("app/next.sql", &format!("{NEXT}{VIEW}"));
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.must(&["cutover"]);
    project.query(&BACK.replace("back", "mine"));
    project.query("INSERT INTO events_1 VALUES (1000, 'once')");
    let words = ["default.mine writes rows of the new table to default.events", "Drop it"];
    project.teal(&["cutover"]).failed(3, &words);
    assert_eq!(project.query("SELECT count() FROM events_1"), "101");
}

#[test]
fn a_new_version_is_filled_by_one_view() {
    let half = |name: &str, rest: u8| {
        format!(
            "CREATE MATERIALIZED VIEW {name} TO events_1 AS SELECT * FROM events WHERE id % 2 = {rest};\n"
        )
    };
    let project = filled();
    project.write("app/next.sql", &format!("{NEXT}{}{}", half("even", 0), half("odd", 1)));
    let words = ["default.odd", "default.events_1 is that of view default.even"];
    project.teal(&["apply"]).failed(3, &words);
    assert_eq!(project.query("SHOW TABLES"), "events");

    // The view of a migration keeps its name.
    project.write("app/next.sql", &format!("{NEXT}{VIEW}"));
    project.must(&["apply"]);
    project.write("app/next.sql", &format!("{NEXT}{}", VIEW.replace("mv_events", "other")));
    let words = ["is that of view default.mv_events", "give the view that name"];
    project.teal(&["apply"]).failed(3, &words);
}

/// What read the old version before, and is to read the new one, is changed when there is one.
#[test]
fn views_of_a_new_version_are_made_behind_it_whatever_their_place() {
    let project = filled();
    project.write("app/a_views.sql", "CREATE VIEW towns AS SELECT DISTINCT town FROM events;\n");
    project.must(&["apply"]);
    let views = "CREATE VIEW most AS SELECT max(town) AS town FROM towns_1;\n\
         CREATE VIEW towns AS SELECT DISTINCT town FROM events_1;\n\
         CREATE VIEW towns_1 AS SELECT DISTINCT town FROM events_1 WHERE id > 0;\n\
         CREATE VIEW other AS SELECT count() AS n FROM events;\n";
    project.write("app/a_views.sql", views);
    project.write("app/next.sql", &format!("{NEXT}{VIEW}"));
    let plan = project.must(&["plan"]).stdout;
    let at = |words: &str| plan.find(words).unwrap_or_else(|| panic!("no {words}: {plan}"));
    let migrated = at("migrate events");
    assert!(at("create view default.other") < migrated, "{plan}");
    assert!(at("change view default.towns") > migrated, "{plan}");
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT town FROM most"), "6");
    project.must(&["plan", "--check"]);
}

/// What a view reads beside the table that fires it makes no circle; and no circle is made by a view that is run by
/// the clock.
#[test]
fn what_does_not_fire_a_view_makes_no_circle() {
    const TABLES: &str = "CREATE TABLE feed (id UInt64, n UInt64) ENGINE = MergeTree ORDER BY id;\n\
         CREATE TABLE totals (id UInt64, n UInt64) ENGINE = MergeTree ORDER BY id;\n";
    let project = Project::new(&[("app/tables.sql", TABLES)]);
    project.must(&["apply"]);
    project.query("CREATE MATERIALIZED VIEW clock REFRESH EVERY 1 HOUR APPEND TO feed AS SELECT id, n FROM totals");
    for select in [
        "SELECT id, (SELECT max(n) FROM totals) + n AS n FROM feed",
        "WITH last AS (SELECT max(n) AS m FROM totals) SELECT id, m + n AS n FROM feed, last",
        "WITH seen AS (SELECT id FROM totals) SELECT id, n FROM feed WHERE id NOT IN seen",
        "SELECT feed.id AS id, totals.n AS n FROM feed LEFT JOIN totals ON totals.id = feed.id",
    ] {
        let view = format!("CREATE MATERIALIZED VIEW sums TO totals AS {select};\n");
        project.write("app/views.sql", &view);
        project.must(&["apply", "--allow-drop", "sums"]);
        project.query("INSERT INTO feed VALUES (1, 1)");
    }
    // From the left-most table of a subquery.
    let back = "CREATE MATERIALIZED VIEW back TO feed AS \
        WITH some AS (SELECT id, n FROM totals) SELECT some.id AS id, feed.n AS n FROM some LEFT JOIN feed ON feed.id = some.id;\n";
    let sums = "CREATE MATERIALIZED VIEW sums TO totals AS SELECT id, n FROM feed;\n";
    project.write("app/views.sql", &format!("{sums}{back}"));
    project.teal(&["apply"]).failed(3, &["default.totals would come back to it (by default.sums)"]);
}
