//! The embedded engine, for real. A process can have one data directory open, so the tests of this
//! binary share an engine, each with tables of its own; what needs another directory runs in a
//! process of its own: this binary again, told by a variable what to do.
//! Clippy counts helpers as no tests, hence what is allowed here.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;
use teal_client::{
    ClientError, EmbeddedEngine, EngineOptions, Format, GateStats, Server, Session, WriteGate,
};
use teal_schema::{QualifiedName, quote_ident};

/// Long enough for anything that ends at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// One test at a time closes the gate, so that its figures are its own.
static GATE: Mutex<()> = Mutex::new(());

fn library() -> PathBuf {
    teal_fetch::fetch_engine_library(&mut |_| ()).unwrap()
}

fn options(data: &Path) -> EngineOptions {
    EngineOptions { library: library(), data: data.to_owned(), config_file: None }
}

fn engine() -> &'static EmbeddedEngine {
    static ENGINE: OnceLock<EmbeddedEngine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        // What is static is never dropped, so each run clears away what ended ones have left.
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("embedded");
        for directory in fs::read_dir(&all).into_iter().flatten().flatten() {
            let process = Path::new("/proc").join(directory.file_name());
            if !process.exists() {
                fs::remove_dir_all(directory.path()).ok();
            }
        }
        EmbeddedEngine::open(options(&all.join(std::process::id().to_string()))).unwrap()
    })
}

fn gate() -> &'static WriteGate {
    engine().write_gate().unwrap()
}

/// A session of teal's own.
fn session() -> Box<dyn Session> {
    engine().session(&[]).unwrap()
}

/// A session of a user.
fn user() -> Box<dyn Session> {
    engine().user_session(&[]).unwrap()
}

/// Makes an empty table with one column `a`.
fn table(name: &str) -> String {
    session()
        .command(&format!("CREATE TABLE {name} (a UInt64) ENGINE = MergeTree ORDER BY a"))
        .unwrap();
    name.to_owned()
}

fn count(table: &str) -> u64 {
    #[derive(Deserialize)]
    struct Row {
        rows: u64,
    }
    session().row::<Row>(&format!("SELECT count() AS rows FROM {table}")).unwrap().rows
}

#[track_caller]
fn await_that(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "never came: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

// --- the write gate ----------------------------------------------------------------------------

/// Runs `write` on a user's session while the gate is closed; asserts that it waits, and that what
/// `meanwhile` does is done before.
fn assert_waits(
    write: impl FnOnce(&mut dyn Session) + Send,
    meanwhile: impl FnOnce(),
) -> (GateStats, GateStats) {
    let _alone = GATE.lock();
    let before = gate().stats();
    let closing = gate().close(PATIENCE).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(&mut *user()));
        await_that("a write at the gate", || {
            assert!(!writer.is_finished(), "it passed a closed gate");
            gate().stats().waiting > before.waiting
        });
        meanwhile();
        assert!(!writer.is_finished());
        drop(closing);
        writer.join().unwrap();
    });
    (before, gate().stats())
}

#[test]
fn a_users_insert_waits_at_a_closed_gate_while_reads_pass() {
    let table = table("gate_insert");
    let insert = format!("INSERT INTO {table} VALUES (1)");
    let (before, after) = assert_waits(
        |session| {
            session.command(&insert).unwrap();
        },
        || {
            let mut reader = user();
            for read in [format!("SELECT count() FROM {table}"), "SHOW TABLES".to_owned()] {
                reader.command(&read).unwrap();
                reader.stream(&read, Format::TSV, &mut |_| ()).unwrap();
            }
            assert_eq!(count(&table), 0);
        },
    );
    assert_eq!(count(&table), 1);
    assert!(after.waits > before.waits && after.longest_wait > Duration::ZERO);
}

/// What has a head, a tail or something between its rows is handed over whole.
#[test]
fn a_streamed_result_is_one_document_in_any_format() {
    let mut session = user();
    let mut streamed = |statement: &str, format: &'static str| {
        let mut body = Vec::new();
        let end = session.stream(statement, Format(format.into()), &mut |piece| body.extend(piece));
        end.map(|()| String::from_utf8(body).unwrap())
    };
    // Of several blocks.
    let rows = "SELECT number FROM numbers(200000)";
    assert_eq!(streamed(rows, "CSV").unwrap().lines().count(), 200_000);
    assert_eq!(streamed(rows, "CSVWithNames").unwrap().matches("number").count(), 1);
    for (statement, format) in [(rows.to_owned(), "JSON"), (format!("{rows} FORMAT JSON"), "TSV")] {
        let body = streamed(&statement, format).unwrap();
        let document = serde_json::from_str::<serde_json::Value>(&body).unwrap();
        assert_eq!(document["rows"], 200_000);
    }
    let error = streamed("SELECT throwIf(number = 900000) FROM numbers(1000000)", "Null");
    assert!(error.is_err(), "it was not read to its end");
}

