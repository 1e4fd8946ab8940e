//! Servers that cannot be used, and connections that break: each a clear error with the exit code of a
//! failure, and nothing changed that the plan does not say.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::chaos::Proxy as Relay;
use crate::servers::{Modern, Old};
use crate::support::{Background, Held, Project, until};

const EVENTS: &str =
    "CREATE TABLE events (id UInt64, town String) ENGINE = MergeTree ORDER BY id;\n";
const MORE: &str = "CREATE TABLE events (id UInt64, town String COMMENT 'where', more UInt8) \
     ENGINE = MergeTree ORDER BY id COMMENT 'events';\n\
     CREATE TABLE other (id UInt64) ENGINE = MergeTree ORDER BY id;\n";

/// A balancer leads to the one server, then to the other one, or to each in turn.
#[test]
fn several_servers_behind_one_address_are_refused_before_a_write() {
    let servers = [Modern::start(), Modern::start()];
    let ports = servers.each_ref().map(Modern::port);
    let (turn, next) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (turns, leads_to) = (Arc::clone(&turn), Arc::clone(&next));
    let url = serve(move |request| {
        let which = leads_to.fetch_add(turns.load(Ordering::SeqCst), Ordering::SeqCst);
        let mut server = TcpStream::connect(("127.0.0.1", ports[which % 2])).unwrap();
        server.write_all(request).unwrap();
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).unwrap();
        let status = answer.windows(2).position(|it| it == b"\r\n").unwrap();
        answer.splice(status..status, *b"\r\nConnection: close");
        answer
    });
    let both = |columns: &str| {
        let table =
            |name| format!("CREATE TABLE {name} ({columns}) ENGINE = MergeTree ORDER BY id;\n");
        format!("{}{}", table("events"), table("other"))
    };
    let project = Project::new(&[("app/events.sql", &both("id UInt64"))]);
    for server in &servers {
        project.must(&["--url", &server.url(), "apply"]);
    }
    // One ALTER of each table.
    project.write("app/events.sql", &both("id UInt64, more UInt8"));
    let apply = project.command(&["--url", &url, "apply"]);
    let apply = Held::at("statement-done", "", apply);
    next.store(1, Ordering::SeqCst);
    apply.go_on().failed(3, &["is more than one server", "give teal the address of one server"]);
    let columns = "SELECT count() FROM system.columns WHERE database = 'default'";
    let has = |server: &Modern| project.must(&["--url", &server.url(), "query", columns]).stdout;
    assert_eq!(servers.each_ref().map(has), ["3\n", "2\n"]);

    turn.store(1, Ordering::SeqCst);
    let run = project.teal(&["--url", &url, "plan"]);
    run.failed(3, &["is more than one server"]);
    assert_eq!(run.stdout, "", "{}", run.said());
}

/// Each command that talks to a server says what is wrong with it, before anything else.
fn is_refused(project: &Project, arguments: &[&str], words: &[&str]) {
    for command in ["plan", "apply", "doctor", "status"] {
        let run = project.teal(&[arguments, &[command]].concat());
        run.failed(1, words);
        assert_eq!(run.stdout, "", "{command}: {}", run.said());
    }
}

#[test]
fn a_server_that_cannot_be_used_is_an_error_that_says_why() {
    let modern = Modern::start();
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let html = serve(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\nConnection: close\r\n\r\n<html>Please log in</html>".to_vec()
    });
    let gateway = serve(|_| {
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 24\r\nConnection: close\r\n\r\n<html>No upstream</html>".to_vec()
    });
    let plain = modern.url().replace("http://", "https://");
    for (url, words) in [
        ("http://nosuch.invalid:8123".to_owned(), &["cannot reach http://nosuch.invalid:8123"][..]),
        (format!("http://127.0.0.1:{free}"), &["nothing listens at this port", &free.to_string()]),
        (plain, &["cannot reach https://127.0.0.1", "TLS"]),
        (format!("{}?database=nosuch", modern.url()), &["nosuch", "UNKNOWN_DATABASE"]),
        (format!("{}?nosuch_setting=1", modern.url()), &["nosuch_setting", "UNKNOWN_SETTING"]),
        (html, &["is no ClickHouse (HTTP status 200)", "Please log in"]),
        (gateway, &["is no ClickHouse (HTTP status 502)", "No upstream"]),
    ] {
        is_refused(&project, &["--url", &url], words);
    }
    for (line, file) in [("ca", "nosuch.pem"), ("certificate", "app/events.sql")] {
        project.write(
            "teal.toml",
            &format!("[targets.default]\nkind = \"server\"\nurl = \"https://localhost:1\"\n{line} = \"{file}\"\n"),
        );
        is_refused(&project, &[], &[file, "PEM"]);
    }
    // None of them has left anything.
    let databases = "SELECT groupArray(name) FROM system.databases WHERE name LIKE '\\_teal%'";
    assert_eq!(project.must(&["--url", &modern.url(), "query", databases]).stdout, "[]\n");
    assert_eq!(project.must(&["--url", &modern.url(), "query", "SHOW TABLES"]).stdout, "");
}

