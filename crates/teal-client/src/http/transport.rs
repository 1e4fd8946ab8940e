use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use teal_schema::quote_string;
use ureq::http::{HeaderValue, Response};
use ureq::{Agent, Body};

use super::agent::agent;
use super::answer::{self, BodyError};
use super::answered::Answered;
use super::{Address, HttpOptions};
use crate::error::UNKNOWN;
use crate::{Answer, ClientError};

/// Every query id of teal's statements begins so.
pub(super) const QUERY_ID_PREFIX: &str = "teal-";

/// And of the users', as of `teal query`: what they write is not teal's.
pub(super) const USERS_QUERY_ID_PREFIX: &str = "teal_query-";

/// For the end of a statement that nobody waits for any more.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// The way to a server and back: requests, answers, and the end of what has lost its reader.
pub(super) struct Transport {
    agent: Agent,
    /// Who asks.
    headers: Vec<(&'static str, HeaderValue)>,
    pub(super) options: HttpOptions,
    pub(super) compress: bool,
    pub(super) answered: Answered,
    /// Statements that have been sent and have not ended.
    running: Mutex<BTreeSet<String>>,
}

impl Transport {
    pub(super) fn new(options: HttpOptions) -> Result<Self, ClientError> {
        Ok(Self {
            agent: agent(&options)?,
            headers: headers(&options.address)?,
            compress: options.compress.unwrap_or_else(|| !options.address.is_loopback()),
            options,
            answered: Answered::default(),
            running: Mutex::default(),
        })
    }

    /// Ends the statements of this process that are running on the server.
    pub(super) fn cancel_running(&self) -> Result<(), ClientError> {
        let running = self.running.lock().clone();
        running.iter().try_for_each(|query_id| self.kill(query_id))
    }

    pub(super) fn request(
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
        self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value))
    }

    /// Sends one request and reads its answer. Whatever way it fails on this side, and when nobody wants
    /// the rest, the statement does not go on running on the other.
    pub(super) fn run(
        &self,
        statement: &str,
        prefix: &str,
        mut send: impl FnMut(&str) -> Result<Response<Body>, ureq::Error>,
        started: &mut dyn FnMut(),
        pass_on: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Answer, ClientError> {
        let query_id = format!("{prefix}{}", uuid::Uuid::new_v4());
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
        if is_cut || unwanted {
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
        let server = self.answered.named(&head.headers);
        if answer::is_error(&head) {
            let mut text = Vec::new();
            let whole = std::io::Read::read_to_end(&mut body.as_reader(), &mut text);
            let received = text.len() as u64;
            let text = String::from_utf8_lossy(&text);
            let error = answer::server_error(&head.headers, &text, statement);
            return Err(match (error, whole) {
                // The end has the error's name, which tells some errors from others.
                (Some(error), _) if error.server_name() != Some(UNKNOWN) => error,
                (_, Err(source)) => self.cut(source, received, statement),
                (Some(error), Ok(_)) => error,
                (None, Ok(_)) => self.not_clickhouse(head.status.as_u16(), &text),
            });
        }
        started();
        let mut answer = Answer { server, ..answer::summary(&head.headers) };
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

    /// A server that hangs is not waited for as for an answer that is wanted.
    fn kill(&self, query_id: &str) -> Result<(), ClientError> {
        let statement = format!("KILL QUERY WHERE query_id = {} ASYNC", quote_string(query_id));
        let id = format!("{QUERY_ID_PREFIX}kill-{}", uuid::Uuid::new_v4());
        let request = || self.request(&[], &id).config().timeout_global(Some(KILL_TIMEOUT)).build();
        let mut send = || request().send(&statement);
        self.exchange(&statement, &mut send, &mut || (), &mut |_| ControlFlow::Continue(()))
            .map(drop)
    }

    /// Also the test of whether ClickHouse answers at all, so without any setting but the address's own.
    pub(super) fn ask_version(&self) -> Result<String, ClientError> {
        let statement = "SELECT version()";
        let mut body = Vec::new();
        let id = format!("{QUERY_ID_PREFIX}{}", uuid::Uuid::new_v4());
        let parameters = [("default_format", "TabSeparated")];
        let mut send = || self.request(&parameters, &id).send(statement);
        self.exchange(statement, &mut send, &mut || (), &mut |piece| {
            body.extend_from_slice(piece);
            ControlFlow::Continue(())
        })?;
        let text = String::from_utf8_lossy(&body);
        // A profile may have the extremes shown behind it.
        let version = text.lines().next().unwrap_or_default().trim();
        let is_version = version.contains('.')
            && version.starts_with(|c: char| c.is_ascii_digit())
            && version.len() < 64;
        match is_version {
            true => Ok(version.to_owned()),
            false => Err(self.not_clickhouse(200, &text)),
        }
    }
}

/// What says who asks.
fn headers(address: &Address) -> Result<Vec<(&'static str, HeaderValue)>, ClientError> {
    let header = |name, text: &str, what| match HeaderValue::from_bytes(text.as_bytes()) {
        Ok(mut value) => {
            value.set_sensitive(true);
            Ok((name, value))
        }
        Err(_) => Err(ClientError::NoHeader { what }),
    };
    let secret = |secret: &Option<SecretString>| {
        secret.as_ref().map(|secret| secret.expose_secret().to_owned())
    };
    if let Some(token) = secret(&address.token) {
        return Ok(vec![header("Authorization", &format!("Bearer {token}"), "token")?]);
    }
    let user = address.user.as_ref().map(|user| header("X-ClickHouse-User", user, "user"));
    let password = secret(&address.password);
    let password = password.map(|password| header("X-ClickHouse-Key", &password, "password"));
    user.into_iter().chain(password).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_no_header_can_hold_is_named_and_not_shown() {
        for (url, what) in
            [("http://ana:hunter2%0A@h", "the password"), ("http://ana%07@h", "the user")]
        {
            let error = headers(&Address::parse(url).unwrap()).unwrap_err().to_string();
            assert!(error.contains(what) && !error.contains("hunter2"), "{error}");
        }
        let headers = headers(&Address::parse("http://ana:p%C3%A4ss@h").unwrap()).unwrap();
        assert_eq!(headers[1].1.as_bytes(), "p\u{e4}ss".as_bytes());
    }
}
