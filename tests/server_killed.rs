//! What a kill of teal, or of teal and its server at the same moment, leaves behind the writes of a command: rows are
//! written, the same command goes on, and ends exact. (On the embedded engine, where teal and the server are one
//! process: `every_write.rs`. The cutover by alias: `alias.rs`.)

use std::time::Duration;

use crate::alias;
use crate::server_exchange::{EXCHANGE, allow};
use crate::server_migration::{CLONED, EVENTS, REWRITTEN, ROWS, Stage};
use crate::servers::Modern;
use crate::support::{Background, Failpoint, Run};

/// It is about moments, not rows.
const PACE: (u64, Duration) = (50, Duration::from_millis(50));
/// Two chunks and more.
const APPLY: &[&str] = &["apply", "--chunk-rows", "20000"];

/// The numbers of the writes behind which there is a kill, from 0: each `step`th, from another one in each run of the
/// test; and all of them, where the environment says `TEAL_EVERY_WRITE=1`.
fn chosen(step: usize) -> impl Iterator<Item = usize> {
    let every = std::env::var("TEAL_EVERY_WRITE").is_ok_and(|it| it == "1");
    let step = if every { 1 } else { step };
    (rand::random_range(0..step)..).step_by(step)
}

/// Runs the command, killed behind its write of this number, from 0. Tells whether it was; else it has ended, with
/// fewer writes.
fn is_killed_behind(stage: &Stage, number: usize, arguments: &[&str]) -> bool {
    let failpoint = format!("write={number}*off->return");
    let run = Run::of(stage.command(arguments).env("FAILPOINTS", failpoint).output().unwrap());
    assert!(run.killed || run.code == Some(0), "{arguments:?}, {number}: {}", run.said());
    run.killed
}

/// Lets the command run once, and lets `go_on` do what follows on what a kill of both leaves behind its writes. It has
/// a server of its own there, where `late` was written. Gives the number of writes.
///
/// A server takes a second to start, so it is each fourth write or fewer.
fn both_killed(
    stage: &mut Stage,
    step: usize,
    arguments: &[&str],
    late: &str,
    mut go_on: impl FnMut(&Stage, &str),
) -> usize {
    let (hold, mut chosen) = (Failpoint::new(), chosen(step).peekable());
    let mut command = stage.command(arguments);
    command.env("FAILPOINTS", format!("write={}", hold.action()));
    let mut run = Background::start(command);
    let (mut writes, mut left) = (0, Vec::new());
    while hold.is_reached_by(&mut run) {
        if chosen.next_if_eq(&writes).is_some() {
            left.push((writes, stage.modern.left_by_a_kill()));
        }
        hold.release();
        writes += 1;
    }
    let run = run.finish();
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.said());
    for (number, directory) in left {
        let lives_on = std::mem::replace(&mut stage.modern, Modern::start_on(directory));
        stage.query(late);
        go_on(stage, &format!("{arguments:?}, both killed behind its write {number}"));
        stage.modern = lives_on;
    }
    writes
}

/// An id that no other row has, nor one behind it.
const LATE: u64 = 9_000_000_000;

/// Each row twice: what was carried is not told by values alone.
fn late(from: u64, rows: u64) -> String {
    format!(
        "INSERT INTO events SELECT {from} + number % {}, 'late', \
         toDateTime('2024-01-30 00:00:00') + (number % 3) * 2500000 FROM numbers({rows})",
        rows / 2
    )
}

/// While rows are written all the time; and no repair has to bring any of them.
fn applied(next: &str, step: usize) -> usize {
    let mut stage = Stage::new(Modern::start(), next);
    stage.pace = PACE;
    let mut rows = ROWS;
    for number in chosen(step) {
        let (said, mut was_killed) = (format!("teal killed behind write {number}"), false);
        rows += stage.under_traffic(1, || {
            was_killed = is_killed_behind(&stage, number, APPLY);
            stage.exactly(APPLY);
        });
        stage.assert_exact(rows, &said);
        if !was_killed {
            return number;
        }
        stage.must(&["abort"]);
        assert_eq!(stage.query("SHOW TABLES"), "events", "{said}");
    }
    unreachable!("a command has an end")
}