#[test]
fn a_server_that_takes_no_connection_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts them; when there is no more room, the next one hears nothing.
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    let waiting = std::iter::from_fn(connect).take(10_000).collect::<Vec<_>>();
    assert!(waiting.len() < 10_000, "there was room for all");
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.write(
        "teal.toml",
        &format!("[targets.default]\nkind = \"server\"\nurl = \"http://{address}\"\nconnect_timeout = 1\n"),
    );
    is_refused(&project, &[], &["cannot reach http://127.0.0.1", "no connection within 1 s"]);
}

#[test]
fn a_signal_ends_a_command_whose_server_hangs() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let url = serve(move |request| {
        let asked = |statement: &[u8]| request.windows(statement.len()).any(|it| it == statement);
        let answer = match (asked(b"SELECT version()"), asked(b"serverUUID()")) {
            (true, _) => "26.7.1.1\n",
            (_, true) => "5f7ee9b0-0000-4000-8000-000000000001\n",
            _ => {
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_secs(600));
                ""
            }
        };
        let length = answer.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}")
            .into_bytes()
    });
    let project = Project::new(&[]);
    let mut query = Background::start(project.command(&["--url", &url, "query", "SELECT 1"]));
    until("the query", || (asked.load(Ordering::SeqCst) > 0).then_some(()));
    let began = Instant::now();
    kill_process(Pid::from_child(query.child()), Signal::INT).unwrap();
    query.finish().failed(130, &["cannot end what runs on the server: it has not answered"]);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            if connection.complete_io(&mut stream).is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    is_refused(
        &project,
        &["--url", &url],
        &["cannot reach https://localhost", "TLS: ", "ertificate"],
    );
    // Nothing was said to it: a password would have been.
    assert_eq!(requests.load(Ordering::SeqCst), 0);
}

#[test]
fn a_read_waits_for_a_server_that_is_started_anew() {
    let mut modern = Modern::start();
    let proxy = Relay::start(modern.port(), 1);
    let project = Project::new(&[]);
    let read = "SELECT count() FROM numbers(30) WHERE NOT ignore(sleepEachRow(0.1))";
    let mut reading = Background::start(project.command(&["--url", &proxy.url(), "query", read]));
    let running = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow%' AND query NOT LIKE '%processes%'";
    until("the read", || {
        assert_eq!(reading.child().try_wait().unwrap(), None, "it has ended");
        let run = project.must(&["--url", &modern.url(), "query", running]);
        (run.stdout == "1\n").then_some(())
    });
    modern.kill_and_start_again();
    proxy.lead_to(modern.port());
    let run = reading.finish();
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "30\n"), "{}", run.said());
}

#[test]
#[allow(clippy::print_stdout)]
fn a_server_that_is_too_old_is_refused_by_every_command() {
    let Some(old) = Old::start() else {
        println!("skipped: there is no ClickHouse 18.16 here");
        return;
    };
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    is_refused(&project, &["--url", &old.url()], &["ClickHouse 18.16.1", "23.8 or newer", "lacks"]);
    let with = |url: &str| url.replace("http://", "http://ana:hunter2@");
    let run = project.teal(&["--url", &with(&old.url()), "plan"]);
    run.failed(1, &["ana"]);
    assert!(!run.said().contains("hunter2"), "{}", run.said());
}

#[test]
fn a_plan_whose_connection_breaks_changes_nothing() {
    let target = Target::new();
    let before = target.definitions();
    let mut broken = 0;
    for cut in (1..).step_by(9) {
        let proxy = Proxy::start(&target.modern, cut);
        let run = target.project.teal(&["--url", &proxy.url, "plan"]);
        if proxy.answers.load(Ordering::SeqCst) < cut {
            assert_eq!(run.code, Some(0), "{}", run.said());
            break;
        }
        match run.code {
            // A read of which nothing had come was sent again.
            Some(0) => (),
            _ => {
                run.failed(1, &["the connection to http://127.0.0.1", "broke after"]);
                broken += 1;
            }
        }
        assert_eq!(target.definitions(), before, "answer {cut}");
    }
    assert!(broken > 2, "{broken} of the plans only were cut");
}

