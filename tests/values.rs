//! Which stored values a change of a model may touch: none without being told, and none that the new table
//! could not hold.

use crate::change::{EVENTS, filled, insert, plan};
use crate::support::Project;

/// An `ALTER` to these kinds is metadata only, and the next merge throws away what the parts have of the column.
#[test]
fn what_a_column_has_stored_goes_only_when_it_is_named() {
    let computed = EVENTS
        .replace("town String", "town String ALIAS toString(id)")
        .replace("at DateTime", "at DateTime EPHEMERAL");
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["apply"]);
    insert(&project, 0, 10);
    let rekeyed = |model: &str| model.replace("ORDER BY", "PARTITION BY id % 2 ORDER BY");
    let words = [
        "column town is to be ALIAS, and what it has stored would be lost",
        "column at is to be EPHEMERAL",
        "--allow-drop events.town --allow-drop events.at",
    ];
    for model in [&computed, &rekeyed(&computed)] {
        project.write("app/events.sql", model);
        project.teal(&["apply", "--allow-drop", "events.other"]).failed(3, &words);
    }
    let protected = format!("-- teal: lifecycle deletion_protected\n{computed}");
    project.write("app/events.sql", &protected);
    let run = project.teal(&["apply", "--allow-drop", "*"]);
    run.failed(3, &["column town is to be ALIAS", "DELETION_PROTECTED"]);

    // An ALTER keeps what a MATERIALIZED column had stored before, and a copy computes it anew.
    let anew = EVENTS.replace("town String", "town String MATERIALIZED toString(id)");
    project.write("app/events.sql", &anew);
    assert_eq!(plan(&project)["operations"][0]["cost"], "metadata");
    project.write("app/events.sql", &rekeyed(&anew));
    let lost = "column town is to be MATERIALIZED, and what it has stored would be lost";
    project.teal(&["apply"]).failed(3, &[lost]);
    assert_eq!(project.query("SELECT any(town) FROM events WHERE id = 7"), "town 7");
    // The old layout has values of its own where the new one computes them: there is no way back for rows.
    let said = project.must(&["plan", "--allow-drop", "events.town"]).stdout;
    for words in ["note: what column town of default.events has stored goes", "exist in the new"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("nothing is lost on the way back"), "{said}");

    project.write("app/events.sql", &computed);
    project.must(&["apply", "--allow-drop", "events.*"]);
    assert_eq!(project.query("SELECT any(town) FROM events WHERE id = 7"), "7");
}

/// A part from before the column has the value that its default gives, whatever that is by now.
#[test]
fn a_default_by_which_parts_are_read_changes_no_value_of_theirs() {
    let with = |columns: [&str; 4]| {
        let [c, n, a, m] = columns;
        EVENTS.replace(
            ", at",
            &format!(", c UInt32{c}, n Nullable(UInt8){n}, a String{a}, m String{m}, at"),
        )
    };
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["apply"]);
    insert(&project, 0, 10);
    let first = with([" DEFAULT 10", "", " ALIAS upper(town)", " MATERIALIZED town"]);
    project.write("app/events.sql", &first);
    assert!(!project.must(&["apply"]).said().contains("mind"));
    insert(&project, 10, 10);

    let said = |column: &str, change: &str| {
        format!(
            "blocked: default.events: column {column}: 1 parts do not store it, and its default is what they are read by: 10 rows would have another value ({change})"
        )
    };
    let next = with([" DEFAULT 20", " DEFAULT 7", " DEFAULT town", " MATERIALIZED upper(town)"]);
    project.write("app/events.sql", &next);
    let alias = said("a", "ALIAS upper(town) → DEFAULT town").replace("1 parts", "2 parts");
    let alias = alias.replace("blocked: ", "mind: ");
    let words = [
        &said("c", "DEFAULT 10 → DEFAULT 20"),
        "ALTER TABLE `default`.`events` MATERIALIZE COLUMN `c`",
        &said("n", "none → DEFAULT 7"),
        "ALTER TABLE `default`.`events` UPDATE `n` = `n` WHERE 1",
        &alias.replace("10 rows", "20 rows"),
        "make it a DEFAULT column of the same expression first",
        &said("m", "MATERIALIZED town → MATERIALIZED upper(town)"),
    ];
    project.teal(&["apply"]).failed(3, &words);
    // What gives the same value needs no leave, nor does what is stored.
    let same = with([" DEFAULT 5 * 2", " DEFAULT NULL", " DEFAULT upper(town)", " DEFAULT town"]);
    project.write("app/events.sql", &same);
    project.must(&["apply"]);
    project.query("ALTER TABLE events MATERIALIZE COLUMN c, MATERIALIZE COLUMN a, MATERIALIZE COLUMN m, UPDATE n = n WHERE 1 SETTINGS mutations_sync = 1");
    project.write("app/events.sql", &next);
    project.must(&["apply"]);
    let values = "SELECT DISTINCT c, n, a = upper(town), m = town FROM events";
    assert_eq!(project.query(values), "10\t\\N\t1\t1");

    let random = next.replace(", at", ", u UUID DEFAULT generateUUIDv4() COMMENT 'u', at");
    project.write("app/events.sql", &random);
    let plan = project.must(&["plan"]).stdout;
    let told = "mind: default.events: column u is new: the rows that are there give another value of it each time";
    assert!(plan.contains(told), "{plan}");
}

