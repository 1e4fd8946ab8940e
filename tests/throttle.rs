//! What is asked of a migration from another process while `apply` runs: pause, resume, other limits,
//! abort; and what `status` shows meanwhile. On the embedded engine, whose data the other process
//! cannot open, and on a server.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use teal_client::Server as _;
use teal_migrate::{Ask, Request};
use teal_schema::quote_string;

use crate::servers::Modern;
use crate::support::{
    Background, Held, ITEMS, ITEMS_MIGRATION, ITEMS_REWRITTEN, Project, Run, answer, difference,
    filled_items, insert_items, until,
};

const ROWS: u64 = 90_500;
/// Some twenty chunks.
const APPLY: &[&str] = &["apply", "--chunk-rows", "5000"];
/// So that a copy takes some seconds.
const SLOWLY: (&str, &str) = ("FAILPOINTS", "published=sleep(200)");

/// A project, and the engine or server that it is about.
pub(crate) struct Stage {
    pub(crate) project: Project,
    server: Option<Modern>,
}

impl Stage {
    pub(crate) fn embedded() -> Self {
        Self { project: filled_items(ITEMS_REWRITTEN), server: None }
    }

    /// The same rows on a server.
    pub(crate) fn on_server() -> Self {
        let stage = Self {
            project: Project::new(&[("app/items.sql", ITEMS)]),
            server: Some(Modern::start()),
        };
        stage.must(&["apply"]);
        stage.query(&insert_items(0, 60_000));
        stage.query(&insert_items(60_000, 30_500));
        stage.project.write("app/items_v01.sql", ITEMS_REWRITTEN);
        stage.project.write("app/migrate.sql", ITEMS_MIGRATION);
        stage
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let url = self.server.as_ref().map(Modern::url);
        let target = url.iter().flat_map(|url| ["--url", url.as_str()]);
        let all = target.chain(arguments.iter().copied()).collect::<Vec<_>>();
        self.project.command(&all)
    }

