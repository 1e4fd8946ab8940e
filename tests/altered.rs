//! Somebody alters the old table or the new one while it is migrated: teal stops with what has changed,
//! loses nothing, and goes on when it is undone.

use crate::stale::{APPLY, EVENTS, REWRITTEN, UPPER, VERSION, assert_equal, filled, insert};
use crate::support::Project;

/// ClickHouse lets no column go that a view reads, and `SELECT *` reads them all.
const VIEW: &str =
    "CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT id, town, at FROM events;\n";

/// What is altered, what teal says of it, and how it is undone.
const ALTERS: &[(&str, &[&str], &str)] = &[
    (
        "ALTER TABLE events ADD COLUMN more UInt8",
        &["default.events", "column more: new, UInt8"],
        "ALTER TABLE events DROP COLUMN more",
    ),
    (
        "ALTER TABLE events_1 MODIFY COLUMN town LowCardinality(String)",
        &["default.events_1", "type of column town: String → LowCardinality(String)"],
        "ALTER TABLE events_1 MODIFY COLUMN town String",
    ),
    (
        "ALTER TABLE events MODIFY TTL at + INTERVAL 50 YEAR",
        &["default.events", "TTL: new, at + toIntervalYear(50)"],
        "ALTER TABLE events REMOVE TTL",
    ),
];

#[test]
fn another_table_under_the_old_ones_name_is_not_taken_for_it() {
    let project = filled(REWRITTEN, VIEW);
    project.must(APPLY);
    let words =
        ["events is another table than the one that the migration", "may be all that there is"];
    let refused = |project: &Project| {
        for arguments in
            [&["verify"][..], &["repair"], &["cutover"], &["abort"], &["abort", "--force"]]
        {
            project.teal(arguments).failed(3, &words);
        }
    };
    project.query("EXCHANGE TABLES events AND events_1");
    refused(&project);
    project.query("EXCHANGE TABLES events AND events_1");
    project.must(&["verify"]);

    // Made anew by an application that makes the tables which it lacks.
    project.query("RENAME TABLE events TO lost");
    project.query("CREATE TABLE events AS lost");
    project.query("INSERT INTO events SELECT * FROM lost LIMIT 1");
    refused(&project);
    project.query("DROP TABLE events SYNC");
    project.query("RENAME TABLE lost TO events");
    // What was forwarded of the other table is green's alone.
    project.teal(&["abort"]).failed(3, &["events_1 has 1 rows"]);
    project.must(&["abort", "--force"]);
}

/// With blue gone, or exchanged with green by hand, what undoing empties would be all that there is.
#[test]
fn an_open_fence_is_not_undone_where_green_is_the_last_copy() {
    let replacing = EVENTS.replace("= MergeTree", "= ReplacingMergeTree");
    let rows =
        |project: &Project, table: &str| project.query(&format!("SELECT count() FROM {table}"));
    let filled = filled("", "");
    let all = rows(&filled, "events");
    for (models, change, lost) in [
        (
            format!("{EVENTS}{VERSION}{}{VIEW}", replacing.replace("events", "events_1")),
            "DROP TABLE events SYNC",
            "default.events is gone",
        ),
        (replacing, "EXCHANGE TABLES events AND {green}", "default.events is another table"),
    ] {
        let project = filled.copy();
        project.write("app/events.sql", &models);
        project.killed_at("blue-cloned", APPLY);
        let green = project.query(
            "SELECT name FROM system.tables WHERE database = 'default' AND engine = 'ReplacingMergeTree'",
        );
        project.query(&change.replace("{green}", &green));
        for arguments in [APPLY, &["abort"], &["abort", "--force"]] {
            project.teal(arguments).failed(3, &[lost]);
        }
        assert_eq!(rows(&project, &green), all, "{change}");
    }
}

