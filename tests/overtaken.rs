//! A teal whose lock another has taken over, and that does not know it: the virtual machine that it runs in was
//! paused by its host, say, and its own clock stood still.

use crate::server_migration::{REWRITTEN, ROWS, Stage};
use crate::servers::Modern;
use crate::support::Held;

/// As another does, on another machine; long before the one at work renews its lease the next time.
fn take_over(stage: &Stage) {
    let highest = "SELECT max(toUInt64OrZero(substring(name, 6))) FROM system.tables \
         WHERE database = '_teal' AND match(name, '^lock_[0-9]+$')";
    let next = stage.query(highest).parse::<u64>().unwrap() + 1;
    stage.query(&format!(
        "CREATE TABLE _teal.lock_{next} (nothing UInt8) ENGINE = Memory COMMENT \
         '{{\"host\":\"elsewhere\",\"pid\":7,\"instance\":\"x\",\"released\":false,\"until\":9000000000000}}'"
    ));
}

/// And ends.
fn give_back(stage: &Stage) {
    let locks =
        "SELECT name FROM system.tables WHERE database = '_teal' AND match(name, '^lock_[0-9]+$')";
    for lock in stage.query(locks).lines() {
        stage.query(&format!("DROP TABLE _teal.{lock}"));
    }
}

const TAKEN: &[&str] = &["another teal has taken it over"];

/// Two entries of one number would make every command refuse the journal.
#[test]
fn who_was_overtaken_writes_no_entry() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let entries = "SELECT count() FROM _teal.journal";
    let held = Held::at("recording", "", stage.command(&["apply"]));
    let before = stage.query(entries);
    take_over(&stage);
    held.go_on().failed(3, TAKEN);
    assert_eq!(stage.query(entries), before);
    give_back(&stage);

    // Nor beside one that has just been written, as by what was sent before the lock was taken over.
    let held = Held::at("recording", "", stage.command(&["apply"]));
    let last = "SELECT migration, sequence + 1, time, 'prepared', '{\"kind\":\"prepared\"}' FROM _teal.journal \
         ORDER BY sequence DESC LIMIT 1";
    stage.query(&format!("INSERT INTO _teal.journal {last}"));
    let written = stage.query(entries);
    held.go_on().failed(3, TAKEN);
    assert_eq!(stage.query(entries), written);
    stage.query(
        "ALTER TABLE _teal.journal DELETE WHERE kind = 'prepared' SETTINGS mutations_sync = 1",
    );
    stage.must(&["apply"]);
    stage.assert_exact(ROWS, "afterwards");
}

/// By the time that it goes on, the other one may have ended the cleanup, and somebody may have made a table of that
/// name.
#[test]
fn who_was_overtaken_gives_no_name_away() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    stage.must(&["cutover"]);
    let held = Held::at("retiring-view-dropped", "", stage.command(&["cleanup"]));
    take_over(&stage);
    held.go_on().failed(3, TAKEN);
    assert_eq!(stage.query("SELECT count() FROM events"), ROWS.to_string());
    give_back(&stage);
    stage.must(&["cleanup"]);
    assert_eq!(stage.query("EXISTS TABLE events"), "0");
}
