//! Ctrl-C and SIGTERM while `apply` runs: it ends soon, says how it goes on, and the next command goes on.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Background, Project, Run, until};
use crate::throttle::Stage;

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// It has ended soon, and said how to go on.
fn assert_interrupted(mut apply: Background, words: &[&str]) {
    let asked = Instant::now();
    until("the end", || apply.child().try_wait().unwrap());
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    apply.finish().failed(130, words);
}

const GOES_ON: &[&str] = &["interrupted:", "the same command goes on from there", "teal abort"];

#[test]
fn an_interrupted_apply_ends_between_two_chunks_and_goes_on() {
    for stage in [Stage::embedded(), Stage::on_server()] {
        let apply = &["apply", "--chunk-rows", "5000"];
        let mut copied = 0;
        for which in [Signal::INT, Signal::TERM] {
            let mut copying = stage.slowly(apply);
            // The second one goes on with what the first has left.
            stage.until("more rows", |status| {
                status["phase"] == "attached" && status["rowsCopied"].as_u64() > Some(copied)
            });
            signal(copying.child(), which);
            assert_interrupted(copying, GOES_ON);
            copied = stage.status()["rowsCopied"].as_u64().unwrap();
            // Traffic goes on, whenever the next command comes.
            let limited = "SELECT count() FROM system.tables WHERE database = 'default' AND match(engine_full, 'max_bytes_to_merge|merges_with_ttl|force_merge')";
            assert_eq!(stage.query(limited), "0");
        }
        // Nobody has to wait for a lock.
        let began = Instant::now();
        stage.must(apply);
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        stage.assert_exact();
    }
}