/// Without a default, it is the type that says what they are read by; and some begin with another value.
#[test]
fn a_type_by_which_parts_are_read_changes_no_value_of_theirs() {
    let with = |[c, s, e, g, d]: [&str; 5]| {
        EVENTS.replace(", at", &format!(", c {c}, s {s}, e {e}, g {g}, d {d}, at"))
    };
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["apply"]);
    insert(&project, 0, 10);
    let first = ["UInt32", "String", "Enum8('b' = 1)", "UInt32 DEFAULT 0", "UInt8 DEFAULT 10"];
    project.write("app/events.sql", &with(first));
    project.must(&["apply"]);
    insert(&project, 10, 10);

    let next = [
        "Nullable(UInt32)",
        "Nullable(String)",
        "Enum8('a' = 0, 'b' = 1)",
        "Nullable(UInt32)",
        "UInt16 DEFAULT 10",
    ];
    project.write("app/events.sql", &with(next));
    let said = |column: &str, change: &str| {
        format!(
            "blocked: default.events: column {column}: 1 parts do not store it, and its default is what they are read by: 10 rows would have another value ({change})"
        )
    };
    let words = [
        &said("c", "UInt32 → Nullable(UInt32)"),
        "ALTER TABLE `default`.`events` UPDATE `c` = `c` WHERE 1",
        &said("s", "String → Nullable(String)"),
        &said("e", "Enum8('b' = 1) → Enum8('a' = 0, 'b' = 1)"),
        &said("g", "UInt32 DEFAULT 0 → Nullable(UInt32)"),
        "ALTER TABLE `default`.`events` MATERIALIZE COLUMN `g`",
    ];
    let run = project.teal(&["apply"]);
    run.failed(3, &words);
    assert!(!run.stderr.contains("events: column d:"), "{}", run.said());
    project.query("ALTER TABLE events UPDATE c = c, s = s, e = e WHERE 1, MATERIALIZE COLUMN g SETTINGS mutations_sync = 1");
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT DISTINCT c, s, e, g, d FROM events"), "0\t\tb\t0\t10");
}

#[test]
fn values_that_another_type_cannot_hold_are_counted_and_refused() {
    let project = filled(EVENTS);
    project.query("INSERT INTO events VALUES (5000000000, 'far', now()), (6000000000, 'x', now())");
    project.write("app/events.sql", &EVENTS.replace("id UInt64", "id UInt32"));
    let run = project.teal(&["apply"]);
    run.failed(
        3,
        &[
            "blocked: default.events: column id: 2 of 90002 rows",
            "such as 5000000000",
            "declare a new version",
        ],
    );
    assert_eq!(project.query("SELECT count() FROM system.tables WHERE name LIKE '%green'"), "0");
    project.query("ALTER TABLE events DELETE WHERE id > 4000000000 SETTINGS mutations_sync = 1");
    let said = project.must(&["plan"]).stdout;
    assert!(said.contains("mind: default.events: column id becomes UInt32"), "{said}");
    project.must(&["apply"]);
}

