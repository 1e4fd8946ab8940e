//! teal and its server are killed at the same step, and the server is started anew: what was told to be
//! stored is there, and the same command goes on to an exact end. (Where teal alone is killed, see
//! `server_migration.rs`, `server_exchange.rs` and `alias.rs`; on the embedded engine, where the two are one
//! process, `every_write.rs`.)

use crate::alias;
use crate::server_migration::{CLONED, REWRITTEN, ROWS, Stage, insert};
use crate::servers::Modern;

const APPLY: &[&str] = &["apply", "--chunk-rows", "10000"];
const EXCHANGE: &[&str] = &["cutover", "--by", "exchange"];

/// Kills both at the step, and writes rows when the server is back.
fn both_killed(stage: &mut Stage, step: &str, arguments: &[&str], insert: &str) {
    stage.killed_at(&format!("{step}=return"), arguments);
    stage.modern.kill_and_start_again();
    stage.query(insert);
}

/// Twins of a row that the table has, too: what was carried is not told by values alone.
fn more(rows: &mut u64) -> String {
    *rows += 1_000;
    format!(
        "INSERT INTO events SELECT {} + number % 500, 'late', toDateTime('2024-01-30 00:00:00') + (number % 3) * 2500000 \
         FROM numbers(1000)",
        *rows * 10
    )
}

fn applied_with_kills(next: &str, steps: &[&str]) {
    let mut stage = Stage::new(Modern::start(), next);
    let mut rows = ROWS;
    for step in steps {
        let late = more(&mut rows);
        both_killed(&mut stage, step, APPLY, &late);
        stage.must(APPLY);
        stage.assert_exact(rows, step);
        stage.must(&["abort"]);
        assert_eq!(stage.query("SHOW TABLES"), "events", "{step}");
    }
}

#[test]
fn a_rewrite_goes_on_when_the_server_was_killed_too() {
    applied_with_kills(
        REWRITTEN,
        &[
            "merges-stopped",
            "view-created",
            "attached",
            "publishing",
            "chunk-attached",
            "published",
        ],
    );
}

#[test]
fn a_clone_goes_on_when_the_server_was_killed_too() {
    applied_with_kills(CLONED, &["blue-cloned", "view-created", "merges-started"]);
}

#[test]
fn an_exchange_and_its_way_back_go_on_when_the_server_was_killed_too() {
    let mut stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(APPLY);
    let mut rows = ROWS;
    for (there, back) in [
        ("view-dropped", "swapping"),
        ("swapping", "view-dropped"),
        ("all-carried", "exchanged"),
        ("cut-over", "view-made-anew"),
    ] {
        let late = more(&mut rows);
        both_killed(&mut stage, there, EXCHANGE, &late);
        stage.must(EXCHANGE);
        assert_eq!(stage.sorting_key("events"), "town, id", "{there}");
        stage.assert_exact(rows, there);
        let late = more(&mut rows);
        both_killed(&mut stage, back, &["rollback"], &late);
        stage.must(&["rollback"]);
        stage.must(&["repair"]);
        assert_eq!(stage.sorting_key("events"), "id", "{back}");
        stage.assert_exact(rows, back);
    }
}

#[test]
fn a_swap_of_the_alias_a_turn_and_their_way_back_go_on_when_the_server_was_killed_too() {
    let mut stage = alias::stage();
    stage.must(APPLY);
    let mut rows = ROWS;
    for (there, back) in [
        ("next-alias-made", "alias-swapped"),
        ("alias-swapped", "turn-view-dropped"),
        ("turn-view-dropped", "turn-view-made"),
        ("turn-view-made", "rolled-back"),
    ] {
        for (step, command) in [(there, "cutover"), (back, "rollback")] {
            rows += 1_000;
            let late = alias::insert("events", rows * 10, 1_000);
            both_killed(&mut stage, step, &[command], &late);
            stage.must(&[command]);
            match command {
                "cutover" => alias::assert_kept(&stage, rows, step),
                _ => alias::assert_rolled_back(&stage, rows, step),
            }
        }
    }
}

#[test]
fn a_repair_an_abort_and_a_cleanup_go_on_when_the_server_was_killed_too() {
    let mut stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(APPLY);
    let mut rows = ROWS;
    for step in ["stale-rows-mutation", "removal-settled", "bucket-repaired"] {
        let changed = "ALTER TABLE events UPDATE town = concat(town, '.') WHERE id < 500 SETTINGS mutations_sync = 1";
        stage.query(changed);
        let late = more(&mut rows);
        both_killed(&mut stage, step, &["repair"], &late);
        stage.must(&["repair"]);
        stage.assert_exact(rows, step);
    }
    for step in ["abort-opened", "retired"] {
        let late = more(&mut rows);
        both_killed(&mut stage, step, &["abort"], &late);
        stage.must(&["abort"]);
        assert_eq!(stage.query("SHOW TABLES"), "events", "{step}");
        assert_eq!(stage.query("SELECT count() FROM events"), rows.to_string(), "{step}");
        stage.must(APPLY);
    }
    stage.must(EXCHANGE);
    stage.query(&insert(9_000_000_000, 1_000, 0));
    both_killed(&mut stage, "retired", &["cleanup", "--force"], "SELECT 1");
    stage.must(&["cleanup"]);
    assert_eq!(stage.query("SELECT count() FROM events"), (rows + 1_000).to_string());
    assert_eq!(stage.sorting_key("events"), "town, id");
}