#[test]
fn an_alter_stops_the_migration_until_it_is_undone() {
    let filled = filled(REWRITTEN, VIEW);
    for (moment, (alter, words, undo)) in
        [("prepared", &ALTERS[2]), ("attached", &ALTERS[0]), ("chunk-attached", &ALTERS[1])]
    {
        let project = filled.copy();
        project.killed_at(moment, APPLY);
        project.query(alter);
        let mut all = vec!["was altered since", "nothing is lost", "undo the change"];
        all.extend(*words);
        project.teal(APPLY).failed(3, &all);
        // The users go on meanwhile.
        let columns = "INSERT INTO events (id, town, at) SELECT";
        project.query(&insert(1_000_000, 100).replace("INSERT INTO events SELECT", columns));
        let aborted = project.copy();
        aborted.must(&["abort"]);
        assert_eq!(aborted.query("SELECT count() FROM events"), "4640", "{alter}");
        project.query(undo);
        let run = project.must(APPLY);
        assert_equal(&project, VIEW, &format!("{moment}, {alter}: {}", run.said()));
    }
}

/// One that has no rows would be filled, and be taken for what was planned.
#[test]
fn a_table_that_somebody_else_has_made_is_not_filled() {
    let project = filled(REWRITTEN, VIEW);
    project.killed_at("started", APPLY);
    project.query(&REWRITTEN.replace("(town, id)", "(id, town) TTL at + INTERVAL 50 YEAR"));
    let says = ["somebody has made", "default.events_1", "sorting key", "TTL", "teal abort"];
    project.teal(APPLY).failed(3, &says);
    project.query("DROP TABLE events_1 SYNC");
    project.query(REWRITTEN);
    project.must(APPLY);
    assert_equal(&project, VIEW, "made alike");
}

/// The old table is all that there is then, and what `force` gives up is not that.
#[test]
fn without_the_new_table_the_old_one_is_neither_dropped_nor_exchanged() {
    let filled = filled(REWRITTEN, VIEW);
    filled.must(APPLY);
    filled.must(&["cutover", "--by", "exchange"]);
    let refused = |project: &Project, arguments: &[&str], what: &str| {
        let says = [what, "RENAME TABLE `default`.`events_1` TO `default`.`events`"];
        project.teal(arguments).failed(3, &says);
        assert_eq!(project.query("SELECT count() FROM events_1"), "4540", "{arguments:?}");
    };
    filled.query("DROP TABLE events SYNC");
    let commands: [&[&str]; 6] = [
        &["cleanup"],
        &["cleanup", "--force"],
        &["cleanup", "--park", "7d"],
        &["rollback"],
        &["rollback", "--force"],
        &["verify"],
    ];
    for arguments in commands {
        refused(&filled, arguments, "default.events is gone");
    }
    let project = filled.copy();
    project.query("RENAME TABLE events_1 TO events");
    project.must(&["cleanup", "--force"]);
    assert_eq!(project.query("SELECT count() FROM events"), "4540");
    project.query(&insert(1_000_000, 100));
    assert_eq!(project.query("SELECT count() FROM events"), "4640");
    // Who means it, says so.
    filled.query("CREATE TABLE events AS events_1");
    refused(&filled, &["cleanup"], "default.events was made anew since the cutover");
    filled.must(&["cleanup", "--force"]);
    assert_eq!(filled.query("SELECT count() FROM events"), "0");
}

/// The new layout goes by the old one's name then, and the cleanup of that name would drop it.
#[test]
fn names_that_somebody_has_exchanged_back_are_not_cleaned_up() {
    let project = filled(REWRITTEN, VIEW);
    project.must(APPLY);
    project.must(&["cutover", "--by", "exchange"]);
    project.query("EXCHANGE TABLES events AND events_1");
    for arguments in [&["cleanup"][..], &["cleanup", "--force"]] {
        let words = ["events_1 has the data of the new layout", "EXCHANGE TABLES"];
        project.teal(arguments).failed(3, &words);
    }
    project.query("EXCHANGE TABLES events AND events_1");
    project.must(&["cleanup", "--force"]);
    assert_eq!(project.query("SELECT count() FROM events"), "4540");
    let key = "SELECT sorting_key FROM system.tables WHERE name = 'events'";
    assert_eq!(project.query(key), "town, id");
}

