//! The ways back: `abort` before the cutover, `rollback` after it. Nothing is left behind and no row is
//! lost, also when they are killed half-way.

use crate::support::{
    ITEMS_CLONED, ITEMS_MIGRATION, ITEMS_REWRITTEN, Project, difference, filled_items, insert_items,
};

const APPLY: &[&str] = &["apply", "--chunk-rows", "20000"];

/// Blue with all its rows, and nothing else but teal's record.
fn assert_only_blue(project: &Project, said: &str, rows: u64) {
    let tables = project.query(
        "SELECT arraySort(groupArray(concat(database, '.', name))) FROM system.tables \
         WHERE database IN ('default', '_teal') AND NOT name LIKE 'lock_%'",
    );
    assert_eq!(tables, "['_teal.journal','default.items_0_0']", "{said}");
    assert_eq!(project.query("SELECT count() FROM items_0_0"), rows.to_string(), "{said}");
}

#[test]
fn an_abort_at_any_step_leaves_nothing_behind() {
    for (version, steps) in [
        (
            ITEMS_REWRITTEN,
            &[
                "started",
                "green-created",
                "prepared",
                "fence-opened",
                "view-created",
                "gate-opened",
                "attached",
                "chunk-copied",
                "publishing",
                "chunk-attached",
                "published=2*off->return",
                "staging-dropped",
                "backfilled",
                "verify-started",
                "verified",
            ][..],
        ),
        (ITEMS_CLONED, &["blue-cloned", "attached", "verify-tables-cloned", "verified"][..]),
    ] {
        let filled = filled_items(version);
        for step in steps {
            let project = filled.copy();
            project.killed_at(step, APPLY);
            project.query(&insert_items(1_000_000, 1_000));
            project.must(&["abort"]);
            let said = format!("aborted after {step}");
            project.query(&insert_items(2_000_000, 1_000));
            assert_only_blue(&project, &said, 92_500);
            assert!(project.must(&["status"]).stdout.contains("aborted"), "{said}");
        }
    }
}

#[test]
fn an_abort_that_is_killed_is_finished_and_the_migration_can_begin_again() {
    let filled = filled_items(ITEMS_REWRITTEN);
    filled.must(APPLY);
    for step in [
        "abort-opened",
        "retiring-view-dropped",
        "retiring-gate-opened",
        "retired",
        "abort-dropped",
    ] {
        let project = filled.copy();
        project.killed_at(step, &["abort"]);
        project.query(&insert_items(1_000_000, 1_000));
        // Any command that writes ends it.
        let said = project.teal(&["verify"]);
        said.failed(3, &["aborted"]);
        assert_only_blue(&project, step, 91_500);
        project.must(APPLY);
        project.query(&insert_items(2_000_000, 1_000));
        assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0", "{step}");
        assert_eq!(project.query("SELECT count() FROM items_0_1"), "92500", "{step}");
    }
}

/// The abort had looked whether somebody writes there; the process that ends it comes days later.
#[test]
fn an_abort_that_was_killed_does_not_take_with_it_what_was_written_since() {
    let filled = filled_items(ITEMS_REWRITTEN);
    for (step, apply_to) in [
        ("abort-opened", ""),
        ("retiring-view-dropped", ""),
        // In the midst of the copy: blue has more.
        ("abort-opened", "published"),
    ] {
        let project = filled.copy();
        match apply_to {
            "" => drop(project.must(APPLY)),
            step => project.killed_at(step, APPLY),
        }
        let forced = project.copy();
        project.killed_at(step, &["abort"]);
        project.query("INSERT INTO items_0_1 SELECT 1, 'direct', now(), NULL");
        project.query(&insert_items(1_000_000, 1_000));
        // Any command that writes comes by, and leaves it.
        project.teal(&["verify"]).failed(3, &["1 rows that default.items_0_0 lacks"]);
        project.teal(&["abort"]).failed(3, &["1 rows that default.items_0_0 lacks", "--force"]);
        let direct = "SELECT count() FROM items_0_1 WHERE name = 'direct'";
        assert_eq!(project.query(direct), "1", "{step}");
        // No view brings it back to green.
        let copied = project.copy();
        copied.query("INSERT INTO items_0_0 SELECT * FROM items_0_1 WHERE name = 'direct'");
        copied.must(&["abort"]);
        assert_only_blue(&copied, step, 91_501);
        project.must(&["abort", "--force"]);
        assert_only_blue(&project, step, 91_500);

        forced.killed_at(step, &["abort", "--force"]);
        forced.query("INSERT INTO items_0_1 SELECT 1, 'direct', now(), NULL");
        forced.teal(&["verify"]).failed(3, &["aborted"]);
        assert_only_blue(&forced, step, 90_500);
    }
}

