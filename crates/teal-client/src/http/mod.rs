//! ClickHouse over HTTP.

mod address;
mod agent;
mod answer;
mod insert;
mod repeat;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use backon::BlockingRetryable as _;
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use teal_schema::quote_string;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body, SendBody};

pub use self::address::{Address, AddressError};
use self::agent::agent;
use self::answer::BodyError;
use self::insert::HttpInsert;
use crate::clock::since_boot;
use crate::error::{UNKNOWN, shortened};
use crate::neutral::settings_to_set_back;
use crate::session::{DROPS_OF_ANY_SIZE, LARGE_STATEMENTS};
use crate::{
    Answer, ClientError, Format, InsertStream, Server, Session, Settings, TEAL_LOG_COMMENT,
    WriteGate,
};

/// Every query id of teal's statements begins so.
const QUERY_ID_PREFIX: &str = "teal-";

/// The oldest release that has all that teal needs.
const OLDEST: (u32, u32) = (23, 8);

/// The first release in which a statement's settings can lift the limit on the size of what is dropped.
const DROPS_BY_SETTING: (u32, u32) = (23, 12);

/// So many come from the server in the time after which it counts as silent. Each is a header of the answer.
const SIGNS_OF_LIFE: u32 = 5;

/// Of an answer, the library reads no more (ureq 3.5).
const MOST_HEADERS: u32 = 128;

/// How to reach a server.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    pub address: Address,
    /// PEM files. Without `ca` the machine's own authorities count.
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub connect_timeout: Duration,
    /// How long the server may be silent. It sends a sign of life more often than that while a
    /// statement runs.
    pub read_timeout: Duration,
    /// Whether data is compressed on its way; by default it is, unless the server is on this
    /// machine.
    pub compress: Option<bool>,
}

impl HttpOptions {
    pub fn new(address: Address) -> Self {
        Self {
            address,
            ca: None,
            certificate: None,
            key: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(300),
            compress: None,
        }
    }
}

/// A server reached by HTTP.
#[derive(Clone)]
pub struct HttpServer {
    inner: Arc<Inner>,
}

struct Inner {
    agent: Agent,
    options: HttpOptions,
    compress: bool,
    version: String,
    /// What the user's profile says that teal's sessions must not.
    set_back: OnceLock<Vec<(String, String)>>,
    /// The server that answered first, and another one that answered later, by their uuids.
    answered: OnceLock<String>,
    answered_too: OnceLock<String>,
    /// Statements that have been sent and have not ended.
    running: Mutex<BTreeSet<String>>,
}

impl HttpServer {
    /// Connects, and checks that it is a ClickHouse that teal can work with.
    ///
    /// # Errors
    /// When nothing answers, what answers is no ClickHouse, the user is refused, or the release is
    /// too old.
    pub fn open(options: HttpOptions) -> Result<Self, ClientError> {
        let agent = agent(&options)?;
        let compress = options.compress.unwrap_or_else(|| !options.address.is_loopback());
        let mut inner = Inner {
            agent,
            options,
            compress,
            version: String::new(),
            set_back: OnceLock::new(),
            answered: OnceLock::new(),
            answered_too: OnceLock::new(),
            running: Mutex::default(),
        };
        inner.version = inner.ask_version()?;
        let server = Self { inner: Arc::new(inner) };
        server.refuse_if_too_old()?;
        Ok(server)
    }

    /// The server's release, such as `26.7.3.1`.
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// Ends the statements of this process that are running on the server.
    ///
    /// # Errors
    /// When the server cannot be asked to.
    pub fn cancel_running(&self) -> Result<(), ClientError> {
        let running = self.inner.running.lock().clone();
        running.iter().try_for_each(|query_id| self.inner.kill(query_id))
    }

    /// With the user's own settings.
    fn plain_session(&self) -> HttpSession {
        HttpSession { inner: Arc::clone(&self.inner), settings: Vec::new() }
    }

    fn set_back(&self) -> Result<&[(String, String)], ClientError> {
        if let Some(known) = self.inner.set_back.get() {
            return Ok(known);
        }
        let found = settings_to_set_back(&mut self.plain_session())?;
        Ok(self.inner.set_back.get_or_init(|| found))
    }

