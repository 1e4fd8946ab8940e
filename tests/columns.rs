//! Columns that an INSERT does not give, or not all: `DEFAULT`, `MATERIALIZED`, `ALIAS`, `EPHEMERAL`; another
//! order of columns; a constraint of green that rows break.

use crate::server_migration::{ROWS, Stage};
use crate::servers::Modern;
use crate::support::Project;

const BLUE: &str = "CREATE TABLE events (id UInt64, town String DEFAULT upper(raw), at DateTime, day Date MATERIALIZED toDate(at), \
     raw String EPHEMERAL 'x', twice UInt64 ALIAS id * 2) \
     ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY id;\n";
/// Its partitions are of a column that no SELECT of the copied columns has.
const OTHER_ORDER: &str = "CREATE TABLE events_1 (town String DEFAULT upper(raw), twice UInt64 ALIAS id * 2, day Date MATERIALIZED toDate(at), \
     raw String EPHEMERAL 'x', at DateTime, id UInt64) \
     ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY (town, id);\n";
const VIEW: &str = "CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events;\n";
const APPLY: &[&str] = &["apply", "--chunk-rows", "500"];
/// Rows whose day is another than blue would compute, as after an `ALTER` of the expression.
const ODD: &str = "INSERT INTO events (id, town, at, day) SELECT 100000 + number, 'odd', toDateTime('2024-01-05 00:00:00'), '2020-01-01' \
     FROM numbers(100) SETTINGS insert_allow_materialized_columns = 1";

/// Blue's columns and layout, for green; its parts can be cloned.
fn alike() -> String {
    let text = BLUE.replacen("events", "events_1", 1);
    text.replace("ORDER BY id", "ORDER BY id SETTINGS merge_with_ttl_timeout = 7200")
}

fn models(blue: &str, next: &str, view: &str) -> String {
    format!("{blue}-- teal: table events version 1\n{next}{view}")
}

fn filled(blue: &str, next: &str, view: &str) -> Project {
    let project = Project::new(&[("app/events.sql", blue)]);
    project.must(&["apply"]);
    project.query(&insert(0, 2000));
    project.write("app/events.sql", &models(blue, next, view));
    project
}

fn constrained(table: &str, of: &str) -> String {
    table.replacen(") ENGINE", &format!(", {of}) ENGINE"), 1)
}

/// Of three months.
fn insert(from: u64, rows: u64) -> String {
    format!(
        "INSERT INTO events (id, at, raw) SELECT {from} + number, toDateTime('2024-01-01 00:00:00') + (number % 80) * 86400, \
         concat('town ', toString(number % 9)) FROM numbers({rows})"
    )
}

/// Rows by which the tables differ in `columns`.
fn difference(columns: &str) -> String {
    format!(
        "SELECT toUInt64(ifNull(sum(abs(n)), 0)) FROM (SELECT sum(sign) AS n FROM (\
             SELECT 1::Int64 AS sign, {columns} FROM events UNION ALL SELECT -1::Int64 AS sign, {columns} FROM events_1) \
         GROUP BY {columns})"
    )
}

const GIVEN: &str = "id, town, at, twice";
const ALL: &str = "id, town, at, twice, day";
const ODD_DAYS: &str = "SELECT countIf(day != toDate(at)) FROM events_1";

#[test]
fn columns_in_another_order_are_copied_by_name_and_computed_ones_anew() {
    let project = filled(BLUE, OTHER_ORDER, VIEW);
    project.query(ODD);
    project.killed_at("chunk-attached", APPLY);
    project.query(&insert(10_000, 300));
    project.must(APPLY);
    project.query(&insert(20_000, 300));
    project.must(&["verify"]);
    let sample = project.must(&["verify", "--sample", "5%"]).stdout;
    assert!(sample.contains("hold the same rows where town is "), "{sample}");
    assert_eq!(project.query(&difference(GIVEN)), "0");
    assert_eq!(project.query(ODD_DAYS), "0");
    assert_eq!(
        project.query("SELECT count(), countIf(town = 'TOWN 3') > 0 FROM events_1"),
        "2700\t1"
    );

    // A partition of blue is not that of green with the same id.
    project.query("ALTER TABLE events DROP PARTITION 202001");
    project.must(&["cutover", "--by", "exchange"]);
    assert_eq!(project.query(&difference(ALL)), "0");
    assert_eq!(project.query("SELECT count() FROM events"), "2600");
    project.query(&insert(30_000, 300));
    project.must(&["rollback"]);
    assert_eq!(project.query(&difference(ALL)), "0");
    assert_eq!(project.query("SELECT count() FROM events"), "2900");
}