/// A new table that somebody has dropped is no reason for every command to fail.
#[test]
fn a_migration_whose_new_table_is_gone_can_be_given_up() {
    let filled = filled_items(ITEMS_REWRITTEN);
    for step in ["prepared", "fence-opened", "view-created", "attached", "publishing", "verified"] {
        let project = filled.copy();
        project.killed_at(step, APPLY);
        project.query("DROP TABLE items_0_1 SYNC");
        project.must(&["abort"]);
        assert_only_blue(&project, step, 90_500);
    }
}

/// Between the crash and the next command, another deploy makes what was dropped once more.
#[test]
fn what_others_make_under_the_dropped_names_is_not_taken_for_the_old() {
    let filled = filled_items(ITEMS_REWRITTEN);
    filled.must(APPLY);
    let again = |project: &Project, dropped: &str, kept: &str| {
        // Of the embedded engine, a table that was dropped a moment ago may be there still.
        project.query(&format!(
            "CREATE TABLE {dropped} (id UInt64, name String) ENGINE = MergeTree ORDER BY id"
        ));
        project.query(&format!("INSERT INTO {dropped} VALUES (1, 'new')"));
        let view = "mv_items_to_0_1";
        project.query(&format!(
            "CREATE MATERIALIZED VIEW {view} TO {dropped} AS SELECT id, name FROM {kept}"
        ));
    };
    let assert_theirs = |project: &Project, dropped: &str, kept: &str, said: &str| {
        project.query(&format!("INSERT INTO {kept} SELECT 2, 'new', now(), NULL"));
        let names = project.query(&format!("SELECT groupArray(name) FROM {dropped}"));
        assert_eq!(names, "['new','new']", "{said}");
    };
    for step in ["retiring-renamed", "retiring-gate-opened", "retired", "abort-dropped"] {
        let project = filled.copy();
        project.killed_at(step, &["abort"]);
        again(&project, "items_0_1", "items_0_0");
        let run = project.teal(&["verify"]);
        run.failed(3, &["aborted"]);
        assert_theirs(&project, "items_0_1", "items_0_0", &format!("{step}: {}", run.said()));
        assert_eq!(project.query("SELECT count() FROM items_0_0"), "90501", "{step}");
    }

    // Nothing had been written to it, so that it would go for having no rows.
    let project = filled_items(ITEMS_REWRITTEN);
    project.killed_at("prepared", APPLY);
    project.killed_at("abort-dropped", &["abort"]);
    project.query("CREATE TABLE items_0_1 (id UInt64) ENGINE = MergeTree ORDER BY id");
    project.teal(&["verify"]).failed(3, &["aborted"]);
    assert_eq!(project.query("SHOW TABLES"), "items_0_0\nitems_0_1");

    filled.must(&["cutover"]);
    for step in ["retiring-renamed", "retiring-gate-opened", "retired"] {
        let project = filled.copy();
        project.killed_at(step, &["cleanup"]);
        again(&project, "items_0_0", "items_0_1");
        let run = project.must(&["cleanup"]);
        assert_theirs(&project, "items_0_0", "items_0_1", &format!("{step}: {}", run.said()));
        assert_eq!(project.query("SELECT count() FROM items_0_1"), "90501", "{step}");
    }
}

#[test]
fn rows_of_others_are_not_aborted_away() {
    let project = filled_items(ITEMS_REWRITTEN);
    // Somebody writes to green before the migration has come to it.
    project.killed_at("prepared", APPLY);
    project.query("INSERT INTO items_0_1 SELECT * FROM items_0_0 WHERE id < 10");
    project.must(&["abort"]);
    // The twins have an id below ten too.
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "510");
    project.query("DROP TABLE items_0_1 SYNC");

    // And when it is verified.
    project.must(APPLY);
    project.query(
        "INSERT INTO items_0_1 SELECT 1 + number % 2, 'direct', toDateTime('2024-01-05 00:00:00'), NULL FROM numbers(5)",
    );
    project.teal(&["abort"]).failed(3, &["5 rows", "teal rollback", "--force"]);
    project.teal(&["cutover"]).failed(3, &["5 too many"]);
    let said = project.must(&["rollback"]);
    assert!(said.stdout.contains("5 rows"), "{}", said.said());
    assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0");
    project.must(&["abort"]);
    let direct =
        project.query("SELECT count(), uniqExact(id, at) FROM items_0_0 WHERE name = 'direct'");
    assert_eq!(direct, "5\t2");
    assert_only_blue(&project, "after all", 90_505);

    project.must(APPLY);
    project.query("INSERT INTO items_0_1 SELECT 1, 'direct', now(), NULL");
    project.must(&["abort", "--force"]);
    assert_only_blue(&project, "forced", 90_505);
}