/// The name of a view that went with the exchange is free.
#[test]
fn what_somebody_gave_the_name_of_the_view_that_went_stays() {
    let project = filled(REWRITTEN, UPPER);
    project.must(APPLY);
    project.must(&["cutover", "--by", "exchange"]);
    project.query("CREATE TABLE mv_events (n UInt64) ENGINE = MergeTree ORDER BY n");
    project.query("INSERT INTO mv_events VALUES (7)");
    project.must(&["cleanup", "--force"]);
    assert_eq!(project.query("SELECT n FROM mv_events"), "7");
}

#[test]
fn a_status_does_not_speak_of_a_view_that_somebody_has_dropped() {
    let project = filled(REWRITTEN, VIEW);
    project.must(APPLY);
    project.must(&["cutover", "--by", "exchange"]);
    let says = |words: &str| project.must(&["status"]).stdout.contains(words);
    assert!(says("kept current by a view"));
    project.query("DROP VIEW mv_events");
    assert!(says("the old table gets nothing of what is written to the new one"));
    // What came to the new table alone meanwhile is carried back.
    project.query(&insert(1_000_000, 100));
    project.must(&["rollback"]);
    assert_eq!(project.query("SELECT count() FROM events"), "4640");
}

/// What the server needs to be told in an emergency, and what teal itself sets, changes no row.
#[test]
fn settings_may_be_altered() {
    let project = filled(REWRITTEN, VIEW);
    project.killed_at("chunk-attached", APPLY);
    for table in ["events", "events_1"] {
        project.query(&format!("ALTER TABLE {table} MODIFY SETTING parts_to_throw_insert = 10000"));
        project.query(&format!("ALTER TABLE {table} MODIFY COMMENT 'mine'"));
    }
    project.must(APPLY);
    assert_equal(&project, VIEW, "settings");
}

/// The SELECT does not work any more, so nobody can tell what only green has.
#[test]
fn a_migration_of_a_table_that_lost_a_column_can_be_given_up() {
    let project = filled(REWRITTEN, VIEW);
    project.must(APPLY);
    project.query("DROP TABLE mv_events SYNC");
    project.query("ALTER TABLE events DROP COLUMN town SETTINGS mutations_sync = 1");
    project.teal(&["cutover"]).failed(3, &["column town: String → none"]);
    project.teal(&["abort"]).failed(3, &["column town", "--force"]);
    project.must(&["abort", "--force"]);
    assert_eq!(project.query("SHOW TABLES"), "events");
    assert_eq!(project.query("SELECT count() FROM events"), "4540");
}

/// Once a migration is verified, nothing is left to do until the cutover; but not if something is gone.
#[test]
fn what_is_gone_is_not_taken_for_done() {
    let verified = filled(REWRITTEN, VIEW);
    verified.must(APPLY);
    for (object, drop) in [
        ("default.mv_events", "DROP VIEW mv_events"),
        ("default.events_1", "DROP TABLE events_1"),
        ("default.events", "DROP TABLE events"),
    ] {
        let project = verified.copy();
        project.must(&["plan", "--check"]);
        project.query(drop);
        let gone = format!("{object} is gone, of the migration");
        project.teal(&["apply"]).failed(3, &[&gone, "UNDROP TABLE"]);
        if object == "default.events_1" {
            project.teal(&["verify"]).failed(3, &["was altered since", object, "it was there"]);
        }
        if object == "default.events" {
            let words = ["default.events is gone", "4540 rows", "all that there is"];
            for arguments in [&["verify"][..], &["abort"], &["abort", "--force"]] {
                project.teal(arguments).failed(3, &words);
            }
        } else {
            project.must(&["abort"]);
            project.must(APPLY);
            assert_equal(&project, VIEW, object);
        }
    }
    let project = verified;
    project.must(&["cutover"]);
    project.must(&["cleanup", "--force"]);
    project.must(&["plan", "--check"]);
    project.query("DROP TABLE events_1");
    project.teal(&["apply"]).failed(3, &["default.events_1 is gone, of the migration"]);
}
