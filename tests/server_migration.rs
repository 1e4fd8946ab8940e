//! Migrations on a server, where INSERTs cannot be held: the fence by `part_log`, under traffic.
//! (`server_killed.rs` kills them behind each of their writes.)

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use teal_client::{Format, InsertStream, Server as _, Session};

use crate::server_exchange::attach_one_partition;
use crate::servers::Modern;
use crate::support::{Background, Failpoint, Held, NO_REPAIR, Project, Run, answer, until};

pub(crate) const EVENTS: &str = "CREATE TABLE events (id UInt64, town String, at DateTime) ENGINE = MergeTree \
     PARTITION BY toYYYYMM(at) ORDER BY id;\n";
pub(crate) const REWRITTEN: &str = "CREATE TABLE events_1 (id UInt64, town String, at DateTime) ENGINE = MergeTree \
     PARTITION BY toYYYYMM(at) ORDER BY (town, id);\n";
pub(crate) const CLONED: &str = "CREATE TABLE events_1 (id UInt64, town String, at DateTime) ENGINE = MergeTree \
     PARTITION BY toYYYYMM(at) ORDER BY id SETTINGS merge_with_ttl_timeout = 7200;\n";
/// Of each of the three partitions a chunk or less: what a test is about are steps and moments, not rows.
pub(crate) const ROWS: u64 = 20_000;

const DIFFERENCE: &str = "SELECT toUInt64(ifNull(sum(abs(n)), 0)) FROM (SELECT sum(sign) AS n FROM (\
         SELECT 1::Int64 AS sign, * FROM events UNION ALL SELECT -1::Int64 AS sign, * FROM events_1) \
     GROUP BY id, town, at)";

pub(crate) struct Stage {
    pub(crate) modern: Modern,
    pub(crate) project: Project,
    /// Rows of a user's INSERT, at most, and the time between two of one writer, at least. With none, there is no
    /// moment without INSERTs.
    pub(crate) pace: (u64, Duration),
    /// How often there was traffic: no two INSERTs have the same rows.
    rounds: AtomicU64,
    /// The first id of each INSERT of that traffic, and its rows.
    inserted: Mutex<Vec<(u64, u64)>>,
}

impl Stage {
    /// A filled table, and the models of its next version.
    pub(crate) fn new(modern: Modern, next: &str) -> Self {
        let version = "-- teal: table events version 1\n";
        let view = "CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events;\n";
        let project = Project::new(&[("app/events.sql", EVENTS)]);
        Self::of(modern, project, &format!("{EVENTS}{version}{next}{view}"))
    }

    /// What goes by the name `events`, filled, and the project with its models to come.
    pub(crate) fn of(modern: Modern, project: Project, models: &str) -> Self {
        let stage = Self {
            modern,
            project,
            // Without a pause, they take the machine for themselves, and the tables grow while teal waits for it.
            pace: (300, Duration::from_millis(10)),
            rounds: AtomicU64::new(0),
            inserted: Mutex::default(),
        };
        stage.must(&["apply"]);
        for part in 0..4 {
            stage.query(&insert(part * ROWS / 4, ROWS / 4, 0));
        }
        stage.project.write("app/events.sql", models);
        stage
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let url = self.modern.url();
        self.project.command(&[&["--url", &url], arguments].concat())
    }

    pub(crate) fn teal(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let run = self.teal(arguments);
        assert_eq!(run.code, Some(0), "teal {arguments:?}: {}", run.said());
        run.stdout.trim_end().to_owned()
    }

    /// As `must`. What a cut, a copy, a crash or an exchange has lost is not brought by a repair: one kills teal here.
    pub(crate) fn exactly(&self, arguments: &[&str]) -> Run {
        let run = Run::of(self.command(arguments).env("FAILPOINTS", NO_REPAIR).output().unwrap());
        assert_eq!(run.code, Some(0), "teal {arguments:?}, or a repair: {}", run.said());
        run
    }

    pub(crate) fn killed_at(&self, failpoint: &str, arguments: &[&str]) {
        let mut command = self.command(arguments);
        let run = Run::of(command.env("FAILPOINTS", failpoint).output().unwrap());
        assert!(run.killed, "{failpoint} was not reached by {arguments:?}: {}", run.said());
    }