    pub(crate) fn teal(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    pub(crate) fn must(&self, arguments: &[&str]) -> Run {
        let run = self.teal(arguments);
        assert_eq!(run.code, Some(0), "teal {arguments:?}: {}", run.said());
        run
    }

    pub(crate) fn query(&self, sql: &str) -> String {
        match &self.server {
            Some(server) => answer(&server.open(|_| ()), sql),
            None => self.project.query(sql),
        }
    }

    pub(crate) fn slowly(&self, arguments: &[&str]) -> Background {
        let mut command = self.command(arguments);
        command.env(SLOWLY.0, SLOWLY.1);
        self.beside(command)
    }

    fn start(&self, arguments: &[&str]) -> Background {
        self.beside(self.command(arguments))
    }

    /// Starts teal, and waits until it has the data open and says so: `status` would open it else.
    pub(crate) fn beside(&self, command: std::process::Command) -> Background {
        let mut started = Background::start(command);
        let process = started.child().id();
        if self.server.is_none() {
            let beside = self.project.path().join(".teal/data.running");
            until("an operator", || {
                assert_eq!(started.child().try_wait().unwrap(), None, "it has ended");
                let running =
                    serde_json::from_slice::<Value>(&std::fs::read(&beside).ok()?).unwrap();
                (running["live"]["process"] == process).then_some(())
            });
        }
        started
    }

    /// Of the only migration, if there is one.
    pub(crate) fn status(&self) -> Value {
        let mut all =
            serde_json::from_str::<Vec<Value>>(&self.must(&["--json", "status"]).stdout).unwrap();
        all.pop().unwrap_or_default()
    }

    /// Waits until `status` is such, and gives it.
    pub(crate) fn until(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        until(what, || Some(self.status()).filter(&is_it))
    }

    pub(crate) fn until_copying(&self) -> Value {
        self.until("a copy under way", |status| {
            status["phase"] == "attached" && rows_copied(status) > 0
        })
    }

    fn until_waiting(&self, reason: &str) -> Value {
        self.until(reason, |status| {
            status["waiting"]["for"].as_str().is_some_and(|waits_for| waits_for.contains(reason))
        })
    }

    pub(crate) fn assert_exact(&self) {
        let select = |sign: i8, table: &str| {
            format!("SELECT {sign}::Int64 AS sign, id, name, at, note FROM {table}")
        };
        let differ = self.query(&format!(
            "SELECT ifNull(sum(abs(n)), 0) FROM (SELECT sum(sign) AS n FROM ({} UNION ALL {}) GROUP BY id, name, at, note)",
            select(1, "items_0_0"),
            select(-1, "items_0_1")
        ));
        assert_eq!(differ, "0");
        let rows = self.query("SELECT count() FROM items_0_1");
        assert!(rows.parse::<u64>().unwrap() >= ROWS, "{rows}");
    }

    /// A partition of the old table has several, and keeps them.
    fn have_parts(&self) {
        let unmerged = " SETTINGS max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1;";
        self.project.write("app/items.sql", &ITEMS.replace(';', unmerged));
        self.project.remove("app/items_v01.sql");
        self.project.remove("app/migrate.sql");
        self.must(&["apply"]);
        self.query(&insert_items(ROWS, 3000));
        self.query(&insert_items(ROWS + 3000, 3000));
        self.project.write("app/items_v01.sql", ITEMS_REWRITTEN);
        self.project.write("app/migrate.sql", ITEMS_MIGRATION);
    }

    fn assert_nothing_beside(&self) {
        let beside = self.project.data().parent().unwrap().read_dir().unwrap();
        let names = beside.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        assert_eq!(names, ["data"]);
    }
}

fn rows_copied(status: &Value) -> u64 {
    status["rowsCopied"].as_u64().unwrap()
}

/// Also that `status` sees the running process, without the lock.
fn pause_and_resume(stage: &Stage) {
    let apply = stage.slowly(APPLY);
    let copying = stage.until_copying();
    assert_eq!(copying["step"], "backfill", "{copying}");
    assert_eq!(copying["paused"], Value::Null, "{copying}");
    let said = stage.must(&["pause"]).stdout;
    assert!(said.contains("follows when it has copied"), "{said}");
    let paused = stage.until_waiting("teal resume");
    assert!(rows_copied(&paused) < ROWS, "{paused}");
    assert!(paused["paused"]["by"].as_str().is_some_and(|by| by.contains('@')), "{paused}");
    assert_eq!(paused["next"], "teal resume", "{paused}");
    assert_eq!(paused["secondsLeft"], Value::Null, "{paused}");
    // The chunks under way have ended when no more rows have come for three looks of the operator.
    let mut last = (paused, 0);
    let stands = until("a standstill", || {
        let now = stage.status();
        if now["operator"]["told"] != last.0["operator"]["told"] || stage.server.is_some() {
            let same = rows_copied(&now) == rows_copied(&last.0);
            last = (now, if same { last.1 + 1 } else { 0 });
        }
        (last.1 >= 3).then(|| last.0.clone())
    });
    assert!(rows_copied(&stands) < ROWS, "{stands}");
    assert!(stage.must(&["pause"]).stdout.contains("is paused"));
    let said = stage.must(&["resume"]).stdout;
    assert!(said.contains("goes on"), "{said}");
    let run = apply.finish();
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert!(run.stderr.contains("waiting for `teal resume`"), "{}", run.said());
    assert!(run.stderr.contains("going on"), "{}", run.said());
    stage.assert_exact();
    stage.teal(&["pause"]).failed(3, &["verified", "nothing is left to copy"]);
}

#[test]
fn a_pause_from_another_process_holds_the_copy_and_a_resume_lets_it_go_on() {
    let stage = Stage::embedded();
    pause_and_resume(&stage);
    stage.assert_nothing_beside();
}

#[test]
fn a_pause_on_a_server_needs_no_lock() {
    pause_and_resume(&Stage::on_server());
}

fn killed_while_paused(stage: &Stage) {
    let apply = stage.slowly(APPLY);
    stage.until_copying();
    stage.must(&["pause"]);
    stage.until_waiting("teal resume");
    assert!(apply.kill().killed);
    let status = stage.status();
    assert_eq!(status["operator"], Value::Null, "{status}");
    assert_ne!(status["paused"], Value::Null, "{status}");

    let apply = stage.start(APPLY);
    let paused = stage.until_waiting("teal resume");
    assert_eq!(paused["step"], "pause", "{paused}");
    // A publication that the kill cut off has been ended.
    assert!((rows_copied(&status)..ROWS).contains(&rows_copied(&paused)), "{paused}");
    stage.must(&["resume"]);
    let run = apply.finish();
    assert_eq!(run.code, Some(0), "{}", run.said());
    stage.assert_exact();
}

#[test]
fn a_pause_outlives_the_process_that_followed_it() {
    killed_while_paused(&Stage::embedded());
}

#[test]
fn a_pause_on_a_server_outlives_the_process_that_followed_it() {
    killed_while_paused(&Stage::on_server());
}

/// Written when the process that had the data open had just ended; taken in by one that is killed.
#[test]
fn a_request_beside_the_data_is_taken_in_once() {
    let stage = Stage::embedded();
    let project = &stage.project;
    project.killed_at("published", APPLY);
    let status = stage.status();
    let id = status["migration"].as_str().unwrap();
    for ask in [Ask::Pause, Ask::Resume] {
        Request::new(id, ask).write_beside(&project.data()).unwrap();
    }
    Request::new(id, Ask::Pause).write_beside(&project.data()).unwrap();
    // `status` sees it before anybody takes it in.
    assert_ne!(stage.status()["paused"], Value::Null);
    project.killed_at("requests-taken-in", APPLY);
    assert!(project.path().join(".teal/data.requests").exists());
    assert_ne!(stage.status()["paused"], Value::Null);
    let said = stage.must(&["resume"]).stdout;
    assert!(said.contains("`teal apply` lets it go on"), "{said}");
    project.must(APPLY);
    let kinds = "SELECT arraySort(groupArray(kind)) FROM _teal.requests";
    assert_eq!(project.query(kinds), "['pause','pause','resume','resume']");
    stage.assert_exact();
    stage.assert_nothing_beside();
}

#[test]
fn a_migration_that_is_not_there_cannot_be_paused() {
    let stage = Stage::embedded();
    stage.teal(&["pause"]).failed(2, &["there is no migration"]);
    stage.project.killed_at("published", APPLY);
    stage.teal(&["pause", "other"]).failed(2, &["no migration other"]);
    assert!(stage.must(&["resume"]).stdout.contains("is not paused"));
    stage.must(&["pause", "items"]);
    stage.must(&["resume", "items_0_1"]);
    stage.project.must(APPLY);
    assert_eq!(stage.query("SELECT count() FROM _teal.requests"), "2");
    // Both are on the disk when they are written, and again when they are merged: the power may go.
    let synced = "SELECT arraySort(groupArray(name)) FROM system.tables WHERE database = '_teal' AND match(engine_full, \
         'fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1')";
    assert_eq!(stage.query(synced), "['journal','requests']");
}

#[test]
fn so_many_bytes_per_second_take_their_time() {
    let stage = Stage::embedded();
    let bytes = "SELECT sum(data_uncompressed_bytes) FROM system.parts WHERE active AND table = 'items_0_0'";
    let bytes = stage.query(bytes).parse::<u64>().unwrap();
    // Two seconds for all; the last chunk of some twenty needs not be waited for.
    let limit = (bytes / 2).to_string();
    let began = Instant::now();
    let run = stage.must(&[APPLY, &["--bytes-per-second", &limit]].concat());
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1700), "{took:?}: {}", run.said());
    stage.assert_exact();
}