#[test]
fn a_rollback_of_an_exchange_keeps_what_was_written_since_also_when_it_is_killed() {
    let filled = filled_items(ITEMS_REWRITTEN);
    filled.must(APPLY);
    filled.must(&["cutover", "--by", "exchange"]);
    filled.query(&insert_items(1_000_000, 1_000));
    // As a crash between the two tables of an INSERT leaves it: not in the old layout.
    filled.query(
        "ALTER TABLE items_0_1 DELETE WHERE id BETWEEN 1000010 AND 1000019 SETTINGS mutations_sync = 2",
    );
    filled.query("INSERT INTO items_0_0 SELECT 7, 'twin', toDateTime('2024-02-01 00:00:00'), NULL FROM numbers(3)");
    for step in [
        "piece-carried-back",
        "rows-attached-back",
        "carried-back",
        "rollback-opened",
        "exchanged-back",
        "rolled-back",
        "",
    ] {
        let project = filled.copy();
        if !step.is_empty() {
            project.killed_at(step, &["rollback"]);
        }
        project.query(&insert_items(2_000_000, 1_000));
        let said = project.teal(&["rollback"]);
        assert_eq!(said.code, Some(0), "{step}: {}", said.said());
        let key = project.query("SELECT sorting_key FROM system.tables WHERE name = 'items_0_0'");
        assert_eq!(key, "id", "killed at {step}");
        project.query(&insert_items(3_000_000, 1_000));
        assert_eq!(project.query("SELECT count() FROM items_0_0"), "93503", "{step}");
        assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0", "{step}");
        // And forward again, or out.
        if step.is_empty() {
            project.must(&["cutover", "--by", "exchange"]);
            project.must(&["rollback"]);
        }
        project.must(&["abort"]);
        assert_only_blue(&project, step, 93_503);
    }
}

#[test]
fn a_rollback_of_an_app_cutover_carries_back_what_green_alone_has() {
    let filled = filled_items(ITEMS_REWRITTEN);
    filled.must(APPLY);
    filled.must(&["cutover"]);
    // Some writers are on green, one is still on blue; all write the same rows.
    filled.query(&insert_items(1_000_000, 1_000));
    for _ in 0..2 {
        filled.query(&insert_items(1_000_000, 1_000).replace("items_0_0", "items_0_1"));
    }
    for step in ["piece-carried-back", "rows-attached-back", "rolled-back", ""] {
        let project = filled.copy();
        if !step.is_empty() {
            project.killed_at(step, &["rollback"]);
        }
        project.must(&["rollback"]);
        assert_eq!(project.query("SELECT count() FROM items_0_0"), "93500", "{step}");
        assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0", "{step}");
        project.query(&insert_items(2_000_000, 1_000));
        assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0", "{step}");
        project.must(&["cutover"]);
        project.must(&["cleanup"]);
        assert_eq!(project.query("SELECT count() FROM items_0_1"), "94500", "{step}");
    }
}

#[test]
fn what_cannot_be_carried_back_is_said() {
    let project = filled_items(ITEMS_REWRITTEN);
    let view = ITEMS_MIGRATION.replace("SELECT *", "SELECT id, upper(name) AS name, at, note");
    project.write("app/migrate.sql", &view);
    project.must(APPLY);
    project.teal(&["rollback", "nothing"]).failed(2, &["no migration nothing"]);
    project.must(&["cutover", "--by", "exchange"]);
    project.teal(&["abort"]).failed(3, &["teal rollback"]);
    // Nothing forwards from one to the other, so what comes to either is in that one only.
    let early = project.copy();
    early.query(&insert_items(1_000_000, 10).replace("items_0_0", "items_0_1"));
    early.teal(&["cleanup"]).failed(3, &["default.items_0_1 got 10 rows"]);
    project.query(&insert_items(1_000_000, 1_000));
    project.teal(&["rollback"]).failed(3, &["1000 rows", "--force"]);
    project.must(&["rollback", "--force"]);
    assert_eq!(project.query("SELECT count() FROM items_0_0"), "90500");
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "91500");
    // The view forwards again.
    project.query(&insert_items(2_000_000, 1_000));
    assert_eq!(project.query("SELECT count() FROM items_0_1"), "92500");
    project.teal(&["abort"]).failed(3, &["1000 rows"]);
    project.must(&["abort", "--force"]);
    assert_only_blue(&project, "forced", 91_500);
}

