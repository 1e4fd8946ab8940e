//! The embedded engine, for real. A process can have one data directory open, so the tests of this
//! binary share an engine, each with tables of its own; what needs another directory runs in a
//! process of its own: this binary again, told by a variable what to do.
//! Clippy counts helpers as no tests, hence what is allowed here.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;
use teal_client::{
    ClientError, EmbeddedEngine, EngineOptions, Format, GateStats, Server, Session, WriteGate,
};

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

fn lines(rows: u64) -> Vec<u8> {
    (0..rows).flat_map(|row| format!("{row}\n").into_bytes()).collect()
}

#[track_caller]
fn await_that(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "never came: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

// --- queries -----------------------------------------------------------------------------------

#[test]
fn a_query_gives_typed_rows() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Row {
        unsigned: u64,
        signed: i64,
        real: f64,
        text: String,
        flag: bool,
        nothing: Option<u8>,
        list: Vec<u32>,
    }
    let rows = session()
        .rows::<Row>(
            "SELECT 18446744073709551615 AS unsigned, -9223372036854775808 AS signed, 0.5 AS real, \
             'it''s\n\"é\\0' AS text, true AS flag, NULL AS nothing, [1, 2]::Array(UInt32) AS list \
             FROM numbers(2)",
        )
        .unwrap();
    let row = || Row {
        unsigned: u64::MAX,
        signed: i64::MIN,
        real: 0.5,
        text: "it's\n\"é\0".to_owned(),
        flag: true,
        nothing: None,
        list: vec![1, 2],
    };
    assert_eq!(rows, [row(), row()]);
}

#[test]
fn one_row_is_asked_for_and_none_or_two_are_an_error() {
    #[derive(Debug, Deserialize)]
    struct Row {
        #[expect(dead_code, reason = "only its presence counts")]
        number: u64,
    }
    let mut session = session();
    assert!(session.row::<Row>("SELECT number FROM numbers(1)").is_ok());
    for rows in [0, 2] {
        let error = session.row::<Row>(&format!("SELECT number FROM numbers({rows})")).unwrap_err();
        assert!(matches!(error, ClientError::Answer { .. }), "{error}");
    }
}

#[test]
fn rows_that_do_not_fit_the_type_are_an_error_that_names_the_query() {
    #[derive(Debug, Deserialize)]
    struct Row {
        #[expect(dead_code, reason = "it is never read")]
        a: u8,
    }
    let error = session().rows::<Row>("SELECT 256 AS a").unwrap_err().to_string();
    assert!(error.contains("SELECT 256 AS a"), "{error}");
}

#[test]
fn a_server_error_keeps_its_code_and_name() {
    let error = session().command("SELECT count() FROM nosuch").unwrap_err();
    let ClientError::Server { code, name, statement, .. } = &error else { panic!("{error}") };
    assert_eq!((*code, name.as_str()), (60, "UNKNOWN_TABLE"));
    assert_eq!(statement, "SELECT count() FROM nosuch");
}

#[test]
fn a_setting_that_the_server_does_not_know_is_said_once() {
    let error = session().command("SELECT 1 SETTINGS nosuch = 1").unwrap_err().to_string();
    assert_eq!(
        error,
        "Unknown setting 'nosuch'.\n  ClickHouse error 115 (UNKNOWN_SETTING) for: SELECT 1 SETTINGS nosuch = 1"
    );
}

/// Fails when half of its rows have been put out.
const FAILS_HALFWAY: &str =
    "SELECT throwIf(number = 500) FROM numbers(1000) SETTINGS max_block_size = 100";

#[test]
fn what_a_failed_query_had_put_out_is_not_in_the_next_answer() {
    let table = table("leftovers");
    let mut session = session();
    let fail = |session: &mut dyn Session| {
        let error = session.run(FAILS_HALFWAY, Format::TSV).unwrap_err();
        assert_eq!(error.server_name(), Some("FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"));
    };

    fail(&mut *session);
    assert_eq!(session.run("SELECT 1", Format::TSV).unwrap().body, b"1\n");

    // Another error does not take it along.
    fail(&mut *session);
    session.run("SELECT count() FROM nosuch", Format::TSV).unwrap_err();
    assert_eq!(session.run("SELECT 1", Format::TSV).unwrap().body, b"1\n");

    fail(&mut *session);
    let mut streamed = Vec::<u8>::new();
    session.stream("SELECT 1", Format::TSV, &mut |piece| streamed.extend(piece)).unwrap();
    assert_eq!(streamed, b"1\n");

    fail(&mut *session);
    let mut insert = session.insert(&format!("INSERT INTO {table}"), Format::TSV).unwrap();
    insert.send(b"7\n").unwrap();
    assert_eq!(insert.finish().unwrap().body, b"");
    assert_eq!(session.run("SELECT 1", Format::TSV).unwrap().body, b"1\n");
    assert_eq!(count(&table), 1);
}

