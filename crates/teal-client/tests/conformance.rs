//! What every kind of server does for teal, over each of them: the embedded engine, and a server
//! reached by HTTP. That one is `tests/servers/modern.py`, or any that `TEAL_TEST_URL` names.
//! Clippy counts helpers as no tests, hence what is allowed here.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../../tests/servers/mod.rs"]
#[allow(dead_code)]
mod servers;

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use teal_client::{
    ClientError, EmbeddedEngine, EngineOptions, Format, InsertStream, Server, Session,
};

/// Long enough for anything that ends at all.
const PATIENCE: Duration = Duration::from_secs(60);

type Test = fn(&dyn Server);

const TESTS: &[(&str, Test)] = &[
    ("a_query_gives_typed_rows", a_query_gives_typed_rows),
    (
        "one_row_is_asked_for_and_none_or_two_are_an_error",
        one_row_is_asked_for_and_none_or_two_are_an_error,
    ),
    (
        "rows_that_do_not_fit_the_type_are_an_error_that_names_the_query",
        rows_that_do_not_fit_the_type_are_an_error_that_names_the_query,
    ),
    ("a_server_error_keeps_its_code_and_name", a_server_error_keeps_its_code_and_name),
    (
        "a_setting_that_the_server_does_not_know_is_said_once",
        a_setting_that_the_server_does_not_know_is_said_once,
    ),
    (
        "what_a_failed_query_had_put_out_is_not_in_the_next_answer",
        what_a_failed_query_had_put_out_is_not_in_the_next_answer,
    ),
    (
        "a_streaming_query_hands_over_every_block_once",
        a_streaming_query_hands_over_every_block_once,
    ),
    (
        "a_stream_does_not_end_at_a_block_without_rows",
        a_stream_does_not_end_at_a_block_without_rows,
    ),
    (
        "a_stream_that_fails_halfway_says_so_and_leaves_the_session_usable",
        a_stream_that_fails_halfway_says_so_and_leaves_the_session_usable,
    ),
    ("a_streaming_insert_stores_all_rows", a_streaming_insert_stores_all_rows),
    (
        "an_insert_dropped_before_its_end_stores_nothing",
        an_insert_dropped_before_its_end_stores_nothing,
    ),
    (
        "an_insert_of_data_that_cannot_be_read_fails_and_stores_nothing",
        an_insert_of_data_that_cannot_be_read_fails_and_stores_nothing,
    ),
    (
        "an_insert_into_a_table_that_is_not_there_fails",
        an_insert_into_a_table_that_is_not_there_fails,
    ),
    (
        "sessions_run_side_by_side_from_several_threads",
        sessions_run_side_by_side_from_several_threads,
    ),
    (
        "a_sessions_settings_hold_for_all_its_statements_and_for_no_other_session",
        a_sessions_settings_hold_for_all_its_statements_and_for_no_other_session,
    ),
    (
        "a_setting_that_the_server_does_not_know_or_cannot_read_is_refused",
        a_setting_that_the_server_does_not_know_or_cannot_read_is_refused,
    ),
    (
        "teals_own_statements_carry_its_comment_and_are_stored_when_they_end",
        teals_own_statements_carry_its_comment_and_are_stored_when_they_end,
    ),
    (
        "the_progress_of_a_running_statement_can_be_followed_from_another_session",
        the_progress_of_a_running_statement_can_be_followed_from_another_session,
    ),
    (
        "the_session_that_asks_for_running_statements_is_not_among_them",
        the_session_that_asks_for_running_statements_is_not_among_them,
    ),
    (
        "teals_own_statements_may_name_thousands_of_parts",
        teals_own_statements_may_name_thousands_of_parts,
    ),
];

#[test]
fn the_embedded_engine_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let library = teal_fetch::fetch_engine_library(&mut |_| ()).unwrap();
    let data = directory.path().to_owned();
    run_all(&EmbeddedEngine::open(EngineOptions { library, data, config_file: None }).unwrap());
}

#[test]
fn a_server_over_http_conforms() {
    let modern = servers::Modern::given_or_start();
    run_all(&modern.open(|_| ()));
}

#[test]
fn a_server_over_http_conforms_with_compression() {
    let modern = servers::Modern::given_or_start();
    run_all(&modern.open(|options| options.compress = Some(true)));
}

#[allow(clippy::print_stderr)]
fn run_all(server: &dyn Server) {
    for (name, test) in TESTS {
        // Shown where one of them fails.
        eprintln!("{name}");
        test(server);
    }
}

/// Makes an empty table with one column `a`.
fn table(server: &dyn Server, name: &str) -> String {
    server
        .session(&[])
        .unwrap()
        .command(&format!("CREATE TABLE {name} (a UInt64) ENGINE = MergeTree ORDER BY a"))
        .unwrap();
    name.to_owned()
}