#[test]
fn a_users_streaming_insert_waits_at_a_closed_gate() {
    let table = table("gate_stream");
    let insert = format!("INSERT INTO {table}");
    assert_waits(
        |session| {
            let mut insert = session.insert(&insert, Format::TSV).unwrap();
            insert.send(b"1\n").unwrap();
            insert.finish().unwrap();
        },
        || assert_eq!(count(&table), 0),
    );
    assert_eq!(count(&table), 1);
}

#[test]
fn an_insert_in_disguise_waits_at_a_closed_gate_too() {
    let table = table("gate_disguise");
    let disguises = [
        format!("/* SELECT */ INSERT INTO {table} VALUES (1)"),
        format!("-- SELECT\n  INSERT INTO {table} VALUES (1)"),
        format!("WITH 1 AS x INSERT INTO {table} SELECT x"),
        format!("SELECT 1; INSERT INTO {table} VALUES (1)"),
        format!("SELECT ';'; SELECT 2; INSERT INTO {table} VALUES (1);"),
        format!(
            "INSERT INTO {table} SETTINGS async_insert = 1, wait_for_async_insert = 0 VALUES (1)"
        ),
        format!("insert into {table} format CSV 1\n"),
        format!("SELECT '\0'; INSERT INTO {table} VALUES (1)"),
    ];
    for (number, disguise) in disguises.iter().enumerate() {
        assert_waits(
            |session| {
                session.command(disguise).unwrap();
            },
            || assert_eq!(count(&table), number as u64, "{disguise}"),
        );
        // Stored when the statement has ended, not some time later behind the gate's back.
        assert_eq!(count(&table), number as u64 + 1, "{disguise}");
    }
}

#[test]
fn a_users_drop_waits_at_a_closed_gate() {
    let table = table("gate_drop");
    assert_waits(
        |session| {
            session.command(&format!("DROP TABLE {table}")).unwrap();
        },
        || assert_eq!(count(&table), 0),
    );
}

#[test]
fn teals_own_session_passes_a_closed_gate() {
    let table = table("gate_own");
    let _alone = GATE.lock();
    let _closing = gate().close(PATIENCE).unwrap();
    let mut session = session();
    session.command(&format!("INSERT INTO {table} VALUES (1)")).unwrap();
    let mut insert = session.insert(&format!("INSERT INTO {table}"), Format::TSV).unwrap();
    insert.send(b"2\n").unwrap();
    insert.finish().unwrap();
    assert_eq!(count(&table), 2);
}

#[test]
fn the_gate_closes_only_when_a_running_streaming_insert_has_ended() {
    let table = table("gate_running");
    let _alone = GATE.lock();
    let mut session = user();
    let mut insert = session.insert(&format!("INSERT INTO {table}"), Format::TSV).unwrap();
    insert.send(b"1\n").unwrap();
    assert!(gate().close(Duration::from_millis(20)).is_err());
    thread::scope(|scope| {
        let closer = scope.spawn(|| {
            let _closing = gate().close(PATIENCE).unwrap();
            count(&table)
        });
        insert.finish().unwrap();
        assert_eq!(closer.join().unwrap(), 1);
    });
}

#[test]
fn what_the_users_statements_took_is_known() {
    user().command("SELECT sleep(0.2)").unwrap();
    let times = engine().users_pace(PATIENCE).unwrap();
    assert!(times.into_iter().max() >= Some(Duration::from_millis(200)));
}

#[test]
fn a_failed_or_dropped_insert_leaves_the_gate_free() {
    let table = table("gate_failed");
    let _alone = GATE.lock();
    let mut session = user();
    session.insert("INSERT INTO nosuch", Format::TSV).err().unwrap();
    session.command("INSERT INTO nosuch VALUES (1)").unwrap_err();
    drop(session.insert(&format!("INSERT INTO {table}"), Format::TSV).unwrap());
    drop(gate().close(PATIENCE).unwrap());
}

// --- opening -----------------------------------------------------------------------------------

/// Names the data directory to a test that runs again in a process of its own.
const DIRECTORY: &str = "TEAL_TEST_DIRECTORY";

/// Begins what such a process has to say, among what the test runner prints.
const MARK: &str = "the other process: ";