/// A copy of hours outlives the terminal that it was begun in.
#[test]
fn one_that_is_to_outlive_its_terminal_goes_on_when_that_goes() {
    let stage = Stage::embedded();
    let teal = stage.command(&["apply", "--chunk-rows", "5000"]);
    let mut command = Command::new("nohup");
    command.arg(teal.get_program()).args(teal.get_args());
    command.env("FAILPOINTS", "published=sleep(100)");
    let envs = teal.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.envs(envs).current_dir(teal.get_current_dir().unwrap_or(stage.project.path()));
    let mut copying = stage.beside(command);
    stage.until_copying();
    signal(copying.child(), Signal::HUP);
    let run = copying.finish();
    assert_eq!(run.code, Some(0), "{}", run.said());
    stage.assert_exact();
    // Without nohup, its end is that of Ctrl-C.
    stage.must(&["abort"]);
    let mut copying = stage.slowly(&["apply", "--chunk-rows", "5000"]);
    stage.until_copying();
    // The shell tells, and the kernel again.
    for _ in 0..2 {
        signal(copying.child(), Signal::HUP);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_interrupted(copying, GOES_ON);
}

#[test]
fn an_interrupted_cut_leaves_no_merges_stopped() {
    let stage = Stage::on_server();
    let mut command = stage.command(&["apply"]);
    command.env("FAILPOINTS", "view-created=sleep(1500)");
    let mut cutting = stage.beside(command);
    let view =
        "SELECT count() FROM system.tables WHERE name = 'mv_items_to_0_1' AND database = 'default'";
    until("the view", || (stage.query(view) == "1").then_some(()));
    signal(cutting.child(), Signal::INT);
    assert_interrupted(cutting, GOES_ON);
    // Undone, or done: merges are on in either case, without another command of teal's.
    let stopped = "SELECT count() FROM system.parts WHERE active AND table = 'items_0_0'";
    stage.query("OPTIMIZE TABLE items_0_0 FINAL");
    assert_eq!(stage.query(stopped), stage.query(&stopped.replace("count()", "uniq(partition)")));
    let is_done = stage.status()["phase"] != "prepared";
    assert_eq!(stage.query(view) == "1", is_done);
    stage.must(&["apply"]);
    stage.assert_exact();
}

#[test]
fn a_second_signal_ends_it_at_once_and_the_next_command_sets_it_right() {
    let stage = Stage::embedded();
    let mut command = stage.command(&["apply", "--chunk-rows", "5000"]);
    command.env("FAILPOINTS", "published=sleep(60000)");
    let mut copying = stage.beside(command);
    stage.until_copying();
    signal(copying.child(), Signal::INT);
    std::thread::sleep(Duration::from_millis(500));
    signal(copying.child(), Signal::INT);
    assert_interrupted(copying, &["ended in the middle", "the same command sets that right"]);
    stage.must(&["apply"]);
    stage.assert_exact();
}

/// Whoever should read its messages does not (`teal apply 2>&1 | less`).
#[test]
fn one_whose_messages_nobody_reads_ends_too() {
    let stage = Stage::embedded();
    let mut command = stage.command(&["apply", "--chunk-rows", "5000"]);
    command.env("FAILPOINTS", "published=sleep(60000)");
    let mut copying = stage.beside(command);
    stage.until_copying();
    let messages = format!("/proc/{}/fd/2", copying.child().id());
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let mut messages =
        OpenOptions::new().write(true).custom_flags(nonblocking).open(messages).unwrap();
    while messages.write(&[b'\n'; 64]).is_ok() {}
    while messages.write(b"\n").is_ok() {}
    drop(messages);
    signal(copying.child(), Signal::INT);
    // By itself, after its time of grace.
    assert_interrupted(copying, &[]);
}

#[test]
fn what_does_not_go_on_ends_at_once() {
    let stage = Stage::on_server();
    let mut query = Background::start(stage.command(&[
        "query",
        "SELECT sleepEachRow(0.5) FROM system.numbers SETTINGS max_block_size = 1",
    ]));
    let running = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow%' AND query NOT LIKE '%processes%'";
    until("the query", || (stage.query(running) == "1").then_some(()));
    signal(query.child(), Signal::INT);
    let run: Run = query.finish();
    assert_eq!((run.code, run.stderr.as_str()), (Some(130), ""), "{}", run.said());
    until("its end", || (stage.query(running) == "0").then_some(()));
}

/// Whoever should read the rows does not: the thread that writes them waits, with what it has locked.
#[test]
fn a_query_that_nobody_reads_ends_at_once() {
    let project = Project::new(&[]);
    project.must(&["query", "SELECT 1"]);
    let mut query = Background::start(project.command(&["query", "SELECT * FROM system.numbers"]));
    let mut rows = query.child().stdout.take().unwrap();
    rows.read_exact(&mut [0; 1]).unwrap();
    signal(query.child(), Signal::INT);
    let end = until("the end", || query.child().try_wait().unwrap());
    assert_eq!(end.code(), Some(130));
}

#[test]
fn an_interrupted_demo_leaves_nothing_and_says_where_it_played() {
    let parent = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_teal"));
    command
        .args(["demo", "--rows", "1000", "--seconds-before", "600"])
        .env("TMPDIR", parent.path());
    let mut demo = Background::start(command);
    let played = |name: &str| {
        std::fs::read_dir(parent.path()).unwrap().flatten().find_map(|entry| {
            let path = entry.path();
            entry.file_name().to_string_lossy().starts_with(name).then_some(path)
        })
    };
    let at = until("the demo", || played("teal-demo-"));
    // The engine is open, and so Ctrl-C is teal's.
    let table = at.join(".teal/data/metadata/default/flights_0_0.sql");
    until("its table", || table.exists().then_some(()));
    signal(demo.child(), Signal::INT);
    until("the end", || demo.child().try_wait().unwrap());
    let said = demo.finish();
    // `make test` has its own directories in memory.
    let place = match parent.path().starts_with("/dev/shm") {
        true => "in memory",
        false => "where TMPDIR says, and not in memory",
    };
    said.failed(130, &[place]);
    assert_eq!(played("teal-demo-"), None, "{}", said.said());
}
