//! A model that changes without a new version: altered where ClickHouse can, migrated in place where
//! it cannot, refused where rows would suffer.

use serde_json::Value;

use crate::support::Project;

/// A table of 90,000 rows in several parts.
pub(crate) fn filled(model: &str) -> Project {
    let project = Project::new(&[("app/events.sql", model)]);
    project.must(&["apply"]);
    for from in [0, 30_000, 60_000] {
        insert(&project, from, 30_000);
    }
    project
}

pub(crate) fn insert(project: &Project, from: u64, rows: u64) {
    project.query(&format!(
        "INSERT INTO events (id, town, at) SELECT {from} + number, concat('town ', toString(number % 100)), \
         toDateTime('2024-01-01 00:00:00') + number * 60 FROM numbers({rows})"
    ));
}

pub(crate) const EVENTS: &str =
    "CREATE TABLE events (id UInt64, town String, at DateTime) ENGINE = MergeTree ORDER BY id;\n";

/// Of the rows by their columns: order and layout are of no matter to it.
fn sum(project: &Project, town: &str) -> String {
    project.query(&format!("SELECT count(), sum(sipHash64(id, toString({town}), at)) FROM events"))
}

pub(crate) fn plan(project: &Project) -> Value {
    project.json(&["plan"])
}

/// Nothing of the migration is left, and nothing is to be done.
fn assert_over(project: &Project) {
    assert_eq!(
        project.query("SELECT groupArray(name) FROM (SELECT name FROM system.tables WHERE database = 'default' ORDER BY name)"),
        "['events']"
    );
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0), "{}", plan(project));
}