    /// Starts teal such that it takes `milliseconds` at a failpoint.
    pub(crate) fn slowly(&self, failpoint: &str, milliseconds: u64, arguments: &[&str]) -> Child {
        self.command(arguments)
            .env("FAILPOINTS", format!("{failpoint}=sleep({milliseconds})"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until the query gives something else than 0.
    pub(crate) fn wait_for(&self, query: &str) {
        let server = self.modern.open(|_| ());
        let mut session = server.user_session(&[]).unwrap();
        until(query, || (session.run(query, Format::TSV).unwrap().body != b"0\n").then_some(()));
    }

    pub(crate) fn query(&self, sql: &str) -> String {
        answer(&self.modern.open(|_| ()), sql)
    }

    pub(crate) fn config(&self) -> String {
        self.project.config()
    }

    pub(crate) fn sorting_key(&self, table: &str) -> String {
        self.query(&format!(
            "SELECT sorting_key FROM system.tables WHERE database = 'default' AND name = '{table}'"
        ))
    }

    /// Rows by which the two tables differ, as multisets.
    pub(crate) fn difference(&self) -> String {
        self.query(DIFFERENCE)
    }

    pub(crate) fn assert_exact(&self, rows: u64, said: &str) {
        let found = self.query(&format!(
            "SELECT (SELECT count() FROM events), ({DIFFERENCE}), \
                 (SELECT groupArray(name) FROM system.tables \
                  WHERE database = '_teal' AND name != 'journal' AND NOT name LIKE 'lock_%')"
        ));
        assert_eq!(found, format!("{rows}\t0\t[]"), "{said}: rows, difference, left behind");
        self.assert_merges_are_on(said);
    }

    /// Of all tables of the user.
    pub(crate) fn assert_merges_are_on(&self, said: &str) {
        // These an `OPTIMIZE … FINAL` would pass.
        let by_settings = self.query(
            "SELECT groupArray(name) FROM system.tables WHERE database = 'default' \
                 AND match(engine_full, 'max_bytes_to_merge|merges_with_ttl|force_merge')",
        );
        assert_eq!(by_settings, "[]", "{said}: tables whose settings keep them from merging");
        let tables = "SELECT name FROM system.tables WHERE database = 'default' AND engine LIKE '%MergeTree'";
        for table in self.query(tables).lines() {
            // Where merges are stopped this fails, with ABORTED.
            self.query(&format!("OPTIMIZE TABLE {table} FINAL"));
        }
    }

    pub(crate) fn inserted(&self) -> Vec<(u64, u64)> {
        self.inserted.lock().unwrap().clone()
    }

    /// Writes all the time until `work` is done. Gives the rows written.
    pub(crate) fn under_traffic(&self, writers: u64, work: impl FnOnce()) -> u64 {
        let tables = vec!["events"; usize::try_from(writers).unwrap()];
        self.under_traffic_to(&tables, work)
    }

    /// One writer for each of `tables`.
    pub(crate) fn under_traffic_to(&self, tables: &[&str], work: impl FnOnce()) -> u64 {
        let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
        let (most, pause) = self.pace;
        let round = self.rounds.fetch_add(1, Ordering::Relaxed);
        let (has_written, have_written) = mpsc::channel();
        thread::scope(|scope| {
            for (writer, table) in (0..).zip(tables) {
                let (stop, written, has_written) = (&stop, &written, has_written.clone());
                let server = self.modern.open(|_| ());
                scope.spawn(move || {
                    let mut session = server.user_session(&[]).unwrap();
                    for i in 1.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let rows = 1 + (writer * 7919 + i * 104_729) % most;
                        // One in four takes 300 ms, and spans what the others do meanwhile.
                        let slow = if i % 4 == 0 { 300 } else { 0 };
                        let from = (round * 16 + writer + 1) * 1_000_000_000 + i * 10_000;
                        let began = Instant::now();
                        run(session.as_mut(), &insert_into(table, from, rows, slow));
                        written.fetch_add(rows, Ordering::Relaxed);
                        self.inserted.lock().unwrap().push((from, rows));
                        if i == 1 {
                            has_written.send(()).unwrap();
                        }
                        // One takes some 20 ms here, and as much again of a merging thread: the slower the machine,
                        // the longer a pause leaves teal something of it. A slow one only waits.
                        if !pause.is_zero() {
                            let busy = if slow == 0 { began.elapsed() } else { Duration::ZERO };
                            thread::sleep(pause.max(busy * 3));
                        }
                    }
                });
            }
            // Also when `work` fails.
            let _stop = StopsAll(&stop);
            for _ in tables {
                have_written.recv_timeout(Duration::from_secs(120)).unwrap();
            }
            work();
        });
        written.into_inner()
    }
}

pub(crate) struct StopsAll<'s>(pub(crate) &'s AtomicBool);

impl Drop for StopsAll<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An INSERT that finds its table in the very moment of an EXCHANGE is refused by ClickHouse (26.9, once
/// in some thousand exchanges under four writers), with nothing written: sent again, as a user would.
pub(crate) fn run(session: &mut dyn Session, sql: &str) {
    loop {
        match session.command(sql) {
            Ok(_) => return,
            Err(error) if error.to_string().contains("TABLE_UUID_MISMATCH") => {}
            Err(error) => panic!("a user's INSERT failed: {error}"),
        }
    }
}

/// Over three partitions; takes at least so many milliseconds.
pub(crate) fn insert(from: u64, rows: u64, milliseconds: u64) -> String {
    insert_into("events", from, rows, milliseconds)
}

/// An INSERT is under way that sleeps: it has found its table and the views of it, and reads.
pub(crate) const SLEEPING: &str = "SELECT count() FROM system.processes \
     WHERE query_kind = 'Insert' AND position(query, 'sleep(2)') > 0 AND read_rows > 0";

pub(crate) fn insert_into(table: &str, from: u64, rows: u64, milliseconds: u64) -> String {
    let slow = match milliseconds {
        0 => String::new(),
        _ => format!(" WHERE sleep({}) = 0", milliseconds as f64 / 1e3),
    };
    format!(
        "INSERT INTO {table} SELECT {from} + number, concat('town ', toString(number % 100)), \
         toDateTime('2024-01-01 00:00:00') + (number % 80) * 86400 FROM numbers({rows}){slow}"
    )
}

#[test]
fn a_rewrite_on_a_server_is_exact_under_traffic() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let written = stage.under_traffic(4, || {
        stage.exactly(&["apply", "--chunk-rows", "10000"]);
        stage.must(&["verify"]);
    });
    stage.assert_exact(ROWS + written, "rewrite");
    // Readers and writers move by their code; the old table goes.
    stage.must(&["cutover"]);
    stage.must(&["cleanup"]);
    assert_eq!(stage.query("SHOW TABLES"), "events_1");
    assert_eq!(stage.query("SELECT count() FROM events_1"), (ROWS + written).to_string());
}

/// It is cloned partition by partition, and compared by functions that were there then. The new table has other
/// partitions.
#[test]
fn a_server_that_takes_one_partition_at_a_time_is_no_matter() {
    let next = REWRITTEN.replace("toYYYYMM(at)", "id % 3");
    let stage = Stage::new(Modern::start_as_old(), &next);
    let mut written = stage.under_traffic(4, || {
        stage.exactly(&["apply", "--chunk-rows", "10000"]);
        stage.must(&["verify"]);
        // With no partitions in common, of some rows.
        let sample = stage.must(&["verify", "--sample", "20%"]);
        assert!(sample.contains("hold the same rows where town is "), "{sample}");
    });
    stage.assert_exact(ROWS + written, "rewrite");
    written += stage.under_traffic(2, || drop(stage.must(&["cutover", "--by", "exchange"])));
    stage.assert_exact(ROWS + written, "exchange");
    stage.must(&["verify"]);
    stage.query("ALTER TABLE events DELETE WHERE id = 7 SETTINGS mutations_sync = 2");
    let said = ["whatever town is", "not the same in 1 of "];
    stage.teal(&["verify", "--sample", "100%"]).failed(3, &said);
}

/// An INSERT into such an engine writes a part that looks as if it were merged.
#[test]
fn a_table_that_folds_rows_is_attached_under_traffic() {
    let project = Project::new(&[("app/events.sql", &replacing(EVENTS))]);
    let next = replacing(REWRITTEN).replace("toYYYYMM(at)", "id % 4").replace("(town, id)", "id");
    let models = format!(
        "{}-- teal: table events version 1\n{next}\
         CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events;\n",
        replacing(EVENTS)
    );
    let stage = Stage::of(Modern::start_as_old(), project, &models);
    let written = stage.under_traffic(2, || {
        stage.exactly(&["apply", "--chunk-rows", "10000", "--fence-timeout", "10"]);
    });
    stage.assert_exact(ROWS + written, "folded");
}

/// The same table, of an engine that folds rows; no two of which are of one key.
fn replacing(table: &str) -> String {
    table.replace("= MergeTree", "= ReplacingMergeTree(at)")
}

#[test]
fn a_clone_on_a_server_is_exact_under_traffic() {
    let stage = Stage::new(Modern::start(), CLONED);
    let written = stage.under_traffic(4, || {
        let plan = stage.must(&["plan"]);
        assert!(plan.contains("clone (same columns"), "{plan}");
        stage.exactly(&["apply"]);
    });
    stage.assert_exact(ROWS + written, "clone");
}

/// Its keys are written to by every INSERT, so that some of them are on their way with every look.
#[test]
fn a_rollup_on_a_server_is_that_of_all_rows_under_traffic() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let view = "CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT town, toDate(at) AS day, count() AS rows, \
         uniqExactState(id) AS ids FROM events GROUP BY town, day;\n";
    let next = "CREATE TABLE events_1 (town String, day Date, rows UInt64, ids AggregateFunction(uniqExact, UInt64)) \
         ENGINE = SummingMergeTree PARTITION BY toYYYYMM(day) ORDER BY (town, day);\n";
    let version = "-- teal: table events version 1\n";
    stage.project.write("app/events.sql", &format!("{EVENTS}{version}{next}{view}"));
    let written = stage.under_traffic(2, || {
        stage.must(&["apply", "--chunk-rows", "10000"]);
        stage.must(&["verify"]);
    });
    let rows = stage.query("SELECT sum(rows), uniqExactMerge(ids) FROM events_1");
    assert_eq!(rows, format!("{0}\t{0}", ROWS + written));
    stage.must(&["verify"]);
    // A row that is in blue only.
    stage.query("DROP VIEW mv_events");
    stage.query(&insert(5_000_000_000, 1, 0));
    stage.teal(&["verify"]).failed(3, &["green lacks 1 and has 1 too many", "`teal abort`"]);
    stage.teal(&["repair"]).failed(3, &["folds its rows"]);
}