#[test]
fn a_clone_keeps_the_values_that_blue_has_computed() {
    let project = filled(BLUE, &alike(), VIEW);
    project.query(ODD);
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("clone (same columns"), "{plan}");
    project.must(APPLY);
    project.query(&insert(10_000, 300));
    project.must(&["verify"]);
    assert_eq!(project.query(&difference(ALL)), "0");
    assert_eq!(project.query(ODD_DAYS), "100");
}

/// Else the history would have blue's values, and what is forwarded green's own.
#[test]
fn parts_are_not_cloned_where_green_computes_a_column_otherwise_or_nobody_fills_it() {
    let computed = "day Date MATERIALIZED toDate(at)";
    for (of_green, word, days) in [
        ("day Date MATERIALIZED toDate(at) + 1", "computed anew", "toDate(at) + 1"),
        ("day Date DEFAULT toDate(at)", "does not fill column day", "toDate(at)"),
    ] {
        let by = |text: &str, day: &str| {
            text.replace(computed, day).replace("toYYYYMM(day)", "toYYYYMM(at)")
        };
        let project = filled(&by(BLUE, computed), &by(&alike(), of_green), VIEW);
        project.query(
            "ALTER TABLE events UPDATE town = 'old' WHERE id < 5 SETTINGS mutations_sync = 1",
        );
        let plan = project.must(&["plan"]).stdout;
        assert!(plan.contains("rewrite (") && plan.contains(word), "{plan}");
        project.must(APPLY);
        project.query(&insert(10_000, 300));
        project.must(&["verify"]);
        assert_eq!(project.query(&difference(GIVEN)), "0", "{of_green}");
        let others = format!("SELECT count(), countIf(day != {days}) FROM events_1");
        assert_eq!(project.query(&others), "2300\t0", "{of_green}");
    }
}

/// The values of blue's rows would be lost, and those of green's on the way back.
#[test]
fn a_column_of_both_versions_is_not_left_out() {
    let left_out = "CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT id, at FROM events;\n";
    let project = filled(BLUE, &alike(), left_out);
    let says = ["leaves out the column town, which both versions have", "say by what value"];
    project.teal(&["plan"]).failed(3, &says);
    let by_value = left_out.replace("id, at", "id, '' AS town, at");
    project.write("app/events.sql", &models(BLUE, &alike(), &by_value));
    project.must(&["plan"]);
    // Of one that blue has computed and stored, `*` gives nothing.
    let plain = alike().replace(" MATERIALIZED toDate(at)", "");
    project.write("app/events.sql", &models(BLUE, &plain, VIEW));
    project.teal(&["plan"]).failed(3, &["leaves out the column day, which both versions have"]);
    let with_day = VIEW.replace("SELECT *", "SELECT *, day");
    project.write("app/events.sql", &models(BLUE, &plain, &with_day));
    project.must(&["plan"]);
}

/// Neither the view nor the copy has an INSERT's `raw`: of it, they would compute what it is without.
#[test]
fn what_is_computed_from_an_ephemeral_column_is_not_computed_again() {
    const DECODED: &str = "body String MATERIALIZED tryBase64Decode(raw)";
    let of = |table: &str, body: &str, key: &str, comment: &str| {
        format!(
            "CREATE TABLE {table} (id UInt64, raw String EPHEMERAL, {body}) ENGINE = MergeTree ORDER BY {key} COMMENT '{comment}';\n"
        )
    };
    let blue = of("events", DECODED, "id", "a");
    let project = Project::new(&[("app/events.sql", &blue)]);
    project.must(&["apply"]);
    project.query("INSERT INTO events (id, raw) VALUES (1, 'SGVsbG8=')");
    let by_alias = format!(
        "twice String ALIAS tryBase64Decode(raw), {}",
        DECODED.replace("tryBase64Decode(raw)", "twice")
    );
    let default = DECODED.replace("MATERIALIZED", "DEFAULT");
    // By a clone, and by a rewrite.
    for (body, key) in
        [(DECODED, "id"), (DECODED, "(id, cityHash64(id))"), (&by_alias, "id"), (&default, "id")]
    {
        let next = of("events_1", body, key, "b");
        project.write("app/events.sql", &models(&blue, &next, VIEW));
        project.teal(&["apply"]).failed(
            3,
            &["computes the column body from what no row stores", "make it a DEFAULT column first"],
        );
    }
    // In place too.
    project.write("app/events.sql", &of("events", DECODED, "(id, cityHash64(id))", "a"));
    project.teal(&["apply"]).failed(3, &["computes the column body from what no row stores"]);
    // Nor is it given: the copy fills no such column.
    let given = VIEW.replace("SELECT *", "SELECT id, body AS raw");
    let next = of("events_1", &DECODED.replace("body", "other"), "id", "b");
    project.write("app/events.sql", &models(&blue, &next, &given));
    project.teal(&["apply"]).failed(3, &["its SELECT gives raw, which is EPHEMERAL"]);

    let blue = of("events", &default, "id", "a");
    project.write("app/events.sql", &blue);
    project.must(&["apply"]);
    project.write("app/events.sql", &models(&blue, &of("events_1", &default, "id", "b"), VIEW));
    project.must(APPLY);
    project.query("INSERT INTO events (id, raw) VALUES (2, 'SGVsbG8=')");
    assert_eq!(project.query("SELECT countIf(body = 'Hello') FROM events_1"), "2");
}

