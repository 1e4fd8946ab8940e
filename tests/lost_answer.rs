//! A connection that breaks when the server has done what was sent, and teal does not know that it did: at
//! every few of its writes. The command fails or goes on; run again, it ends exact.

use crate::chaos::Proxy;
use crate::server_exchange::{EXCHANGE, exchanged};
use crate::server_migration::{CLONED, REWRITTEN, ROWS, Stage, insert};
use crate::servers::Modern;
use crate::support::Run;

const APPLY: &[&str] = &["apply", "--chunk-rows", "20000"];

/// Runs the command once for every `step`th of its writes, and lets `go_on` do what follows. Gives the number
/// of writes.
fn lost_at_some(
    stage: &Stage,
    step: usize,
    arguments: &[&str],
    mut go_on: impl FnMut(&str),
) -> u32 {
    let proxy = Proxy::start(stage.modern.port(), 0);
    for number in (1..).step_by(step) {
        proxy.lose_answer(number);
        let url = proxy.url();
        let mut teal = stage.project.command(&[&["--url", &url], arguments].concat());
        let run = Run::of(teal.output().unwrap());
        let said = format!("{arguments:?}, answer {number} lost: {}", run.said());
        assert!(matches!(run.code, Some(0 | 1 | 3)) && !said.contains("panicked"), "{said}");
        if proxy.writes() < number {
            assert_eq!(run.code, Some(0), "{said}");
            return proxy.writes();
        }
        go_on(&said);
    }
    unreachable!("a command has an end")
}

fn applied(next: &str, step: usize) -> u32 {
    let stage = Stage::new(Modern::start(), next);
    let mut rows = ROWS;
    lost_at_some(&stage, step, APPLY, |said| {
        stage.query(&insert(rows * 100, 1_000, 0));
        rows += 1_000;
        stage.exactly(APPLY);
        stage.assert_exact(rows, said);
        stage.must(&["abort"]);
    })
}

#[test]
fn a_rewrite_whose_connection_breaks_at_some_write_goes_on() {
    let writes = applied(REWRITTEN, 7);
    assert!(writes > 30, "{writes} writes are not all of a rewrite");
}

#[test]
fn a_clone_whose_connection_breaks_at_some_write_goes_on() {
    let writes = applied(CLONED, 4);
    assert!(writes > 10, "{writes} writes are not all of a clone");
}

#[test]
fn an_exchange_whose_connection_breaks_at_some_write_goes_on() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(APPLY);
    let mut rows = ROWS;
    let writes = lost_at_some(&stage, 5, EXCHANGE, |said| {
        stage.query(&insert(rows * 100, 1_000, 0));
        rows += 1_000;
        stage.must(EXCHANGE);
        stage.assert_exact(rows, said);
        exchanged(&stage, &["rollback"]);
        stage.assert_exact(rows, said);
    });
    assert!(writes > 5, "{writes} writes are not all of an exchange");
}