/// The order of the rows decides, and a clone keeps it.
#[test]
fn an_engine_that_folds_in_order_is_verified_on_a_server() {
    let next = CLONED.replace("= MergeTree", "= ReplacingMergeTree");
    let stage = Stage::new(Modern::start(), &next);
    stage.query(&insert(0, 10, 0));
    stage.must(&["apply"]);
    stage.query(&insert(5, 10, 0));
    stage.must(&["verify"]);
    assert_eq!(stage.query("SELECT count() FROM events_1 FINAL"), ROWS.to_string());
    stage.query("INSERT INTO events_1 SELECT 7, 'nowhere', '2024-01-08 00:00:00'");
    stage.teal(&["verify"]).failed(3, &["nowhere"]);
}

/// Some of them are on their way with every look, and others with the next one.
#[test]
fn keys_that_are_written_over_all_the_time_keep_no_engine_that_goes_by_the_order_from_its_proof() {
    let next = CLONED.replace("= MergeTree", "= ReplacingMergeTree");
    let stage = Stage::new(Modern::start(), &next);
    stage.must(&["apply"]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (has_written, have_written) = mpsc::channel();
        for writer in 0..4 {
            let (server, stop, has_written) =
                (stage.modern.open(|_| ()), &stop, has_written.clone());
            scope.spawn(move || {
                let mut session = server.user_session(&[]).unwrap();
                for i in 0.. {
                    let from = writer * 1000 + i % 500 * 2;
                    let insert = format!(
                        "INSERT INTO events SELECT {from} + number AS id, 'town {i}', \
                         toDateTime('2024-01-01 00:00:00') + id % 80 * 86400 FROM numbers(2)"
                    );
                    run(session.as_mut(), &insert);
                    if i == 0 {
                        has_written.send(()).unwrap();
                    }
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        let _stop = StopsAll(&stop);
        for _ in 0..4 {
            have_written.recv_timeout(Duration::from_secs(120)).unwrap();
        }
        stage.must(&["verify"]);
    });
    stage.must(&["verify"]);
}

/// A merge that folds a row too many into another one moves it to a bucket that was equal before: looks at rows as
/// they are must not be put together.
#[test]
fn a_merge_between_two_looks_hides_no_row_too_many() {
    let blue = "CREATE TABLE events (id UInt64, n Int64) ENGINE = MergeTree ORDER BY id;\n";
    let project = Project::new(&[("app/events.sql", blue)]);
    let modern = Modern::start();
    let url = modern.url();
    let teal = |arguments: &[&str]| project.command(&[&["--url", &url], arguments].concat());
    let must = |arguments: &[&str]| {
        let run = Run::of(teal(arguments).output().unwrap());
        assert_eq!(run.code, Some(0), "teal {arguments:?}: {}", run.said());
    };
    must(&["apply"]);
    must(&["query", "INSERT INTO events SELECT number, 5 FROM numbers(100)"]);
    let view = "CREATE MATERIALIZED VIEW mv TO events_1 AS SELECT * FROM events;\n";
    let green = blue.replace("events", "events_1").replace("MergeTree", "SummingMergeTree");
    let models = format!("{blue}-- teal: table events version 1\n{green}{view}");
    project.write("app/events.sql", &models);
    must(&["apply"]);
    must(&["query", "INSERT INTO events_1 VALUES (7, 3)"]);
    let verify = Held::at("verify-started", "", teal(&["verify"]));
    must(&["query", "OPTIMIZE TABLE events_1 FINAL"]);
    verify.go_on().failed(3, &["green lacks 1 and has 1 too many"]);
}

/// An INSERT that began between the clone and the view is copied; one that began behind the view is forwarded.
#[test]
fn an_insert_that_runs_across_the_cut_is_in_green_once() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let (cloned, viewed) = (Failpoint::new(), Failpoint::new());
    let mut apply = stage.command(&["apply"]);
    let (at_clone, at_view) = (cloned.action(), viewed.action());
    let held = format!("blue-cloned=1*{at_clone};view-created=1*{at_view};{NO_REPAIR}");
    apply.env("FAILPOINTS", held);
    let mut apply = Background::start(apply);
    thread::scope(|scope| {
        for (from, hold) in [(1_000_000_000, &cloned), (2_000_000_000, &viewed)] {
            assert!(hold.is_reached_by(&mut apply));
            let server = stage.modern.open(|_| ());
            scope.spawn(move || {
                run(server.user_session(&[]).unwrap().as_mut(), &insert(from, 1000, 2000));
            });
            // It has found its table and the views of it, and reads.
            let runs = format!(
                "position(query, '{from}') > 0 AND query_kind = 'Insert' AND read_rows > 0"
            );
            stage.wait_for(&format!("SELECT count() FROM system.processes WHERE {runs}"));
            hold.release();
        }
        // Of three partitions.
        let said = apply.finish();
        let words = "6 parts came meanwhile, 3 of them not through the view";
        said.failed(0, &[words]);
    });
    stage.assert_exact(ROWS + 2000, "across");
}

/// An INSERT of one row that goes on until it is finished, and its query id.
pub(crate) fn open_insert<'s>(
    stage: &Stage,
    session: &'s mut dyn Session,
    id: u64,
) -> (Box<dyn InsertStream + 's>, String) {
    let mut insert = session.insert("INSERT INTO events (id, town, at)", Format::TSV).unwrap();
    insert.send(format!("{id}\ttown 7\t2024-02-01 00:00:00\n").as_bytes()).unwrap();
    // By then it has looked up its table, and the views of that.
    let running = "SELECT query_id FROM system.processes WHERE query_kind = 'Insert' \
         AND query LIKE '%INTO events (id%' AND elapsed > 0.2";
    let id = until("the INSERT", || Some(stage.query(running)).filter(|id| !id.is_empty()));
    (insert, id)
}

/// Merges of blue are not off for as long as it takes: the cut is undone, and tried until it has ended.
#[test]
fn an_insert_that_takes_longer_than_a_cut_may_is_named_and_waited_for_with_merges_on() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let (stopped, undone) = (Failpoint::new(), Failpoint::new());
    let mut command = stage.command(&["apply"]);
    let failpoints = [
        format!("merges-stopped=1*{}", stopped.action()),
        format!("undo-view-dropped=1*{}", undone.action()),
        "longest-hold=return(1)".to_owned(),
    ];
    command.env("FAILPOINTS", failpoints.join(";"));
    let mut apply = Background::start(command);
    assert!(stopped.is_reached_by(&mut apply));
    let server = stage.modern.open(|_| ());
    let mut session = server.user_session(&[]).unwrap();
    let (insert, id) = open_insert(&stage, session.as_mut(), 1_000_000_000);
    stopped.release();
    assert!(undone.is_reached_by(&mut apply));
    undone.release();
    let mut merging = server.user_session(&[]).unwrap();
    until("merges", || merging.command("OPTIMIZE TABLE events FINAL").ok());
    insert.finish().unwrap();
    let run = apply.finish();
    run.failed(0, &["the end of INSERTs that go on", &id]);
    stage.assert_exact(ROWS + 1, &run.said());
}

