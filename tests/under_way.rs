//! What is decided on a server while an INSERT is under way. One that has written to the view's source only makes up
//! for an equal row that only the view's target has: by number, the two tables are alike.

use std::thread;

use teal_client::{Format, Server as _};

use crate::alias;
use crate::server_exchange::allow;
use crate::server_migration::{REWRITTEN, ROWS, Stage, insert};
use crate::servers::Modern;
use crate::support::{Held, Run, until};

pub(crate) const ROW: &str =
    "SELECT 1000000::UInt64 AS id, 'town' AS town, toDateTime('2024-01-01 00:00:00') AS at";

/// Two of them: one is in the table at once; the other one, and what the view forwards, seconds later.
fn two_rows(into: &str) -> String {
    format!(
        "INSERT INTO {into} {ROW} FROM numbers(3) WHERE number < 2 OR sleepEachRow(3) = 1 \
         SETTINGS max_threads = 1, max_insert_threads = 1, max_block_size = 1, min_insert_block_size_rows = 1, \
             min_insert_block_size_rows_for_materialized_views = 1000000, \
             short_circuit_function_evaluation = 'force_enable'"
    )
}

fn count(stage: &Stage, table: &str) -> String {
    stage.query(&format!("SELECT count() FROM {table} WHERE id = 1000000"))
}

/// Does `work` while `insert` runs, from when `is_so` on.
fn while_under_way(
    stage: &Stage,
    insert: &str,
    mut is_so: impl FnMut() -> bool,
    work: impl FnOnce(),
) {
    let server = stage.modern.open(|_| ());
    thread::scope(|scope| {
        scope.spawn(move || server.user_session(&[]).unwrap().command(insert).map(drop).unwrap());
        until("the INSERT", || is_so().then_some(()));
        work();
    });
}

#[test]
fn rows_are_not_lost_whose_equals_are_under_way() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    let mut rows = 0;
    for command in ["abort", "rollback"] {
        stage.query(&format!("INSERT INTO events_1 {ROW}"));
        let in_both = (rows + 1).to_string();
        let is_half_done = || count(&stage, "events") == in_both;
        while_under_way(&stage, &two_rows("events"), is_half_done, || {
            assert_eq!(count(&stage, "events_1"), in_both, "behind the view already");
            match command {
                "abort" => stage.teal(&["abort"]).failed(3, &["default.events_1 has 1 rows"]),
                _ => drop(stage.must(&["rollback"])),
            }
        });
        if command == "abort" {
            stage.must(&["rollback"]);
        }
        rows += 3;
        stage.assert_exact(ROWS + rows, command);
    }
}

/// The look takes its time, and an application that was deployed too early goes on.
#[test]
fn what_comes_to_green_while_a_cut_is_undone_is_not_thrown_away() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.killed_at("view-created=return", &["apply"]);
    stage.query(&insert(1_000_000, 1_000, 0));
    let apply = Held::at("green-looked-at", "", stage.command(&["apply"]));
    // Equal to one that is in blue once, and was forwarded.
    stage.query("INSERT INTO events_1 SELECT * FROM events WHERE id = 1000007");
    apply.go_on().failed(3, &["events_1 has 1 rows", "nothing is lost"]);
    assert_eq!(stage.query("SELECT count() FROM events_1 WHERE id = 1000007"), "2");
    // Merges go on, or the mutation would not end.
    stage.query("ALTER TABLE events_1 DELETE WHERE id = 1000007 SETTINGS mutations_sync = 1");
    stage.must(&["apply"]);
    stage.assert_exact(ROWS + 1_000, "the undoing");
}

/// The look behind a cutover by app waits for it; the cutover is done all the same.
#[test]
fn an_insert_that_goes_on_for_long_does_not_fail_a_cutover_by_app() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    allow(&stage, 1);
    let cutover = Held::at("verified", "", stage.command(&["cutover"]));
    stage.query(&insert(9_000_000, 1_000, 0));
    let slow = format!(
        "INSERT INTO events {ROW} FROM numbers(8) WHERE sleepEachRow(1) = 1 SETTINGS max_block_size = 1"
    );
    let running = "SELECT count() FROM system.processes WHERE query_kind = 'Insert'";
    while_under_way(
        &stage,
        &slow,
        || stage.query(running) == "1",
        || {
            let run = cutover.go_on();
            assert_eq!(run.code, Some(0), "{}", run.said());
            assert!(run.stderr.contains("the cutover is done"), "{}", run.said());
        },
    );
}

#[test]
fn a_cleanup_waits_for_an_insert_into_the_old_table_that_is_under_way() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    let slow = format!("INSERT INTO events {ROW} FROM numbers(1) WHERE sleepEachRow(3) = 0");
    let running = "SELECT count() FROM system.processes WHERE query_kind = 'Insert'";
    stage.must(&["cutover"]);
    // Before the view is turned, and after.
    for refusal in ["default.events got 1 rows", "1 rows that default.events_1 lacks"] {
        while_under_way(
            &stage,
            &slow,
            || stage.query(running) == "1",
            || {
                stage.teal(&["cleanup"]).failed(3, &[refusal]);
            },
        );
        // The first one tells of who has written, where it was not turned.
        stage.teal(&["cutover"]);
        stage.must(&["cutover"]);
    }
    assert_eq!(count(&stage, "events_1"), "2");
}