/// Parts from before an `ALTER` do not store the column that came with it.
#[test]
fn a_column_that_parts_do_not_store_keeps_its_values() {
    let with = |text: &str, default: &str| {
        let more = format!("more UInt8 DEFAULT {default}, random UUID DEFAULT generateUUIDv4()");
        text.replace("town String", &format!("{more}, town String"))
    };
    let project = filled(BLUE, "", "");
    project.write("app/events.sql", &with(BLUE, "5"));
    project.must(&["apply"]);
    project.query(&insert(5_000, 100));
    project.write("app/events.sql", &models(&with(BLUE, "5"), &with(&alike(), "7"), VIEW));
    let plan = project.teal(&["plan"]).stdout;
    assert!(plan.contains("rewrite (column more has another default"), "{plan}");
    let fix = "ALTER TABLE `default`.`events` MATERIALIZE COLUMN `random`";
    let says = "column random: 3 of 6 parts do not store it";
    project.teal(APPLY).failed(3, &[says, "(generateUUIDv4())", fix]);
    project.query(&format!("{fix} SETTINGS mutations_sync = 1"));
    project.must(APPLY);
    project.must(&["verify"]);
    assert_eq!(project.query(&difference("id, town, at, more, random")), "0");
    assert_eq!(project.query("SELECT countIf(more = 5), count() FROM events_1"), "2100\t2100");
}

#[test]
fn columns_of_every_kind_are_migrated_on_a_server_under_traffic() {
    let project = Project::new(&[("app/events.sql", BLUE)]);
    let stage = Stage::of(Modern::start(), project, &models(BLUE, OTHER_ORDER, VIEW));
    stage.query(ODD);
    let mut rows = ROWS + 100;
    for (next, odd) in [(OTHER_ORDER, "0"), (&alike(), "100")] {
        stage.project.write("app/events.sql", &models(BLUE, next, VIEW));
        rows += stage.under_traffic(2, || {
            stage.exactly(&["apply", "--chunk-rows", "10000"]);
            stage.must(&["verify"]);
        });
        assert_eq!(stage.query("SELECT count() FROM events_1"), rows.to_string(), "{next}");
        assert_eq!(stage.query(&difference(GIVEN)), "0", "{next}");
        assert_eq!(stage.query(ODD_DAYS), odd, "{next}");
        stage.must(&["abort"]);
    }
}

/// ClickHouse writes to blue and to its views apart: what green refuses, blue may have.
#[test]
fn an_insert_that_breaks_a_constraint_of_green_is_found_and_keeps_the_cutover_back() {
    let with = OTHER_ORDER.replace("id UInt64)", "id UInt64, CONSTRAINT small CHECK id < 50000)");
    let project = filled(BLUE, &with, VIEW);
    project.must(APPLY);
    project.teal(&["query", &insert(60_000, 10)]).failed(1, &["VIOLATED_CONSTRAINT", "small"]);
    project.query(&insert(10_000, 300));
    // 26.7 writes to blue first.
    assert_eq!(project.query("SELECT count() FROM events WHERE id >= 50000"), "10");
    project.teal(&["verify"]).failed(3, &["green lacks 10 and has 0 too many"]);
    for command in [&["repair"][..], &["cutover", "--by", "app"]] {
        project.teal(command).failed(1, &["VIOLATED_CONSTRAINT", "small"]);
    }
    assert_eq!(project.query("SELECT count() FROM events"), "2310");
    // Away with what green does not take.
    project.query("ALTER TABLE events DELETE WHERE id >= 50000 SETTINGS mutations_sync = 1");
    project.must(&["cutover", "--by", "app"]);
    assert_eq!(project.query(&difference(ALL)), "0");
    assert_eq!(project.query("SELECT count() FROM events_1"), "2300");
}

