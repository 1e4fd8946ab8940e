//! What can go wrong on the way to a server: each against a peer that does just that.
//! Clippy counts helpers as no tests, hence what is allowed here.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../../tests/servers/mod.rs"]
#[allow(dead_code)]
mod servers;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use secrecy::SecretString;
use teal_client::{Address, ClientError, Format, HttpOptions, HttpServer, Server as _};

/// A peer of which each connection is answered by `answer`, which is given the connection's number
/// and the request's first line. It lives as long as the test's process.
struct Peer {
    port: u16,
    requests: Arc<AtomicUsize>,
}

impl Peer {
    fn start(answer: impl Fn(usize, &str) -> Vec<u8> + Send + 'static) -> Self {
        Self::of_requests(move |number, line, _| answer(number, line))
    }

    /// Of which a request's body is told too.
    fn of_requests(answer: impl Fn(usize, &str, &[u8]) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (line, body) = read_request(&mut stream);
                let number = counted.fetch_add(1, Ordering::SeqCst);
                // The client may have gone.
                let _ = stream.write_all(&answer(number, &line, &body));
            }
        });
        Self { port, requests }
    }

    /// A proxy in front of the server at a port, that lets through of each setting what `passes` makes of it.
    fn before(port: u16, passes: impl Fn(&str, &str) -> Option<String> + Send + 'static) -> Self {
        Self::of_requests(move |_, line, body| {
            let kept = parameters(line).into_iter().filter_map(|(name, value)| {
                let value = passes(&name, &value)?;
                Some((name, value))
            });
            let kept =
                url::form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish();
            let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let length = body.len();
            let head = format!(
                "POST /?{kept} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
            );
            server.write_all(&[head.as_bytes(), body].concat()).unwrap();
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).unwrap();
            let status = answer.windows(2).position(|it| it == b"\r\n").unwrap();
            answer.splice(status..status, *b"\r\nConnection: close");
            answer
        })
    }

    fn options(&self) -> HttpOptions {
        options(&format!("http://127.0.0.1:{}", self.port))
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn options(url: &str) -> HttpOptions {
    HttpOptions { compress: Some(false), ..HttpOptions::new(Address::parse(url).unwrap()) }
}

/// Reads a request; gives the first line and the body.
fn read_request(stream: &mut (impl std::io::Read + ?Sized)) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (first, body)
}

/// The parameters in a request's first line.
fn parameters(line: &str) -> Vec<(String, String)> {
    let (_, query) = line.trim_end_matches(" HTTP/1.1\r\n").split_once('?').unwrap();
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn response(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A ClickHouse as far as [`HttpServer::open`] and an opened session look.
fn greets(number: usize, line: &str) -> Option<Vec<u8>> {
    match number {
        0 => Some(response("200 OK", "26.1.1\n")),
        1 => Some(response("200 OK", "{\"settings\":[]}\n")),
        2 => Some(response("200 OK", &opened(line, "1b4e28ba"))),
        _ => None,
    }
}

/// What the server of this uuid answers when a session is opened, to which all came.
fn opened(line: &str, uuid: &str) -> String {
    let settings = parameters(line).into_iter().map(|(name, value)| [name, value, "1".to_owned()]);
    let server = ["serverUUID()", uuid, ""].map(str::to_owned);
    serde_json::to_string(&settings.chain([server]).collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_user_is_let_in_by_password_or_token_and_refused_without() {
    let modern = servers::Modern::start();
    let mut address = modern.address();
    (address.user, address.password) = (Some("ana".into()), Some(SecretString::from("secret")));
    assert!(HttpServer::open(HttpOptions::new(address.clone())).is_ok());

    address.password = Some(SecretString::from("hunter2"));
    let error = HttpServer::open(HttpOptions::new(address.clone())).err().unwrap();
    assert_eq!(error.server_name(), Some("AUTHENTICATION_FAILED"));
    assert!(!format!("{error} {error:?}").contains("hunter2"));

    (address.user, address.password) = (None, None);
    address.token = Some(SecretString::from("token"));
    assert!(HttpServer::open(HttpOptions::new(address)).is_ok());
}

#[test]
fn a_database_that_is_not_there_is_the_servers_error() {
    let modern = servers::Modern::start();
    let mut address = modern.address();
    address.database = "nosuch".to_owned();
    let error = HttpServer::open(HttpOptions::new(address)).err().unwrap();
    assert_eq!(error.server_name(), Some("UNKNOWN_DATABASE"));
}

#[test]
fn where_nothing_answers_the_address_and_the_reason_are_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (url, reason) in [
        (format!("http://127.0.0.1:{free}"), "nothing listens"),
        ("http://nosuch.invalid".to_owned(), "lookup"),
    ] {
        let error = HttpServer::open(options(&url)).err().unwrap();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&url) && text.contains(reason), "{text}");
    }
}

#[test]
fn an_answer_that_is_not_clickhouses_is_shown() {
    for status in ["200 OK", "502 Bad Gateway", "302 Found"] {
        let peer = Peer::start(move |_, _| response(status, "<html>A proxy speaking</html>"));
        let error = HttpServer::open(peer.options()).err().unwrap();
        assert!(matches!(error, ClientError::NotClickHouse { .. }), "{error:?}");
        assert!(error.to_string().contains("A proxy speaking"), "{error}");
    }
}

#[test]
fn a_peer_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let patience = Duration::from_millis(200);
    let error = HttpServer::open(HttpOptions { read_timeout: patience, ..options(&url) });
    assert!(matches!(error.err().unwrap(), ClientError::Silent { .. }));
}