/// The ATTACH of a chunk stopped in its midst: one of its partitions is in green, two are not.
#[test]
fn a_chunk_of_which_some_is_attached_is_attached_once() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.killed_at("publishing=return", &["apply", "--workers", "1"]);
    attach_one_partition(&stage, "staging_[0-9]+", "events_1");
    let run = stage.teal(&["apply"]);
    run.failed(0, &["chunk 0 was being published"]);
    assert!(!run.stderr.contains("repair"), "{}", run.said());
    stage.assert_exact(ROWS, &run.said());
}

#[test]
fn in_the_middle_of_a_copy_an_abort_knows_which_rows_are_still_to_come() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let begin = || stage.killed_at("published=1*off->return", &["apply", "--chunk-rows", "10000"]);
    begin();
    // By sums of what is copied and what is not: no table is cloned to be compared row by row.
    stage.query("INSERT INTO events VALUES (900001, 'forwarded', '2024-01-01 00:00:00')");
    let run = stage.command(&["abort"]).env("FAILPOINTS", "verify-tables-made=return").output();
    let run = Run::of(run.unwrap());
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert_eq!(stage.query("SHOW TABLES"), "events");

    begin();
    stage.query("ALTER TABLE events DELETE WHERE id % 1000 = 1 SETTINGS mutations_sync = 1");
    stage.must(&["abort"]);

    begin();
    stage.query("INSERT INTO events_1 VALUES (900002, 'direct', '2024-01-01 00:00:00')");
    stage.teal(&["abort"]).failed(3, &["has 1 rows that", "the copy has ended", "--force"]);
    stage.must(&["abort", "--force"]);
    assert_eq!(stage.query("SHOW TABLES"), "events");
}

