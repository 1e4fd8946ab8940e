//! Tables that are legal and not usual: columns of names that teal's own statements have, TTLs, states outside of
//! an engine that merges them, keys that the table computes.

use crate::support::Project;

/// A project of one table, filled, with the models of its next version.
fn filled(blue: &str, insert: &str, next: &str) -> Project {
    let project = Project::new(&[("app/t.sql", blue)]);
    project.must(&["apply"]);
    project.query(insert);
    project.write("app/t.sql", &format!("{blue}-- teal: table t version 1\n{next}"));
    project
}

const VIEW: &str = "CREATE MATERIALIZED VIEW mv TO t_1 AS SELECT * FROM t;\n";

#[test]
fn columns_may_have_any_name() {
    const COLUMNS: &str = "(id UInt64, partition String, surplus Int32, rows UInt64, row String, row_count UInt64, \
         hash_sum UInt64, shown String, number UInt64, text String, there UInt8, key UInt64, version UInt8, expired UInt8, \
         `is_of_green` UInt8, `a.b c` String, `sélèct` UInt8) ENGINE = MergeTree PARTITION BY partition ORDER BY";
    let blue = format!("CREATE TABLE t {COLUMNS} id;\n");
    let next = format!("CREATE TABLE t_1 {COLUMNS} (key, id);\n{VIEW}");
    const INSERT: &str = "INSERT INTO t SELECT number, toString(number % 3), number % 2 * 100, number, 'r', 1, 2, 's', 3, 't', 1, \
         number % 7, 2, 0, 1, 'x', 1 FROM numbers(3000)";
    let project = filled(&blue, INSERT, &next);
    project.must(&["apply"]);
    let equal = "SELECT (SELECT sum(sipHash64(*)) FROM t) = (SELECT sum(sipHash64(*)) FROM t_1)";
    assert_eq!(project.query(equal), "1");
    // What green lacks is copied, and what it has too many goes, and nothing else.
    project.query("ALTER TABLE t_1 DELETE WHERE id IN (10, 11) SETTINGS mutations_sync = 1");
    project.teal(&["verify"]).failed(3, &["green lacks 2"]);
    let said = project.must(&["repair"]).said();
    assert!(said.contains("2 rows copied"), "{said}");
    project.query("ALTER TABLE t DELETE WHERE id IN (20, 22) SETTINGS mutations_sync = 1");
    let said = project.must(&["repair"]).said();
    assert!(said.contains("2 rows removed that blue lacks, 0 copied"), "{said}");
    project.query("ALTER TABLE t DROP PARTITION '1'");
    let said = project.must(&["cutover"]).said();
    assert!(said.contains("rows removed that blue lacks, 0 copied"), "{said}");
    assert_eq!(project.query(equal), "1");
    assert_eq!(project.query("SELECT count() FROM t_1"), "1999");
    // Rows that only the new table has come back.
    project.query(
        "INSERT INTO t_1 SELECT 5000, '0', 100, * EXCEPT (id, partition, surplus) FROM t_1 LIMIT 1",
    );
    project.must(&["rollback"]);
    assert_eq!(project.query("SELECT count() FROM t WHERE id = 5000"), "1");
}

#[test]
fn values_are_looked_at_in_their_own_column() {
    let project = filled(
        "CREATE TABLE t (id UInt64, value Tuple(x UInt8), x Nullable(UInt64)) ENGINE = MergeTree ORDER BY id;\n",
        "INSERT INTO t SELECT number, tuple(1), 5000000000 FROM numbers(9)",
        &format!(
            "CREATE TABLE t_1 (id UInt64, value Tuple(x UInt8), x Nullable(UInt32)) ENGINE = MergeTree ORDER BY (id, x) \
             SETTINGS allow_nullable_key = 1;\n{VIEW}"
        ),
    );
    project.teal(&["apply"]).failed(3, &["column x: 9 of 9 rows", "5000000000"]);
}