#[test]
fn a_rewrite_on_a_server_killed_behind_any_write_goes_on() {
    let writes = applied(REWRITTEN, 4);
    assert!(writes > 30, "{writes} writes are not all of a rewrite");
}

#[test]
fn a_clone_on_a_server_killed_behind_any_write_goes_on() {
    let writes = applied(CLONED, 2);
    assert!(writes > 10, "{writes} writes are not all of a clone");
}

#[test]
fn an_exchange_on_a_server_and_its_way_back_killed_behind_any_write_go_on() {
    let mut stage = Stage::new(Modern::start(), REWRITTEN);
    allow(&stage, 300);
    stage.must(APPLY);
    stage.pace = PACE;
    let mut rows = ROWS;
    for number in chosen(6) {
        let mut was_killed = false;
        for (command, key) in [(EXCHANGE, "town, id"), (&["rollback"], "id")] {
            let said = format!("{command:?}, teal killed behind write {number}");
            rows += stage.under_traffic(1, || {
                was_killed |= is_killed_behind(&stage, number, command);
                stage.must(command);
            });
            assert_eq!(stage.sorting_key("events"), key, "{said}");
            if command != EXCHANGE {
                // What came while there was no view, a repair brings.
                stage.must(APPLY);
            }
            stage.assert_exact(rows, &said);
        }
        if !was_killed {
            assert!(number > 20, "{number} writes are not all of an exchange");
            return;
        }
    }
}

#[test]
fn an_abort_on_a_server_killed_behind_any_write_is_finished() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    // Its lock goes with it, however late it was renewed.
    stage.killed_at("lock-marked=return", APPLY);
    let mut rows = ROWS;
    for number in chosen(3) {
        stage.exactly(APPLY);
        let was_killed = is_killed_behind(&stage, number, &["abort"]);
        rows += 100;
        stage.query(&late(rows * 100, 100));
        if was_killed {
            stage.must(&["abort"]);
        }
        let said = format!("abort, teal killed behind write {number}");
        assert_eq!(stage.query("SHOW TABLES"), "events", "{said}");
        assert_eq!(stage.query("SELECT count() FROM events"), rows.to_string(), "{said}");
        stage.assert_merges_are_on(&said);
        if !was_killed {
            assert!(number > 5, "{number} writes are not all of an abort");
            return;
        }
    }
}

#[test]
fn a_cleanup_on_a_server_killed_behind_any_write_is_finished() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let mut rows = ROWS;
    for number in chosen(3) {
        stage.must(APPLY);
        stage.must(EXCHANGE);
        let was_killed = is_killed_behind(&stage, number, &["cleanup", "--force"]);
        rows += 100;
        stage.query(&late(rows * 100, 100));
        if was_killed {
            stage.must(&["cleanup", "--force"]);
        }
        let said = format!("cleanup, teal killed behind write {number}");
        assert_eq!(stage.sorting_key("events"), "town, id", "{said}");
        assert_eq!(stage.query("SELECT count() FROM events"), rows.to_string(), "{said}");
        stage.assert_merges_are_on(&said);
        if !was_killed {
            assert!(number > 5, "{number} writes are not all of a cleanup");
            return;
        }
        // Once more from the beginning, of which no journal tells.
        for statement in [
            "DROP DATABASE _teal SYNC",
            "DROP TABLE IF EXISTS events_1",
            "RENAME TABLE events TO kept",
            EVENTS.trim_end_matches(";\n"),
            "INSERT INTO events SELECT * FROM kept",
            "DROP TABLE kept",
        ] {
            stage.query(statement);
        }
    }
}

