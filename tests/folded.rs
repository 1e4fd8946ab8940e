//! Engines that fold rows: what their merges make of green's rows is what they would make of blue's.

use crate::support::Project;

const BLUE: &str = "CREATE TABLE t (id UInt64, town String, v UInt32, gone UInt8, n Int32, m Nullable(Int16), at DateTime) \
     ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY id;\n";

/// Blue, filled, and the models of its next version.
fn filled(blue: &str, green: &str, select: &str) -> Project {
    let project = Project::new(&[("app/t.sql", blue)]);
    project.must(&["apply"]);
    for from in [0, 20_000, 40_000] {
        project.query(&insert(from, 20_000));
    }
    let view = format!("CREATE MATERIALIZED VIEW mv TO t_1 AS {select};\n");
    let version = "-- teal: table t version 1\n";
    project.write("app/t.sql", &format!("{blue}{version}CREATE TABLE t_1 {green};\n{view}"));
    project
}

/// Rows of 1,000 keys. Versions come in no order; no two rows of a key have the same.
fn insert(from: u64, rows: u64) -> String {
    format!(
        "INSERT INTO t (id, town, v, gone, n, m, at) SELECT id, town, v, gone, n, m, at FROM (\
             SELECT {from} + number AS i, i % 1000 AS id, concat('town ', toString(i % 7)) AS town, \
                 intDiv(i, 1000) * 37 % 1009 AS v, cityHash64(i) % 5 = 0 AS gone, toInt32(cityHash64(i) % 200) - 100 AS n, \
                 if(i % 3 = 0, NULL, toInt16(i % 50) - 25) AS m, toDateTime('2024-01-01 00:00:00', 'UTC') + i * 60 AS at \
             FROM numbers({rows}))"
    )
}

fn verified(project: &Project) -> String {
    let run = project.must(&["verify"]);
    format!("{}{}", run.stdout, run.stderr)
}

#[test]
fn a_version_decides_which_row_stays_whatever_the_order() {
    let green = "(id UInt64, town String, v UInt32, gone UInt8, n Int32, m Nullable(Int16), at DateTime) \
         ENGINE = ReplacingMergeTree(v, gone) PARTITION BY id % 3 ORDER BY (id)";
    let project = filled(BLUE, green, "SELECT * FROM t");
    project.must(&["apply", "--chunk-rows", "7000"]);
    project.query(&insert(60_000, 5_000));
    let expected = "SELECT sum(sipHash64(*)), count() FROM (\
         SELECT argMax(tuple(*), v) AS r FROM t GROUP BY id) WHERE r.4 = 0";
    let expected = project.query(&expected.replace("sipHash64(*)", "sipHash64(r)"));
    let seen = "SELECT sum(sipHash64(tuple(*))), count() FROM t_1 FINAL";
    assert_eq!(project.query(seen), expected);
    let said = verified(&project);
    assert!(said.contains("folded rows in both") && !said.contains("keys"), "{said}");
    project.query("OPTIMIZE TABLE t_1 FINAL");
    verified(&project);
    // A row that is there in blue only, and one that green would show in its stead.
    let shown = project.query("SELECT min(id) FROM t_1 FINAL");
    project.query(&format!("INSERT INTO t_1 SELECT {shown}, 'nowhere', 100000, 0, 1, 1, now()"));
    project
        .teal(&["verify"])
        .failed(3, &["green lacks 1 and has 1 too many", "nowhere", "`teal abort`"]);
    project.query("ALTER TABLE t_1 DELETE WHERE town = 'nowhere' SETTINGS mutations_sync = 1");
    // The mutation has not brought back what a merge may have folded into the row.
    project.query(&insert(66_000, 1_000));
    verified(&project);
    project.query("ALTER TABLE t_1 DELETE WHERE id = 7 SETTINGS mutations_sync = 1");
    let is_shown = project.query("SELECT argMax(gone, v) = 0 FROM t WHERE id = 7") == "1";
    assert_eq!(project.teal(&["verify"]).code, if is_shown { Some(3) } else { Some(0) });
}

/// What the newest rows of a table's keys are, by the version, but for those that are deleted.
fn newest(project: &Project, table: &str) -> String {
    project.query(&format!(
        "SELECT count(), sum(sipHash64(r)) FROM (SELECT argMax(tuple(id, town, v, gone, n, m, at), v) AS r FROM {table} GROUP BY id) WHERE r.4 = 0"
    ))
}

/// `work`, while the view is not there.
fn without_the_view(project: &Project, work: impl FnOnce()) {
    let view = project.query("SELECT create_table_query FROM system.tables WHERE name = 'mv'");
    project.query("DROP VIEW mv SYNC");
    work();
    project.query(&view);
}