#[test]
fn a_key_is_computed_of_what_a_column_becomes() {
    let project = filled(
        "CREATE TABLE t (id UInt64, ts UInt32) ENGINE = MergeTree ORDER BY id;\n",
        "INSERT INTO t SELECT number, 1700000000 + number * 100 FROM numbers(3000)",
        &format!(
            "CREATE TABLE t_1 (id UInt64, ts DateTime) ENGINE = MergeTree ORDER BY (toStartOfHour(ts), id);\n{VIEW}"
        ),
    );
    project.must(&["apply"]);
    assert_eq!(
        project.query("SELECT count(), sum(toUInt32(ts)) FROM t_1"),
        project.query("SELECT count(), sum(ts) FROM t")
    );
}

/// The copy's SELECT sorts rows where it can, several blocks of them in a chunk; elsewhere whoever writes them does.
#[test]
fn rows_are_sorted_by_keys_of_every_kind() {
    let blue = "CREATE TABLE t (id UInt64, n Nullable(Int32), code String, at DateTime('UTC'), `a b` LowCardinality(String)) \
         ENGINE = MergeTree ORDER BY id;\n";
    const COLUMNS: &str = "(id UInt64, n Nullable(Int32), code UInt32, at DateTime('UTC'), `a b` LowCardinality(String), \
         day Date MATERIALIZED toDate(at)) ENGINE = MergeTree";
    let project = filled(
        blue,
        "INSERT INTO t SELECT number, if(number % 5 = 0, NULL, toInt32(number % 1000) - 500), toString(number % 2000), \
         toDateTime('2026-01-01', 'UTC') + number % 5000000, toString(cityHash64(number) % 30) FROM numbers(1200000)",
        &format!(
            "CREATE TABLE t_1 {COLUMNS} PARTITION BY toYYYYMM(at) ORDER BY (n, cityHash64(`a b`) % 7, at) \
             SETTINGS allow_nullable_key = 1;\n{VIEW}\
             -- teal: table t version 2\nCREATE TABLE t_2 {COLUMNS} ORDER BY (day, n, id) SETTINGS allow_nullable_key = 1;\n\
             CREATE MATERIALIZED VIEW mv_2 TO t_2 AS SELECT * FROM t_1;\n\
             -- teal: table t version 3\nCREATE TABLE t_3 {COLUMNS} ORDER BY (id DESC, n) \
             SETTINGS allow_nullable_key = 1, allow_experimental_reverse_key = 1;\n\
             CREATE MATERIALIZED VIEW mv_3 TO t_3 AS SELECT * FROM t_2;\n"
        ),
    );
    let plan = project.must(&["plan", "--json"]).stdout;
    assert!(plan.contains("\"greenSortingKey\": \"n, cityHash64(`a b`) % 7, at\""), "{plan}");
    // What only the table computes, the SELECT does not give; and the server does not tell what descends.
    assert_eq!(plan.matches("greenSortingKey").count(), 1, "{plan}");
    project.must(&["apply"]);
    for table in ["t_1", "t_2", "t_3"] {
        let sum = |table: &str| {
            let row = "id, n, toUInt32(code), at, toString(`a b`)";
            project.query(&format!("SELECT count(), sum(cityHash64({row})) FROM {table}"))
        };
        assert_eq!(sum("t"), sum(table));
    }
}

/// Where clocks are put back, an hour comes twice, and both partitions have one text.
#[test]
fn partitions_of_one_text_are_each_compared() {
    let of = |table: &str, partition: &str| {
        format!(
            "CREATE TABLE {table} (id UInt64, at DateTime('Europe/Berlin')) ENGINE = MergeTree {partition} ORDER BY id;\n"
        )
    };
    let (one, other) = (of("t_0", ""), of("t_1", "PARTITION BY toStartOfHour(at)"));
    let project = Project::new(&[("app/t.sql", &format!("-- teal: table t version 0\n{one}"))]);
    project.must(&["apply"]);
    // From midnight UTC on, an hour before the clocks are put back.
    project.query(
        "INSERT INTO t_0 SELECT number, toDateTime(1729987200 + 2 * number) FROM numbers(3600)",
    );
    project.write(
        "app/t.sql",
        &format!(
            "-- teal: table t version 0\n{one}-- teal: table t version 1\n{other}\
             CREATE MATERIALIZED VIEW v TO t_1 AS SELECT * FROM t_0;\n"
        ),
    );
    project.must(&["apply"]);
    let twice = "SELECT max(n) FROM (SELECT uniqExact(partition_id) AS n FROM system.parts \
         WHERE active AND table = 't_1' GROUP BY partition)";
    assert_eq!(project.query(twice), "2");
    for hour in ["id < 1800", "id >= 1800"] {
        let copy = project.copy();
        copy.query(&format!(
            "ALTER TABLE t_1 DELETE WHERE {hour} AND id % 100 = 7 SETTINGS mutations_sync = 1"
        ));
        copy.teal(&["verify"]).failed(3, &["green lacks 18"]);
    }
}