/// The view of an exchange that was not made is there again; an INSERT that began without it is not over.
#[test]
fn an_insert_that_began_without_the_view_is_waited_for_also_when_teal_is_killed_twice() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let path = stage.project.path().join("app/events.sql");
    let models = std::fs::read_to_string(path).unwrap();
    let upper = "SELECT id, upper(town) AS town, at FROM events";
    stage.project.write("app/events.sql", &models.replace("SELECT * FROM events", upper));
    stage.must(&["apply"]);
    let exchange = &["cutover", "--by", "exchange"];
    stage.killed_at("view-dropped=return", exchange);
    let slow = format!("INSERT INTO events {ROW} FROM numbers(3) WHERE sleepEachRow(3) = 0");
    let slow = format!("{slow} SETTINGS function_sleep_max_microseconds_per_block = 0");
    let running = "SELECT count() FROM system.processes WHERE query_kind = 'Insert'";
    while_under_way(
        &stage,
        &slow,
        || stage.query(running) == "1",
        || {
            stage.killed_at("view-put-back=return", exchange);
            stage.must(exchange);
        },
    );
    assert_eq!(count(&stage, "events"), "3");
    // What comes in the midst of the way back cannot be carried, and is not passed over either.
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.project.write("app/events.sql", &models.replace("SELECT * FROM events", upper));
    stage.must(&["apply"]);
    stage.must(exchange);
    let rollback = stage.slowly("rollback-opened", 2500, &["rollback"]);
    stage.wait_for("SELECT count() FROM _teal.journal WHERE kind = 'rollbackOpened'");
    stage.query(&format!("INSERT INTO events {ROW}"));
    let run = Run::of(rollback.wait_with_output().unwrap());
    run.failed(3, &["default.events_1 has 1 rows that default.events lacks"]);
    assert_eq!(stage.sorting_key("events"), "id");
}

/// Behind the swap back, what was written to the new table until then is carried, which needs a moment that this
/// INSERT does not give.
#[test]
fn a_rollback_that_cannot_carry_the_rest_says_so_and_the_next_one_does() {
    let stage = alias::stage();
    stage.must(&["apply"]);
    stage.must(&["cutover"]);
    let config = stage.config();
    let hasty = config.replace("[migrate]", "[migrate]\nfence_timeout = 1");
    stage.project.write("teal.toml", &hasty);
    let rollback = Held::at("rolled-back", "", stage.command(&["rollback"]));
    let server = stage.modern.open(|_| ());
    // A session of its own: teal takes its time only once.
    let mut session = server.user_session(&[]).unwrap();
    let mut is_one = |query| session.run(query, Format::TSV).unwrap().body == b"1\n";
    let long = "INSERT INTO events SELECT number, 'long', now() FROM numbers(600) WHERE sleepEachRow(1) = 1 \
                SETTINGS max_block_size = 1, max_threads = 1";
    let running = "SELECT count() FROM system.processes WHERE query_kind = 'Insert'";
    thread::scope(|scope| {
        scope.spawn(|| drop(server.user_session(&[]).unwrap().command(long)));
        until("the INSERT", || is_one(running).then_some(()));
        stage.query(&alias::insert("events_1", 1_000_000, 10));
        let said = rollback.go_on();
        // Without its values.
        let named = " s now (INSERT INTO events SELECT number, ?, now() FROM numbers(?) WHERE ";
        let held_up = ["the end of INSERTs that go on: query_id ", " of default, for ", named];
        said.failed(3, &["is what readers and writers use again", "Run the command again then"]);
        said.failed(3, &held_up);
        stage.query("KILL QUERY WHERE query_kind = 'Insert' SYNC");
    });
    stage.project.write("teal.toml", &config);
    // Until then nothing is done that would lose them.
    stage.teal(&["abort"]).failed(3, &["default.events_1 has 10 rows"]);
    stage.teal(&["cutover"]).failed(3, &["default.events_1"]);
    stage.must(&["rollback"]);
    alias::assert_rolled_back(&stage, ROWS + 10, "the rest");
}

/// By its own setting, and of the new table too, which gets what is forwarded.
#[test]
fn a_cut_is_given_up_before_a_table_has_the_parts_that_slow_its_inserts_down() {
    let next = REWRITTEN.replace("(town, id)", "(town, id) SETTINGS parts_to_delay_insert = 8");
    let stage = Stage::new(Modern::start(), &next);
    let apply = Held::at("view-created", "", stage.command(&["apply"]));
    for million in 1..=5 {
        stage.query(&insert(million * 1_000_000, 1_000, 0));
    }
    let slow = format!("INSERT INTO events {ROW} FROM numbers(1) WHERE sleepEachRow(3) = 0");
    let running = "SELECT count() FROM system.processes WHERE query_kind = 'Insert'";
    while_under_way(
        &stage,
        &slow,
        || stage.query(running) == "1",
        || {
            let run = apply.go_on();
            assert_eq!(run.code, Some(0), "{}", run.said());
            let words = "fewer parts of default.events_1 (5 in partition 2024";
            assert!(run.stderr.contains(words), "{}", run.said());
        },
    );
    stage.assert_exact(ROWS + 5_001, "the cut");
}