const BY_VERSION: &str = "(id UInt64, town String, v UInt32, gone UInt8, n Int32, m Nullable(Int16), at DateTime) \
     ENGINE = ReplacingMergeTree(v, gone) ORDER BY id";

/// A row that is newer than what green shows, one that says that another is deleted, and one that is older than
/// green's: the first two are missing, and there is no row too many.
#[test]
fn newer_rows_that_green_lacks_are_copied_also_when_they_delete() {
    let project = filled(BLUE, BY_VERSION, "SELECT * FROM t");
    project.must(&["apply", "--chunk-rows", "7000"]);
    let id = project.query("SELECT min(id) FROM t_1 FINAL WHERE id % 10 != 3");
    without_the_view(&project, || {
        project.query(&format!("INSERT INTO t VALUES ({id}, 'newer', 5000, 0, 1, NULL, now())"));
        project.query("INSERT INTO t SELECT id, 'deleted', 5000, 1, 1, NULL, now() FROM t GROUP BY id HAVING id % 10 = 3");
        project.query("INSERT INTO t VALUES (17, 'older', 0, 0, 1, NULL, now())");
        project.query("INSERT INTO t VALUES (100000, 'another', 1, 0, 1, NULL, now())");
    });
    project.teal(&["verify"]).failed(3, &["`teal repair`"]);
    let said = project.must(&["repair"]);
    assert!(said.stdout.contains("rows copied that default.t_1 lacked"), "{}", said.stdout);
    verified(&project);
    assert_eq!(newest(&project, "t"), newest(&project, "t_1"));
    assert_eq!(project.query("SELECT countIf(id % 10 = 3) FROM t_1 FINAL"), "0");
    // What green alone has is no row that an engine takes back.
    project.query("INSERT INTO t_1 VALUES (17, 'nowhere', 9000, 0, 1, NULL, now())");
    project.teal(&["repair"]).failed(3, &["green lacks 0 and has 1 too many", "`teal abort`"]);
}

/// The old table, which folds nothing, gets the newest rows of those that only the new one has.
#[test]
fn the_newest_rows_come_back_from_a_table_that_folds_the_others() {
    let green = BY_VERSION.replace("(v, gone)", "(v)");
    let filled = filled(BLUE, &green, "SELECT * FROM t");
    filled.must(&["apply", "--chunk-rows", "7000"]);
    let newer = |project: &Project, town: &str, v: u32| {
        for (v, gone) in [(v, 0), (v + 1, u8::from(town == "deleted"))] {
            project.query(&format!(
                "INSERT INTO t_1 SELECT number, '{town}', {v}, {gone}, 1, NULL, '2024-02-01 00:00:00' FROM numbers(100)"
            ));
        }
    };
    // Readers and writers move by their code, and back.
    let project = filled.copy();
    project.must(&["cutover", "--by", "app"]);
    newer(&project, "deleted", 5000);
    let said = project.must(&["rollback"]);
    assert!(said.stdout.contains("100 rows that only the new one had"), "{}", said.stdout);
    assert_eq!(newest(&project, "t"), newest(&project, "t_1"));
    verified(&project);
    // Nobody writes to the old table any more: the view is turned, and keeps it current.
    project.must(&["cutover", "--by", "app"]);
    newer(&project, "then", 6000);
    project.must(&["cutover"]);
    assert_eq!(newest(&project, "t"), newest(&project, "t_1"));
    newer(&project, "later", 7000);
    assert_eq!(newest(&project, "t"), newest(&project, "t_1"));
    let here = project.copy();
    here.must(&["rollback"]);
    assert_eq!(here.query("SELECT countIf(town = 'later') FROM t"), "200");
    // What is older than the new table's rows is none that it lacks.
    project.query("INSERT INTO t VALUES (17, 'older', 0, 0, 1, NULL, now())");
    let gone = project.copy();
    gone.must(&["cleanup"]);
    project.query("INSERT INTO t VALUES (17, 'newer', 8000, 0, 1, NULL, now())");
    project.teal(&["cleanup"]).failed(3, &["1 rows that default.t_1 lacks"]);
    project.must(&["cutover"]);
    assert_eq!(newest(&project, "t"), newest(&project, "t_1"));
    project.must(&["cleanup"]);
}