#[test]
fn a_result_that_is_cut_is_an_error_and_its_statement_is_killed() {
    let (sender, killed) = std::sync::mpsc::channel();
    let peer = Peer::start(move |number, line| {
        greets(number, line).unwrap_or_else(|| {
            if number > 3 {
                sender.send(line.contains("kill-")).unwrap();
            }
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n1\n2\n".to_vec()
        })
    });
    let server = HttpServer::open(peer.options()).unwrap();
    let mut session = server.session(&[]).unwrap();
    let mut received = Vec::<u8>::new();
    let error =
        session.stream("SELECT 1", Format::TSV, &mut |piece| received.extend(piece)).unwrap_err();
    assert!(matches!(error, ClientError::Cut { received: 4, .. }), "{error:?}");
    assert!(error.to_string().contains("SELECT 1"), "{error}");
    assert_eq!(received, b"", "what may be half a row is not handed on");
    assert!(killed.recv_timeout(Duration::from_secs(10)).unwrap());
}

#[test]
fn an_error_that_is_cut_is_a_broken_connection_unless_it_has_its_name() {
    let error = "Code: 60. DB::Exception: Unknown table nosuch. (UNKNOWN_TABLE)";
    let answered = |length: usize| {
        let peer = Peer::start(move |number, line| {
            greets(number, line).unwrap_or_else(|| {
                let cut = &error[..length];
                format!("HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\n{cut}").into_bytes()
            })
        });
        let mut session = HttpServer::open(peer.options()).unwrap().session(&[]).unwrap();
        session.run("SELECT 1 FROM nosuch", Format::TSV).unwrap_err()
    };
    let cut = answered(30);
    assert!(matches!(cut, ClientError::Cut { received: 30, .. }), "{cut:?}");
    assert_eq!(answered(error.len()).server_name(), Some("UNKNOWN_TABLE"));
}

#[test]
fn a_read_is_sent_again_after_a_cut_and_a_write_is_not() {
    // Cut before the answer, once.
    let peer = || {
        Peer::start(|number, line| {
            let is_kill = line.contains("kill-");
            greets(number, line).unwrap_or_else(|| match (number, is_kill) {
                (3, _) => Vec::new(),
                _ => response("200 OK", "1\n"),
            })
        })
    };
    let reading = peer();
    let mut session = HttpServer::open(reading.options()).unwrap().session(&[]).unwrap();
    assert_eq!(session.run("SELECT 1", Format::TSV).unwrap().body, b"1\n");

    let writing = peer();
    let mut session = HttpServer::open(writing.options()).unwrap().session(&[]).unwrap();
    let error = session.run("INSERT INTO t SELECT 1", Format::NONE).unwrap_err();
    assert!(matches!(error, ClientError::Cut { .. }), "{error:?}");
    // Greeting, the user's settings, opening, the INSERT, its KILL.
    assert_eq!(writing.requests(), 5);
}