/// Each limit makes the copy wait, and is changed while it waits.
fn wait_for(stage: &Stage, flag: &str, limit: &str, reason: &str) {
    let apply = stage.start(&[APPLY, &[flag, limit]].concat());
    let waiting = stage.until_waiting(reason);
    assert_eq!(rows_copied(&waiting), 0, "{waiting}");
    let said = stage.must(&["throttle", flag, "off"]).stdout;
    assert!(said.contains(" off"), "{said}");
    let run = apply.finish();
    assert_eq!(run.code, Some(0), "{}", run.said());
    stage.assert_exact();
    let abort = stage.must(&["abort"]).stdout;
    assert!(abort.contains("given up"), "{abort}");
}

/// That begins in two hours and ends in three.
fn other_hours() -> String {
    let hour = |later: i64| (jiff::Timestamp::now().as_second() / 3600 + later) % 24;
    format!("{:02}:00-{:02}:00", hour(2), hour(3))
}

#[test]
fn limits_hold_the_copy_until_they_are_changed() {
    let stage = Stage::embedded();
    let hours = other_hours();
    wait_for(&stage, "--hours", &hours, "by the server's clock");
    wait_for(&stage, "--disk-free", "1000000TB", "space on disk default");
    stage.have_parts();
    wait_for(&stage, "--max-parts", "1", "merges of default.items_0_0");
}