#[test]
fn a_part_is_not_cloned_with_another_tables_ttl() {
    let of = |table: &str, days: u32| {
        format!(
            "CREATE TABLE {table} (id UInt64, at DateTime, s String) ENGINE = MergeTree ORDER BY id TTL at + toIntervalDay({days});\n"
        )
    };
    let project = filled(
        &of("t", 30),
        "INSERT INTO t SELECT number, now(), 's' FROM numbers(100)",
        &format!("{}{VIEW}", of("t_1", 3650)),
    );
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("another TTL"), "{plan}");
    project.must(&["apply"]);
    let ends = "SELECT min(delete_ttl_info_max) > now() + toIntervalYear(9) FROM system.parts \
         WHERE active AND table = 't_1' AND database = 'default'";
    assert_eq!(project.query(ends), "1");
    // The same of a column.
    let of = |table: &str, days: u32| {
        of(table, 30).replace("s String", &format!("s String TTL at + toIntervalDay({days})"))
    };
    let project = filled(
        &of("t", 5),
        "INSERT INTO t SELECT number, now(), 's' FROM numbers(100)",
        &format!("{}{VIEW}", of("t_1", 6)),
    );
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("another TTL"), "{plan}");
    assert!(plan.contains("SYSTEM STOP TTL MERGES"), "{plan}");
}

/// Merged parts store by which numbers an UPDATE finds their rows, and in another table other rows have the same
/// (26.7; 26.9 when they have been mutated).
#[test]
fn a_part_with_numbered_rows_is_not_cloned() {
    let of = |table: &str, settings: &str| {
        format!(
            "CREATE TABLE {table} (id UInt64, n UInt64) ENGINE = MergeTree ORDER BY id SETTINGS {settings}enable_block_number_column = 1, enable_block_offset_column = 1;\n"
        )
    };
    let project = filled(
        &of("t", ""),
        "INSERT INTO t SELECT number, 0 FROM numbers(100)",
        &format!("{}{VIEW}", of("t_1", "merge_with_ttl_timeout = 7200, ")),
    );
    project.query("INSERT INTO t SELECT 100 + number, 0 FROM numbers(100)");
    project.query("OPTIMIZE TABLE t FINAL");
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("rewrite (its rows are numbered"), "{plan}");
    project.must(&["apply"]);
    project.query("INSERT INTO t SELECT 200 + number, 0 FROM numbers(100)");
    project.query("OPTIMIZE TABLE t_1 FINAL");
    let rows = "SELECT count(), uniqExact(_block_number, _block_offset) FROM t_1";
    assert_eq!(project.query(rows), "300\t300");
}

/// The server has it on for tables that do not say so.
#[test]
fn nor_is_one_whose_rows_the_server_numbers_in_all_tables() {
    let all = "<clickhouse><merge_tree><enable_block_number_column>1</enable_block_number_column></merge_tree></clickhouse>";
    let of = |table: &str, setting: &str| {
        format!("CREATE TABLE {table} (id UInt64) ENGINE = MergeTree ORDER BY id{setting};\n")
    };
    let longer = " SETTINGS merge_with_ttl_timeout = 7200";
    let off = " SETTINGS enable_block_number_column = 0";
    let project = Project::new(&[("app/t.sql", &of("t", ""))]);
    project.write("all.xml", all);
    let config = project.path().join("all.xml").display().to_string();
    let plan = |old: &str, new: &str| {
        project.write("app/t.sql", &format!("{old}-- teal: table t version 1\n{new}{VIEW}"));
        project.must(&["--engine-config", &config, "plan"]).stdout
    };
    project.must(&["--engine-config", &config, "apply"]);
    let numbered = plan(&of("t", ""), &of("t_1", longer));
    assert!(numbered.contains("rewrite (its rows are numbered"), "{numbered}");
    project.must(&["--engine-config", &config, "query", "DROP TABLE t"]);
    project.write("app/t.sql", &of("t", off));
    project.must(&["--engine-config", &config, "apply"]);
    let off_for_longer = format!("{off}, merge_with_ttl_timeout = 7200");
    let plain = plan(&of("t", off), &of("t_1", &off_for_longer));
    assert!(plain.contains("clone"), "{plain}");
}