#[test]
fn what_clickhouse_can_alter_is_altered() {
    let project = filled(EVENTS);
    let before = sum(&project, "town");
    project.write(
        "app/events.sql",
        "CREATE TABLE events (id UInt64, more LowCardinality(String) DEFAULT 'x' COMMENT 'new', town String CODEC(ZSTD(3)), \
         at DateTime, INDEX i at TYPE minmax GRANULARITY 2) ENGINE = MergeTree ORDER BY id TTL at + INTERVAL 50 YEAR COMMENT 'events';",
    );
    let said = project.must(&["plan"]).stdout;
    for words in [
        "alter table default.events",
        "column more: new",
        "index i: new",
        "MATERIALIZE INDEX `i`",
        "TTL: new",
        "comment",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let altered = project.copy();
    assert_eq!(project.must(&["apply"]).stdout, "changed default.events\n");
    assert_eq!(sum(&project, "town"), before);
    assert_eq!(project.query("SELECT DISTINCT more FROM events"), "x");
    // Killed when the statement is done, and what it rewrites is not.
    altered.killed_at("altered", &["apply"]);
    altered.must(&["apply"]);
    assert_eq!(sum(&altered, "town"), before);
    assert_over(&altered);
    assert_over(&project);
}

#[test]
fn the_type_of_what_is_computed_when_it_is_read_is_altered() {
    let with = |columns: &str| EVENTS.replace(", at", &format!(", {columns}, at"));
    let project = Project::new(&[("app/events.sql", &with("a UInt64 ALIAS id * 2"))]);
    project.must(&["apply"]);
    insert(&project, 0, 10);
    let text = "a String ALIAS toString(id * 2)";
    project.write("app/events.sql", &with(text));
    assert_eq!(plan(&project)["operations"][0]["cost"], "metadata");
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT a FROM events WHERE id = 9"), "18");
    // Not where something that is stored is made of it.
    project.write("app/events.sql", &with(&format!("{text}, b String DEFAULT a")));
    project.must(&["apply"]);
    project.write("app/events.sql", &with("a UInt64 ALIAS id * 2, b String DEFAULT a"));
    assert_eq!(plan(&project)["operations"][0]["kind"], "migrate");
}

/// Such as one from before an upgrade.
#[test]
fn a_table_that_clickhouse_would_not_make_any_more_holds_up_no_other_one() {
    let models = "\
CREATE TABLE t (id UInt64, a String, b String) ENGINE = MergeTree ORDER BY id;
-- teal: column renamed renamed_from a
CREATE TABLE u (id UInt64, renamed UInt64) ENGINE = MergeTree ORDER BY id;
CREATE TABLE other (id UInt64) ENGINE = MergeTree ORDER BY id;
CREATE VIEW v AS SELECT id FROM u;
";
    let project = Project::new(&[("app/t.sql", models)]);
    project.query(
        "CREATE TABLE t (id UInt64, a String, b String DEFAULT fuzzQuery(a)) ENGINE = MergeTree ORDER BY id \
         SETTINGS allow_fuzz_query_functions = 1",
    );
    // The column that stays is made of one that has another name then.
    project.query(
        "CREATE TABLE u (id UInt64, a UInt64, b UInt64 DEFAULT a + 1) ENGINE = MergeTree ORDER BY id",
    );
    project.query("CREATE VIEW v AS SELECT id FROM u");
    let plan = project.must(&["plan"]).stdout;
    for words in [
        "create table default.other",
        "conflict: default.t",
        "ClickHouse does not make the table as it is: Function `fuzzQuery` is disabled",
        "conflict: default.u",
        "not by a migration: ",
    ] {
        assert!(plan.contains(words), "{words}: {plan}");
    }
}

#[test]
fn a_new_column_at_the_end_of_the_sorting_key_is_altered() {
    let project = filled(EVENTS);
    let before = sum(&project, "town");
    let next = |key: &str| {
        format!(
            "CREATE TABLE events (id UInt64, town String, at DateTime, zone UInt8) ENGINE = MergeTree {key};"
        )
    };
    project.write("app/events.sql", &next("PRIMARY KEY id ORDER BY (id, zone)"));
    let planned = plan(&project);
    let operation = &planned["operations"][0];
    assert_eq!(
        (&operation["kind"], &operation["cost"]),
        (&"alterTable".into(), &"metadata".into())
    );
    let statements = operation["statements"].as_array().unwrap();
    assert_eq!(statements.len(), 1, "{planned}");
    let sql = statements[0]["sql"].as_str().unwrap();
    assert!(sql.contains("ADD COLUMN `zone` UInt8") && sql.contains("MODIFY ORDER BY"), "{sql}");
    assert_eq!(project.must(&["apply"]).stdout, "changed default.events\n");
    let keys = "SELECT sorting_key, primary_key FROM system.tables WHERE name = 'events'";
    assert_eq!(project.query(keys), "id, zone\tid");
    assert_eq!(sum(&project, "town"), before);
    project.query("INSERT INTO events VALUES (1, 'a', now(), 7)");
    assert_over(&project);
    // A column that was there before cannot: its rows are not in that order.
    project.write("app/events.sql", &next("PRIMARY KEY id ORDER BY (id, zone, town)"));
    assert_eq!(plan(&project)["operations"][0]["kind"], "migrate");
}

/// Merges would fold rows that differ by what leaves the key, for good.
#[test]
fn the_sorting_key_of_an_engine_that_folds_rows_does_not_become_shorter() {
    let table = |key: &str| {
        format!("CREATE TABLE t (a UInt8, b UInt8, v UInt64) ENGINE = ReplacingMergeTree(v) {key};")
    };
    let project = Project::new(&[("app/t.sql", &table("PRIMARY KEY a ORDER BY (a, b)"))]);
    project.must(&["apply"]);
    project.query("INSERT INTO t SELECT 1, number, 1 FROM numbers(5)");
    project.write("app/t.sql", &table("PRIMARY KEY a ORDER BY a"));
    project
        .teal(&["apply"])
        .failed(3, &["conflict: default.t", "would fold rows that differ by `b`"]);
    assert_eq!(project.query("SELECT count() FROM t FINAL"), "5");
}

/// Each INSERT passes the view, and ClickHouse lets no column go that a materialized view reads.
#[test]
fn a_view_stops_reading_a_column_before_it_goes() {
    const TARGET: &str =
        "CREATE TABLE seen (id UInt64, what String) ENGINE = MergeTree ORDER BY id;";
    let view = |column: &str| {
        format!(
            "{TARGET}CREATE MATERIALIZED VIEW mv TO seen AS SELECT id, toString({column}) AS what FROM events;"
        )
    };
    let without = EVENTS.replace("town String, ", "");
    let project = filled(EVENTS);
    project.write("app/view.sql", &view("town"));
    project.must(&["apply"]);

    project.write("app/events.sql", &without);
    project.write("app/view.sql", &view("at"));
    let apply = &["apply", "--allow-drop", "events.town"];
    assert_eq!(project.must(apply).stdout, "changed default.mv\nchanged default.events\n");
    project.query("INSERT INTO events VALUES (1000000, now())");
    assert_eq!(project.query("SELECT count() FROM seen WHERE id = 1000000"), "1");

    // What comes with the statement that takes the old one away cannot be read before.
    project.write("app/events.sql", &without.replace("at DateTime", "day Date"));
    project.write("app/view.sql", &view("day"));
    let said = [
        "reads the column at of default.events, which the plan takes away",
        "until a plan has changed",
    ];
    project.teal(&["apply", "--allow-drop", "events.at"]).failed(3, &said);

    // Nor by a view of no model, which goes first where it may.
    project.write("app/events.sql", &without.replace(", at DateTime", ""));
    project.remove("app/view.sql");
    let apply = ["apply", "--allow-drop", "events.at"];
    project.teal(&apply).failed(3, &["reads the column at of default.events"]);
    let apply = [&apply[..], &["--allow-drop", "mv"]].concat();
    assert_eq!(project.must(&apply).stdout, "changed default.events\ndropped default.mv\n");
}

/// ClickHouse asks no view whether it reads the column that gets another name.
#[test]
fn a_view_in_another_database_is_not_left_without_its_column() {
    let project = filled(EVENTS);
    project.query("CREATE DATABASE other");
    project.query("CREATE TABLE other.seen (what String) ENGINE = MergeTree ORDER BY what");
    project.query("CREATE MATERIALIZED VIEW other.mv TO other.seen AS SELECT town AS what FROM default.events");
    let renamed = EVENTS.replace("town String", "city String");
    let says = "reads the column town of default.events, which the plan takes away";
    for model in [
        format!("-- teal: column city renamed_from town\n{renamed}"),
        EVENTS.replace("town String, ", ""),
    ] {
        project.write("app/events.sql", &model);
        project.teal(&["apply", "--allow-drop", "events.town"]).failed(3, &["other.mv", says]);
    }
    // What it does not read may go.
    project.write("app/events.sql", &EVENTS.replace(", at DateTime", ""));
    project.must(&["apply", "--allow-drop", "events.at"]);
}

/// Marks are of a part, and a part that is cloned keeps them.
#[test]
fn another_granularity_takes_a_copy() {
    let project = filled(EVENTS);
    let plan = |setting: &str| {
        project.write("app/events.sql", &EVENTS.replace(";", &format!(" SETTINGS {setting};")));
        project.must(&["plan"]).stdout
    };
    for setting in ["index_granularity = 1024", "index_granularity_bytes = 0"] {
        let said = plan(setting);
        assert!(said.contains("rewrite (another index granularity"), "{setting}: {said}");
    }
    let said = plan("index_granularity = 1024");
    assert!(said.contains("changed in its model"), "{said}");
    for command in ["apply", "cutover", "cleanup"] {
        project.must(&[command]);
    }
    let most =
        "SELECT max(rows / marks) < 1025 FROM system.parts WHERE active AND table = 'events'";
    assert_eq!(project.query(most), "1");
    assert_over(&project);
}

#[test]
fn a_rename_is_done_by_hint_and_never_guessed() {
    let project = filled(EVENTS);
    let before = sum(&project, "town");
    let renamed = EVENTS.replace("town", "city");
    project.write("app/events.sql", &renamed);
    // Without the hint a column is new, and the other stays, since nobody said that it may go.
    let unhinted = project.must(&["plan"]).stdout;
    assert!(unhinted.contains("column city: new"), "{unhinted}");
    assert!(unhinted.contains("--allow-drop events.town"), "{unhinted}");

    project.write("app/events.sql", &format!("-- teal: column city renamed_from town\n{renamed}"));
    let said = project.must(&["plan"]).stdout;
    assert!(said.contains("RENAME COLUMN `town` TO `city`"), "{said}");
    assert!(said.contains("mutation"), "{said}");
    project.must(&["apply"]);
    assert_eq!(sum(&project, "city"), before);
    // The hint may stay.
    assert_over(&project);
}

#[test]
fn a_column_goes_only_when_it_is_named() {
    let project = filled(EVENTS);
    project.write("app/events.sql", &EVENTS.replace(", town String", ""));
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
    let said = project.must(&["plan", "--allow-drop", "events.town"]).stdout;
    assert!(said.contains("DROP COLUMN `town`"), "{said}");
    project.must(&["apply", "--allow-drop", "events.other", "--allow-drop", "e*"]);
    assert_eq!(project.query("SELECT uniqExact(town) FROM events"), "100");
    project.must(&["apply", "--allow-drop", "events.t*"]);
    assert_eq!(
        project.query("SELECT arraySort(groupArray(name)) FROM system.columns WHERE database = 'default' AND table = 'events'"),
        "['at','id']"
    );
    assert_over(&project);

    let protected = format!(
        "-- teal: lifecycle deletion_protected\n{}",
        EVENTS.replace(", town String, at DateTime", "")
    );
    project.write("app/events.sql", &protected);
    let said = project.must(&["plan", "--allow-drop", "*"]).stdout;
    assert!(said.contains("DELETION_PROTECTED") && said.contains("Nothing to do"), "{said}");
}

/// Each of these is refused in another order, and would be copied then.
#[test]
fn what_needs_another_change_is_altered_behind_it() {
    const ALL: &[(&str, &str)] = &[
        (
            "(id UInt64, at DateTime) ENGINE = MergeTree ORDER BY id TTL at",
            "(id UInt64) ENGINE = MergeTree ORDER BY id",
        ),
        (
            "(id UInt64, at DateTime, t DateTime) ENGINE = MergeTree ORDER BY id TTL at",
            "(id UInt64, t DateTime, due DateTime) ENGINE = MergeTree ORDER BY id TTL due + toIntervalDay(1)",
        ),
        (
            "(at DateTime, id UInt64, a UInt8 TTL at, b UInt8 TTL at, c UInt8) ENGINE = MergeTree ORDER BY id",
            "(id UInt64, c UInt8, a UInt8, b UInt8 TTL toDateTime(c)) ENGINE = MergeTree ORDER BY id",
        ),
        (
            "(id UInt64, x UInt8, a UInt8 DEFAULT x, b UInt8 DEFAULT x + 1) ENGINE = MergeTree ORDER BY id",
            "(b UInt8 DEFAULT id, id UInt64, a UInt8) ENGINE = MergeTree ORDER BY id",
        ),
        (
            "(id UInt64, x UInt8, y UInt8 DEFAULT x, z UInt8 DEFAULT y) ENGINE = MergeTree ORDER BY id",
            "(id UInt64) ENGINE = MergeTree ORDER BY id",
        ),
        (
            "(id UInt64, a UInt8) ENGINE = ReplacingMergeTree ORDER BY id",
            "(id UInt64, a UInt8, PROJECTION p (SELECT a ORDER BY a)) ENGINE = ReplacingMergeTree ORDER BY id \
             SETTINGS deduplicate_merge_projection_mode = 'rebuild'",
        ),
        (
            "(id UInt64, a UInt8, PROJECTION p (SELECT a ORDER BY a)) ENGINE = ReplacingMergeTree ORDER BY id \
             SETTINGS deduplicate_merge_projection_mode = 'rebuild'",
            "(id UInt64, a UInt8) ENGINE = ReplacingMergeTree ORDER BY id",
        ),
    ];
    let model = |body: &str| format!("CREATE TABLE events {body};");
    for (from, to) in ALL {
        let project = Project::new(&[("app/events.sql", &model(from))]);
        project.must(&["apply"]);
        project.query("INSERT INTO events (id) VALUES (1)");
        project.write("app/events.sql", &model(to));
        let allowed = ["apply", "--allow-drop", "events.*"];
        assert_eq!(project.must(&allowed).stdout, "changed default.events\n", "{from} -> {to}");
        assert_over(&project);
    }
}

#[test]
fn a_column_of_no_model_stays_behind_the_column_before_it() {
    let project = filled(EVENTS);
    project.query(
        "ALTER TABLE events ADD COLUMN spare UInt8 AFTER town, ADD COLUMN other UInt8 AFTER spare",
    );
    let places = |columns: &str, allowed: &[&str]| {
        project.must(&[&["apply"][..], allowed].concat());
        let there =
            "SELECT name FROM system.columns WHERE database = 'default' AND table = 'events'";
        assert_eq!(project.query(there).lines().collect::<Vec<_>>().join(", "), columns);
        assert_over(&project);
    };
    let renamed = EVENTS.replace("town", "city");
    project.write("app/events.sql", &format!("-- teal: column city renamed_from town\n{renamed}"));
    places("id, city, spare, other, at", &[]);
    project.write("app/events.sql", &renamed.replace("city String, ", ""));
    places("id, other, at", &["--allow-drop", "events.city", "--allow-drop", "events.spare"]);
}

#[test]
fn tables_and_views_in_no_model_are_dropped_only_when_they_are_named() {
    let project = filled(EVENTS);
    project.query("CREATE TABLE spare ENGINE = MergeTree ORDER BY id AS SELECT * FROM events");
    project.query("CREATE MATERIALIZED VIEW mv_spare TO spare AS SELECT * FROM events");
    let said = project.must(&["plan"]).stdout;
    assert!(said.contains("in no model of default, and left alone: mv_spare, spare;"), "{said}");
    assert!(!said.contains("DROP"), "{said}");
    let said = project.must(&["plan", "--allow-drop", "*spare"]).stdout;
    assert!(said.contains("destructive: 90,000 rows"), "{said}");
    let done = project.must(&["apply", "--allow-drop", "*spare"]).stdout;
    assert_eq!(done, "dropped default.mv_spare\ndropped default.spare\n");
    assert_over(&project);
}

#[test]
fn what_a_view_that_stays_needs_is_not_dropped() {
    let project = filled(EVENTS);
    project.query("CREATE TABLE spare ENGINE = MergeTree ORDER BY id AS SELECT * FROM events");
    project.query("CREATE TABLE seen (town String, n UInt8) ENGINE = MergeTree ORDER BY town");
    project.query("CREATE TABLE blocked (town String) ENGINE = MergeTree ORDER BY town");
    project.query(
        "CREATE MATERIALIZED VIEW mv TO spare AS SELECT id, town, at FROM events AS e JOIN seen AS s ON e.town = s.town \
         WHERE town NOT IN blocked",
    );
    project.teal(&["apply", "--allow-drop", "spare"]).failed(3, &["mv writes to it", "INSERT"]);
    for table in ["seen", "blocked"] {
        project.teal(&["apply", "--allow-drop", table]).failed(3, &["mv looks rows up in it"]);
    }
    let drops = ["mv", "spare", "blocked"].map(|name| ["--allow-drop", name]);
    project.must(&[&["apply"], drops.as_flattened()].concat());
    project.query(
        "CREATE DICTIONARY names (id UInt64, town String) PRIMARY KEY id SOURCE(CLICKHOUSE(TABLE 'events')) LAYOUT(FLAT()) LIFETIME(0)",
    );
    let done = project.must(&["apply", "--allow-drop", "*"]).stdout;
    assert_eq!(done, "dropped default.names\ndropped default.seen\n");
    // What the one is loaded from comes before it by name.
    project.query("CREATE TABLE a (id UInt64, town String) ENGINE = MergeTree ORDER BY id");
    project.query(
        "CREATE DICTIONARY names (id UInt64, town String) PRIMARY KEY id SOURCE(CLICKHOUSE(TABLE 'a')) LAYOUT(FLAT()) LIFETIME(0)",
    );
    project.query(
        "CREATE TABLE b (id UInt64, town String DEFAULT dictGet('default.names', 'town', id)) ENGINE = MergeTree ORDER BY id",
    );
    let done = project.must(&["apply", "--allow-drop", "*"]).stdout;
    assert_eq!(done, "dropped default.b\ndropped default.names\ndropped default.a\n");
}

#[test]
fn a_column_name_with_a_line_break_is_refused_with_that_reason() {
    let model = |key: &str| {
        format!(
            "CREATE TABLE events (id UInt64, `a\nline` String) ENGINE = MergeTree ORDER BY {key};"
        )
    };
    let project = Project::new(&[("app/events.sql", &model("id"))]);
    project.must(&["apply"]);
    project.write("app/events.sql", &model("(`a\nline`, id)"));
    let said = project.must(&["plan"]).stdout;
    for words in [r#"column "a\nline" has a line break"#, "rename the column first"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn an_ephemeral_column_is_not_copied() {
    let old = "CREATE TABLE t (id UInt64, e String EPHEMERAL, s String DEFAULT lower(e)) ENGINE = MergeTree ORDER BY id;\n";
    let new = old.replace("e String EPHEMERAL", "e String").replace("BY id", "BY (id, s)");
    let project = Project::new(&[("app/t.sql", old)]);
    project.must(&["apply"]);
    project.query("INSERT INTO t (id, e) VALUES (1, 'A')");
    project.write("app/t.sql", &new);
    let said = project.must(&["apply"]).said();
    assert!(said.contains("migrated"), "{said}");
    project.query("INSERT INTO t (id, e) VALUES (2, 'B')");
    project.must(&["cutover"]);
    assert_eq!(
        project.query("SELECT * FROM t ORDER BY id FORMAT CSV"),
        "1,\"\",\"a\"\n2,\"\",\"b\""
    );
    // By a version the SELECT is the user's.
    let next = new.replace("CREATE TABLE t ", "-- teal: table t version 1\nCREATE TABLE t_1 ");
    let view = "CREATE MATERIALIZED VIEW mv TO t_1 AS SELECT id, e, s FROM t;\n";
    let other = Project::new(&[("app/t.sql", &format!("{old}{next}{view}"))]);
    other.teal(&["plan"]).failed(3, &["reads e, which is EPHEMERAL", "leave it out"]);
}

/// ClickHouse takes none of these by ALTER.
#[test]
fn what_is_the_same_in_other_words_needs_no_migration() {
    let keyed = |table: &str, key: &str, settings: &str| {
        format!(
            "CREATE TABLE {table} (id UInt64, at DateTime) ENGINE = MergeTree {key} {settings};\n"
        )
    };
    let models = |[a, b, c]: [&str; 3], settings: &str| {
        let of = |table: &str, key: &str| keyed(table, &format!("{key} ORDER BY id"), settings);
        let sampled = keyed("d", &format!("ORDER BY id SAMPLE BY {c}"), settings);
        format!("{}{}{sampled}", of("a", a), of("b", b))
    };
    let first = models(["", "PARTITION BY toYYYYMM(at)", "id"], "");
    let project = Project::new(&[("app/events.sql", &first)]);
    project.must(&["apply"]);
    let other = ["PARTITION BY tuple()", "PARTITION BY (toYYYYMM(at))", "(id)"];
    project.write("app/events.sql", &models(other, "SETTINGS index_granularity_bytes = 10485760"));
    let plan = project.teal(&["plan", "--check"]);
    assert_eq!(plan.code, Some(0), "{}", plan.said());
}

/// Each is a change that ClickHouse cannot make in place, of `EVENTS`, and what of it the plan names.
const REBUILT: &[(&str, &str, &str, &str)] = &[
    ("sorting key", "ORDER BY id", "ORDER BY (town, id)", "rewrite"),
    ("partition key", "ORDER BY", "PARTITION BY toYYYYMM(at) ORDER BY", "rewrite"),
    ("primary key", "ORDER BY id", "PRIMARY KEY town ORDER BY (town, id)", "rewrite"),
    ("engine", "= MergeTree", "= ReplacingMergeTree", "clone"),
    ("type of column town", "town String", "town LowCardinality(String)", ""),
    ("type of column id", "id UInt64", "id UInt32", "rewrite"),
];

#[test]
fn what_it_cannot_is_migrated_in_place_and_exchanged() {
    for (field, from, to, strategy) in REBUILT {
        let project = filled(EVENTS);
        let before = sum(&project, "town");
        project.write("app/events.sql", &EVENTS.replace(from, to));
        let planned = plan(&project);
        let operation = &planned["operations"][0];
        if strategy.is_empty() {
            assert_eq!(operation["kind"], "alterTable", "{field}: {planned}");
            continue;
        }
        assert_eq!(operation["kind"], "migrate", "{field}: {planned}");
        assert_eq!(operation["strategy"], *strategy, "{field}: {planned}");
        let disk =
            if *strategy == "clone" { "0".to_owned() } else { operation["bytes"].to_string() };
        assert_eq!(operation["needs"]["diskBytes"].to_string(), disk, "{field}: {planned}");
        assert!(operation["needs"]["seconds"].as_u64() >= Some(1), "{field}: {planned}");
        let said = project.must(&["plan"]).stdout;
        for words in [*field, "default.events, changed in its model", "exchange, by `teal cutover`"]
        {
            assert!(said.contains(words), "{words}: {said}");
        }
        project.must(&["apply"]);
        let verified = project.must(&["plan"]).stdout;
        assert!(verified.contains("is verified; next: `teal cutover events_green`"), "{verified}");
        // What comes before the cutover is forwarded, what comes behind it goes to the new layout.
        insert(&project, 90_000, 1000);
        project.teal(&["cutover", "--by", "app"]).failed(3, &["--by exchange"]);
        project.must(&["cutover"]);
        insert(&project, 91_000, 1000);
        project.must(&["cleanup"]);
        let count = project.query("SELECT count(), uniqExact(id) FROM events");
        assert_eq!(count, "92000\t92000", "{field}");
        let old = project.query(
            "SELECT count(), sum(sipHash64(id, toString(town), at)) FROM events WHERE id < 90000",
        );
        if !field.contains("type of column id") {
            assert_eq!(old, before, "{field}");
        }
        assert_over(&project);
    }
}

#[test]
fn a_migration_in_place_goes_on_after_a_kill() {
    for failpoint in ["started", "view-created", "attached", "chunk-copied", "verified"] {
        let project = filled(EVENTS);
        let before = sum(&project, "town");
        project.write("app/events.sql", &EVENTS.replace("ORDER BY id", "ORDER BY (town, id)"));
        project.killed_at(failpoint, &["apply", "--chunk-rows", "20000"]);
        project.must(&["apply", "--chunk-rows", "20000"]);
        project.killed_at("exchanged", &["cutover"]);
        project.killed_at("exchange-settled", &["cutover"]);
        project.must(&["cutover"]);
        project.must(&["cleanup"]);
        assert_eq!(sum(&project, "town"), before, "{failpoint}");
        assert_over(&project);
    }
}

#[test]
fn a_model_that_changes_again_meanwhile_is_refused_and_lets_the_migration_end() {
    let project = filled(EVENTS);
    let first = EVENTS.replace("ORDER BY id", "ORDER BY (town, id)");
    project.write("app/events.sql", &first);
    project.killed_at("attached", &["apply"]);
    project.write("app/events.sql", &EVENTS.replace("ORDER BY id", "ORDER BY (at, id)"));
    project.teal(&["apply"]).failed(3, &["have changed since its migration began"]);
    project.write("app/events.sql", EVENTS);
    project.teal(&["apply"]).failed(3, &["is under way, and the model is as the table was"]);
    project.write("app/events.sql", &first);
    project.must(&["apply"]);
    let refused = |instead: &str| {
        project.write("app/events.sql", EVENTS);
        project.teal(&["apply"]).failed(3, &["sorting key: `town`, `id` → `id`", instead]);
        project.write("app/events.sql", &first);
    };
    refused("or `teal abort events_green`, and begin again");
    project.must(&["cutover"]);
    refused("bring the model back until the migration is over: `teal cleanup events_green`");
    project.must(&["cleanup"]);
    assert_eq!(
        project.query("SELECT sorting_key FROM system.tables WHERE name = 'events'"),
        "town, id"
    );
    assert_over(&project);
}

/// Nor is one of the old table taken for done, which the migration leaves as it is.
#[test]
fn a_model_of_the_old_table_that_changes_meanwhile_is_refused() {
    let next = format!(
        "-- teal: table events version 1\n{}CREATE MATERIALIZED VIEW mv TO events_1 AS SELECT id, town, at FROM events;\n",
        EVENTS.replace("events", "events_1").replace("ORDER BY id", "ORDER BY (town, id)")
    );
    let project = filled(EVENTS);
    let models = format!("{EVENTS}{next}");
    let more = models.replacen("at DateTime)", "at DateTime, more UInt8)", 1);
    project.write("app/events.sql", &models);
    project.killed_at("attached", &["apply"]);
    let refused = |instead: &str| {
        project.write("app/events.sql", &more);
        project.teal(&["apply"]).failed(3, &["default.events", "column more: new", instead]);
        project.write("app/events.sql", &models);
    };
    refused("bring the model back");
    project.must(&["apply"]);
    refused("or `teal abort events_1`, and change the table first");
    project.must(&["cutover", "--by", "exchange"]);
    refused("until the migration is over: `teal cleanup events_1`");
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
    // What somebody has altered in the table is another matter.
    project.query("ALTER TABLE events_1 MODIFY SETTING merge_with_ttl_timeout = 7200");
    project.must(&["plan"]);
}

#[test]
fn a_rewrite_into_an_engine_that_goes_by_a_lost_order_is_refused() {
    let project = filled(EVENTS);
    let folding = EVENTS.replace("MergeTree ORDER BY id", "ReplacingMergeTree ORDER BY town");
    project.write("app/events.sql", &folding);
    project
        .teal(&["apply"])
        .failed(3, &["engine: MergeTree → ReplacingMergeTree", "may differ by `id`"]);
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(4));
}

#[test]
fn views_that_read_the_table_are_told_and_follow_the_name() {
    let project = filled(EVENTS);
    // Also those of a database that no model is about; a column of the name is no table.
    project.query("CREATE DATABASE elsewhere");
    project.query("CREATE VIEW elsewhere.towns AS SELECT town, count() AS n FROM default.events GROUP BY town");
    project.query("CREATE VIEW elsewhere.others AS SELECT 1 AS events");
    project.query("CREATE VIEW towns AS SELECT town, count() AS n FROM events GROUP BY town");
    project.write("app/events.sql", &EVENTS.replace("ORDER BY id", "ORDER BY (town, id)"));
    let said = project.must(&["plan"]).stdout;
    let told =
        "mind: default.events: views over it (default.towns, elsewhere.towns) follow the name";
    assert!(said.contains(told), "{said}");
}

#[test]
fn a_view_on_the_new_version_is_told_that_the_history_does_not_reach_it() {
    let project = filled(EVENTS);
    project.write(
        "app/events.sql",
        &format!(
            "{EVENTS}-- teal: table events version 1\n\
             CREATE TABLE events_1 (id UInt64, town String, at DateTime) ENGINE = MergeTree ORDER BY (town, id);\n\
             CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events;\n\
             CREATE TABLE seen (town String) ENGINE = MergeTree ORDER BY town;\n\
             CREATE VIEW plain AS SELECT town FROM events_1;\n\
             CREATE MATERIALIZED VIEW mv_seen TO seen AS SELECT town FROM events_1;\n"
        ),
    );
    let said = project.must(&["plan"]).stdout;
    let told = "mind: default.events_1: default.mv_seen read it, and get the rows of INSERTs alone";
    assert!(said.contains(told), "{said}");
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT count() FROM seen"), "0");
    insert(&project, 90_000, 10);
    assert_eq!(project.query("SELECT count() FROM seen"), "10");
}

/// Where only a table changed, the plain views on it would go on to give the columns of then.
#[test]
fn a_plain_view_is_made_anew_where_its_table_has_other_columns() {
    let model = |columns: &str| {
        format!(
            "CREATE TABLE t (id UInt64, {columns}) ENGINE = MergeTree ORDER BY id;\n\
             CREATE VIEW of_t AS SELECT * FROM t;\nCREATE VIEW of_view AS SELECT * FROM of_t;\n"
        )
    };
    let project = Project::new(&[("app/t.sql", &model("c UInt8, gone UInt8"))]);
    project.must(&["apply"]);
    project.write("app/t.sql", &model("c UInt32, came String"));
    let said = project.must(&["plan", "--allow-drop", "t.gone"]).stdout;
    for words in ["CREATE OR REPLACE VIEW `default`.`of_view`", "type of column c: UInt8"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    project.must(&["apply", "--allow-drop", "t.gone"]);
    project.query("INSERT INTO t VALUES (1, 300, 'x')");
    assert_eq!(project.query("SELECT * FROM of_view"), "1\t300\tx");
    // A column that no model knows stays, and the view has it when it is made anew; that is all.
    project.query("ALTER TABLE t ADD COLUMN unknown UInt8 DEFAULT 7");
    project.must(&["apply"]);
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT unknown FROM of_view"), "7");
    project.query("ALTER TABLE t DROP COLUMN unknown");
    project.must(&["apply"]);
    project.must(&["apply"]);
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
    // By a migration in place, the view is made anew behind its cutover.
    project.write("app/t.sql", &model("c UInt64, came String").replace("BY id", "BY (c, id)"));
    project.must(&["apply"]);
    project.must(&["cutover", "--by", "exchange"]);
    project.must(&["apply"]);
    project.query("INSERT INTO t VALUES (2, 5000000000, 'y')");
    assert_eq!(project.query("SELECT c FROM of_view WHERE id = 2"), "5000000000");
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
}

#[test]
fn a_view_gets_another_select_and_keeps_what_it_wrote() {
    let view = "CREATE MATERIALIZED VIEW mv TO seen AS SELECT id, town FROM events;\n";
    let seen = "CREATE TABLE seen (id UInt64, town String) ENGINE = MergeTree ORDER BY id;\n";
    let project = Project::new(&[("app/events.sql", &format!("{EVENTS}{seen}{view}"))]);
    project.must(&["apply"]);
    insert(&project, 0, 10);
    let upper = view.replace("SELECT id, town", "SELECT id, upper(town) AS town");
    project.write("app/events.sql", &format!("{EVENTS}{seen}{upper}"));
    let said = project.must(&["plan"]).stdout;
    assert!(said.contains("change view default.mv") && said.contains("MODIFY QUERY"), "{said}");
    assert_eq!(project.must(&["apply"]).stdout, "changed default.mv\n");
    insert(&project, 10, 10);
    assert_eq!(project.query("SELECT countIf(town LIKE 'TOWN%'), count() FROM seen"), "10\t20");
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
}

#[test]
fn a_select_that_is_changed_behind_the_proof_is_not_taken_for_done() {
    let version = "-- teal: table events version 1\n\
         CREATE TABLE events_1 (id UInt64, town String, at DateTime) ENGINE = MergeTree ORDER BY (town, id);\n";
    let models = |select: &str| {
        format!("{EVENTS}{version}CREATE MATERIALIZED VIEW mv TO events_1 AS SELECT {select};\n")
    };
    let project = filled(EVENTS);
    project.write("app/events.sql", &models("* FROM events"));
    project.must(&["apply"]);
    let upper = models("id, upper(town) AS town, at FROM events");
    for step in ["cutover", "status"] {
        project.write("app/events.sql", &upper);
        project.teal(&["apply"]).failed(3, &["its SELECT has changed since", "upper(town)"]);
        assert_eq!(project.teal(&["plan", "--check"]).code, Some(4));
        project.write("app/events.sql", &models("*\n  FROM default.events"));
        assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
        project.must(&[step]);
    }
}

/// Rows lie in the partitions of their days as the old time zone has them (26.7 lets the type be altered all the same,
/// and then finds some of them no more).
#[test]
fn a_time_zone_that_a_key_computes_by_takes_a_copy() {
    let model = |zone: &str, key: &str| {
        format!("CREATE TABLE times (id UInt64, at DateTime('{zone}')) ENGINE = MergeTree {key};")
    };
    for (key, kind) in [
        ("PARTITION BY toYYYYMMDD(at) ORDER BY id", "migrate"),
        ("ORDER BY (toStartOfDay(at), id)", "migrate"),
        ("ORDER BY id TTL toStartOfDay(at) + INTERVAL 50 YEAR", "migrate"),
        ("ORDER BY (at, id) TTL at + INTERVAL 50 YEAR TO VOLUME 'default'", "alterTable"),
    ] {
        let project = Project::new(&[("app/times.sql", &model("UTC", key))]);
        project.must(&["apply"]);
        project.query("INSERT INTO times SELECT number, toDateTime('2024-01-01 00:00:00', 'UTC') + number * 3600 FROM numbers(100)");
        project.write("app/times.sql", &model("Asia/Tokyo", key));
        let planned = plan(&project);
        assert_eq!(planned["operations"][0]["kind"], kind, "{key}: {planned}");
        project.must(&["apply"]);
        if kind == "migrate" {
            assert!(planned.to_string().contains("by its time zone"), "{planned}");
            project.must(&["cutover"]);
        }
        let of_a_day = "SELECT count() FROM times WHERE toYYYYMMDD(at) = 20240102";
        assert_eq!(project.query(of_a_day), "24", "{key}");
    }
}

/// ClickHouse writes these names without quotes.
#[test]
fn a_key_of_columns_that_are_called_as_clauses_is_kept() {
    let model = |engine: &str| {
        format!(
            "CREATE TABLE odd (settings UInt64, ttl DateTime, type UInt8, INDEX i type TYPE set(100) GRANULARITY 4) \
             ENGINE = {engine} ORDER BY (settings, ttl, type) TTL ttl + INTERVAL 50 YEAR;"
        )
    };
    let project = Project::new(&[("app/odd.sql", &model("MergeTree"))]);
    project.must(&["apply"]);
    project.query("INSERT INTO odd SELECT number, now(), 1 FROM numbers(100)");
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0), "{}", plan(&project));
    project.write("app/odd.sql", &model("MergeTree PARTITION BY type"));
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.must(&["cleanup"]);
    let made = "SELECT sorting_key, partition_key, engine_full LIKE '%TTL ttl + %' FROM system.tables WHERE name = 'odd'";
    assert_eq!(project.query(made), "settings, ttl, type\ttype\t1");
    assert_eq!(project.query("SELECT count() FROM odd"), "100");
    let index = "SELECT expr, type_full, granularity FROM system.data_skipping_indices";
    assert_eq!(project.query(index), "type\tset(100)\t4");
    project
        .write("app/odd.sql", &model("MergeTree PARTITION BY type").replace("set(100)", "minmax"));
    assert!(plan(&project).to_string().contains("minmax"), "{}", plan(&project));
}

/// The server has a column of each element.
#[test]
fn a_nested_column_is_renamed_with_its_values() {
    let model = |hint: &str, name: &str| {
        format!(
            "{hint}CREATE TABLE nested (id UInt64, {name} Nested(k String, v UInt8)) ENGINE = MergeTree ORDER BY id;"
        )
    };
    let project = Project::new(&[("app/nested.sql", &model("", "n"))]);
    project.must(&["apply"]);
    project.query("INSERT INTO nested SELECT number, ['a'], [7] FROM numbers(100)");
    project.write("app/nested.sql", &model("-- teal: column nn renamed_from n\n", "nn"));
    project.must(&["apply"]);
    if project.query("SELECT count() FROM system.tables WHERE name = 'nested_green'") == "1" {
        project.must(&["cutover"]);
        project.must(&["cleanup"]);
    }
    assert_eq!(project.query("SELECT sum(nn.v[1]), any(nn.k) FROM nested"), "700\t['a']");
    let columns = "SELECT groupArray(name) FROM system.columns WHERE table = 'nested'";
    assert_eq!(project.query(columns), "['id','nn.k','nn.v']");
}