/// The server refuses INSERTs by the parts of all partitions as well; those of the copy come by no INSERT.
#[test]
fn the_copy_waits_before_green_has_so_many_parts_that_inserts_are_refused() {
    let stage = Stage::embedded();
    // What is not merged stays more than a part for each of the three partitions.
    let unmerged = "SETTINGS max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1;";
    stage.project.write("app/items_v01.sql", &ITEMS_REWRITTEN.replace(';', unmerged));
    stage.project.killed_at("attached", APPLY);
    stage.query(&insert_items(200_000, 30_000));
    stage.query(&insert_items(230_000, 30_000));
    stage.query("ALTER TABLE items_0_1 MODIFY SETTING max_parts_in_total = 4");
    let apply = stage.start(APPLY);
    let waiting = stage.until_waiting("half-way to those that make the server refuse INSERTs");
    assert_eq!(rows_copied(&waiting), 0, "{waiting}");
    stage.must(&["throttle", "--max-parts", "off"]);
    let run = apply.finish();
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert_eq!(stage.query("SELECT count() FROM items_0_1"), "150500");
}

/// A setting whose name ends in another's is another one.
#[test]
fn the_parts_that_slow_inserts_down_are_those_of_the_very_setting() {
    let stage = Stage::embedded();
    stage.project.killed_at("attached", APPLY);
    stage.query("ALTER TABLE items_0_0 MODIFY SETTING inactive_parts_to_delay_insert = 1000000, parts_to_delay_insert = 1");
    let apply = stage.start(APPLY);
    let waiting = stage.until_waiting("merges of default.items_0_0");
    assert_eq!(rows_copied(&waiting), 0, "{waiting}");
    stage.must(&["throttle", "--max-parts", "off"]);
    assert_eq!(apply.finish().code, Some(0));
    stage.assert_exact();
}

#[test]
fn limits_hold_the_copy_on_a_server_too() {
    let stage = Stage::on_server();
    let hours = other_hours();
    wait_for(&stage, "--hours", &hours, "by the server's clock");
    wait_for(&stage, "--disk-free", "1000000TB", "space on disk default");
    stage.have_parts();
    wait_for(&stage, "--max-parts", "1", "merges of default.items_0_0");
}

#[test]
fn slow_statements_of_the_users_hold_the_copy_on_a_server() {
    let stage = Stage::on_server();
    // So many that they are more than 5 of 100, whatever else this test asks the server in a few seconds.
    let slow = "SELECT sleepEachRow(1) FROM numbers(600) FORMAT Null SETTINGS max_block_size = 1";
    let start = |_| Background::start(stage.command(&["query", slow]));
    let slow = (0..8).map(start).collect::<Vec<_>>();
    until("a slow statement", || {
        let running = "SELECT countIf(elapsed > 1) >= 8 FROM system.processes WHERE query LIKE '%sleepEachRow%'";
        (stage.query(running) == "1").then_some(())
    });
    wait_for(&stage, "--query-latency", "900ms", "the users' statements");
    drop(slow);
}

#[test]
fn limits_come_from_the_project_the_flags_and_the_last_request() {
    let stage = Stage::embedded();
    let config = std::fs::read_to_string(stage.project.path().join("teal.toml")).unwrap();
    let with = |limits: &str| format!("{config}\n[migrate]\n{limits}\n");
    stage.project.write("teal.toml", &with("hours = \"22-6\""));
    stage.teal(&["status"]).failed(2, &["22:00-06:00"]);
    stage
        .project
        .write("teal.toml", &with("max_parts = 300\nhours = \"off\"\nquery_latency = \"2s\""));
    stage.project.killed_at("published", APPLY);
    let auto = json!({ "bytesPerSecond": "auto", "queryLatency": "2000ms", "maxParts": "300", "diskFree": "auto", "hours": "off" });
    assert_eq!(stage.status()["throttle"], auto);
    let said = stage.must(&["throttle"]).stdout;
    assert!(said.contains("query latency 2000ms") && said.contains("parts 300"), "{said}");
    stage.must(&["throttle", "--disk-free", "1000000TB", "--bytes-per-second", "50MB"]);
    let status = stage.status();
    assert_eq!(status["throttle"]["diskFree"], "1000000TB", "{status}");
    assert_eq!(status["throttle"]["maxParts"], "300", "{status}");
    // A request holds for the next apply; a flag given to that one is later.
    let apply = stage.start(APPLY);
    let waiting = stage.until_waiting("space on disk default");
    assert_eq!(waiting["throttle"]["bytesPerSecond"], "50MB", "{waiting}");
    assert!(apply.kill().killed);
    stage.must(&[APPLY, &["--disk-free", "1B"]].concat());
    stage.assert_exact();
    stage
        .teal(&["apply", "--disk-free", "much"])
        .failed(2, &["much is not a number of bytes", "2GiB"]);
}