#[test]
fn nan_and_null_are_the_same_in_a_narrower_type() {
    let model = "CREATE TABLE events (id UInt64, a Float64, b Nullable(UInt64), c Array(Nullable(Float64))) ENGINE = MergeTree ORDER BY id;";
    let project = Project::new(&[("app/events.sql", model)]);
    project.must(&["apply"]);
    project.query("INSERT INTO events VALUES (1, nan, NULL, [nan, NULL]), (2, 0.5, 7, [0.25])");
    let narrower = model
        .replace("a Float64", "a Float32")
        .replace("Nullable(UInt64)", "Nullable(UInt8)")
        .replace("Nullable(Float64)", "Nullable(Float32)");
    project.write("app/events.sql", &narrower);
    let said = project.must(&["plan"]).stdout;
    for column in ["a becomes Float32", "b becomes Nullable(UInt8)", "c becomes Array"] {
        assert!(said.contains(&format!("mind: default.events: column {column}")), "{said}");
    }
    assert!(!said.contains("blocked"), "{said}");
    // One of each that is lost: a digit, a NULL.
    project.query("INSERT INTO events VALUES (3, 0.1, 300, [])");
    let run = project.teal(&["apply"]);
    run.failed(3, &["column a: 1 of 3 rows", "such as 0.1", "column b: 1 of 3 rows"]);
    project.write("app/events.sql", &model.replace("Nullable(UInt64)", "UInt64"));
    project.teal(&["apply"]).failed(3, &["column b: 1 of 3 rows", "such as NULL"]);
}

#[test]
fn rows_that_a_new_ttl_would_delete_are_counted() {
    let project = filled(EVENTS);
    // 2106 is the last year of a DateTime, so these times lie in the past.
    let far = EVENTS.replace("ORDER BY id", "ORDER BY id TTL at + INTERVAL 90 YEAR");
    project.write("app/events.sql", &far);
    let said = project.must(&["plan"]).stdout;
    assert!(said.contains("the TTL deletes 90000 of 90000 rows"), "{said}");
    // A column's is no other, by an ALTER or by a rewrite.
    for order in ["ORDER BY id", "ORDER BY (at, id)"] {
        let far = EVENTS.replace("town String", "town String TTL at + INTERVAL 90 YEAR");
        project.write("app/events.sql", &far.replace("ORDER BY id", order));
        let said = project.must(&["plan"]).stdout;
        let told = "mind: default.events: the TTL of column town empties it in 90000 of 90000 rows";
        assert!(said.contains(told), "{said}");
    }
    let near = EVENTS.replace("ORDER BY id", "ORDER BY id TTL at + INTERVAL 50 YEAR");
    project.write("app/events.sql", &near);
    let said = project.must(&["plan"]).stdout;
    assert!(!said.contains("deletes"), "{said}");
}