#[test]
fn an_apply_whose_connection_breaks_is_finished_by_the_next() {
    let finished = {
        let target = Target::new();
        target.project.must(&["--url", &target.modern.url(), "apply"]);
        target.definitions()
    };
    let mut broken = 0;
    for cut in (1..).step_by(14) {
        let target = Target::new();
        let proxy = Proxy::start(&target.modern, cut);
        let run = target.project.teal(&["--url", &proxy.url, "apply"]);
        if proxy.answers.load(Ordering::SeqCst) < cut {
            assert_eq!(run.code, Some(0), "{}", run.said());
            break;
        }
        match run.code {
            Some(0) => (),
            _ => {
                run.failed(1, &["the connection to http://127.0.0.1", "broke after"]);
                broken += 1;
            }
        }
        target.project.must(&["--url", &target.modern.url(), "apply"]);
        assert_eq!(target.definitions(), finished, "answer {cut}");
        assert_eq!(target.query("SELECT sum(id), count() FROM events"), "45\t10\n");
    }
    assert!(broken > 2, "{broken} of the applies only were cut");
}

/// No server of the tests has such a database, so it is told of one.
#[test]
fn a_database_whose_statements_go_to_other_servers_is_refused() {
    const ASKED: &str = "SELECT engine FROM system.databases WHERE name = 'default'";
    let target = Target::new();
    let upstream = target.modern.url().replace("http://", "");
    let url = serve(move |request| {
        let mut request = request.to_vec();
        let asked = request.windows(ASKED.len()).position(|text| text == ASKED.as_bytes());
        if let Some(at) = asked {
            let other = format!("{:1$}", "SELECT 'Replicated' AS engine", ASKED.len());
            request[at..at + ASKED.len()].copy_from_slice(other.as_bytes());
        }
        passed_on(&upstream, &request)
    });
    let next = "-- teal: table events version 1\n\
         CREATE TABLE events_1 (id UInt64, town String) ENGINE = MergeTree ORDER BY (town, id);\n\
         CREATE MATERIALIZED VIEW mv TO events_1 AS SELECT * FROM events;\n";
    target.project.write("app/events.sql", &format!("{EVENTS}{next}"));
    let says = ["blocked: default.events: the database default has the engine Replicated"];
    target.project.teal(&["--url", &url, "apply"]).failed(3, &says);
}

/// A server with a table of ten rows, and models that change it and add another.
struct Target {
    modern: Modern,
    project: Project,
}

impl Target {
    fn new() -> Self {
        let modern = Modern::start();
        let project = Project::new(&[("app/events.sql", EVENTS)]);
        project.must(&["--url", &modern.url(), "apply"]);
        let target = Self { modern, project };
        target.query("INSERT INTO events SELECT number, 'x' FROM numbers(10)");
        target.project.write("app/events.sql", MORE);
        target
    }

    fn query(&self, statement: &str) -> String {
        self.project.must(&["--url", &self.modern.url(), "query", statement]).stdout
    }

    /// Everything but the journal and the lock.
    fn definitions(&self) -> String {
        self.query(
            "SELECT groupArray(create_table_query) FROM (SELECT create_table_query FROM system.tables \
             WHERE database NOT IN ('system', '_teal', 'INFORMATION_SCHEMA', 'information_schema') ORDER BY database, name)",
        )
    }
}

/// Stands before a server, and breaks the connection in the middle of one of its answers.
struct Proxy {
    url: String,
    answers: Arc<AtomicUsize>,
}

impl Proxy {
    /// Cuts the answer of number `cut`, from 1: in its body, or where there is none in its head.
    fn start(modern: &Modern, cut: usize) -> Self {
        let upstream = modern.url().replace("http://", "");
        let answers = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&answers);
        let url = serve(move |request| {
            let mut answer = passed_on(&upstream, request);
            if counted.fetch_add(1, Ordering::SeqCst) + 1 == cut {
                let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
                let body = answer.len() - head;
                answer.truncate(if body > 1 { head + body / 2 } else { head / 2 });
            }
            answer
        });
        Self { url, answers }
    }
}

fn passed_on(upstream: &str, request: &[u8]) -> Vec<u8> {
    let mut server = TcpStream::connect(upstream).unwrap();
    server.write_all(request).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    let line = answer.windows(2).position(|end| end == b"\r\n").unwrap() + 2;
    answer.splice(line..line, *b"Connection: close\r\n");
    answer
}

/// Answers each request by `answer`, which is given all of it, on a connection of its own. Lives as
/// long as the test's process.
fn serve(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                if let Some(request) = read_request(&stream) {
                    // The client may have gone.
                    let _ = stream.write_all(&answer(&request));
                }
            });
        }
    });
    url
}

/// A request with its body, which says that it is the last of its connection; nothing where the
/// client went before it said anything.
fn read_request(stream: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let (mut request, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        request.extend_from_slice(line.as_bytes());
    }
    request.extend_from_slice(b"Connection: close\r\n\r\n");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.extend_from_slice(&body);
    Some(request)
}
