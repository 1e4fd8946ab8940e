//! Tables that somebody else manages: teal reads them, and never changes them.

use crate::support::Project;

const EXTERNAL: &str = "-- teal: lifecycle externally_managed\n\
     CREATE TABLE events (id UInt64, town String) ENGINE = MergeTree ORDER BY id;\n";
const VIEW: &str = "CREATE VIEW towns AS SELECT DISTINCT town FROM events;\n";
const VERSIONED: &str = "-- teal: table events version 1\n\
     CREATE TABLE events_1 (id UInt64, town String) ENGINE = MergeTree ORDER BY (town, id);\n\
     CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events;\n";

#[test]
fn an_externally_managed_table_is_neither_made_nor_changed_nor_dropped() {
    let project = Project::new(&[("app/events.sql", EXTERNAL)]);
    let said = project.must(&["plan", "--check"]).stdout;
    assert!(said.contains("events is managed elsewhere"), "{said}");
    project.must(&["apply"]);
    assert_eq!(project.query("SHOW TABLES"), "");

    // Its owner makes it, not quite as the model says.
    project.query("CREATE TABLE events (id UInt64, town LowCardinality(String), more UInt8) ENGINE = ReplacingMergeTree ORDER BY (id, more)");
    project.query("INSERT INTO events VALUES (1, 'a', 1), (2, 'b', 2)");
    let made =
        || project.query("SELECT create_table_query FROM system.tables WHERE name = 'events'");
    let before = made();
    for arguments in [&["apply"][..], &["apply", "--allow-drop", "*"]] {
        project.must(arguments);
        assert_eq!(made(), before, "{arguments:?}");
    }
    project.must(&["plan", "--check", "--allow-drop", "*"]);

    // What reads it is teal's own.
    project.write("app/view.sql", VIEW);
    assert_eq!(project.must(&["apply"]).stdout, "created default.towns\n");
    assert_eq!(project.query("SELECT count() FROM towns"), "2");
    assert_eq!(made(), before);

    // Neither does teal make or change views that somebody else manages.
    let external = "-- teal: lifecycle externally_managed\n";
    project.write("app/view.sql", &format!("{external}CREATE VIEW towns AS SELECT 1 AS one;\n"));
    project
        .write("app/new.sql", &format!("{external}CREATE VIEW other AS SELECT id FROM events;\n"));
    let said = project.must(&["plan", "--check"]).stdout;
    assert!(said.contains("other is managed elsewhere"), "{said}");
    project.write("app/view.sql", VIEW);
    project.write("app/new.sql", "");

    // A migration would have to attach a view to it, and to drop it in the end.
    project.write("app/next.sql", VERSIONED);
    for arguments in [&["plan"][..], &["apply"]] {
        project.teal(arguments).failed(3, &["events is managed elsewhere (EXTERNALLY_MANAGED)"]);
    }
    assert_eq!(project.query("SHOW TABLES"), "events\ntowns");
    assert_eq!(made(), before);
}