// --- streams -----------------------------------------------------------------------------------

#[test]
fn a_streaming_query_hands_over_every_block_once() {
    const ROWS: u64 = 1_000_000;
    let (mut pieces, mut text) = (0, Vec::new());
    let mut session = session();
    session
        .stream(&format!("SELECT number FROM numbers({ROWS})"), Format::TSV, &mut |piece| {
            pieces += 1;
            text.extend_from_slice(piece);
        })
        .unwrap();
    assert!(pieces > 3, "{pieces} pieces only");
    assert!(text == lines(ROWS));
    assert_eq!(session.run("SELECT 1", Format::TSV).unwrap().body, b"1\n");
}

#[test]
fn a_stream_does_not_end_at_a_block_without_rows() {
    let mut text = Vec::new();
    session()
        .stream(
            "SELECT number FROM numbers(1000000) WHERE number IN (5, 999999)",
            Format::TSV,
            &mut |piece| text.extend_from_slice(piece),
        )
        .unwrap();
    assert_eq!(text, b"5\n999999\n");
}

#[test]
fn a_stream_that_fails_halfway_says_so_and_leaves_the_session_usable() {
    let mut session = session();
    let error = session.stream(FAILS_HALFWAY, Format::TSV, &mut |_| ()).unwrap_err();
    assert_eq!(error.server_name(), Some("FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"));
    assert_eq!(session.run("SELECT 1", Format::TSV).unwrap().body, b"1\n");
}

#[test]
fn a_streaming_insert_stores_all_rows() {
    const ROWS: u64 = 2_000_000;
    let table = table("insert_all");
    let mut session = session();
    let mut insert = session.insert(&format!("INSERT INTO {table} (a)"), Format::TSV).unwrap();
    // Pieces end in the middle of rows.
    for piece in lines(ROWS).chunks(99_991) {
        insert.send(piece).unwrap();
    }
    assert_eq!(insert.finish().unwrap().rows_written, ROWS);
    #[derive(Deserialize)]
    struct Row {
        rows: u64,
        total: u64,
    }
    let row = session
        .row::<Row>(&format!("SELECT uniqExact(a) AS rows, sum(a) AS total FROM {table}"))
        .unwrap();
    assert_eq!((row.rows, row.total), (ROWS, ROWS * (ROWS - 1) / 2));
}

#[test]
fn an_insert_dropped_before_its_end_stores_nothing() {
    let table = table("insert_dropped");
    let mut session = session();
    for rows in [0, 10, 2_000_000] {
        let mut insert = session.insert(&format!("INSERT INTO {table}"), Format::TSV).unwrap();
        for piece in lines(rows).chunks(1 << 20) {
            insert.send(piece).unwrap();
        }
        drop(insert);
        assert_eq!(count(&table), 0, "after {rows} rows");
        session.command("SELECT 1").unwrap();
    }
}

#[test]
fn an_insert_of_data_that_cannot_be_read_fails_and_stores_nothing() {
    let table = table("insert_broken");
    let mut session = session();
    let mut insert = session.insert(&format!("INSERT INTO {table}"), Format::TSV).unwrap();
    let outcome = insert.send(b"1\nno number\n").and_then(|()| insert.finish());
    assert_eq!(outcome.unwrap_err().server_name(), Some("CANNOT_PARSE_INPUT_ASSERTION_FAILED"));
    assert_eq!(count(&table), 0);
    session.command("SELECT 1").unwrap();
}