fn count(server: &dyn Server, table: &str) -> u64 {
    #[derive(Deserialize)]
    struct Row {
        rows: u64,
    }
    server
        .session(&[])
        .unwrap()
        .row::<Row>(&format!("SELECT count() AS rows FROM {table}"))
        .unwrap()
        .rows
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

fn a_query_gives_typed_rows(server: &dyn Server) {
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
    let rows = server
        .session(&[])
        .unwrap()
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

fn one_row_is_asked_for_and_none_or_two_are_an_error(server: &dyn Server) {
    #[derive(Debug, Deserialize)]
    struct Row {
        #[expect(dead_code, reason = "only its presence counts")]
        number: u64,
    }
    let mut session = server.session(&[]).unwrap();
    assert!(session.row::<Row>("SELECT number FROM numbers(1)").is_ok());
    for rows in [0, 2] {
        let error = session.row::<Row>(&format!("SELECT number FROM numbers({rows})")).unwrap_err();
        assert!(matches!(error, ClientError::Answer { .. }), "{error}");
    }
}

fn rows_that_do_not_fit_the_type_are_an_error_that_names_the_query(server: &dyn Server) {
    #[derive(Debug, Deserialize)]
    struct Row {
        #[expect(dead_code, reason = "it is never read")]
        a: u8,
    }
    let error =
        server.session(&[]).unwrap().rows::<Row>("SELECT 256 AS a").unwrap_err().to_string();
    assert!(error.contains("SELECT 256 AS a"), "{error}");
}

fn a_server_error_keeps_its_code_and_name(server: &dyn Server) {
    let error = server.session(&[]).unwrap().command("SELECT count() FROM nosuch").unwrap_err();
    let ClientError::Server { code, name, statement, .. } = &error else { panic!("{error}") };
    assert_eq!((*code, name.as_str()), (60, "UNKNOWN_TABLE"));
    assert_eq!(statement, "SELECT count() FROM nosuch");
}

fn a_setting_that_the_server_does_not_know_is_said_once(server: &dyn Server) {
    let error = server
        .session(&[])
        .unwrap()
        .command("SELECT 1 SETTINGS nosuch = 1")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "Unknown setting 'nosuch'.\n  ClickHouse error 115 (UNKNOWN_SETTING) for: SELECT 1 SETTINGS nosuch = 1"
    );
}

/// Fails when half of its rows have been put out.
const FAILS_HALFWAY: &str =
    "SELECT throwIf(number = 500) FROM numbers(1000) SETTINGS max_block_size = 100";

fn what_a_failed_query_had_put_out_is_not_in_the_next_answer(server: &dyn Server) {
    let table = table(server, "leftovers");
    let mut session = server.session(&[]).unwrap();
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
    assert_eq!(count(server, &table), 1);
}

// --- streams -----------------------------------------------------------------------------------

fn a_streaming_query_hands_over_every_block_once(server: &dyn Server) {
    const ROWS: u64 = 1_000_000;
    let (mut pieces, mut text) = (0, Vec::new());
    let mut session = server.session(&[]).unwrap();
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

fn a_stream_does_not_end_at_a_block_without_rows(server: &dyn Server) {
    let mut text = Vec::new();
    server
        .session(&[])
        .unwrap()
        .stream(
            "SELECT number FROM numbers(1000000) WHERE number IN (5, 999999)",
            Format::TSV,
            &mut |piece| text.extend_from_slice(piece),
        )
        .unwrap();
    assert_eq!(text, b"5\n999999\n");
}

fn a_stream_that_fails_halfway_says_so_and_leaves_the_session_usable(server: &dyn Server) {
    let mut session = server.session(&[]).unwrap();
    let error = session.stream(FAILS_HALFWAY, Format::TSV, &mut |_| ()).unwrap_err();
    assert_eq!(error.server_name(), Some("FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"));
    assert_eq!(session.run("SELECT 1", Format::TSV).unwrap().body, b"1\n");
}

fn a_streaming_insert_stores_all_rows(server: &dyn Server) {
    const ROWS: u64 = 2_000_000;
    let table = table(server, "insert_all");
    let mut session = server.session(&[]).unwrap();
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

fn an_insert_dropped_before_its_end_stores_nothing(server: &dyn Server) {
    let table = table(server, "insert_dropped");
    let mut session = server.session(&[]).unwrap();
    for rows in [0, 10, 2_000_000] {
        let mut insert = session.insert(&format!("INSERT INTO {table}"), Format::TSV).unwrap();
        for piece in lines(rows).chunks(1 << 20) {
            insert.send(piece).unwrap();
        }
        drop(insert);
        assert_eq!(count(server, &table), 0, "after {rows} rows");
        session.command("SELECT 1").unwrap();
    }
}

fn an_insert_of_data_that_cannot_be_read_fails_and_stores_nothing(server: &dyn Server) {
    let table = table(server, "insert_broken");
    let mut session = server.session(&[]).unwrap();
    let mut insert = session.insert(&format!("INSERT INTO {table}"), Format::TSV).unwrap();
    let outcome = insert.send(b"1\nno number\n").and_then(|()| insert.finish());
    assert_eq!(outcome.unwrap_err().server_name(), Some("CANNOT_PARSE_INPUT_ASSERTION_FAILED"));
    assert_eq!(count(server, &table), 0);
    session.command("SELECT 1").unwrap();
}

fn an_insert_into_a_table_that_is_not_there_fails(server: &dyn Server) {
    let mut session = server.session(&[]).unwrap();
    let insert = session.insert("INSERT INTO nosuch", Format::TSV);
    let error = insert.and_then(InsertStream::finish).err().unwrap();
    assert_eq!(error.server_name(), Some("UNKNOWN_TABLE"));
    session.command("SELECT 1").unwrap();
}

// --- sessions ----------------------------------------------------------------------------------

fn sessions_run_side_by_side_from_several_threads(server: &dyn Server) {
    const SESSIONS: u64 = 6;
    const STATEMENTS: u64 = 50;
    let table = table(server, "side_by_side");
    let start = Barrier::new(SESSIONS as usize);
    thread::scope(|scope| {
        for number in 0..SESSIONS {
            let (table, start) = (&table, &start);
            scope.spawn(move || {
                let mut session = server.session(&[]).unwrap();
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
    assert_eq!(count(server, &format!("(SELECT DISTINCT a FROM {table})")), SESSIONS * STATEMENTS);
}

fn a_sessions_settings_hold_for_all_its_statements_and_for_no_other_session(server: &dyn Server) {
    let ask = |session: &mut dyn Session| {
        let query = "SELECT getSetting('max_threads'), getSetting('log_comment')";
        String::from_utf8(session.run(query, Format::TSV).unwrap().body).unwrap()
    };
    let (mut before, usual) =
        (server.user_session(&[]).unwrap(), ask(&mut *server.user_session(&[]).unwrap()));
    let settings = [("max_threads", "7"), ("log_comment", "it's")];
    let mut with = server.user_session(&settings).unwrap();
    assert_eq!(ask(&mut *with), "7\tit\\'s\n");
    assert_eq!(ask(&mut *with), "7\tit\\'s\n");
    assert_eq!(ask(&mut *before), usual);
    assert_eq!(ask(&mut *server.user_session(&[]).unwrap()), usual);
}

fn a_setting_that_the_server_does_not_know_or_cannot_read_is_refused(server: &dyn Server) {
    let error = server.session(&[("nosuch", "1")]).err().unwrap();
    assert_eq!(error.server_name(), Some("UNKNOWN_SETTING"), "{error}");
    let error = server.session(&[("max_threads", "many")]).err().unwrap();
    assert!(matches!(error, ClientError::Server { .. }), "{error}");
}

fn teals_own_statements_carry_its_comment_and_are_stored_when_they_end(server: &dyn Server) {
    let query = "SELECT getSetting('log_comment'), getSetting('async_insert')";
    assert_eq!(
        server.session(&[]).unwrap().run(query, Format::TSV).unwrap().body,
        b"teal\tfalse\n"
    );
}

fn the_progress_of_a_running_statement_can_be_followed_from_another_session(server: &dyn Server) {
    const ROWS: u64 = 1000;
    const COMMENT: &str = "teal: the progress test";
    thread::scope(|scope| {
        let copy = scope.spawn(|| {
            let settings = [("log_comment", COMMENT), ("max_threads", "1")];
            let mut session = server.session(&settings).unwrap();
            // Slow by itself: 10 ms for each block of ten rows.
            session.command(&format!(
                "SELECT sleepEachRow(0.001) FROM numbers({ROWS}) SETTINGS max_block_size = 10"
            ))
        });
        let mut session = server.session(&[]).unwrap();
        // The statement by which a session begins over HTTP carries the comment too, and reads one
        // row.
        await_that("progress", || {
            session.running(COMMENT).unwrap().iter().any(|copy| {
                copy.rows_to_read == ROWS
                    && (1..ROWS).contains(&copy.rows_read)
                    && copy.seconds > 0.0
            })
        });
        copy.join().unwrap().unwrap();
        // A server answers a little before it forgets the statement.
        await_that("the end", || session.running(COMMENT).unwrap().is_empty());
    });
}

fn the_session_that_asks_for_running_statements_is_not_among_them(server: &dyn Server) {
    const COMMENT: &str = "teal: who asks";
    let mut session = server.session(&[("log_comment", COMMENT)]).unwrap();
    assert_eq!(session.running(COMMENT).unwrap().len(), 0);
}

/// The server's own limit is 256 KiB, in a filter by a setting too.
fn teals_own_statements_may_name_thousands_of_parts(server: &dyn Server) {
    let table = table(server, "parts");
    let mut session = server.session(&[]).unwrap();
    session.command(&format!("INSERT INTO {table} VALUES (1)")).unwrap();
    let names = vec!["all_1000_1000_0"; 40_000].join("', '");
    let condition = format!("_part IN ('all_1_1_0', '{names}')");
    for part in [format!("WHERE {condition}"), filter(&table, &condition)] {
        let answer =
            session.run(&format!("SELECT count() FROM {table} {part}"), Format::TSV).unwrap();
        assert_eq!(answer.body, b"1\n");
    }
}

fn filter(table: &str, condition: &str) -> String {
    let [table, condition] = [&format!("default.{table}"), condition]
        .map(|text| format!("'{}'", text.replace('\'', "\\'")));
    format!("SETTINGS additional_table_filters = {{{table}: {condition}}}")
}