/// Rows that were written to the new table with the versions that the old one has already: none is newer, and none
/// may be dropped without a word.
#[test]
fn another_row_of_the_same_version_is_not_lost_on_the_way_back() {
    let filled = filled(BLUE, BY_VERSION, "SELECT * FROM t");
    filled.query(
        "INSERT INTO t SELECT number, 'here', 5000, 0, 1, NULL, '2024-02-01 00:00:00' FROM numbers(100)",
    );
    filled.must(&["apply", "--chunk-rows", "7000"]);
    filled.must(&["cutover", "--by", "app"]);
    let other = "SELECT number, 'other', 5000, number % 2, 1, NULL, '2024-02-01 00:00:00' FROM numbers(100)";
    filled.query(&format!("INSERT INTO t_1 {other}"));
    let shown = "SELECT countIf(town = 'other'), countIf(id < 100) FROM t_1 FINAL";
    assert_eq!(filled.query(shown), "50\t50");
    for merged in [false, true] {
        let project = filled.copy();
        if merged {
            project.query("OPTIMIZE TABLE t_1 FINAL");
        }
        let said = project.must(&["rollback"]);
        assert!(said.stdout.contains("100 rows"), "{}", said.stdout);
        assert_eq!(project.query("SELECT countIf(town = 'other') FROM t"), "100");
        verified(&project);
        // Nobody lacks any of them now.
        let said = project.must(&["rollback"]);
        assert!(said.stdout.contains("0 rows"), "{}", said.stdout);
        project.must(&["cutover", "--by", "app"]);
        project.must(&["cutover"]);
        assert_eq!(project.query(shown), "50\t50");
        project.must(&["cleanup"]);
    }
    // Before a cutover, what somebody wrote to green is not hidden by what blue has, and not dropped.
    let project = filled.copy();
    project.must(&["rollback"]);
    project.query(&format!("INSERT INTO t_1 {}", other.replace("other", "third")));
    project.query("OPTIMIZE TABLE t_1 FINAL");
    project.teal(&["repair"]).failed(3, &["its engine folds rows", "`teal rollback`"]);
    project.teal(&["abort"]).failed(3, &["50 rows"]);
    project.must(&["rollback"]);
    project.must(&["abort"]);
}

/// A change in place of the new table leaves no newer row.
#[test]
fn what_was_changed_in_place_with_its_version_is_not_taken_back_silently() {
    let filled = filled(BLUE, BY_VERSION, "SELECT * FROM t");
    filled.query(&insert(200_000, 1_000));
    filled.must(&["apply", "--chunk-rows", "7000"]);
    filled.must(&["cutover", "--by", "app"]);
    let replaced = filled.copy();
    replaced.query("CREATE TABLE other AS t_1");
    replaced.query("INSERT INTO other SELECT * REPLACE ('changed' AS town) FROM t_1");
    replaced.query("ALTER TABLE t_1 REPLACE PARTITION tuple() FROM other");
    replaced.teal(&["rollback"]).failed(3, &["changed in place since the cutover"]);
    let patched = filled.copy();
    patched.query("ALTER TABLE t_1 MODIFY SETTING enable_block_number_column = 1, enable_block_offset_column = 1");
    patched.query("INSERT INTO t_1 SELECT number, 'new', 6000, 0, 1, NULL, now() FROM numbers(10)");
    patched.query(
        "UPDATE t_1 SET town = 'changed' WHERE town = 'new' SETTINGS enable_lightweight_update = 1",
    );
    patched.teal(&["rollback"]).failed(3, &["a lightweight update of default.t_1"]);
    // When a merge has applied it, only the version of what it made tells.
    patched.query("OPTIMIZE TABLE t_1 FINAL");
    patched.teal(&["rollback"]).failed(3, &["a lightweight update of default.t_1"]);
    // Merges may forget what is deleted.
    let clean = "allow_experimental_replacing_merge_with_cleanup = 1";
    filled.query(&format!("ALTER TABLE t_1 MODIFY SETTING {clean}"));
    filled.query(
        "INSERT INTO t_1 SELECT number, 'deleted', 6000, 1, 1, NULL, now() FROM numbers(10)",
    );
    filled.query("OPTIMIZE TABLE t_1 FINAL CLEANUP");
    filled.teal(&["rollback"]).failed(3, &["changed in place since the cutover"]);
    filled.teal(&["cutover"]).failed(3, &["changed in place since the cutover"]);
}