    /// With the uuid of the server that answered.
    fn open_session(
        &self,
        settings: Vec<(String, String)>,
    ) -> Result<(HttpSession, String), ClientError> {
        let comment = settings.iter().rfind(|(name, _)| name == "log_comment");
        let comment = comment.map(|(_, comment)| comment.clone()).unwrap_or_default();
        let mut session = HttpSession { settings, ..self.plain_session() };
        // A setting that the server does not know is an error here, not in the middle of the work.
        let ask = match comment.is_empty() {
            true => "SELECT toString(serverUUID())",
            false => "SELECT concat(toString(serverUUID()), getSetting('log_comment'))",
        };
        let answer = session.run(ask, Format("RawBLOB"))?.body;
        let answer = String::from_utf8_lossy(&answer);
        match answer.strip_suffix(comment.as_str()) {
            Some(server) => Ok((session, server.to_owned())),
            // A proxy may leave settings out, and a copy without them is another one.
            None => Err(ClientError::SettingsLost {
                address: self.inner.options.address.to_string(),
                setting: "log_comment",
            }),
        }
    }

    /// Year and number.
    fn release(&self) -> (u32, u32) {
        let mut numbers = self.version().split('.').map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    fn refuse_if_too_old(&self) -> Result<(), ClientError> {
        #[derive(Deserialize)]
        struct Row {
            lacking: String,
        }
        if self.release() >= OLDEST {
            return Ok(());
        }
        let needs = [
            ("additional_table_filters", "settings", "copies in chunks"),
            ("log_comment", "settings", "statements that can be told from the users' in the logs"),
            ("allow_experimental_analyzer", "settings", "EXPLAIN QUERY TREE"),
            ("assign_part_uuids", "merge_tree_settings", "publications that survive a crash"),
            ("queryID", "functions", "queryID()"),
            ("sipHash128", "functions", "128-bit row hashes"),
            ("formatRow", "functions", "formatRow()"),
        ];
        let probes = needs.map(|(name, table, what)| {
            format!(
                "SELECT {} AS lacking, count() AS found FROM system.{table} WHERE name = '{name}'",
                quote_string(what)
            )
        });
        let query = format!("SELECT lacking FROM ({}) WHERE found = 0", probes.join(" UNION ALL "));
        let answer = self.plain_session().answer(&query, &Format::JSON_EACH_ROW, &[])?;
        let lacking = crate::read_rows::<Row>(&answer.body, &query)?;
        Err(ClientError::TooOld {
            address: self.inner.options.address.to_string(),
            version: self.version().to_owned(),
            oldest: format!("{}.{}", OLDEST.0, OLDEST.1),
            lacks: lacking.into_iter().map(|row| row.lacking).collect::<Vec<_>>().join(", "),
        })
    }
}

impl Server for HttpServer {
    fn session(&self, settings: Settings<'_>) -> Result<Box<dyn Session>, ClientError> {
        let signs_of_life =
            (self.inner.options.read_timeout / SIGNS_OF_LIFE).as_millis().to_string();
        let teals = [
            ("log_comment", TEAL_LOG_COMMENT),
            // Async inserts would leave teal's own rows in a buffer after the statement has ended.
            ("async_insert", "0"),
            // A user's profile may limit what runs for them, and the way numbers are written.
            ("output_format_json_quote_64bit_integers", "0"),
            ("send_progress_in_http_headers", "1"),
            ("http_headers_progress_interval_ms", &signs_of_life),
            // A read whose reader has gone is of no use.
            ("cancel_http_readonly_queries_on_client_close", "1"),
        ];
        let drops = match self.release() >= DROPS_BY_SETTING {
            true => DROPS_OF_ANY_SIZE.as_slice(),
            false => &[],
        };
        let settings = teals.iter().chain(&LARGE_STATEMENTS).chain(drops).chain(settings);
        let settings = settings.map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let settings = self.set_back()?.iter().cloned().chain(settings);
        let (session, server) = self.open_session(settings.collect())?;
        if *self.inner.answered.get_or_init(|| server.clone()) != server {
            self.inner.answered_too.get_or_init(|| server);
        }
        Ok(Box::new(session))
    }