/// This test binary again, running one test only, with a directory in its environment. It waits
/// for the end of its standard input.
struct OtherProcess {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl OtherProcess {
    fn start(test: &str, directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(DIRECTORY, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    fn next_word(&mut self) -> String {
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            if let Some(word) = line.trim_end().strip_prefix(MARK) {
                return word.to_owned();
            }
            line.clear();
        }
        panic!("it ended: {}", self.child.wait().unwrap());
    }
}

impl Drop for OtherProcess {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What the other process does; `None` in the first one.
fn as_other_process(play: impl FnOnce(&EmbeddedEngine)) -> Option<()> {
    let directory = std::env::var_os(DIRECTORY)?;
    let engine = EmbeddedEngine::open(options(Path::new(&directory))).unwrap();
    play(&engine);
    // The engine stays open meanwhile.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    Some(())
}

/// Tells the first process, which reads this one's output.
#[allow(clippy::print_stdout)]
fn say(word: &str) {
    // The runner's own line has no end yet.
    println!("\n{MARK}{word}");
}

#[test]
fn a_data_directory_in_use_is_refused_with_the_process_that_has_it() {
    if as_other_process(|_| say("open")).is_some() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut holder = OtherProcess::start(
        "a_data_directory_in_use_is_refused_with_the_process_that_has_it",
        directory.path(),
    );
    assert_eq!(holder.next_word(), "open");
    match EmbeddedEngine::open(options(directory.path())).err().unwrap() {
        ClientError::DirectoryInUse { path, holder: pid } => {
            assert_eq!(path, directory.path());
            assert_eq!(pid, holder.child.id().to_string());
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_killed_process_leaves_a_data_directory_that_opens_and_has_its_rows() {
    let play = |engine: &EmbeddedEngine| {
        let mut session = engine.session(&[]).unwrap();
        let create = "CREATE TABLE IF NOT EXISTS t (a UInt64) ENGINE = MergeTree ORDER BY a";
        session.command(create).unwrap();
        let rows = session.run("SELECT count() FROM t", Format::TSV).unwrap().body;
        session.command("INSERT INTO t VALUES (7)").unwrap();
        say(String::from_utf8(rows).unwrap().trim());
    };
    if as_other_process(play).is_some() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for rows in ["0", "1", "2"] {
        let mut process = OtherProcess::start(
            "a_killed_process_leaves_a_data_directory_that_opens_and_has_its_rows",
            directory.path(),
        );
        assert_eq!(process.next_word(), rows);
        // Dropped, it is killed.
    }
}

#[test]
fn a_process_that_exits_with_the_engine_open_keeps_its_status() {
    let play = |engine: &EmbeddedEngine| {
        let mut session = engine.user_session(&[]).unwrap();
        session.command("SELECT sum(number) FROM numbers(1000000)").unwrap();
        std::process::exit(7);
    };
    if as_other_process(play).is_some() {
        return;
    }
    // About one of five crashed before this was seen to.
    for _ in 0..16 {
        let directory = tempfile::tempdir().unwrap();
        let mut process = OtherProcess::start(
            "a_process_that_exits_with_the_engine_open_keeps_its_status",
            directory.path(),
        );
        let status = process.child.wait().unwrap();
        assert_eq!(status.code(), Some(7), "{status}");
    }
}

#[test]
fn a_second_data_directory_in_one_process_is_refused_with_the_first_one_named() {
    let first = engine().data_directory();
    let directory = tempfile::tempdir().unwrap();
    let error = EmbeddedEngine::open(options(directory.path())).err().unwrap().to_string();
    assert!(error.contains(&first.display().to_string()), "{error}");
    assert!(error.contains("one data directory open at a time"), "{error}");
}

#[test]
fn a_missing_library_is_named_and_nothing_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let library = directory.path().join("libchdb.so");
    let open = || {
        let options =
            EngineOptions { library: library.clone(), data: data.clone(), config_file: None };
        EmbeddedEngine::open(options).err().unwrap()
    };
    for content in [None, Some("no library at all")] {
        if let Some(content) = content {
            fs::write(&library, content).unwrap();
        }
        let error = open();
        assert!(matches!(&error, ClientError::Load { path, .. } if *path == library), "{error}");
        let text = error.to_string();
        assert!(text.contains("teal engine install") && text.contains("TEAL_LIBCHDB"), "{text}");
        assert!(!data.exists());
    }
}

#[test]
fn a_missing_configuration_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("nosuch.xml");
    let options = EngineOptions { config_file: Some(file.clone()), ..options(directory.path()) };
    let error = EmbeddedEngine::open(options).err().unwrap().to_string();
    assert!(error.contains(&file.display().to_string()), "{error}");
}

#[test]
fn the_file_of_a_definition_is_found_whatever_the_name() {
    let mut session = engine().session(&[("fsync_metadata", "0")]).unwrap();
    let table = QualifiedName::new("odd-db ü", "a.b_c %1");
    session.command(&format!("CREATE DATABASE {}", quote_ident(&table.database))).unwrap();
    session.command(&format!("CREATE TABLE {} (x UInt8) ENGINE = Log", table.sql())).unwrap();
    engine().sync_definition(&table).unwrap();
    let other = QualifiedName::new(&table.database, "b");
    let error = engine().sync_definition(&other).unwrap_err().to_string();
    assert!(error.contains("odd-db ü.b cannot be written to the disk"), "{error}");
    session.command(&format!("DROP DATABASE {}", quote_ident(&table.database))).unwrap();
}

/// The engine as a library has no queue in which INSERTs that need not wait would leave their rows (26.7).
#[test]
fn an_insert_has_written_its_rows_when_it_has_passed_the_gate() {
    let table = table("queued");
    let queued = "async_insert = 1, wait_for_async_insert = 0, async_insert_use_adaptive_busy_timeout = 0, \
         async_insert_busy_timeout_max_ms = 60000";
    user().command(&format!("INSERT INTO {table} SETTINGS {queued} VALUES (1)")).unwrap();
    assert_eq!(count(&table), 1);
}