/// `SYSTEM KILL` ends the server before it answers, each time that it is there again.
#[test]
fn a_users_statement_is_sent_again_only_where_it_reads() {
    for (statement, is_sent_again) in
        [("SYSTEM KILL", false), ("DROP TABLE IF EXISTS t", false), ("SELECT 1", true)]
    {
        let peer = Peer::start(|number, line| match number {
            0 => greets(0, line).unwrap(),
            2 => Vec::new(),
            _ => response("200 OK", "1\n"),
        });
        let mut session = HttpServer::open(peer.options()).unwrap().user_session(&[]).unwrap();
        assert_eq!(session.command(statement).is_ok(), is_sent_again, "{statement}");
        // Greeting, opening, the statement, its KILL.
        assert_eq!(peer.requests(), if is_sent_again { 5 } else { 4 }, "{statement}");
    }
}

#[test]
fn what_was_handed_on_does_not_come_again() {
    // An error that passes, and that comes behind the first rows or instead of them.
    let failed = "Code: 210. DB::NetException: I/O error. (NETWORK_ERROR)";
    for (status, body, sent) in [
        ("200 OK", format!("{}{failed}", "1\n".repeat(200_000)), 4),
        ("500 Internal Server Error", failed.to_owned(), 5),
    ] {
        let peer = Peer::start(move |number, line| {
            greets(number, line).unwrap_or_else(|| match number {
                3 => response(status, &body),
                _ => response("200 OK", "1\n"),
            })
        });
        let mut session = HttpServer::open(peer.options()).unwrap().session(&[]).unwrap();
        let mut received = Vec::<u8>::new();
        let outcome = session.stream("SELECT 1", Format::TSV, &mut |piece| received.extend(piece));
        let has_begun = sent == 4;
        assert_eq!(outcome.is_err(), has_begun, "{outcome:?}");
        assert_eq!(received.len() > 2, has_begun);
        assert_eq!(peer.requests(), sent);
    }
}

#[test]
fn a_statement_takes_as_long_as_the_signs_of_life_that_can_be_read() {
    let (sender, asked) = std::sync::mpsc::channel();
    let peer = Peer::start(move |number, line| {
        sender.send(line.contains("http_headers_progress_interval_ms=6000&")).unwrap();
        let progress = "X-ClickHouse-Progress: {}\r\n".repeat(200);
        greets(number, line).unwrap_or_else(|| {
            format!("HTTP/1.1 200 OK\r\n{progress}Content-Length: 2\r\n\r\n1\n").into_bytes()
        })
    });
    let options = HttpOptions { read_timeout: Duration::from_secs(30), ..peer.options() };
    let mut session = HttpServer::open(options).unwrap().session(&[]).unwrap();
    let error = session.run("SELECT 1", Format::TSV).unwrap_err();
    assert!(matches!(error, ClientError::TooLong { seconds: 768, .. }), "{error:?}");
    assert!(error.to_string().contains("read_timeout = 30"), "{error}");
    // The greeting has no settings, nor have the user's; the session has. The statement is sent once, and ended.
    assert_eq!(asked.iter().take(5).collect::<Vec<_>>(), [false, false, true, true, false]);
    assert_eq!(peer.requests(), 5);
}

/// As chproxy does.
#[test]
fn what_leaves_settings_out_on_the_way_is_refused() {
    let modern = servers::Modern::start();
    let passes = |name: &str, value: &str| {
        let passed = ["query", "query_id", "database", "default_format", "log_comment", "extremes"];
        passed.contains(&name).then(|| value.to_owned())
    };
    let server = HttpServer::open(Peer::before(modern.port(), passes).options()).unwrap();
    let error = server.session(&[("max_threads", "1")]).err().unwrap();
    assert!(matches!(error, ClientError::SettingsLost { .. }), "{error:?}");
    let said = error.to_string();
    for name in ["max_threads", "async_insert", "max_query_size"] {
        assert!(said.contains(name), "{said}");
    }
    assert!(!said.contains("log_comment"), "{said}");
    assert!(server.user_session(&[]).is_ok(), "that is for them to know");
}