    fn user_session(&self, settings: Settings<'_>) -> Result<Box<dyn Session>, ClientError> {
        let settings = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Ok(Box::new(self.open_session(settings.collect())?.0))
    }

    fn write_gate(&self) -> Option<&WriteGate> {
        None
    }

    fn describe(&self) -> String {
        format!("ClickHouse at {}", self.inner.options.address)
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    fn refuse_several(&self) -> Result<(), ClientError> {
        match (self.inner.answered.get(), self.inner.answered_too.get()) {
            (Some(first), Some(other)) => Err(ClientError::SeveralServers {
                address: self.inner.options.address.to_string(),
                first: first.clone(),
                other: other.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// HTTP has no conversation: what makes a session are its settings, sent with each statement.
#[derive(Clone)]
struct HttpSession {
    inner: Arc<Inner>,
    settings: Vec<(String, String)>,
}

impl HttpSession {
    fn compresses(&self) -> bool {
        self.inner.compress
    }

    /// Sends a statement and reads the whole answer.
    fn answer(
        &self,
        statement: &str,
        format: &Format,
        extra: Settings<'_>,
    ) -> Result<Answer, ClientError> {
        let mut body = Vec::new();
        let mut answer = self.receive(statement, format, extra, &mut || (), &mut |piece| {
            body.extend_from_slice(piece);
            ControlFlow::Continue(())
        })?;
        answer.body = body;
        Ok(answer)
    }

    fn receive(
        &self,
        statement: &str,
        format: &Format,
        extra: Settings<'_>,
        started: &mut dyn FnMut(),
        pass_on: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Answer, ClientError> {
        let mut parameters = self.parameters(extra);
        parameters.push(("default_format", format.0));
        let send = |query_id: &str| {
            let request = self.inner.request(&parameters, query_id);
            request.send(statement)
        };
        self.inner.run(statement, send, started, pass_on)
    }

    /// Sends an INSERT with its data.
    fn send_data(
        &self,
        statement: &str,
        body: SendBody<'static>,
        encoding: Option<&str>,
    ) -> Result<Answer, ClientError> {
        let mut parameters = self.parameters(&[]);
        parameters.push(("query", statement));
        let mut body = Some(body);
        let send = |query_id: &str| {
            let mut request = self.inner.request(&parameters, query_id);
            if let Some(encoding) = encoding {
                request = request.header("Content-Encoding", encoding);
            }
            request.send(body.take().unwrap_or_else(SendBody::none))
        };
        self.inner.run(statement, send, &mut || (), &mut |_| ControlFlow::Continue(()))
    }

    fn parameters<'s>(&'s self, extra: Settings<'s>) -> Vec<(&'s str, &'s str)> {
        let own = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        own.chain(extra.iter().copied()).collect()
    }

    fn with_retries<T>(
        &self,
        statement: &str,
        work: impl FnMut() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let (repeatable, reads) = (repeat::is_repeatable(statement), repeat::only_reads(statement));
        let began = since_boot();
        let is_late = || !reads && since_boot().saturating_sub(began) > repeat::LATEST;
        let again = |error: &ClientError| repeat::is_passing(error, repeatable) && !is_late();
        work.retry(repeat::backoff()).when(again).call()
    }
}

impl Session for HttpSession {
    fn run(&mut self, statement: &str, format: Format) -> Result<Answer, ClientError> {
        // The server keeps the result until it is whole: an error comes with its status, and the
        // summary is that of the end.
        let whole = [("wait_end_of_query", "1")];
        self.with_retries(statement, || self.answer(statement, &format, &whole))
    }

    fn insert<'s>(
        &'s mut self,
        statement: &str,
        format: Format,
    ) -> Result<Box<dyn InsertStream + 's>, ClientError> {
        Ok(Box::new(HttpInsert::start(self, statement, &format)))
    }

    fn stream_while(
        &mut self,
        statement: &str,
        format: Format,
        started: &mut dyn FnMut(),
        receive: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let has_begun = Cell::new(false);
        let (mut started, mut receive) = (
            || {
                has_begun.set(true);
                started();
            },
            |piece: &[u8]| receive(piece),
        );
        self.with_retries(statement, || {
            match self.receive(statement, &format, &[], &mut started, &mut receive) {
                // What was handed on must not come again.
                Err(error) if has_begun.get() => Ok(Err(error)),
                other => other.map(|_| Ok(())),
            }
        })?
    }
}

impl Inner {
    fn request(
        &self,
        parameters: &[(&str, &str)],
        query_id: &str,
    ) -> ureq::RequestBuilder<ureq::typestate::WithBody> {
        let HttpOptions { address, .. } = &self.options;
        let mut request = self
            .agent
            .post(address.base().as_str())
            .query("database", &address.database)
            .query("query_id", query_id);
        for (name, value) in &address.settings {
            request = request.query(name, value);
        }
        for (name, value) in parameters {
            request = request.query(name, value);
        }
        if self.compress {
            request = request.query("enable_http_compression", "1");
        }
        if let Some(token) = &address.token {
            let value = format!("Bearer {}", token.expose_secret());
            return request.header("Authorization", value);
        }
        if let Some(user) = &address.user {
            request = request.header("X-ClickHouse-User", user);
        }
        if let Some(password) = &address.password {
            request = request.header("X-ClickHouse-Key", password.expose_secret());
        }
        request
    }

    /// Sends one request and reads its answer. Whatever way it fails on this side, and when nobody wants
    /// the rest, the statement does not go on running on the other.
    fn run(
        &self,
        statement: &str,
        mut send: impl FnMut(&str) -> Result<Response<Body>, ureq::Error>,
        started: &mut dyn FnMut(),
        pass_on: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Answer, ClientError> {
        let query_id = format!("{QUERY_ID_PREFIX}{}", uuid::Uuid::new_v4());
        self.running.lock().insert(query_id.clone());
        let mut unwanted = false;
        let mut pass_on = |piece: &[u8]| {
            let flow = pass_on(piece);
            unwanted = flow.is_break();
            flow
        };
        let outcome = self.exchange(statement, &mut || send(&query_id), started, &mut pass_on);
        self.running.lock().remove(&query_id);
        // What is between may have given up waiting, and say so.
        let is_cut = matches!(
            outcome,
            Err(ClientError::Cut { .. }
                | ClientError::Silent { .. }
                | ClientError::TooLong { .. }
                | ClientError::NotClickHouse { .. })
        );
        if !self.version.is_empty() && (is_cut || unwanted) {
            // It may well have ended; and if the server cannot be reached, the error says so.
            let _ = self.kill(&query_id);
        }
        outcome
    }

    fn exchange(
        &self,
        statement: &str,
        send: &mut dyn FnMut() -> Result<Response<Body>, ureq::Error>,
        started: &mut dyn FnMut(),
        pass_on: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Answer, ClientError> {
        let began = Instant::now();
        let response = send().map_err(|error| self.transport_error(error, statement))?;
        let (head, mut body) = response.into_parts();
        if head.status != StatusCode::OK {
            let mut text = Vec::new();
            let whole = std::io::Read::read_to_end(&mut body.as_reader(), &mut text);
            let received = text.len() as u64;
            let text = String::from_utf8_lossy(&text);
            let error = answer::server_error(&text, statement);
            return Err(match (error, whole) {
                // The end has the error's name, which tells some errors from others.
                (Some(error), _) if error.server_name() != Some(UNKNOWN) => error,
                (_, Err(source)) => self.cut(source, received, statement),
                (Some(error), Ok(_)) => error,
                (None, Ok(_)) => self.not_clickhouse(head.status.as_u16(), &text),
            });
        }
        started();
        let mut answer = answer::summary(&head.headers);
        answer::receive(&head.headers, body.as_reader(), statement, pass_on).map_err(|error| {
            match error {
                BodyError::Server(error) => error,
                BodyError::Cut { received, source } => self.cut(source, received, statement),
            }
        })?;
        if answer.seconds == 0.0 {
            answer.seconds = began.elapsed().as_secs_f64();
        }
        Ok(answer)
    }

    fn kill(&self, query_id: &str) -> Result<(), ClientError> {
        let statement = format!("KILL QUERY WHERE query_id = {} ASYNC", quote_string(query_id));
        let id = format!("{QUERY_ID_PREFIX}kill-{}", uuid::Uuid::new_v4());
        let mut send = || self.request(&[], &id).send(&statement);
        self.exchange(&statement, &mut send, &mut || (), &mut |_| ControlFlow::Continue(()))
            .map(drop)
    }

    /// Also the test of whether ClickHouse answers at all, so without any setting.
    fn ask_version(&self) -> Result<String, ClientError> {
        let statement = "SELECT version()";
        let mut body = Vec::new();
        self.run(
            statement,
            |query_id| {
                self.request(&[("default_format", "TabSeparated")], query_id).send(statement)
            },
            &mut || (),
            &mut |piece| {
                body.extend_from_slice(piece);
                ControlFlow::Continue(())
            },
        )?;
        let text = String::from_utf8_lossy(&body);
        let version = text.trim();
        let is_version = version.contains('.')
            && version.starts_with(|c: char| c.is_ascii_digit())
            && version.len() < 64;
        match is_version {
            true => Ok(version.to_owned()),
            false => Err(self.not_clickhouse(200, &text)),
        }
    }

    fn not_clickhouse(&self, status: u16, said: &str) -> ClientError {
        ClientError::NotClickHouse {
            address: self.options.address.to_string(),
            status,
            said: shortened(said),
        }
    }

    fn transport_error(&self, error: ureq::Error, statement: &str) -> ClientError {
        let unreachable = |reason: String, refused: bool| ClientError::Unreachable {
            address: self.options.address.to_string(),
            reason,
            refused,
        };
        match error {
            ureq::Error::HostNotFound => {
                unreachable("there is no host of this name".to_owned(), false)
            }
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => unreachable(
                format!("no connection within {} s", self.options.connect_timeout.as_secs()),
                false,
            ),
            ureq::Error::ConnectionFailed => unreachable("no connection".to_owned(), true),
            ureq::Error::Io(source) if source.kind() == std::io::ErrorKind::ConnectionRefused => {
                unreachable("nothing listens at this port".to_owned(), true)
            }
            ureq::Error::Tls(reason) => unreachable(format!("TLS: {reason}"), false),
            ureq::Error::Rustls(error) => unreachable(format!("TLS: {error}"), false),
            ureq::Error::Io(source) => match connecting_reason(&source) {
                Some(reason) => unreachable(reason, false),
                None => self.cut(source, 0, statement),
            },
            ureq::Error::Timeout(_) => self.silent(statement),
            ureq::Error::Protocol(error) if error.to_string().contains("too many headers") => {
                ClientError::TooLong {
                    statement: shortened(statement),
                    seconds: (self.options.read_timeout / SIGNS_OF_LIFE * MOST_HEADERS).as_secs(),
                    read_timeout: self.options.read_timeout.as_secs(),
                }
            }
            other => self.cut(std::io::Error::other(other.to_string()), 0, statement),
        }
    }

    fn cut(&self, source: std::io::Error, received: u64, statement: &str) -> ClientError {
        let timed_out = source
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<ureq::Error>())
            .is_some_and(|error| matches!(error, ureq::Error::Timeout(_)));
        if timed_out || source.kind() == std::io::ErrorKind::TimedOut {
            return self.silent(statement);
        }
        ClientError::Cut {
            address: self.options.address.to_string(),
            statement: shortened(statement),
            received,
            reason: source.to_string(),
        }
    }

    fn silent(&self, statement: &str) -> ClientError {
        ClientError::Silent {
            address: self.options.address.to_string(),
            statement: shortened(statement),
            seconds: self.options.read_timeout.as_secs(),
        }
    }
}

/// Why there was no connection, where it failed before a statement was sent: the name was not
/// found, or TLS had something against the other side. The library has no kinds for these.
fn connecting_reason(error: &std::io::Error) -> Option<String> {
    let text = error.to_string();
    if text.contains("failed to lookup address") {
        return Some(text);
    }
    let is_tls = error.get_ref()?.is::<rustls::Error>();
    is_tls.then(|| format!("TLS: {text}"))
}