/// The view wraps it without a word, and the comparison reads the old table by the same conversion.
#[test]
fn a_value_that_the_new_type_does_not_hold_keeps_the_cutover_back() {
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["apply"]);
    insert(&project, 0, 1000);
    project.write("app/events.sql", &EVENTS.replace("id UInt64", "id UInt32"));
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("the view may make another of one that is no UInt32"), "{plan}");
    project.killed_at("attached", &["apply"]);
    insert(&project, 5_000_000_000, 1);
    let says = ["column id of default.events", "1 of 1001 rows", "such as 5000000000"];
    project.teal(&["apply"]).failed(3, &says);
    let aborted = project.copy();
    aborted.must(&["abort"]);
    assert_eq!(aborted.query("SELECT max(id), count() FROM events"), "5000000000\t1001");

    let remove = |table: &str| {
        project.query(&format!(
            "ALTER TABLE {table} DELETE WHERE id >= 5000000000 SETTINGS mutations_sync = 1"
        ));
    };
    remove("events");
    project.must(&["apply"]);
    insert(&project, 6_000_000_000, 1);
    for command in ["verify", "cutover"] {
        project.teal(&[command]).failed(3, &["such as 6000000000"]);
    }
    remove("events");
    project.must(&["cutover"]);
    // As of an INSERT between the last proof and the exchange.
    project.query("INSERT INTO events_green VALUES (7000000000, 'late', now())");
    project.teal(&["cleanup"]).failed(3, &["column id", "such as 7000000000", "teal rollback"]);
    remove("events_green");
    project.must(&["cleanup"]);
    assert_eq!(project.query("SELECT max(id), count() FROM events"), "999\t1000");
}

/// The server calls these types wider, and an `ALTER` would change the values without a look.
#[test]
fn a_type_that_is_wider_in_name_only_is_no_reason_for_an_alter() {
    let table = |types: [&str; 4]| {
        let [day, code, sum, text] = types;
        format!(
            "CREATE TABLE events (id UInt64, day {day}, code {code}, sum {sum}, text {text}, \
                 maybe Nullable({code}), codes Array({code})) ENGINE = MergeTree ORDER BY id;"
        )
    };
    let project = Project::new(&[]);
    project.write("app/events.sql", &table(["Date", "FixedString(4)", "Decimal(18, 2)", "String"]));
    project.must(&["apply"]);
    project.query(
        "INSERT INTO events VALUES (1, '2149-06-06', 'a', 9999999999999999.99, '007', 'a', ['a'])",
    );
    let parsed = ["Date", "FixedString(4)", "Decimal(18, 2)", "Variant(String, UInt64)"];
    project.write("app/events.sql", &table(parsed));
    assert_eq!(plan(&project)["operations"][0]["kind"], "migrate");
    let wider = ["DateTime", "String", "Decimal(18, 4)", parsed[3]];
    project.write("app/events.sql", &table(wider));
    let lost =
        |column| format!("column {column}: 1 of 1 rows have a value that would not be the same");
    let lost = ["day", "code", "sum", "text", "maybe", "codes"].map(lost);
    project.teal(&["apply"]).failed(3, &lost.each_ref().map(String::as_str));
    project.query("ALTER TABLE events UPDATE day = '2024-01-01', code = 'abcd', sum = 1.25, text = 'x', maybe = 'abcd', codes = ['abcd'] WHERE 1 SETTINGS mutations_sync = 1");
    project.must(&["apply"]);
    project.must(&["cutover"]);
    let row = "1\t2024-01-01 00:00:00\tabcd\t1.25\tx\tabcd\t['abcd']";
    assert_eq!(project.query("SELECT * FROM events"), row);
}