/// A row whose time is over is the newest of its key, and is lost: the one that it stands for is not to be shown.
/// Merges that fold rows, and a TTL that takes some, are no change in place.
#[test]
fn a_ttl_hides_no_newer_row_and_merges_are_no_loss() {
    let green = "(id UInt64, town String, v UInt32, gone UInt8, n Int32, m Nullable(Int16), at DateTime, \
         x Tuple(a UInt8, b String) DEFAULT (1, 'x')) \
         ENGINE = ReplacingMergeTree(v) ORDER BY id TTL at + INTERVAL 10 YEAR WHERE town = 'soon'";
    let blue =
        BLUE.replace("at DateTime)", "at DateTime, x Tuple(a UInt8, b String) DEFAULT (1, 'x'))");
    let project = filled(&blue, green, "SELECT * FROM t");
    project.must(&["apply", "--chunk-rows", "7000"]);
    let columns = "(id, town, v, gone, n, m, at)";
    let over = project.copy();
    without_the_view(&over, || {
        over.query(&format!(
            "INSERT INTO t {columns} VALUES (7, 'soon', 5000, 0, 1, NULL, '2001-01-01 00:00:00')"
        ));
    });
    over.teal(&["verify"]).failed(3, &["green lacks 1 and has 1 too many"]);
    project.must(&["cutover", "--by", "app"]);
    project.query(&format!(
        "INSERT INTO t_1 {columns} SELECT number, 'newer', 6000, 0, 1, NULL, now() FROM numbers(50)"
    ));
    project.query("OPTIMIZE TABLE t_1 FINAL");
    let said = project.must(&["rollback"]);
    assert!(said.stdout.contains("50 rows"), "{}", said.stdout);
    assert_eq!(newest(&project, "t"), newest(&project, "t_1"));
}

#[test]
fn of_rows_with_the_same_version_either_may_stay_and_that_is_told() {
    let green = "(id UInt64, town String, v UInt32, gone UInt8, n Int32, m Nullable(Int16), at DateTime) \
         ENGINE = ReplacingMergeTree(v) PARTITION BY toYYYYMM(at) ORDER BY (id, gone)";
    let project = filled(BLUE, green, "SELECT * FROM t");
    for town in ["a", "b", "c"] {
        project.query(&format!(
            "INSERT INTO t SELECT number, '{town}', 5000, 0, 1, NULL, '2024-02-01 00:00:00' FROM numbers(100)"
        ));
    }
    let said = project.must(&["plan"]).stdout;
    assert!(said.contains("100 keys") && said.contains("the same version"), "{said}");
    project.must(&["apply", "--chunk-rows", "7000"]);
    let said = verified(&project);
    assert!(said.contains("keys, several rows have the greatest version"), "{said}");
    // A row of that version that is none of blue's is no tie.
    project.query("INSERT INTO t_1 SELECT 5, 'nowhere', 5000, 0, 1, NULL, '2024-02-01 00:00:00'");
    project.teal(&["verify"]).failed(3, &["green lacks 1 and has 1 too many", "nowhere"]);
}

#[test]
fn sums_are_those_of_all_rows_and_zeros_are_no_rows() {
    let green = "(town String, id UInt64, n Int32, m Nullable(Int16)) \
         ENGINE = SummingMergeTree ORDER BY (town, id)";
    let project = filled(BLUE, green, "SELECT town, id % 10 AS id, n, m FROM t");
    // Sums that are 0, that become it, and that are it no more.
    for (id, n, m) in
        [(11, 0, "NULL"), (12, 5, "NULL"), (12, -5, "NULL"), (13, 5, "5"), (13, -5, "-5")]
    {
        project.query(&format!("INSERT INTO t SELECT {id}, 'zero', 1, 0, {n}, {m}, now()"));
    }
    project.must(&["apply", "--chunk-rows", "7000"]);
    project.query(&insert(60_000, 5_000));
    project.query("INSERT INTO t SELECT 2, 'zero', 1, 0, 7, NULL, now()");
    verified(&project);
    project.query("OPTIMIZE TABLE t_1 FINAL");
    verified(&project);
    let of_blue = "SELECT count(), sum(n), sum(m) FROM (SELECT sum(n) AS n, sum(m) AS m FROM t GROUP BY town, id % 10 HAVING n != 0 OR m != 0)";
    let of_green = "SELECT count(), sum(n), sum(m) FROM t_1 WHERE n != 0 OR m != 0";
    assert_eq!(project.query(of_green), project.query(of_blue));
    // One row twice.
    project.query("INSERT INTO t_1 SELECT 'town 3', 4, 1, 0");
    project.teal(&["verify"]).failed(3, &["green lacks 1 and has 1 too many"]);
    project.query("INSERT INTO t_1 SELECT 'town 3', 4, -1, 0");
    verified(&project);
    // A key that only green has, and one that it has lost.
    project.query("INSERT INTO t_1 SELECT 'nowhere', 4, 1, 0");
    project.teal(&["verify"]).failed(3, &["green lacks 0 and has 1 too many"]);
    project.query(
        "ALTER TABLE t_1 DELETE WHERE town IN ('nowhere', 'town 5') SETTINGS mutations_sync = 1",
    );
    project.teal(&["verify"]).failed(3, &["green lacks 10 and has 0 too many"]);
    // Whole keys can be brought back.
    assert!(project.must(&["repair"]).stdout.contains("10 rows"));
    verified(&project);
}