/// A table keeps its rows for a shorter time from now on.
#[test]
fn rows_whose_time_is_over_in_green_are_no_difference() {
    let project = filled(
        "CREATE TABLE t (id UInt64, at DateTime) ENGINE = MergeTree ORDER BY id;\n",
        "INSERT INTO t SELECT number, now() - toIntervalDay(number % 2 * 40) FROM numbers(1000)",
        &format!(
            "CREATE TABLE t_1 (id UInt64, at DateTime) ENGINE = MergeTree ORDER BY (at, id) TTL at + toIntervalDay(20) \
             SETTINGS merge_with_ttl_timeout = 0;\n{VIEW}"
        ),
    );
    project.must(&["apply"]);
    project.query("OPTIMIZE TABLE t_1 FINAL");
    assert_eq!(project.query("SELECT count() FROM t_1"), "500");
    project.must(&["verify"]);
    project.query("ALTER TABLE t_1 DELETE WHERE id = 8 SETTINGS mutations_sync = 1");
    project.teal(&["verify"]).failed(3, &["green lacks 1"]);
    let said = project.must(&["cutover"]).said();
    assert!(said.contains("1 rows copied"), "{said}");
    project.must(&["cleanup"]);
    assert_eq!(project.query("SELECT count() FROM t_1"), "500");
}

#[test]
fn a_value_that_cannot_be_converted_is_named() {
    let of = |table: &str, key: &str, x: &str| {
        format!("CREATE TABLE {table} (id UInt64, x {x}) ENGINE = MergeTree ORDER BY {key};\n")
    };
    let project = filled(
        &of("t", "id", "Nullable(UInt32)"),
        "INSERT INTO t SELECT number, number FROM numbers(10)",
        &format!("{}{VIEW}", of("t_1", "(x, id)", "UInt32")),
    );
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("column x becomes UInt32"), "{plan}");
    project.must(&["apply"]);
    project.teal(&["query", "INSERT INTO t VALUES (100, NULL)"]).failed(1, &["NULL"]);
    for command in ["verify", "repair", "cutover"] {
        project.teal(&[command]).failed(3, &["column x of default.t: 1 of 11 rows", "NULL"]);
    }
    project.must(&["abort", "--force"]);
    assert_eq!(project.query("SELECT count() FROM t"), "11");
}

#[test]
fn states_that_nothing_merges_are_compared_by_what_they_say() {
    let of = |table: &str, key: &str| {
        format!(
            "CREATE TABLE {table} (id UInt64, u AggregateFunction(uniq, UInt64), e AggregateFunction(uniqExact, UInt64), \
                 g AggregateFunction(groupUniqArray, UInt64), s AggregateFunction(sum, UInt64)) \
             ENGINE = MergeTree ORDER BY {key};\n"
        )
    };
    let project = filled(
        &of("t", "id"),
        "INSERT INTO t SELECT number % 1000 AS id, uniqState(number), uniqExactState(number), groupUniqArrayState(number), \
             sumState(number) FROM numbers(11000) GROUP BY id",
        &format!("{}{VIEW}", of("t_1", "(id % 7, id)")),
    );
    project.must(&["apply"]);
    project.must(&["verify"]);
    project.query(
        "INSERT INTO t_1 SELECT 1, uniqState(number), uniqExactState(number), groupUniqArrayState(number), sumState(number) \
         FROM numbers(3)",
    );
    project.teal(&["verify"]).failed(3, &["1 too many"]);
    // Of rows that are equal but for what is in such a state, the right one is copied.
    let project = filled(
        "CREATE TABLE t (e AggregateFunction(uniqExact, UInt64), u AggregateFunction(uniq, UInt64)) ENGINE = MergeTree ORDER BY tuple();\n",
        "INSERT INTO t SELECT uniqExactState(number), uniqState(number) FROM numbers(5) GROUP BY number",
        &format!(
            "CREATE TABLE t_1 (e AggregateFunction(uniqExact, UInt64), u AggregateFunction(uniq, UInt64)) ENGINE = MergeTree \
             ORDER BY tuple() COMMENT 'new';\n{VIEW}"
        ),
    );
    project.must(&["apply"]);
    let value = "uniqExactMerge(e), uniqMerge(u)";
    project.query("ALTER TABLE t_1 DELETE WHERE cityHash64(e) = (SELECT max(cityHash64(e)) FROM t_1) SETTINGS mutations_sync = 1");
    project.must(&["repair"]);
    assert_eq!(project.query(&format!("SELECT {value} FROM t_1")), "5\t5");
}