/// The numbers of rows say how far the copy has come then, and not that merges have folded some.
#[test]
fn in_the_middle_of_a_copy_into_an_engine_that_folds_rows_nothing_is_folded_to_be_compared() {
    let stage = Stage::new(Modern::start(), &replacing(REWRITTEN));
    stage.killed_at("published=1*off->return", &["apply", "--chunk-rows", "10000"]);
    let abort = stage.command(&["abort"]).env("FAILPOINTS", "verify-tables-made=return").output();
    let run = Run::of(abort.unwrap());
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert_eq!(stage.query("SHOW TABLES"), "events");
}

#[test]
fn an_undoing_that_is_killed_is_undone_again() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    let rows = stage.under_traffic(2, || {
        stage.killed_at("view-created=return", &["apply"]);
        stage.killed_at("undo-view-dropped=return", &["apply"]);
        stage.killed_at("undo-snapshot-dropped=return", &["apply"]);
        stage.exactly(&["apply"]);
    });
    stage.assert_exact(ROWS + rows, "undone");
}

#[test]
fn without_part_log_a_cut_needs_a_quiet_moment() {
    let stage = Stage::new(Modern::start_with("<clickhouse/>"), REWRITTEN);
    let written = stage.under_traffic(3, || {
        let run = stage.teal(&["apply", "--fence-timeout", "3"]);
        run.failed(3, &["no clean cut", "No row was lost"]);
    });
    assert_eq!(stage.query("SHOW TABLES"), "events\nevents_1");
    assert_eq!(stage.query("SELECT count() FROM events_1"), "0");
    stage.assert_merges_are_on("given up");
    stage.exactly(&["apply"]);
    stage.assert_exact(ROWS + written, "quiet");
}