#[test]
fn a_rollup_of_chunks_and_inserts_is_that_of_the_whole() {
    let green = "(town LowCardinality(String), day Date, rows UInt64, total Int64, latest SimpleAggregateFunction(max, DateTime), \
         ids AggregateFunction(uniqExact, UInt64), mean AggregateFunction(avg, Int32), some AggregateFunction(sumIf, Int32, UInt8), \
         last AggregateFunction(argMax, UInt64, DateTime)) \
         ENGINE = SummingMergeTree PARTITION BY toYYYYMM(day) ORDER BY (town, day)";
    let select = "SELECT town, toDate(at) AS day, count() AS rows, sum(n) AS total, max(at) AS latest, uniqExactState(id) AS ids, \
         avgState(n) AS mean, sumIfState(n, gone) AS some, argMaxState(id, at) AS last FROM t WHERE id != 13 GROUP BY town, day";
    let project = filled(BLUE, green, select);
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("column last keeps what argMax picks"), "{plan}");
    project.must(&["apply", "--chunk-rows", "7000"]);
    project.query(&insert(60_000, 5_000));
    verified(&project);
    project.query("OPTIMIZE TABLE t_1 FINAL");
    verified(&project);
    let whole = project.query(
        "SELECT sum(sipHash64(town, day, r, t, l, u, m, s, a)) FROM (SELECT town, toDate(at) AS day, count() AS r, sum(n) AS t, \
             max(at) AS l, uniqExact(id) AS u, avg(n) AS m, sumIf(n, gone) AS s, argMax(id, at) AS a FROM t WHERE id != 13 GROUP BY town, day)",
    );
    let folded = project.query(
        "SELECT sum(sipHash64(town::String, day, rows, total, latest, finalizeAggregation(ids), finalizeAggregation(mean), \
             finalizeAggregation(some), finalizeAggregation(last))) FROM t_1 FINAL",
    );
    assert_eq!(whole, folded);
    // A group of an INSERT twice: the means are the same, of twice the rows.
    project.query("INSERT INTO t_1 SELECT * FROM t_1 WHERE town = 'town 3' LIMIT 1");
    project.teal(&["verify"]).failed(3, &["1 too many"]);
}

#[test]
fn rows_cancel_their_copies_in_any_order() {
    let blue = "CREATE TABLE t (id UInt64, town String, v UInt32, sign Int8, n Int32, m Nullable(Int16), at DateTime) \
         ENGINE = MergeTree ORDER BY id;\n";
    let green = "(id UInt64, town String, v UInt32, sign Int8, n Int32, m Nullable(Int16), at DateTime) \
         ENGINE = VersionedCollapsingMergeTree(sign, v) ORDER BY (town, id)";
    let project = Project::new(&[("app/t.sql", blue)]);
    project.must(&["apply"]);
    let write = |from: u64, step: u64, sign: i8| {
        project.query(&format!(
            "INSERT INTO t SELECT number * {step} + {from}, concat('town ', toString(number % 7)), 1, {sign}, 5, NULL, 0 FROM numbers(3000)"
        ));
    };
    // Cancelled before and after, twice there, cancelled without being there.
    write(0, 2, -1);
    write(0, 2, 1);
    write(0, 1, 1);
    write(100_000, 1, 1);
    write(100_000, 1, 1);
    write(200_000, 1, -1);
    let version = "-- teal: table t version 1\n";
    let view = "CREATE MATERIALIZED VIEW mv TO t_1 AS SELECT * FROM t;\n";
    project.write("app/t.sql", &format!("{blue}{version}CREATE TABLE t_1 {green};\n{view}"));
    project.must(&["apply", "--chunk-rows", "1000"]);
    write(0, 1, -1);
    write(300_000, 1, 1);
    verified(&project);
    project.query("OPTIMIZE TABLE t_1 FINAL");
    let said = verified(&project);
    assert!(said.contains("12000 folded rows in both"), "{said}");
    assert_eq!(project.query("SELECT count(), sum(sign) FROM t_1"), "12000\t6000");
    project.query("INSERT INTO t_1 SELECT * REPLACE (-1 AS sign) FROM t_1 WHERE id = 300007");
    project.teal(&["verify"]).failed(3, &["green lacks 1 and has 0 too many"]);
}