#[test]
fn a_history_that_breaks_a_constraint_of_green_is_an_error_and_the_way_on_is_another_model() {
    let with = OTHER_ORDER.replace("id UInt64)", "id UInt64, CONSTRAINT small CHECK id < 1500)");
    let project = filled(BLUE, &with, VIEW);
    let found = ["500 of 2000 rows break its CHECK (id < 1500)", "the copy would stop"];
    project.teal(APPLY).failed(3, &found);
    project.query("ALTER TABLE events DELETE WHERE id >= 1500 SETTINGS mutations_sync = 1");
    let said = project.must(&["plan"]).stdout;
    assert!(
        said.contains("an INSERT into default.events of a row that breaks the CHECK"),
        "{said}"
    );
    // One that comes just before the view does.
    project.killed_at("prepared", APPLY);
    project.query(&insert(1500, 500));
    for _ in 0..2 {
        project.teal(APPLY).failed(1, &["VIOLATED_CONSTRAINT", "small", "id = 15"]);
    }
    // Green is no longer what was planned.
    project.query("ALTER TABLE events_1 DROP CONSTRAINT small");
    project.teal(APPLY).failed(3, &["constraint small", "nothing is lost", "teal abort"]);
    project.must(&["abort"]);
    project.write("app/events.sql", &models(BLUE, OTHER_ORDER, VIEW));
    project.must(APPLY);
    assert_eq!(project.query(&difference(ALL)), "0");
    assert_eq!(project.query("SELECT count() FROM events_1"), "2000");
}

#[test]
fn a_history_that_breaks_a_constraint_which_blue_has_too_is_found_by_the_plan() {
    const SMALL: &str = "CONSTRAINT small CHECK id < 1500";
    let project = filled(BLUE, OTHER_ORDER, VIEW);
    // ClickHouse looks at no row that is there.
    project.query(&format!("ALTER TABLE events ADD {SMALL}"));
    let blue = constrained(BLUE, SMALL);
    let plan_to = |next: &str| {
        project.write("app/events.sql", &models(&blue, next, VIEW));
        project.teal(&["plan"])
    };
    let said = plan_to(&constrained(OTHER_ORDER, SMALL)).stdout;
    let found = "500 of 2000 rows break its CHECK (id < 1500), at which the copy would stop";
    assert!(said.contains(found) && !said.contains("an INSERT into"), "{said}");
    // Parts are not checked, and blue refuses such rows before and after.
    let said = plan_to(&constrained(&alike(), SMALL)).stdout;
    assert!(!said.contains("CHECK ("), "{said}");
    // It divides by the id, which is 0 once.
    let said = plan_to(&constrained(OTHER_ORDER, "CONSTRAINT divided CHECK intDiv(9, id) < 10"));
    for words in ["could not look for rows that break its CHECK", "ILLEGAL_DIVISION"] {
        assert!(said.stdout.contains(words), "{}", said.stdout);
    }
}

#[test]
fn constraints_of_either_table_hold_on_a_server() {
    let blue = constrained(BLUE, "CONSTRAINT large CHECK id < 80000000000");
    let next = constrained(OTHER_ORDER, "CONSTRAINT small CHECK id < 40000000000");
    let project = Project::new(&[("app/events.sql", &blue)]);
    let stage = Stage::of(Modern::start(), project, &models(&blue, &next, VIEW));
    let written =
        stage.under_traffic(1, || drop(stage.exactly(&["apply", "--chunk-rows", "10000"])));
    for (id, word) in [("90000000000", "large"), ("50000000000", "small")] {
        let refused = format!("INSERT INTO events (id, at) VALUES ({id}, '2024-01-01 00:00:00')");
        stage.teal(&["query", &refused]).failed(1, &["VIOLATED_CONSTRAINT", word]);
    }
    // What blue refuses is nowhere; what only green refuses, blue has.
    assert_eq!(
        stage.query("SELECT groupArray(id) FROM events WHERE id >= 40000000000"),
        "[50000000000]"
    );
    stage.teal(&["verify"]).failed(3, &["green lacks 1 and has 0 too many"]);
    for command in [&["repair"][..], &["cutover", "--by", "exchange"]] {
        stage.teal(command).failed(1, &["VIOLATED_CONSTRAINT", "small"]);
    }
    stage.query("ALTER TABLE events DELETE WHERE id = 50000000000 SETTINGS mutations_sync = 1");
    stage.must(&["cutover", "--by", "exchange"]);
    assert_eq!(stage.query(&difference(ALL)), "0");
    assert_eq!(stage.query("SELECT count() FROM events"), (ROWS + written).to_string());
    // The names have changed places.
    let refused = "INSERT INTO events (id, at) VALUES (50000000000, '2024-01-01 00:00:00')";
    stage.teal(&["query", refused]).failed(1, &["VIOLATED_CONSTRAINT", "small"]);
}