#[test]
fn rows_that_the_view_lost_are_found_and_copied() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    let written = stage.under_traffic(2, || {
        // As an INSERT that failed in the view leaves it: in blue, and not in green.
        stage.query("ALTER TABLE events_1 DELETE WHERE id < 500 SETTINGS mutations_sync = 1");
        stage.teal(&["verify"]).failed(3, &["green lacks 500 and has 0 too many"]);
        stage.must(&["repair"]);
        stage.must(&["verify"]);
        stage.query("INSERT INTO events_1 VALUES (7, 'nowhere', now()), (8, 'nowhere', now())");
        stage.teal(&["verify"]).failed(3, &["green lacks 0 and has 2 too many", "nowhere"]);
        stage.teal(&["cutover"]).failed(3, &["2 too many"]);
        stage.query(
            "ALTER TABLE events_1 DELETE WHERE town = 'nowhere' SETTINGS mutations_sync = 1",
        );
        stage.must(&["cutover"]);
    });
    stage.assert_exact(ROWS + written, "repaired");
}

/// A client sends the same row again and again: an equal row comes between each two looks at the tables, and
/// must not stand in for the one that green lacks.
#[test]
fn a_lost_row_does_not_hide_behind_equal_ones_that_are_inserted() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    let same = "INSERT INTO events VALUES (7, 'same', '2024-02-01 00:00:00')";
    let slowly = |name: &str, arguments: &[&str]| {
        let mut command = stage.command(arguments);
        let failpoint = format!("verify-table-cloned={name}");
        Run::of(command.env("FAILPOINTS", failpoint).output().unwrap())
    };
    let again_and_again = |work: &mut dyn FnMut()| {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let server = stage.modern.open(|_| ());
                let mut session = server.user_session(&[]).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    run(session.as_mut(), same);
                    thread::sleep(Duration::from_millis(20));
                }
            });
            let _stop = StopsAll(&stop);
            work();
        });
    };
    // All of them came through the view: a look between two of them finds that.
    again_and_again(&mut || slowly("sleep(300)", &["verify"]).failed(0, &[]));

    let view = stage.query("SELECT create_table_query FROM system.tables WHERE name = 'mv_events'");
    stage.query("DROP VIEW mv_events SYNC");
    stage.query(same);
    stage.query(&view);
    again_and_again(&mut || {
        slowly("sleep(300)", &["verify"]).failed(3, &["cannot be told", "same"]);
    });
    stage.teal(&["verify"]).failed(3, &["green lacks 1 and has 0 too many", "same"]);
    stage.must(&["repair"]);
    stage.must(&["verify"]);
    assert_eq!(stage.difference(), "0");
}

/// During a deployment some writers are on blue and some on green. A rollback brings to blue what is in
/// green alone, while both go on.
#[test]
fn a_rollback_under_traffic_to_both_tables_loses_nothing() {
    let stage = Stage::new(Modern::start(), REWRITTEN);
    stage.must(&["apply"]);
    stage.must(&["cutover"]);
    let first = stage.under_traffic_to(&["events", "events_1", "events_1"], || {
        thread::sleep(Duration::from_secs(1));
        stage.must(&["rollback"]);
    });
    // The last writers have come back: what they wrote to green since is brought as well.
    let then = stage.under_traffic(2, || drop(stage.must(&["rollback"])));
    stage.assert_exact(ROWS + first + then, "rolled back");
    stage.must(&["abort"]);
    assert_eq!(stage.query("SHOW TABLES"), "events");
    assert_eq!(stage.query("SELECT count() FROM events"), (ROWS + first + then).to_string());
}