#[test]
fn an_insert_into_a_table_that_is_not_there_fails_at_its_start() {
    let mut session = session();
    let error = session.insert("INSERT INTO nosuch", Format::TSV).err().unwrap();
    assert_eq!(error.server_name(), Some("UNKNOWN_TABLE"));
    session.command("SELECT 1").unwrap();
}

// --- sessions ----------------------------------------------------------------------------------

#[test]
fn sessions_run_side_by_side_from_several_threads() {
    const SESSIONS: u64 = 6;
    const STATEMENTS: u64 = 50;
    let table = table("side_by_side");
    let start = Barrier::new(SESSIONS as usize);
    thread::scope(|scope| {
        for number in 0..SESSIONS {
            let (table, start) = (&table, &start);
            scope.spawn(move || {
                let mut session = session();
                start.wait();
                for statement in 0..STATEMENTS {
                    let value = number * STATEMENTS + statement;
                    session.command(&format!("INSERT INTO {table} VALUES ({value})")).unwrap();
                    let query = format!("SELECT a FROM {table} WHERE a = {value}");
                    let body = session.run(&query, Format::TSV).unwrap().body;
                    assert_eq!(body, format!("{value}\n").into_bytes());
                }
            });
        }
    });
    assert_eq!(count(&format!("(SELECT DISTINCT a FROM {table})")), SESSIONS * STATEMENTS);
}

#[test]
fn a_sessions_settings_hold_for_all_its_statements_and_for_no_other_session() {
    let ask = |session: &mut dyn Session| {
        let query = "SELECT getSetting('max_threads'), getSetting('log_comment')";
        String::from_utf8(session.run(query, Format::TSV).unwrap().body).unwrap()
    };
    let (mut before, usual) = (user(), ask(&mut *user()));
    let settings = [("max_threads", "7"), ("log_comment", "it's")];
    let mut with = engine().user_session(&settings).unwrap();
    assert_eq!(ask(&mut *with), "7\tit\\'s\n");
    assert_eq!(ask(&mut *with), "7\tit\\'s\n");
    with.command("SET max_threads = 5").unwrap();
    assert_eq!(ask(&mut *with), "5\tit\\'s\n");
    assert_eq!(ask(&mut *before), usual);
    assert_eq!(ask(&mut *user()), usual);
}

#[test]
fn a_setting_that_the_engine_does_not_know_or_cannot_read_is_refused() {
    let error = engine().session(&[("nosuch", "1")]).err().unwrap();
    assert_eq!(error.server_name(), Some("UNKNOWN_SETTING"), "{error}");
    let error = engine().session(&[("max_threads", "many")]).err().unwrap();
    assert!(matches!(error, ClientError::Server { .. }), "{error}");
}

#[test]
fn teals_own_statements_carry_its_comment_and_are_stored_when_they_end() {
    let query = "SELECT getSetting('log_comment'), getSetting('async_insert')";
    assert_eq!(session().run(query, Format::TSV).unwrap().body, b"teal\tfalse\n");
}

#[test]
fn the_progress_of_a_running_statement_can_be_followed_from_another_session() {
    const ROWS: u64 = 1000;
    const COMMENT: &str = "teal: the progress test";
    thread::scope(|scope| {
        let copy = scope.spawn(|| {
            let settings = [("log_comment", COMMENT), ("max_threads", "1")];
            let mut session = engine().session(&settings).unwrap();
            // Slow by itself: 10 ms for each block of ten rows.
            session.command(&format!(
                "SELECT sleepEachRow(0.001) FROM numbers({ROWS}) SETTINGS max_block_size = 10"
            ))
        });
        let mut session = session();
        let mut seen = Vec::new();
        await_that("progress", || {
            seen.extend(session.running(COMMENT).unwrap());
            seen.last().is_some_and(|last| (1..ROWS).contains(&last.rows_read))
        });
        let last = seen.last().unwrap();
        assert_eq!(last.rows_to_read, ROWS);
        assert!(last.seconds > 0.0);
        copy.join().unwrap().unwrap();
        assert_eq!(session.running(COMMENT).unwrap().len(), 0);
    });
}

#[test]
fn the_session_that_asks_for_running_statements_is_not_among_them() {
    const COMMENT: &str = "teal: who asks";
    let mut session = engine().session(&[("log_comment", COMMENT)]).unwrap();
    assert_eq!(session.running(COMMENT).unwrap().len(), 0);
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