/// The server keeps what is stored, and reads it as another value.
#[test]
fn a_type_that_is_stored_alike_and_means_something_else_is_no_reason_for_an_alter() {
    let table = |flag: &str, kind: &str, day: &str, at: &str| {
        format!(
            "CREATE TABLE events (id UInt64, flag {flag}, flags Array({flag}), kind {kind}, day {day}, at {at}) ENGINE = MergeTree ORDER BY id;"
        )
    };
    let (kind, more) = ("Enum8('a' = 1)", "Enum8('a' = 1, 'b' = 2)");
    let first = table("UInt8", kind, "Date", "DateTime");
    let project = Project::new(&[("app/events.sql", &first)]);
    project.must(&["apply"]);
    project
        .query("INSERT INTO events VALUES (1, 5, [5], 'a', '2024-01-01', '2024-01-01 00:00:00')");
    project.write("app/events.sql", &table("UInt8", more, "Date", "DateTime('UTC')"));
    assert_eq!(plan(&project)["operations"][0]["cost"], "metadata");
    project.write("app/events.sql", &table("Bool", "Enum8('b' = 1)", "Date", "DateTime"));
    let lost =
        |column| format!("column {column}: 1 of 1 rows have a value that would not be the same");
    let lost = ["flag", "flags", "kind"].map(lost);
    project.teal(&["apply"]).failed(3, &lost.each_ref().map(String::as_str));
    project.write("app/events.sql", &table("Bool", kind, "Date", "DateTime"));
    project.query(
        "ALTER TABLE events UPDATE flag = 1, flags = [0, 1] WHERE 1 SETTINGS mutations_sync = 1",
    );
    let said = project.must(&["plan"]).stdout;
    assert!(!said.contains("blocked"), "{said}");
    for other in [
        table("UInt8", "Int8", "Date", "DateTime"),
        table("UInt8", kind, "UInt16", "DateTime"),
        table("UInt8", kind, "Date", "UInt32"),
    ] {
        project.write("app/events.sql", &other);
        assert_eq!(plan(&project)["operations"][0]["kind"], "migrate", "{other}");
    }
}

/// The server keeps its number, reads it back as it was, and cannot show it any more.
#[test]
fn a_value_of_an_enum_that_is_to_go_is_a_value_lost() {
    let table = |kind: &str| {
        format!("CREATE TABLE t (id UInt64, kind {kind}) ENGINE = MergeTree ORDER BY id;")
    };
    for (from, to) in [
        ("Enum8('a' = 1, 'b' = 2)", "Enum8('a' = 1)"),
        ("Enum8('a' = 1, 'b' = 2)", "Enum16('a' = 1, 'c' = 3)"),
        ("Nullable(Enum8('a' = 1, 'b' = 2))", "Nullable(Enum8('a' = 1))"),
        ("Array(Enum8('a' = 1, 'b' = 2))", "Array(Enum8('a' = 1))"),
        ("Dynamic", "String"),
    ] {
        let project = Project::new(&[]);
        project.write("app/t.sql", &table(from));
        project.must(&["apply"]);
        let value = |name: &str| {
            if from.starts_with("Array") { format!("['{name}']") } else { format!("'{name}'") }
        };
        project.query(&format!("INSERT INTO t VALUES (1, {}), (2, {})", value("a"), value("b")));
        if !from.starts_with("Array") {
            project.query("INSERT INTO t SELECT 3, NULL");
        }
        project.write("app/t.sql", &table(to));
        project.teal(&["apply"]).failed(3, &["column kind", "would not be the same"]);
    }
}

/// By an `ALTER`, which ClickHouse takes.
#[test]
fn a_type_by_which_an_engine_folds_rows_otherwise_is_refused() {
    let table = |engine: &str, n: &str| {
        format!("CREATE TABLE t (id UInt64, n {n}) ENGINE = {engine} ORDER BY id;")
    };
    for (engine, from, to) in [
        ("AggregatingMergeTree", "SimpleAggregateFunction(sum, UInt64)", "UInt64"),
        (
            "AggregatingMergeTree",
            "SimpleAggregateFunction(sum, UInt64)",
            "SimpleAggregateFunction(max, UInt64)",
        ),
        ("SummingMergeTree", "UInt64", "String"),
    ] {
        let project = Project::new(&[]);
        project.write("app/t.sql", &table(engine, from));
        project.must(&["apply"]);
        (0..2).for_each(|_| drop(project.query("INSERT INTO t VALUES (1, 3)")));
        project.write("app/t.sql", &table(engine, to));
        project.teal(&["apply"]).failed(3, &["conflict", "something else of the rows"]);
        assert_eq!(project.query("SELECT n FROM t FINAL"), "6");
    }
    let project = Project::new(&[]);
    project.write("app/t.sql", &table("SummingMergeTree", "UInt32"));
    project.must(&["apply"]);
    project.write("app/t.sql", &table("SummingMergeTree", "UInt64"));
    assert_eq!(plan(&project)["operations"][0]["kind"], "alterTable");
}