#[test]
fn a_key_that_the_table_computes_tells_which_rows_fold() {
    let of = |table: &str, engine: &str, key: &str| {
        format!(
            "CREATE TABLE {table} (id UInt64, ver UInt32, at DateTime, day Date MATERIALIZED toDate(at)) \
             ENGINE = {engine} ORDER BY {key};\n"
        )
    };
    let project = filled(
        &of("t", "MergeTree", "id"),
        "INSERT INTO t SELECT number % 100, number, toDateTime('2024-01-01 00:00:00') + number % 100 * 3600 FROM numbers(1000)",
        &format!("{}{VIEW}", of("t_1", "ReplacingMergeTree(ver)", "(day, id)")),
    );
    project.must(&["apply"]);
    project.must(&["verify"]);
    assert_eq!(project.query("SELECT count(), min(ver) FROM t_1 FINAL"), "100\t900");
}

#[test]
fn what_a_condition_leaves_without_a_row_does_not_add_up() {
    let plan = |made: &str, kind: &str| {
        let project = filled(
            "CREATE TABLE t (id UInt64, price UInt32, sale UInt8) ENGINE = MergeTree ORDER BY id;\n",
            "INSERT INTO t SELECT number % 3, number + 5, number < 6 FROM numbers(30)",
            &format!(
                "CREATE TABLE t_1 (id UInt64, best {kind}) ENGINE = AggregatingMergeTree ORDER BY id;\n\
                 CREATE MATERIALIZED VIEW mv TO t_1 AS SELECT id, {made} AS best FROM t GROUP BY id;\n"
            ),
        );
        project.teal(&["plan"]).said()
    };
    let refused = plan("minIf(price, sale)", "SimpleAggregateFunction(min, UInt32)");
    assert!(refused.contains("would not add up"), "{refused}");
    for (made, kind) in [
        ("sumIf(price, sale)", "SimpleAggregateFunction(sum, UInt64)"),
        ("maxIf(price, sale)", "SimpleAggregateFunction(max, UInt32)"),
        ("minIf(toNullable(price), sale)", "SimpleAggregateFunction(min, Nullable(UInt32))"),
    ] {
        let plan = plan(made, kind);
        assert!(!plan.contains("would not add up"), "{made}: {plan}");
    }
}

#[test]
fn a_computed_column_that_is_not_stored_cannot_be_copied() {
    let project = filled(
        "CREATE TABLE t (id UInt64, uid UUID MATERIALIZED generateUUIDv4()) ENGINE = MergeTree ORDER BY id;\n",
        "INSERT INTO t SELECT number FROM numbers(10)",
        "CREATE TABLE t_1 (id UInt64, uid UUID) ENGINE = MergeTree ORDER BY (uid, id);\n\
         CREATE MATERIALIZED VIEW mv TO t_1 AS SELECT *, uid FROM t;\n",
    );
    project.query("ALTER TABLE t DROP COLUMN uid");
    project.query("ALTER TABLE t ADD COLUMN uid UUID MATERIALIZED generateUUIDv4()");
    project
        .teal(&["apply"])
        .failed(3, &["column uid: 1 of 1 parts do not store it", "MATERIALIZE COLUMN"]);
    project.query("ALTER TABLE t MATERIALIZE COLUMN uid SETTINGS mutations_sync = 1");
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("the old table computes a column that the new one has stored"), "{plan}");
    project.must(&["apply"]);
    // No INSERT gives the old table such a column, so no view does.
    project.must(&["cutover", "--by", "exchange"]);
    project.query("INSERT INTO t (id, uid) VALUES (10, generateUUIDv4())");
    assert_eq!(
        project.query("SELECT (SELECT count() FROM t), (SELECT count() FROM t_1)"),
        "11\t10"
    );
    project.teal(&["rollback"]).failed(3, &["1 row", "--force"]);
    project.must(&["rollback", "--force"]);
    assert_eq!(project.query("SELECT count() FROM t"), "10");
}

