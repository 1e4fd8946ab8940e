//! Tables of one name in two databases.

use crate::support::Project;

const TABLES: &str = "
CREATE TABLE ev (id UInt64, c String) ENGINE = MergeTree ORDER BY id;
CREATE TABLE x.ev (id UInt64, c String) ENGINE = MergeTree ORDER BY id;
CREATE TABLE default.src (id UInt64, c String) ENGINE = MergeTree ORDER BY id;
";

#[test]
fn a_name_in_two_databases_is_two_tables() {
    let project = Project::new(&[("app/tables.sql", TABLES)]);
    let view = "CREATE MATERIALIZED VIEW mv TO x.ev AS SELECT id, c FROM src";
    project.write("app/views.sql", view);
    project.query("CREATE DATABASE x");
    project.must(&["apply"]);
    project.query("INSERT INTO src VALUES (1, 'a')");
    let rows = "SELECT (SELECT count() FROM ev), (SELECT count() FROM x.ev)";
    assert_eq!(project.query(rows), "0\t1");

    let wider = TABLES.replace("x.ev (id UInt64,", "x.ev (id UInt64, d UInt8,");
    project.write("app/tables.sql", &wider);
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("x.ev") && plan.contains("column d"), "{plan}");
    project.write("app/tables.sql", TABLES);

    // A migration of the one, beside the other.
    let migrating = format!(
        "{TABLES}\n\
         -- teal: table ev version 0.0\nCREATE TABLE ev_0_0 (id UInt64) ENGINE = MergeTree ORDER BY id;\n\
         -- teal: table ev version 0.0\nCREATE TABLE x.ev_0_0 (id UInt64) ENGINE = MergeTree ORDER BY id;\n\
         -- teal: table ev version 0.1\nCREATE TABLE x.ev_0_1 (id UInt64) ENGINE = MergeTree ORDER BY -id;\n\
         CREATE MATERIALIZED VIEW x.up TO x.ev_0_1 AS SELECT id FROM x.ev_0_0;"
    );
    project.write("app/tables.sql", &migrating);
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("green    x.ev_0_1, to be created"), "{plan}");
}

/// The server quotes these in what it says of a table, and not the scratch databases in their place.
#[test]
fn a_database_may_have_a_name_that_is_quoted() {
    let models = "
CREATE TABLE `2024`.src (id UInt64) ENGINE = MergeTree ORDER BY id;
CREATE TABLE `all`.dst (id UInt64) ENGINE = MergeTree ORDER BY id;
CREATE TABLE `all`.old (id UInt64) ENGINE = MergeTree ORDER BY id;
CREATE MATERIALIZED VIEW `2024`.mv TO `all`.dst AS SELECT id FROM `2024`.src;
CREATE VIEW `all`.w AS SELECT id FROM `2024`.src;
";
    let project = Project::new(&[("app/models.sql", models)]);
    for database in ["2024", "all"] {
        project.query(&format!("CREATE DATABASE `{database}`"));
    }
    project.must(&["apply"]);
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("Nothing to do"), "{plan}");
    let versions = models.replace("`all`.old", "`all`.old_0").replace(
        "CREATE TABLE `all`.old_0",
        "-- teal: table old version 0\nCREATE TABLE `all`.old_0",
    );
    let next = "-- teal: table old version 1\nCREATE TABLE `all`.old_1 (id UInt64) ENGINE = MergeTree ORDER BY -id;\nCREATE MATERIALIZED VIEW `all`.up TO `all`.old_1 AS SELECT * FROM `all`.old_0;\n";
    project.write("app/models.sql", &versions);
    project.must(&["apply"]);
    project.query("INSERT INTO `all`.old_0 VALUES (1)");
    project.write("app/models.sql", &format!("{versions}{next}"));
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT * FROM `all`.old_1"), "1");
}

/// Its rows are not brought over, and no cleanup drops it.
#[test]
fn a_table_of_another_database_is_no_older_version() {
    let project = Project::new(&[]);
    project.query("CREATE DATABASE x");
    let models = "CREATE TABLE x.ev (id UInt64) ENGINE = MergeTree ORDER BY id;\n\
         -- teal: table ev version 1.0\nCREATE TABLE ev_1_0 (id UInt64) ENGINE = MergeTree ORDER BY id;\n\
         CREATE MATERIALIZED VIEW mv TO ev_1_0 AS SELECT id FROM x.ev;";
    let (first, _) = models.split_once('\n').unwrap();
    project.write("app/tables.sql", first);
    project.must(&["apply"]);
    project.query("INSERT INTO x.ev VALUES (1)");
    project.write("app/tables.sql", models);
    let done = project.must(&["apply"]).stdout;
    assert_eq!(done, "created default.ev_1_0\ncreated default.mv\n");
    project.query("INSERT INTO x.ev VALUES (2)");
    assert_eq!(project.query("SELECT id FROM ev_1_0"), "2");
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
}

#[test]
fn a_column_may_be_named_with_its_table_and_database() {
    let select = "SELECT x.ev.id, default.ev.c, src.c AS d FROM x.ev JOIN default.ev ON x.ev.id = default.ev.id JOIN src ON src.id = x.ev.id";
    let project = Project::new(&[("app/tables.sql", TABLES)]);
    project.query("CREATE DATABASE x");
    project.write("app/view.sql", &format!("CREATE VIEW v AS {select}"));
    project.must(&["apply"]);
    for table in ["ev", "x.ev", "src"] {
        project.query(&format!("INSERT INTO {table} VALUES (1, '{table}')"));
    }
    assert_eq!(project.query("SELECT * FROM v"), "1\tev\tsrc");
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
}

#[test]
fn a_view_writes_where_its_model_says_or_is_refused() {
    let project = Project::new(&[]);
    for database in ["x", "y"] {
        project.query(&format!("CREATE DATABASE {database}"));
    }
    project.query("CREATE TABLE y.ev (id UInt64) ENGINE = MergeTree ORDER BY id");
    let declare = |tables: &str, view: &str| {
        project.write("app/tables.sql", tables);
        project.write("app/views.sql", &format!("CREATE MATERIALIZED VIEW mv {view}"));
    };
    let one = TABLES.replace("CREATE TABLE ev ", "CREATE TABLE y.other ");
    declare(&one, "TO y.ev AS SELECT id FROM src");
    project.teal(&["plan"]).failed(1, &["the target y.ev of view mv", "x.ev"]);
    for (view, target) in [
        ("TO default.src AS SELECT id FROM x.ev", "TO `default`.`src`"),
        // The only one that is declared.
        ("TO ev AS SELECT id FROM src", "TO `x`.`ev`"),
    ] {
        declare(&one, view);
        let plan = project.must(&["plan"]).stdout;
        assert!(plan.contains(target), "{plan}");
    }
    declare(&one.replace("y.other", "y.ev"), "TO ev AS SELECT id FROM src");
    project.teal(&["plan"]).failed(1, &["view mv names ev", "y.ev, x.ev"]);
}