fn abort_from_another_process(stage: &Stage) {
    let apply = stage.slowly(APPLY);
    stage.until_copying();
    let abort = stage.must(&["abort"]);
    assert!(abort.stderr.contains("was asked to end its work"), "{}", abort.said());
    assert!(abort.stdout.contains("given up"), "{}", abort.said());
    apply.finish().failed(3, &["was aborted", "blue is as it was"]);
    let tables = stage.query(
        "SELECT arraySort(groupArray(name)) FROM system.tables WHERE database IN ('default', '_teal') AND NOT name LIKE 'lock_%'",
    );
    assert_eq!(tables, "['items_0_0','journal','requests']");
    assert_eq!(stage.status()["phase"], "aborted");
    assert_eq!(stage.query("SELECT count() FROM items_0_0"), ROWS.to_string());
    // It begins again, and nobody aborts that.
    stage.must(APPLY);
    stage.assert_exact();
}

/// Whoever asked for it waits still; what was taken back is not done behind the end of the apply.
fn abort_taken_back(stage: &Stage) {
    let apply = Held::at("verify-begins", "", stage.command(APPLY));
    let mut abort = Background::start(stage.command(&["abort"]));
    let mut said = String::new();
    BufReader::new(abort.child().stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("was asked to end its work on items"), "{said}");
    stage.must(&["resume"]);
    let run = apply.go_on();
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert_eq!(abort.finish().code, Some(3));
    assert_eq!(stage.status()["phase"], "verified");
    stage.assert_exact();
}

#[test]
fn an_abort_that_was_taken_back_is_not_done_by_who_asked_for_it() {
    abort_taken_back(&Stage::embedded());
}

#[test]
fn an_abort_on_a_server_that_was_taken_back_is_not_done_by_who_asked_for_it() {
    abort_taken_back(&Stage::on_server());
}

#[test]
fn an_abort_that_has_begun_is_not_taken_back() {
    let stage = Stage::embedded();
    stage.project.killed_at("published", APPLY);
    stage.must(&["pause"]);
    stage.project.killed_at("abort-opened", &["abort"]);
    stage.teal(&["resume"]).failed(3, &["is aborting"]);
    assert_eq!(stage.status()["abortAsked"], Value::Null);
    stage.must(&["abort"]);
    assert_eq!(stage.status()["phase"], "aborted");
}

#[test]
fn an_abort_from_another_process_ends_a_running_apply() {
    let stage = Stage::embedded();
    abort_from_another_process(&stage);
    stage.assert_nothing_beside();
}

#[test]
fn an_abort_on_a_server_ends_a_running_apply() {
    abort_from_another_process(&Stage::on_server());
}

/// Nobody waits for it any more, but it was asked for before the apply came to its end.
fn aborted_during_the_proof(stage: &Stage) {
    let apply = Held::at("verify-begins", "", stage.command(APPLY));
    let mut abort = Background::start(stage.command(&["abort"]));
    let mut said = String::new();
    BufReader::new(abort.child().stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("was asked to end its work on items"), "{said}");
    assert!(abort.kill().killed);
    apply.go_on().failed(3, &["was aborted", "blue is as it was"]);
    assert_eq!(stage.status()["phase"], "aborted");
}

#[test]
fn an_abort_that_nobody_waits_for_is_done_behind_the_proof() {
    aborted_during_the_proof(&Stage::embedded());
}

#[test]
fn an_abort_on_a_server_that_nobody_waits_for_is_done_behind_the_proof() {
    aborted_during_the_proof(&Stage::on_server());
}