#[test]
fn what_a_mutation_has_changed_since_the_cutover_is_not_taken_back_silently() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(APPLY);
    project.must(&["cutover", "--by", "exchange"]);
    project.query(
        "ALTER TABLE items_0_0 UPDATE note = 'changed' WHERE id < 3 SETTINGS mutations_sync = 2",
    );
    let refused = project.teal(&["rollback"]);
    refused.failed(3, &["was changed in place since the cutover", "note = 'changed'", "--force"]);
    let key = "SELECT sorting_key FROM system.tables WHERE name = 'items_0_0'";
    assert_eq!(project.query(key), "name, id");
    project.must(&["rollback", "--force"]);
    assert_eq!(project.query(key), "id");
    assert_eq!(project.query("SELECT count() FROM items_0_0"), "90500");
    assert_eq!(project.query("SELECT count() FROM items_0_0 WHERE note = 'changed'"), "0");
}

/// Whatever process notes that it happened.
#[test]
fn what_a_rollback_by_force_gave_up_does_not_come_back_later() {
    let filled = filled_items(ITEMS_REWRITTEN);
    filled.must(APPLY);
    filled.must(&["cutover", "--by", "exchange"]);
    filled.query(
        "ALTER TABLE items_0_0 UPDATE note = 'changed' WHERE id < 3 SETTINGS mutations_sync = 2",
    );
    for step in ["exchanged-back", "rolled-back", ""] {
        let project = filled.copy();
        match step {
            "" => drop(project.must(&["rollback", "--force"])),
            step => project.killed_at(step, &["rollback", "--force"]),
        }
        project.teal(&["verify"]).failed(3, &["green lacks 3 and has 3 too many"]);
        let status = project.must(&["status"]).stdout;
        assert!(!status.contains("carries back"), "{step}: {status}");
        let changed = ["was changed in place since the cutover", "note = 'changed'"];
        project.teal(&["rollback"]).failed(3, &changed);
        assert_eq!(project.query("SELECT count() FROM items_0_0"), "90500", "{step}");
        project.must(&["abort", "--force"]);
        assert_only_blue(&project, step, 90_500);
    }
}

/// The old table has still what was dropped from the new one, and gets by the view what is written in its place.
#[test]
fn a_partition_that_was_written_anew_does_not_come_back_twice() {
    let filled = filled_items(ITEMS_REWRITTEN);
    filled.must(APPLY);
    filled.must(&["cutover", "--by", "exchange"]);
    let february = "toYYYYMM(at) = 202402";
    let count = format!("SELECT count(), countIf({february}) FROM items_0_0");
    filled.query(&format!(
        "CREATE TABLE anew ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY (name, id) AS \
         SELECT * FROM items_0_0 WHERE {february}"
    ));
    filled.query("ALTER TABLE anew DELETE WHERE id % 2 = 0 SETTINGS mutations_sync = 2");
    for change in [
        &[
            "ALTER TABLE items_0_0 DROP PARTITION 202402",
            "INSERT INTO items_0_0 SELECT * FROM anew",
        ][..],
        &["ALTER TABLE items_0_0 REPLACE PARTITION 202402 FROM anew"],
    ] {
        let project = filled.copy();
        for statement in change {
            project.query(statement);
        }
        let rows = project.query(&count);
        let refused = project.teal(&["rollback"]);
        refused
            .failed(3, &["default.items_0_0 was changed in place", "partition 202402", "--force"]);
        // The same is done to the old table.
        project.query("ALTER TABLE items_0_1 DROP PARTITION 202402");
        project.must(&["rollback"]);
        assert_eq!(project.query(&count), rows, "{change:?}");
        assert_eq!(difference(&project, "items_0_0", "items_0_1"), "0", "{change:?}");
    }
}