#[test]
fn what_blue_folds_green_folds_likewise() {
    let columns =
        "(id UInt64, town String, v UInt32, gone UInt8, n Int32, m Nullable(Int16), at DateTime)";
    let blue =
        format!("CREATE TABLE t {columns} ENGINE = ReplacingMergeTree(v) ORDER BY (id, town);\n");
    let green = format!(
        "{columns} ENGINE = ReplacingMergeTree(v) PARTITION BY toYYYYMM(at) ORDER BY (town, id)"
    );
    let project = filled(&blue, &green, "SELECT * FROM t");
    project.must(&["apply", "--chunk-rows", "7000"]);
    project.query(&insert(60_000, 5_000));
    project.query("OPTIMIZE TABLE t FINAL");
    verified(&project);
    project.query("OPTIMIZE TABLE t_1 FINAL");
    verified(&project);
    let seen = |table: &str| {
        project.query(&format!("SELECT count(), sum(sipHash64(tuple(*))) FROM {table} FINAL"))
    };
    assert_eq!(seen("t"), seen("t_1"));
}

/// An INSERT into an engine that folds rows folds its own: its part looks as if it were merged. And what was
/// forwarded of a sum is not known again in blue, but its key is.
#[test]
fn an_insert_that_folds_its_own_rows_is_no_merge_and_no_stranger() {
    let apply = ["apply", "--chunk-rows", "7000"];
    let green = "(id UInt64, n Int32) ENGINE = SummingMergeTree ORDER BY id";
    let project = filled(BLUE, green, "SELECT id % 10 AS id, n FROM t");
    project.killed_at("view-created", &apply);
    project.query(&insert(60_000, 5_000));
    let copy = project.copy();
    copy.query("INSERT INTO t_1 VALUES (77, 1)");
    copy.teal(&apply).failed(3, &["t_1 has 1 rows", r#"{"id":77}"#]);
    assert_eq!(copy.query("SELECT n FROM t_1 WHERE id = 77"), "1");

    project.killed_at("publishing", &apply);
    project.query(&insert(65_000, 5_000));
    let run = project.must(&apply);
    assert!(!run.stderr.contains("somebody has merged"), "{}", run.said());
    verified(&project);
    let sums = |table: &str| {
        project.query(&format!(
            "SELECT groupArray((id, n)) FROM (SELECT id % 10 AS id, sum(n) AS n FROM {table} GROUP BY id ORDER BY id)"
        ))
    };
    assert_eq!(sums("t_1"), sums("t"));
}

/// What cannot be made right, and why.
/// The engine lets rows cancel each other by key and version, whatever their other columns hold: of two that it has
/// folded, or is about to, another key would show both again.
#[test]
fn rows_that_cancel_each_other_by_another_key_would_come_back() {
    let blue = "CREATE TABLE t (a UInt64, b String, sg Int8, v UInt64) \
         ENGINE = VersionedCollapsingMergeTree(sg, v) ORDER BY a;\n";
    let project = Project::new(&[("app/t.sql", blue)]);
    project.must(&["apply"]);
    project.query("INSERT INTO t SELECT number, 'new', 1, number FROM numbers(100)");
    project.query("INSERT INTO t SELECT number, 'old', -1, number FROM numbers(50)");
    project.write("app/t.sql", &blue.replace("ORDER BY a", "ORDER BY (a, b)"));
    project.teal(&["apply"]).failed(3, &["would not fold in the same way"]);
    assert_eq!(project.query("SELECT count() FROM t FINAL"), "50");
}

#[test]
fn what_depends_on_the_order_of_rows_is_refused() {
    let replacing = BLUE.replace("= MergeTree", "= ReplacingMergeTree(v)");
    let green = "(id UInt64) ENGINE = MergeTree ORDER BY id";
    let plain_one = filled(BLUE, green, "SELECT id FROM t");
    let replacing_one = filled(&replacing, green, "SELECT id FROM t");
    for (blue, green, select, words) in [
        (
            BLUE,
            "(id UInt64, n Int32) ENGINE = ReplacingMergeTree ORDER BY id",
            "SELECT id, n FROM t",
            "the row that came last stays",
        ),
        (
            BLUE,
            "(id UInt64, n Int32, s Int8) ENGINE = CollapsingMergeTree(s) ORDER BY id",
            "SELECT id, n, 1::Int8 AS s FROM t",
            "CollapsingMergeTree folds rows in the order",
        ),
        (
            BLUE,
            "(id UInt64, town String, n Int32) ENGINE = SummingMergeTree ORDER BY id",
            "SELECT id, town, n FROM t",
            "column town: it is neither in the sorting key",
        ),
        (
            BLUE,
            "(id UInt64, v UInt32, n Int32) ENGINE = SummingMergeTree(n) ORDER BY id",
            "SELECT id, v, n FROM t",
            "column v: it is neither",
        ),
        (
            BLUE,
            "(id UInt64, n Int32, v UInt32) ENGINE = SummingMergeTree PARTITION BY intDiv(v, 10) ORDER BY id",
            "SELECT id, n, v FROM t",
            "column v: it is neither",
        ),
        (
            BLUE,
            "(id UInt64, n Float64) ENGINE = SummingMergeTree ORDER BY id",
            "SELECT id, n FROM t",
            "column n: what floats add up to",
        ),
        (
            BLUE,
            "(id UInt64, n Int32, more Int32 DEFAULT 1) ENGINE = SummingMergeTree ORDER BY id",
            "SELECT id, n FROM t",
            "folds rows by column more, which its SELECT does not fill",
        ),
        (
            BLUE,
            "(id UInt64, n Int32) ENGINE = SummingMergeTree ORDER BY intDiv(id, 10)",
            "SELECT id, n FROM t",
            "the sorting key has the expression",
        ),
        (
            BLUE,
            "(id UInt64, n Int32) ENGINE = SummingMergeTree ORDER BY tuple()",
            "SELECT id, n FROM t",
            "all rows are one",
        ),
        (
            BLUE,
            "(id UInt64, `xMap.k` Array(UInt64), `xMap.n` Array(Int32)) ENGINE = SummingMergeTree ORDER BY id",
            "SELECT id, [id] AS `xMap.k`, [n] AS `xMap.n` FROM t",
            "nested columns whose name ends in Map",
        ),
        (
            BLUE,
            "(id UInt64, n SimpleAggregateFunction(anyLast, Int32)) ENGINE = AggregatingMergeTree ORDER BY id",
            "SELECT id, n FROM t",
            "what anyLast gives depends on the order",
        ),
        (
            BLUE,
            "(id UInt64, n AggregateFunction(groupArray, Int32)) ENGINE = AggregatingMergeTree ORDER BY id",
            "SELECT id, groupArrayState(n) AS n FROM t GROUP BY id",
            "what groupArray gives depends on the order",
        ),
        (
            BLUE,
            "(id UInt64, n AggregateFunction(avg, Float64)) ENGINE = AggregatingMergeTree ORDER BY id",
            "SELECT id, avgState(n::Float64) AS n FROM t GROUP BY id",
            "what floats add up to",
        ),
        (
            BLUE,
            "(id UInt64, n AggregateFunction(sum, Int64)) ENGINE = AggregatingMergeTree ORDER BY id",
            "SELECT id, sumState(n) AS n FROM t GROUP BY id",
            "AggregateFunction(sum, Int32) to AggregateFunction(sum, Int64) is not supported",
        ),
        (
            BLUE,
            "(id UInt64, n Int64) ENGINE = MergeTree ORDER BY id",
            "SELECT id, sum(n) AS n FROM t GROUP BY id",
            "keeps each group once per INSERT",
        ),
        (
            BLUE,
            "(id UInt64, n Int64) ENGINE = SummingMergeTree ORDER BY id",
            "SELECT id, max(n)::Int64 AS n FROM t GROUP BY id",
            "something is around its aggregate function",
        ),
        (
            BLUE,
            "(id UInt64, n Int32) ENGINE = SummingMergeTree ORDER BY id",
            "SELECT id, max(n) AS n FROM t GROUP BY id",
            "green merges by sumWithOverflow what the SELECT makes by max",
        ),
        (
            BLUE,
            "(id UInt64, v UInt32) ENGINE = SummingMergeTree ORDER BY id",
            "SELECT id, v FROM t GROUP BY id, v",
            "and the SELECT groups by it",
        ),
        (
            BLUE,
            "(id UInt64, n Int64) ENGINE = SummingMergeTree ORDER BY (id, n)",
            "SELECT id, sum(n) AS n FROM t GROUP BY id",
            "it is in green's sorting key",
        ),
        (
            BLUE,
            "(id UInt64, n Int64) ENGINE = SummingMergeTree ORDER BY id",
            "SELECT id, sum(n) AS n FROM t GROUP BY id HAVING n > 5",
            "does not work row by row",
        ),
        (
            BLUE,
            "(id UInt64, n Int64) ENGINE = SummingMergeTree ORDER BY id",
            "SELECT id, sum(n) AS n FROM t GROUP BY id WITH ROLLUP",
            "does not work row by row",
        ),
        (
            &replacing,
            "(id UInt64, n Int32) ENGINE = MergeTree ORDER BY id",
            "SELECT id, n FROM t",
            "blue's engine ReplacingMergeTree(`v`) folds rows at any time",
        ),
        (
            &replacing,
            "(id UInt64, n Int32, v UInt32) ENGINE = ReplacingMergeTree(v) ORDER BY (id, n)",
            "SELECT id, n, v FROM t",
            "folds rows at any time",
        ),
        (
            &replacing,
            "(id UInt64, n Int32, v UInt32) ENGINE = ReplacingMergeTree(v) ORDER BY id PARTITION BY n",
            "SELECT id, n, v FROM t WHERE n > 3",
            "folds rows at any time",
        ),
        (
            &replacing,
            "(id UInt64, n Int32) ENGINE = SummingMergeTree ORDER BY id",
            "SELECT id, n FROM t",
            "folds rows at any time",
        ),
    ] {
        let view = format!("CREATE MATERIALIZED VIEW mv TO t_1 AS {select};\n");
        let project = if blue == BLUE { &plain_one } else { &replacing_one };
        project.write(
            "app/t.sql",
            &format!("{blue}-- teal: table t version 1\nCREATE TABLE t_1 {green};\n{view}"),
        );
        let run = project.teal(&["plan"]);
        let said = run.said();
        assert!(
            run.code != Some(0) && said.contains(words),
            "{green} {select}: {words:?} is not in {said}"
        );
    }
}

/// Of such a state only the result and the size are compared, and an UPDATE may leave both as they were.
#[test]
fn what_was_changed_in_place_below_a_state_that_does_not_tell_it_is_refused() {
    let green = "(day Date, ids AggregateFunction(uniqExact, UInt64)) ENGINE = AggregatingMergeTree ORDER BY day";
    let select = "SELECT toDate(at) AS day, uniqExactState(id) AS ids FROM t GROUP BY day";
    let project = filled(BLUE, green, select);
    project.must(&["apply"]);
    project.query("ALTER TABLE t UPDATE v = v + 1 WHERE id < 5 SETTINGS mutations_sync = 1");
    for command in ["verify", "cutover"] {
        let words = ["UPDATE v = v + 1", "only the result and the size", "teal abort"];
        project.teal(&[command]).failed(3, &words);
    }
    project.must(&["abort"]);
    project.must(&["apply", "--chunk-rows", "7000"]);
    project.query(&insert(60_000, 5_000));
    verified(&project);
    project.query("OPTIMIZE TABLE t_1 FINAL");
    verified(&project);
    let rows = |select: &str| {
        project.query(&format!("SELECT count(), groupArray((day, n)) FROM ({select} ORDER BY day)"))
    };
    let whole = "SELECT toDate(at) AS day, uniqExact(id) AS n FROM t GROUP BY day";
    assert_eq!(rows(whole), rows("SELECT day, finalizeAggregation(ids) AS n FROM t_1 FINAL"));
}

/// For merges these are one key, and for the comparison as well.
#[test]
fn a_zero_is_the_same_key_whatever_its_sign_and_a_map_the_same_in_any_order() {
    let columns = "(x Float64, v UInt32, m Map(String, Float32), long Int128)";
    let blue = format!("CREATE TABLE t {columns} ENGINE = MergeTree ORDER BY v;\n");
    let project = Project::new(&[("app/t.sql", &blue)]);
    project.must(&["apply"]);
    project.query("INSERT INTO t SELECT -0.0, 1, map('a', 1, 'b', 2), 1");
    project.query("INSERT INTO t SELECT 0.0, 2, map('a', 1, 'b', 2), 1");
    let green = format!("CREATE TABLE t_1 {columns} ENGINE = ReplacingMergeTree(v) ORDER BY x");
    let view = "CREATE MATERIALIZED VIEW mv TO t_1 AS SELECT * FROM t;\n";
    project.write("app/t.sql", &format!("{blue}-- teal: table t version 1\n{green};\n{view}"));
    project.must(&["apply"]);
    project.query("OPTIMIZE TABLE t_1 FINAL");
    assert!(verified(&project).contains("1 folded rows in both"));
    project.query(
        "ALTER TABLE t_1 UPDATE m = map('b', 2, 'a', 1) WHERE 1 SETTINGS mutations_sync = 1",
    );
    verified(&project);
    // A long number is shown as it is.
    project
        .query("INSERT INTO t_1 SELECT 0.0, 3, map(), toInt128('123456789012345678901234567890')");
    project.teal(&["verify"]).failed(3, &["\"123456789012345678901234567890\""]);
}