#[test]
fn what_says_settings_otherwise_on_the_way_is_refused() {
    let modern = servers::Modern::start();
    let lost = |passes: fn(&str, &str) -> Option<String>, of_address: &str| {
        let mut options = Peer::before(modern.port(), passes).options();
        let settings = url::form_urlencoded::parse(of_address.as_bytes());
        options.address.settings = settings.into_owned().collect();
        match HttpServer::open(options).unwrap().session(&[("max_threads", "1")]).err() {
            Some(ClientError::SettingsLost { settings, .. }) => settings,
            other => {
                assert!(other.is_none(), "{other:?}");
                String::new()
            }
        }
    };
    let all = |_: &str, value: &str| Some(value.to_owned());
    let of_the_address = "max_memory_usage=10G&session_id=&final=true&max_block_size=60000";
    assert_eq!(lost(all, of_the_address), "", "however users write theirs");
    let other_threads = |name: &str, value: &str| match name {
        "max_threads" => Some("2".to_owned()),
        _ => Some(value.to_owned()),
    };
    assert_eq!(lost(other_threads, ""), "max_threads");
    let no_memory =
        |name: &str, value: &str| (name != "max_memory_usage").then(|| value.to_owned());
    assert_eq!(lost(no_memory, of_the_address), "max_memory_usage");
}

#[test]
fn several_servers_behind_one_address_are_noticed() {
    let peer = Peer::start(|number, line| match number {
        4 => response("200 OK", &opened(line, "6fa459ea")),
        3 => greets(2, line).unwrap(),
        _ => greets(number, line).unwrap(),
    });
    let server = HttpServer::open(peer.options()).unwrap();
    server.session(&[]).unwrap();
    server.session(&[]).unwrap();
    server.refuse_several().unwrap();
    server.session(&[]).unwrap();
    let error = server.refuse_several().unwrap_err();
    assert!(matches!(error, ClientError::SeveralServers { .. }), "{error:?}");
    assert!(error.to_string().contains("1b4e28ba answered before, and 6fa459ea now"), "{error}");
}