/// No view runs back to types that hold less, and nothing is attached there that does not fit.
#[test]
fn values_that_the_old_types_do_not_hold_stay_whole() {
    let version = |size: &str, key: &str| {
        format!("CREATE TABLE boxes (id UInt64, size {size}) ENGINE = MergeTree ORDER BY {key};\n")
    };
    let project = Project::new(&[("app/boxes.sql", &version("UInt8", "id"))]);
    project.must(&["apply"]);
    project.query("INSERT INTO boxes SELECT number, number FROM numbers(100)");
    project.write("app/boxes.sql", &version("Nullable(UInt16)", "(id + 0)"));
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("the old table does not take all that the new one does"), "{plan}");
    project.must(APPLY);
    project.must(&["cutover"]);
    project.query("INSERT INTO boxes VALUES (100, 7)");
    project.must(&["rollback"]);
    let count = "SELECT count(), sum(size) FROM boxes";
    assert_eq!(project.query(count), "101\t4957");
    project.must(&["cutover"]);
    project.query("INSERT INTO boxes VALUES (101, 300), (102, NULL)");
    assert_eq!(project.query(count), "103\t5257");
    for _ in 0..2 {
        project.teal(&["rollback"]).failed(3, &["2 rows", "the old types do not hold them"]);
    }
    project.must(&["rollback", "--force"]);
    assert_eq!(project.query(count), "101\t4957");
}

/// Each table has such a row in its own form: carried back, it would stand beside the other form of itself.
#[test]
fn rows_that_read_differently_in_the_two_tables_are_not_doubled_by_a_rollback() {
    let filled = filled_items(ITEMS_REWRITTEN);
    filled.must(APPLY);
    filled.must(&["cutover", "--by", "exchange"]);
    let unmoved = |project: &Project| {
        let key = project.query("SELECT sorting_key FROM system.tables WHERE name = 'items_0_0'");
        assert_eq!(key, "name, id");
    };

    let project = filled.copy();
    project.query(
        "ALTER TABLE items_0_0 MODIFY COLUMN note Nullable(String) TTL at + INTERVAL 1 DAY \
         SETTINGS materialize_ttl_after_modify = 0",
    );
    project.query("OPTIMIZE TABLE items_0_0 FINAL");
    let words = ["default.items_0_0 has a TTL that changes rows", "--force"];
    project.teal(&["rollback"]).failed(3, &words);
    unmoved(&project);
    project.must(&["rollback", "--force"]);
    assert_eq!(project.query("SELECT count() FROM items_0_0"), "90500");

    // Without a cause that could be known: while a view keeps the old table current, it has nothing of its own.
    let project = filled.copy();
    project.query("INSERT INTO items_0_1 SELECT 1, 'direct', now(), NULL");
    project.query("CREATE TABLE aside AS items_0_0");
    project.query("INSERT INTO aside SELECT 2, 'aside', toDateTime('2024-01-01 00:00:00'), NULL");
    project.query("ALTER TABLE items_0_0 ATTACH PARTITION 202401 FROM aside");
    let words = ["1 rows that default.items_0_0 lacks", "keeps default.items_0_1 current"];
    project.teal(&["rollback"]).failed(3, &words);
    unmoved(&project);

    // A partition that came behind the last look at it, and went.
    let project = filled.copy();
    project.query("INSERT INTO items_0_0 SELECT 3, 'new', toDateTime('2030-01-01 00:00:00'), NULL");
    project.query("ALTER TABLE items_0_0 DROP PARTITION 203001");
    project.teal(&["rollback"]).failed(3, &["deleted from default.items_0_0 without a sign"]);
    unmoved(&project);
}

/// Its rows are read by the default, whatever that is by now.
#[test]
fn a_default_that_was_altered_since_is_told_before_rows_come_back() {
    let old = "-- teal: table t version 0.0\nCREATE TABLE t_0_0 (id UInt64) ENGINE = MergeTree ORDER BY id;\n";
    let project = Project::new(&[("app/t.sql", old)]);
    project.must(&["apply"]);
    project.query("INSERT INTO t_0_0 SELECT number FROM numbers(100)");
    let old = old.replace("id UInt64", "id UInt64, c UInt8 DEFAULT 1");
    project.write("app/t.sql", &old);
    project.must(&["apply"]);
    let new = old.replace("0.0", "0.1").replace("t_0_0", "t_0_1").replace("BY id", "BY (c, id)");
    let view = "CREATE MATERIALIZED VIEW mv_1 TO t_0_1 AS SELECT * FROM t_0_0;\n";
    project.write("app/t.sql", &format!("{old}{new}{view}"));
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.query("ALTER TABLE t_0_0 MODIFY COLUMN c UInt8 DEFAULT 5");
    project.teal(&["rollback"]).failed(3, &["default of column c", "--force"]);
    assert_eq!(project.query("SELECT count() FROM t_0_0"), "100");
    // Of what the parts store, it is no matter.
    project.query("ALTER TABLE t_0_0 MODIFY COLUMN c UInt8 DEFAULT 1");
    project.query("ALTER TABLE t_0_0 MATERIALIZE COLUMN c SETTINGS mutations_sync = 1");
    project.query("ALTER TABLE t_0_0 MODIFY COLUMN c UInt8 DEFAULT 5");
    project.must(&["rollback"]);
    assert_eq!(project.query("SELECT count(), min(c) FROM t_0_0"), "100\t1");
}

