//! Two that take the lock at once; and a teal whose lock another has taken over, and that does not know it: the
//! virtual machine that it runs in was paused by its host, say, and its own clock stood still.

use crate::alias;
use crate::server_exchange::EXCHANGE;
use crate::server_migration::{REWRITTEN, ROWS, Stage};
use crate::servers::Modern;
use crate::support::{Held, until};

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
const HELD: &[&str] = &["another teal works on this target"];

fn locks(stage: &Stage) -> String {
    stage.query(
        "SELECT groupArray(name) FROM (SELECT name FROM system.tables \
             WHERE database = '_teal' AND match(name, '^lock_[0-9]+$') ORDER BY name)",
    )
}

#[test]
fn of_two_that_take_the_lock_at_once_one_gets_it() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let late = Held::at("locks-listed", "", stage.command(&["apply"]));
    let first = Held::at("recording", "", stage.command(&["apply"]));
    late.go_on().failed(3, HELD);
    first.go_on().failed(0, &[]);

    // By the time that it goes on, the generation that it saw to be free was taken, given back and dropped.
    let late = Held::at("locks-listed", "", stage.command(&["apply"]));
    stage.must(&["apply"]);
    let third = Held::at("recording", "", stage.command(EXCHANGE));
    let held = locks(&stage);
    late.go_on().failed(3, HELD);
    assert_eq!(locks(&stage), held);
    third.go_on().failed(0, &[]);
    stage.assert_exact(ROWS, "in the end");
}

/// It marks its lock, and finds out at the next look that there is a later one.
#[test]
fn an_owner_that_comes_back_while_its_lock_is_taken_over_keeps_it() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    take_over(&stage);
    let held = locks(&stage);
    let lock = held.rsplit('\'').nth(1).unwrap();
    let until = |end: &str| {
        stage.query(&format!(
            "ALTER TABLE _teal.{lock} MODIFY COMMENT \
             '{{\"host\":\"elsewhere\",\"pid\":7,\"instance\":\"x\",\"released\":false,\"until\":{end}}}'"
        ));
    };
    until("1");
    let taking = Held::at("lock-made", "", stage.command(&["apply"]));
    until("9000000000000");
    taking.go_on().failed(3, &["process 7 on elsewhere"]);
    assert!(locks(&stage).contains(lock) && !locks(&stage).contains(&next(lock)));
    give_back(&stage);
    stage.must(&["apply"]);
    stage.assert_exact(ROWS, "in the end");
}

fn next(lock: &str) -> String {
    format!("lock_{}", lock[5..].parse::<u64>().unwrap() + 1)
}

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
    // Nor does it drop what has no name any more but teal's own.
    let held = Held::at("retiring-gate-opened", "", stage.command(&["cleanup"]));
    take_over(&stage);
    held.go_on().failed(3, TAKEN);
    let retired = "SELECT count() FROM system.tables WHERE name LIKE '%_retired'";
    assert_eq!(stage.query(retired), "1");
    give_back(&stage);
    stage.must(&["cleanup"]);
    assert_eq!(stage.query(retired), "0");
    assert_eq!(stage.query("EXISTS TABLE events"), "0");
}

/// The other one may be in the midst of an exchange of its own, or behind it.
#[test]
fn who_was_overtaken_exchanges_no_names() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    let held = Held::at("swapping", "", stage.command(EXCHANGE));
    take_over(&stage);
    held.go_on().failed(3, TAKEN);
    assert_eq!(stage.sorting_key("events"), "id");
    give_back(&stage);
    stage.must(EXCHANGE);
    assert_eq!(stage.sorting_key("events"), "town, id");
    stage.assert_exact(ROWS, "exchanged");

    let stage = alias::stage();
    stage.must(&["apply"]);
    let engine =
        "SELECT engine_full FROM system.tables WHERE database = 'default' AND name = 'events'";
    let before = stage.query(engine);
    let held = Held::at("alias-looked", "", stage.command(&["cutover"]));
    take_over(&stage);
    held.go_on().failed(3, TAKEN);
    assert_eq!(stage.query(engine), before);
    give_back(&stage);
    stage.must(&["cutover"]);
    alias::assert_kept(&stage, ROWS, "swapped");
}

/// A renewal finds that another has the lock: from then on nothing is sent, also what is no entry and gives no name away.
#[test]
fn who_knows_that_it_was_overtaken_sends_nothing() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let held = Held::at("fence-opened", "", stage.command(&["apply"]));
    let own = locks(&stage).replace(['[', ']', '\''], "");
    let said = || {
        let comment = format!("SELECT comment FROM system.tables WHERE name = '{own}'");
        stage.query(&comment)
    };
    take_over(&stage);
    let before = said();
    // It marks its lock, and looks for later ones then.
    until("a renewal", || (said() != before).then_some(()));
    held.go_on().failed(3, TAKEN);
    assert_eq!(stage.query("EXISTS TABLE mv_events"), "0");
    give_back(&stage);
    stage.must(&["apply"]);
    stage.assert_exact(ROWS, "in the end");
}