/// A connection that is opened anew within a session may lead to another server; or to the same one, whose container was
/// made anew.
#[test]
fn a_server_that_answers_under_a_new_name_is_asked_whether_it_is_another_one() {
    const UUID: &str = "1b4e28ba";
    let cases = [
        ("one", false, ("two", UUID), None),
        ("one", false, ("two", "6fa459ea"), Some("1b4e28ba answered before, and 6fa459ea now")),
        // Of the new name, nothing is known.
        ("one", false, ("one", UUID), Some("one answered before, and two now")),
        // Nor is it of the one that told its release.
        ("zero", false, ("two", UUID), Some("zero answered before, and one now")),
        // Of ClickHouse Cloud's, which share their tables.
        ("one", true, ("two", "6fa459ea"), None),
    ];
    for (greeted, is_cloud, asked, refused) in cases {
        let peer = Peer::start(move |number, line| {
            let body = match number {
                0 => "26.1.1\n".to_owned(),
                1 => "{\"settings\":[]}\n".to_owned(),
                2 if is_cloud => opened(&line.replace('?', "?cloud_mode=1&"), UUID),
                2 => opened(line, UUID),
                3 | 4 => "1\n".to_owned(),
                _ => opened(line, asked.1),
            };
            let name = match number {
                0 => Some(greeted),
                1 | 2 => Some("one"),
                // What stands between may not pass it on.
                3 => None,
                4 => Some("two"),
                _ => Some(asked.0),
            };
            let name = name.map(|name| format!("X-ClickHouse-Server-Display-Name: {name}\r\n"));
            let (name, length) = (name.unwrap_or_default(), body.len());
            format!("HTTP/1.1 200 OK\r\n{name}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
                .into_bytes()
        });
        let server = HttpServer::open(peer.options()).unwrap();
        let mut session = server.session(&[]).unwrap();
        session.run("SELECT 1", Format::TSV).unwrap();
        if greeted == "one" {
            server.refuse_several().unwrap();
            assert_eq!(peer.requests(), 4, "there is nothing to ask");
        }
        session.run("SELECT 1", Format::TSV).unwrap();
        let said = server.refuse_several().map_err(|error| error.to_string());
        match refused {
            Some(words) => assert!(said.unwrap_err().contains(words), "{words}"),
            None => {
                said.unwrap();
                let requests = peer.requests();
                assert_eq!(requests, if is_cloud { 5 } else { 6 });
                server.refuse_several().unwrap();
                assert_eq!(peer.requests(), requests, "once is enough");
            }
        }
    }
}

/// Each of these makes an answer of fewer rows than there are, another one, or another table, and no error.
#[test]
fn a_profile_that_changes_what_statements_mean_does_not_reach_teals_own_statements() {
    let modern = servers::Modern::start();
    let mut address = modern.address();
    HttpServer::open(HttpOptions::new(address.clone()))
        .unwrap()
        .user_session(&[])
        .unwrap()
        .command("CREATE TABLE some ENGINE = MergeTree ORDER BY a AS SELECT number AS a FROM numbers(100000)")
        .unwrap();
    let count = "SELECT count() AS rows, sum(a) AS sum FROM some";
    for (name, value) in [
        ("timeout_overflow_mode", "break"),
        ("read_overflow_mode", "break"),
        ("limit", "1"),
        ("additional_table_filters", "{'some': 'a < 10'}"),
        ("use_query_cache", "1"),
        ("final", "1"),
        ("deduplicate_insert_select", "force_enable"),
        ("force_primary_key", "1"),
        ("output_format_json_array_of_rows", "1"),
        ("aggregate_functions_null_for_empty", "1"),
        ("create_if_not_exists", "1"),
        ("data_type_default_nullable", "1"),
        ("describe_include_subcolumns", "1"),
        ("describe_include_virtual_columns", "1"),
        ("extremes", "1"),
        ("join_default_strictness", "ANY"),
        ("show_create_query_identifier_quoting_rule", "always"),
        ("show_create_query_identifier_quoting_style", "DoubleQuotes"),
        ("show_table_uuid_in_table_create_query_if_not_nil", "1"),
    ] {
        address.settings = vec![(name.to_owned(), value.to_owned())];
        let more: &[(&str, &str)] = match name {
            "read_overflow_mode" => &[("max_rows_to_read", "1000")],
            // Else `SELECT version()` is an error already.
            "use_query_cache" => &[("query_cache_nondeterministic_function_handling", "ignore")],
            _ => &[],
        };
        address.settings.extend(more.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        let server = HttpServer::open(HttpOptions::new(address.clone())).unwrap();
        let mut session = server.session(&[]).unwrap();
        let shown = format!("SELECT value FROM system.settings WHERE name = '{name}'");
        let shown = session.run(&shown, Format::TSV).unwrap().body;
        assert_ne!(String::from_utf8(shown).unwrap().trim(), value);
        let error =
            session.command("CREATE TABLE some ENGINE = MergeTree ORDER BY a AS SELECT 1 AS a");
        assert_eq!(error.unwrap_err().server_name(), Some("TABLE_ALREADY_EXISTS"), "{name}");
        match session.run(count, Format::TSV) {
            Ok(answer) => assert_eq!(answer.body, b"100000\t4999950000\n", "{name}"),
            Err(error) => assert_eq!(error.server_name(), Some("TOO_MANY_ROWS"), "{name}: {error}"),
        }
        let none = session.run("SELECT sum(number) FROM numbers(0)", Format::TSV).unwrap();
        assert_eq!(none.body, b"0\n", "{name}");
        assert!(server.user_session(&[]).is_ok(), "users keep theirs");
    }
}

#[test]
fn a_server_that_is_too_old_is_refused_with_what_it_lacks() {
    let peer = Peer::start(|number, _| match number {
        0 => response("200 OK", "22.3.1.1\n"),
        _ => response("200 OK", "{\"lacking\":\"EXPLAIN QUERY TREE\"}\n"),
    });
    let error = HttpServer::open(peer.options()).err().unwrap().to_string();
    for part in ["22.3.1.1", "23.8 or newer", "EXPLAIN QUERY TREE"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn clickhouse_18_is_refused_with_what_it_lacks() {
    let Some(old) = servers::Old::start() else {
        println!("skipped: there is no ClickHouse 18.16 here");
        return;
    };
    let error = HttpServer::open(options(&old.url())).err().unwrap().to_string();
    for part in ["ClickHouse 18.16.1", "EXPLAIN QUERY TREE", "queryID()"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn statements_that_run_can_be_ended() {
    let modern = servers::Modern::start();
    let server = modern.open(|_| ());
    let mut session = server.session(&[]).unwrap();
    let mut watch = server.session(&[]).unwrap();
    thread::scope(|scope| {
        let running = scope.spawn(move || {
            session.command(
                "SELECT sleepEachRow(0.01) FROM numbers(6000) SETTINGS max_block_size = 10, \
                 function_sleep_max_microseconds_per_block = 0, max_threads = 1",
            )
        });
        // No other statement reads rows: this one is on the server, and under way.
        while !watch.running("teal").unwrap().iter().any(|statement| statement.rows_read > 0) {
            thread::sleep(Duration::from_millis(5));
        }
        server.cancel_running().unwrap();
        let error = running.join().unwrap().unwrap_err();
        assert_eq!(error.server_name(), Some("QUERY_WAS_CANCELLED"), "{error}");
    });
}

// --- TLS ---------------------------------------------------------------------------------------

/// A certificate for `localhost`, signed by an authority of its own, as PEM files.
struct Certificates {
    directory: tempfile::TempDir,
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    key: rustls::pki_types::PrivateKeyDer<'static>,
    roots: rustls::RootCertStore,
}

impl Certificates {
    fn make() -> Self {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = parameters.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(parameters, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        write("ca.pem", authority.pem());
        write("leaf.pem", leaf.pem() + &key.serialize_pem());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Self { directory, chain: vec![leaf.der().clone()], key, roots }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// A peer that greets over TLS, and asks for a client certificate where `asks`.
    fn serve(&self, asks: bool) -> String {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let roots = Arc::new(self.roots.clone());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider)
            .build()
            .unwrap();
        let builder = match asks {
            true => builder.with_client_cert_verifier(verifier),
            false => builder.with_no_client_auth(),
        };
        let config =
            Arc::new(builder.with_single_cert(self.chain.clone(), self.key.clone_key()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
                // A handshake that fails is what some of the tests are about.
                if stream.conn.complete_io(&mut stream.sock).is_ok() {
                    read_request(&mut stream);
                    stream.write_all(&response("200 OK", "26.1.1\n")).unwrap();
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            }
        });
        format!("https://localhost:{port}")
    }
}

#[test]
fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let certificates = Certificates::make();
    let url = certificates.serve(false);
    let named = HttpOptions { ca: Some(certificates.path("ca.pem")), ..options(&url) };
    assert_eq!(HttpServer::open(named).unwrap().version(), "26.1.1");

    let error = HttpServer::open(options(&url)).err().unwrap();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("TLS: "), "{error}");
}

#[test]
fn a_client_certificate_is_shown_where_one_is_asked_for() {
    let certificates = Certificates::make();
    let url = certificates.serve(true);
    let without = HttpOptions { ca: Some(certificates.path("ca.pem")), ..options(&url) };
    let with = HttpOptions { certificate: Some(certificates.path("leaf.pem")), ..without.clone() };
    assert_eq!(HttpServer::open(with).unwrap().version(), "26.1.1");
    assert!(HttpServer::open(without).is_err());
}

#[test]
fn a_file_that_is_no_certificate_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path(), Path::new("/nosuch.pem")] {
        let ca = HttpOptions { ca: Some(path.to_owned()), ..options("https://localhost:1") };
        let error = HttpServer::open(ca).err().unwrap().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}