/// No log of parts tells of a partition that came behind the last look, and went.
#[test]
fn a_new_partition_that_was_dropped_before_the_cutover_is_not_brought_back() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(APPLY);
    project.query("INSERT INTO items_0_0 SELECT 3, 'new', toDateTime('2030-01-01 00:00:00'), NULL");
    project.query("ALTER TABLE items_0_0 DROP PARTITION 203001");
    project.teal(&["cutover"]).failed(3, &["no sign that blue has lost any"]);
    project.teal(&["rollback"]).failed(3, &["no rows of partition 203001", "--drop-extra"]);
    let kept = project.copy();
    kept.query("INSERT INTO items_0_0 SELECT * FROM items_0_1 WHERE name = 'new'");
    kept.must(&["repair", "--drop-extra"]);
    kept.must(&["cutover"]);
    assert_eq!(kept.query("SELECT count(), countIf(name = 'new') FROM items_0_1"), "90501\t1");
    assert_eq!(project.query("SELECT count() FROM items_0_0"), "90500");
    project.must(&["repair", "--drop-extra"]);
    project.must(&["cutover"]);
}

/// After a deploy as after an exchange: what was changed on the new table, and given up, is not what somebody wrote.
#[test]
fn what_was_changed_before_the_way_back_to_the_old_code_is_not_brought_there_later() {
    let filled = filled_items(ITEMS_REWRITTEN);
    filled.must(APPLY);
    filled.must(&["cutover"]);
    filled.query(
        "CREATE TABLE anew ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY (name, id) AS \
         SELECT * REPLACE (toNullable('corrected') AS note) FROM items_0_1 WHERE toYYYYMM(at) = 202402 AND id % 2 = 0",
    );
    let replace = "ALTER TABLE items_0_1 REPLACE PARTITION 202402 FROM anew";
    let words = ["default.items_0_1 was changed in place", "partition 202402"];
    let forced = filled.copy();
    forced.query(replace);
    forced.teal(&["rollback"]).failed(3, &words);
    forced.must(&["rollback", "--force"]);
    // Before the writers have come back.
    filled.must(&["rollback"]);
    filled.query(replace);
    for project in [&forced, &filled] {
        project.teal(&["abort"]).failed(3, &["`teal rollback` brings them"]);
        project.teal(&["rollback"]).failed(3, &words);
        assert_eq!(project.query("SELECT count() FROM items_0_0"), "90500");
    }
}

/// Without a log of parts, a row that a writer wrote who has not come back yet looks like one that the old table has lost.
#[test]
fn what_is_deleted_after_the_way_back_takes_no_late_writers_rows_along() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(APPLY);
    project.must(&["cutover"]);
    project.must(&["rollback"]);
    project.query(&insert_items(7_000_000, 1).replace("items_0_0", "items_0_1"));
    project.query("ALTER TABLE items_0_0 DELETE WHERE id = 5 SETTINGS mutations_sync = 2");
    let words = ["2 too many", "somebody who is still on the new table", "--drop-extra"];
    for command in ["cutover", "repair"] {
        project.teal(&[command]).failed(3, &words);
    }
    project.teal(&["abort"]).failed(3, &["2 rows"]);
    assert_eq!(project.query("SELECT count() FROM items_0_1 WHERE id = 7000000"), "1");
    project.query("INSERT INTO items_0_0 SELECT * FROM items_0_1 WHERE id = 7000000");
    project.must(&["repair", "--drop-extra"]);
    // From that proof on, a cause is one again.
    project.query("ALTER TABLE items_0_0 DELETE WHERE id = 6 SETTINGS mutations_sync = 2");
    project.must(&["cutover"]);
    let counts = "SELECT count(), countIf(id = 7000000), countIf(id IN (5, 6)) FROM items_0_1";
    assert_eq!(project.query(counts), "90499\t1\t0");
}