#[test]
fn an_abort_of_before_a_proof_or_a_cutover_is_void() {
    let stage = Stage::embedded();
    stage.must(APPLY);
    let id = stage.status()["migration"].as_str().unwrap().to_owned();
    let ask = || {
        let request = Request::new(&id, Ask::Abort { force: true });
        request.write_beside(&stage.project.data()).unwrap();
        assert_ne!(stage.status()["abortAsked"], Value::Null);
    };
    // Also where nothing is left to copy, it is taken back.
    ask();
    let said = stage.must(&["resume"]).stdout;
    assert!(said.contains("is not to be aborted any more"), "{said}");
    assert_eq!(stage.status()["abortAsked"], Value::Null);
    stage.teal(&["resume"]).failed(3, &["nothing is left to copy"]);
    ask();
    stage.must(&["cutover", "--by", "exchange"]);
    assert_eq!(stage.status()["abortAsked"], Value::Null);
    stage.must(&["rollback"]);
    stage.must(APPLY);
    stage.assert_exact();
}

/// What the process at work tells of itself is from before the step that it is at.
#[test]
fn what_is_asked_during_a_long_step_goes_by_what_was_asked_before() {
    let stage = Stage::embedded();
    let mut command = stage.command(APPLY);
    command.env("FAILPOINTS", "verify-begins=sleep(4000)");
    let apply = Background::start(command);
    until("the proof", || (stage.status()["step"] == "verify").then_some(()));
    let asked = Instant::now();
    stage.must(&["pause"]);
    let said = stage.must(&["resume"]).stdout;
    assert!(said.contains("goes on"), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(3), "too late to tell");
    assert_eq!(apply.finish().code, Some(0));
    assert_eq!(stage.status()["paused"], Value::Null);
    stage.assert_exact();
}

/// A paused apply can be aborted too; and an abort that is refused is taken back.
#[test]
fn an_abort_that_would_lose_rows_is_refused_and_does_not_stay() {
    let stage = Stage::on_server();
    let apply = stage.slowly(APPLY);
    let status = stage.until("how long it will take", |status| {
        status["rowsPerSecond"].as_u64() > Some(0) && status["secondsLeft"].as_u64() > Some(0)
    });
    assert!(status["operator"]["process"].as_u64() > Some(0), "{status}");
    assert_eq!((&status["phase"], &status["step"]), (&json!("attached"), &json!("backfill")));
    stage.must(&["pause"]);
    stage.until_waiting("teal resume");
    stage.query("INSERT INTO items_0_1 VALUES (1, 'mine', now(), NULL)");
    stage.teal(&["abort"]).failed(3, &["rows that default.items_0_0 lacks", "--force"]);
    apply.finish().failed(3, &["rows that default.items_0_0 lacks"]);
    let status = stage.status();
    assert_eq!(status["abortAsked"], Value::Null, "{status}");
    assert_ne!(status["paused"], Value::Null, "{status}");
    stage.must(&["resume"]);
    stage.query("ALTER TABLE items_0_1 DELETE WHERE name = 'mine' SETTINGS mutations_sync = 1");
    stage.must(APPLY);
    stage.assert_exact();
}

/// All that `status --json` says, of a migration that was killed and of one that is verified.
#[test]
fn status_says_all_of_it_as_json() {
    let stage = Stage::embedded();
    stage.project.killed_at("published", APPLY);
    stage.must(&["pause"]);
    let mut status = stage.status();
    let id = status["migration"].as_str().unwrap().to_owned();
    let asked = status["paused"]["by"].clone();
    for time in ["/started", "/since", "/fence/at", "/paused/at"] {
        let at = status.pointer_mut(time).unwrap();
        at.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        *at = json!("…");
    }
    let copied = rows_copied(&status);
    let bytes = status["bytes"].as_u64().unwrap();
    assert!(copied > 0 && copied < ROWS && bytes > 0, "{status}");
    let expected = json!({
        "migration": id, "table": "items", "from": "0.0", "to": "0.1",
        "blue": "default.items_0_0", "green": "default.items_0_1", "strategy": "rewrite",
        "phase": "attached", "isOver": false, "started": "…", "since": "…",
        "rows": ROWS, "rowsCopied": copied,
        "bytes": bytes, "bytesCopied": bytes * copied / ROWS,
        "rowsPerSecond": null, "secondsLeft": null,
        "operator": null, "step": null, "waiting": null, "stillUsedBy": [],
        "paused": { "by": asked, "at": "…" }, "abortAsked": null,
        "throttle": { "bytesPerSecond": "auto", "queryLatency": "auto", "maxParts": "auto", "diskFree": "auto", "hours": "auto" },
        "fence": { "by": "write gate", "at": "…", "attempts": 1 }, "cutover": "app",
        "verified": null, "proof": null, "next": "teal resume",
        "oldIsKeptCurrent": false, "parked": null,
    });
    assert_eq!(status, expected);
    let text = stage.must(&["status"]).stdout;
    for said in ["attached", "paused   by", "fence    write gate, 1 try", "verified not yet"] {
        assert!(text.contains(said), "{said:?} is not in {text}");
    }
    stage.must(&["resume"]);
    stage.must(APPLY);
    let status = stage.status();
    assert_eq!(status["next"], "teal cutover", "{status}");
    assert_eq!(status["verified"]["rows"], ROWS, "{status}");
    assert!(status["verified"]["compared"].as_u64().unwrap() > 0, "{status}");
    assert_eq!(difference(&stage.project, "items_0_0", "items_0_1"), "0");
}