#[test]
fn a_select_that_goes_by_other_rows_or_by_where_a_row_lies_is_refused() {
    let blue =
        "CREATE TABLE t (id UInt64, n Nested(a UInt8, b String)) ENGINE = MergeTree ORDER BY id;\n";
    let project = filled(blue, "INSERT INTO t (id) SELECT number FROM numbers(9)", "");
    let plan = |select: &str| {
        let next = "CREATE TABLE t_1 (id UInt64, v String) ENGINE = MergeTree ORDER BY (v, id);";
        project.write(
            "app/t.sql",
            &format!("{blue}CREATE TABLE vip (id UInt64) ENGINE = MergeTree ORDER BY id;\n\
                 -- teal: table t version 1\n{next}\nCREATE MATERIALIZED VIEW mv TO t_1 AS {select};\n"),
        );
        project.teal(&["plan"])
    };
    for (value, says) in [
        ("toString(has((SELECT groupArray(id) FROM vip), id))", "it has a scalar subquery"),
        ("toString(has((SELECT groupArray(id) FROM t), id))", "it has a scalar subquery"),
        ("_part", "its SELECT reads _part, which is no column of the old version"),
    ] {
        plan(&format!("SELECT id, {value} AS v FROM t")).failed(3, &[says]);
    }
    plan("SELECT id, 'a' AS v FROM t WHERE _partition_id = 'all'")
        .failed(3, &["reads _partition_id"]);
    // The elements of a column are columns.
    let run =
        plan("SELECT id, toString(n) || toString(length(n.a)) || toString(n.b.size0) AS v FROM t");
    assert_eq!(run.code, Some(0), "{}", run.said());
}

/// Its name has what stands between the parts of a node in the server's tree.
#[test]
fn a_table_may_have_a_comma_in_its_name() {
    let of = |table: &str, key: &str| {
        format!("CREATE TABLE `{table}` (id UInt64) ENGINE = MergeTree ORDER BY {key};\n")
    };
    let project = Project::new(&[("app/t.sql", &of("a, b", "id"))]);
    project.must(&["apply"]);
    project.query("INSERT INTO `a, b` SELECT number FROM numbers(10)");
    project.write("app/t.sql", &of("a, b", "(intDiv(id, 2), id)"));
    project.must(&["apply"]);
}

#[test]
fn a_computed_column_that_no_model_knows_is_told() {
    let of = |table: &str, comment: &str| {
        format!(
            "CREATE TABLE {table} (id UInt64, v UInt8) ENGINE = MergeTree ORDER BY id COMMENT '{comment}';\n"
        )
    };
    let project = filled(
        &of("t", "a"),
        "INSERT INTO t SELECT number, 1 FROM numbers(10)",
        &format!("{}{VIEW}", of("t_1", "b")),
    );
    project.query("ALTER TABLE t ADD COLUMN w UInt8 MATERIALIZED v + 1");
    project.teal(&["apply"]).failed(3, &["column w is in no model"]);
}

/// Each column stands some thirty times in the query of a verification.
#[test]
fn a_table_may_have_thousands_of_columns() {
    let columns =
        (0..1800).map(|n| format!("c{n} LowCardinality(String)")).collect::<Vec<_>>().join(", ");
    let of = |table: &str, key: &str| {
        format!("CREATE TABLE {table} (id UInt64, {columns}) ENGINE = MergeTree ORDER BY {key};\n")
    };
    let project = filled(
        &of("t", "id"),
        "INSERT INTO t (id, c7) SELECT number, 'x' FROM numbers(10)",
        &format!("{}{VIEW}", of("t_1", "(c7, id)")),
    );
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT count() FROM t_1"), "10");
}

