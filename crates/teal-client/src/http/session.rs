use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder as _;
use ureq::SendBody;

use super::insert::HttpInsert;
use super::repeat;
use super::transport::{Transport, USERS_QUERY_ID_PREFIX};
use crate::clock::since_boot;
use crate::{Answer, ClientError, Format, InsertStream, Session, Settings};

/// HTTP has no conversation: what makes a session are its settings, sent with each statement.
#[derive(Clone)]
pub(super) struct HttpSession {
    pub(super) transport: Arc<Transport>,
    pub(super) settings: Vec<(String, String)>,
    /// Of its statements' query ids.
    pub(super) id_prefix: &'static str,
}

impl HttpSession {
    pub(super) fn compresses(&self) -> bool {
        self.transport.compress
    }

    /// Sends a statement and reads the whole answer.
    pub(super) fn answer(
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
        parameters.push(("default_format", &format.0));
        let send = |query_id: &str| {
            let request = self.transport.request(&parameters, query_id);
            request.send(statement)
        };
        self.transport.run(statement, self.id_prefix, send, started, pass_on)
    }

    /// Sends an INSERT with its data.
    pub(super) fn send_data(
        &self,
        statement: &str,
        body: SendBody<'static>,
        encoding: Option<&str>,
    ) -> Result<Answer, ClientError> {
        let mut parameters = self.parameters(&[]);
        parameters.push(("query", statement));
        let mut body = Some(body);
        let send = |query_id: &str| {
            let mut request = self.transport.request(&parameters, query_id);
            if let Some(encoding) = encoding {
                request = request.header("Content-Encoding", encoding);
            }
            request.send(body.take().unwrap_or_else(SendBody::none))
        };
        let nothing = &mut |_: &[u8]| ControlFlow::Continue(());
        self.transport.run(statement, self.id_prefix, send, &mut || (), nothing)
    }

    fn parameters<'s>(&'s self, extra: Settings<'s>) -> Vec<(&'s str, &'s str)> {
        let own = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        own.chain(extra.iter().copied()).collect()
    }

    fn with_retries<T>(
        &self,
        statement: &str,
        mut work: impl FnMut() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let reads = repeat::only_reads(statement);
        let is_users = self.id_prefix == USERS_QUERY_ID_PREFIX;
        let repeatable = reads || !is_users && repeat::is_repeatable(statement);
        let began = since_boot();
        let left = || match reads {
            true => Duration::MAX,
            false => repeat::LATEST.saturating_sub(since_boot().saturating_sub(began)),
        };
        let mut delays = repeat::backoff().build();
        loop {
            let error = match work() {
                Err(error) if repeat::is_passing(&error, repeatable) => error,
                other => return other,
            };
            let Some(delay) = delays.next() else { return Err(error) };
            // So that the last one still comes in time.
            std::thread::sleep(delay.min(left() / 2));
            // Asked behind the wait, in which this process may have been held up for long.
            if left().is_zero() {
                return Err(error);
            }
        }
    }
}

impl Session for HttpSession {
    fn run(&mut self, statement: &str, format: Format) -> Result<Answer, ClientError> {
        // The server keeps the result until it is whole: an error comes with its status or, behind a
        // sign of life, with its code in a header, and the summary is that of the end.
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