fn watch(stage: &Stage) {
    let mut watch = Background::start(stage.command(&["status", "--watch"]));
    let mut lines = BufReader::new(watch.child().stdout.take().unwrap()).lines();
    let apply = stage.slowly(APPLY);
    let mut seen = String::new();
    for line in &mut lines {
        let line = line.unwrap();
        assert!(!line.contains('\x1b'), "{line}");
        seen.push_str(&line);
        seen.push('\n');
        if line.contains("verified") {
            break;
        }
    }
    assert!(seen.contains("attached"), "{seen}");
    assert!(seen.contains("rows/s"), "{seen}");
    let run = apply.finish();
    assert_eq!(run.code, Some(0), "{}", run.said());
    drop(watch);
}

#[test]
fn status_is_watched_line_by_line_where_there_is_no_terminal() {
    watch(&Stage::embedded());
}

#[test]
fn status_is_watched_on_a_server() {
    let stage = Stage::on_server();
    watch(&stage);
    // A proof says how far it has come: here, what bears its name and takes its time.
    let verify = Held::at("verify-started", "", stage.command(&["verify"]));
    let status = stage.status();
    assert!(!status["operator"].is_null() && status["proof"].is_null(), "{status}");
    let comment = format!("teal proof of {}", status["migration"].as_str().unwrap());
    let own = quote_string(&comment);
    let sql = format!("SELECT count() > 0 FROM system.query_log WHERE log_comment = {own}");
    stage.query("SYSTEM FLUSH LOGS");
    assert_eq!(stage.query(&sql), "1");
    let sql = format!(
        "SELECT sum(sleepEachRow(0.01)) FROM numbers(6000) SETTINGS max_block_size = 10, log_comment = {own}"
    );
    let server = stage.server.as_ref().unwrap().open(|_| ());
    std::thread::scope(|scope| {
        scope.spawn(|| server.user_session(&[]).unwrap().command(&sql).unwrap_err());
        let status = stage.until("a proof", |status| {
            status["proof"]["rowsRead"].as_u64() > Some(0)
                && status["secondsLeft"].as_u64() > Some(0)
        });
        stage.query(&format!("KILL QUERY WHERE Settings['log_comment'] = {own} SYNC"));
        assert_eq!(status["proof"]["rows"], 6_000, "{status}");
    });
    assert_eq!(verify.go_on().code, Some(0));
}

/// Until they differ; and until the cutover.
fn watch_rows(stage: &Stage) {
    let watched = |statement: &[&str]| {
        let mut watch = Background::start(stage.command(&["verify", "--watch", "--every", "1s"]));
        let mut lines = BufReader::new(watch.child().stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.contains("hold the same rows"), "{first}");
        // On the embedded engine, between two proofs.
        until("a moment without a proof", || (stage.teal(statement).code == Some(0)).then_some(()));
        lines.for_each(drop);
        watch.finish()
    };
    stage.must(&["apply"]);
    let delete = "ALTER TABLE items_0_1 DELETE WHERE id = 1 SETTINGS mutations_sync = 1";
    watched(&["query", delete]).failed(3, &["green lacks 1 and has 0 too many"]);
    stage.must(&["repair"]);
    watched(&["cutover"]).failed(0, &["items was cut over"]);
}

#[test]
fn rows_are_watched_until_the_cutover() {
    watch_rows(&Stage::embedded());
}

#[test]
fn rows_are_watched_on_a_server() {
    watch_rows(&Stage::on_server());
}