#[test]
fn a_migration_goes_on_to_its_end_when_the_server_was_killed_too() {
    let (mut stage, late) = (Stage::new(Modern::start(), REWRITTEN), late(LATE, 1_000));
    let writes = both_killed(&mut stage, 4, APPLY, &late, |stage, said| {
        stage.exactly(APPLY);
        stage.assert_exact(ROWS + 1_000, said);
    });
    assert!(writes > 30, "{writes} writes are not all of a rewrite");

    let writes = both_killed(&mut stage, 4, EXCHANGE, &late, |stage, said| {
        stage.must(EXCHANGE);
        assert_eq!(stage.sorting_key("events"), "town, id", "{said}");
        stage.assert_exact(ROWS + 1_000, said);
    });
    assert!(writes > 10, "{writes} writes are not all of an exchange");

    let writes = both_killed(&mut stage, 4, &["rollback"], &late, |stage, said| {
        stage.must(&["rollback"]);
        assert_eq!(stage.sorting_key("events"), "id", "{said}");
        stage.must(APPLY);
        stage.assert_exact(ROWS + 1_000, said);
    });
    assert!(writes > 10, "{writes} writes are not all of a rollback");

    stage.must(EXCHANGE);
    let writes = both_killed(&mut stage, 4, &["cleanup", "--force"], &late, |stage, said| {
        stage.must(&["cleanup", "--force"]);
        assert_eq!(stage.sorting_key("events"), "town, id", "{said}");
        assert_eq!(stage.query("SELECT count() FROM events"), (ROWS + 1_000).to_string());
        stage.assert_merges_are_on(said);
    });
    assert!(writes > 5, "{writes} writes are not all of a cleanup");
}

#[test]
fn a_clone_and_an_abort_go_on_when_the_server_was_killed_too() {
    let (mut stage, late) = (Stage::new(Modern::start(), CLONED), late(LATE, 1_000));
    let writes = both_killed(&mut stage, 4, APPLY, &late, |stage, said| {
        stage.exactly(APPLY);
        stage.assert_exact(ROWS + 1_000, said);
    });
    assert!(writes > 10, "{writes} writes are not all of a clone");

    let writes = both_killed(&mut stage, 4, &["abort"], &late, |stage, said| {
        stage.must(&["abort"]);
        assert_eq!(stage.query("SHOW TABLES"), "events", "{said}");
        assert_eq!(stage.query("SELECT count() FROM events"), (ROWS + 1_000).to_string());
        stage.assert_merges_are_on(said);
    });
    assert!(writes > 5, "{writes} writes are not all of an abort");
}

#[test]
fn a_repair_goes_on_when_the_server_was_killed_too() {
    let (mut stage, late) = (Stage::new(Modern::start(), REWRITTEN), late(LATE, 1_000));
    stage.must(APPLY);
    let changed = "ALTER TABLE events UPDATE town = concat(town, '.') WHERE id < 500 SETTINGS mutations_sync = 1";
    stage.query(changed);
    let writes = both_killed(&mut stage, 9, &["repair"], &late, |stage, said| {
        stage.must(&["repair"]);
        stage.assert_exact(ROWS + 1_000, said);
    });
    assert!(writes > 10, "{writes} writes are not all of a repair");
}

#[test]
fn a_swap_of_the_alias_a_turn_and_their_way_back_go_on_when_the_server_was_killed_too() {
    let mut stage = alias::stage();
    stage.must(APPLY);
    let late = alias::insert("events", LATE, 1_000);
    let writes = both_killed(&mut stage, 4, &["cutover"], &late, |stage, said| {
        stage.must(&["cutover"]);
        alias::assert_kept(stage, ROWS + 1_000, said);
    });
    assert!(writes > 5, "{writes} writes are not all of a cutover");
    let writes = both_killed(&mut stage, 4, &["rollback"], &late, |stage, said| {
        stage.must(&["rollback"]);
        alias::assert_rolled_back(stage, ROWS + 1_000, said);
    });
    assert!(writes > 5, "{writes} writes are not all of a rollback");
}