/// To the engine, a time of 0 is none, unless it stands in a part with others that are all over (26.7). So nothing
/// but this test says what goes here.
#[test]
fn rows_whose_time_never_comes_are_compared() {
    let of = |table: &str, rest: &str| {
        format!(
            "CREATE TABLE {table} (p UInt8, id UInt64, ends DateTime) ENGINE = MergeTree PARTITION BY p ORDER BY {rest};\n"
        )
    };
    let project = filled(
        &of("t", "id"),
        "INSERT INTO t SELECT number % 3, number, number % 4 = 3 ? now() + 10000 : toDateTime(0) FROM numbers(12)",
        &format!(
            "{}{VIEW}",
            of("t_1", "(ends, id) TTL ends SETTINGS max_number_of_merges_with_ttl_in_pool = 0")
        ),
    );
    let said = project.must(&["apply"]).said();
    assert!(said.contains("12 rows in both"), "{said}");
    project.query("ALTER TABLE t_1 DELETE WHERE id = 0 SETTINGS mutations_sync = 1");
    project.teal(&["verify"]).failed(3, &["green lacks 1"]);
    project.query("ALTER TABLE t DELETE WHERE id = 1 SETTINGS mutations_sync = 1");
    let said = project.must(&["repair"]).said();
    assert!(said.contains("1 rows removed that blue lacks, 1 copied"), "{said}");
    // On the way back every row counts, also one whose time is over.
    project.must(&["cutover"]);
    // A part by itself, which no other merge comes to.
    project.query("INSERT INTO t_1 VALUES (9, 100, 0), (9, 101, now() + 1)");
    project.query("SELECT sleep(2)");
    project.must(&["rollback"]);
    assert_eq!(project.query("SELECT count() FROM t WHERE id >= 100"), "2");
}

/// A partition of which all rows' time is over is no stale one.
#[test]
fn partitions_whose_time_is_over_stay() {
    let of = |table: &str, rest: &str| {
        format!(
            "CREATE TABLE {table} (p UInt8, id UInt64, at DateTime) ENGINE = MergeTree PARTITION BY p ORDER BY {rest};\n"
        )
    };
    let settings = "SETTINGS max_number_of_merges_with_ttl_in_pool = 0";
    let project = filled(
        &of("t", "id"),
        "INSERT INTO t SELECT number % 3, number, now() - (number % 3 = 1 ? 10000000 : 0) FROM numbers(12)",
        &format!("{}{VIEW}", of("t_1", &format!("(at, id) TTL at + toIntervalDay(20) {settings}"))),
    );
    project.must(&["apply"]);
    project.query("ALTER TABLE t DROP PARTITION 2");
    project.must(&["repair"]);
    assert_eq!(project.query("SELECT countIf(p = 0), countIf(p = 2) FROM t_1"), "4\t0");
}

#[test]
fn an_open_fence_of_merged_rows_with_a_ttl_is_undone() {
    let project = filled(
        "CREATE TABLE t (id UInt64, at DateTime) ENGINE = MergeTree ORDER BY id;\n",
        "INSERT INTO t SELECT number, now() FROM numbers(12)",
        &format!(
            "CREATE TABLE t_1 (id UInt64, at SimpleAggregateFunction(max, DateTime)) ENGINE = AggregatingMergeTree \
             ORDER BY id TTL at + toIntervalDay(30);\n{VIEW}"
        ),
    );
    project.killed_at("gate-opened", &["apply"]);
    project.query("INSERT INTO t VALUES (100, now())");
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT count() FROM t_1 FINAL"), "13");
}

#[test]
fn a_view_with_parameters_is_declared_as_any_other() {
    let table = "CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a;\n";
    let view = "CREATE VIEW v AS SELECT a FROM t WHERE b = {name:String};\n";
    let project = Project::new(&[("app/t.sql", table), ("app/v.sql", view)]);
    project.must(&["apply"]);
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
    project.query("INSERT INTO t VALUES (1, 'x'), (2, 'y')");
    assert_eq!(project.query("SELECT a FROM v(name = 'y')"), "2");
    project.write("app/v.sql", &view.replace("SELECT a", "SELECT a + 10 AS a"));
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT a FROM v(name = 'y')"), "12");
}
