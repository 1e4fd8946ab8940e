use std::ops::ControlFlow;
use std::time::Instant;

use super::EmbeddedEngine;
use super::library::{RawConnection, RawInsert};
use crate::{Answer, ClientError, Format, InsertStream, Session, WritePass};

/// Whose statements a session carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// teal's own: free to pass the write gate.
    Teal,
    /// The users': writes wait at the gate.
    User,
}

pub(super) struct EmbeddedConnection {
    raw: RawConnection,
    engine: EmbeddedEngine,
    origin: Origin,
}

impl EmbeddedConnection {
    pub(super) fn new(raw: RawConnection, engine: EmbeddedEngine, origin: Origin) -> Self {
        Self { raw, engine, origin }
    }

    /// A statement has ended that began then.
    fn took(&self, began: Instant) {
        if self.origin == Origin::User {
            self.engine.pace().took(began);
        }
    }
}

impl Session for EmbeddedConnection {
    fn run(&mut self, statement: &str, format: Format) -> Result<Answer, ClientError> {
        // What is not surely a read waits like a write: a mutation, a DROP, a SYSTEM command.
        let is_write = self.origin == Origin::User && !self.raw.is_read_only(statement);
        let began = Instant::now();
        let _pass = is_write.then(|| self.engine.gate().enter());
        let outcome = self.raw.query(statement, format.0);
        self.took(began);
        outcome
    }

    fn insert<'s>(
        &'s mut self,
        statement: &str,
        format: Format,
    ) -> Result<Box<dyn InsertStream + 's>, ClientError> {
        let Self { raw, engine, origin } = self;
        let pass = (*origin == Origin::User).then(|| engine.gate().enter());
        let insert = raw.insert(statement, format.0)?;
        Ok(Box::new(EmbeddedInsert { insert, engine, _pass: pass }))
    }

    fn stream_while(
        &mut self,
        statement: &str,
        format: Format,
        started: &mut dyn FnMut(),
        receive: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let is_write = self.origin == Origin::User && !self.raw.is_read_only(statement);
        let began = Instant::now();
        let _pass = is_write.then(|| self.engine.gate().enter());
        let outcome = match self.raw.stream(statement, format.0, started, receive) {
            // The engine streams SELECTs only, and says so before it does anything.
            Err(ClientError::Server { message, .. })
                if message.starts_with("Streaming query is not supported") =>
            {
                let _ = receive(&self.raw.query(statement, format.0)?.body);
                Ok(())
            }
            other => other,
        };
        self.took(began);
        outcome
    }
}

/// Field order matters: the INSERT ends (or is cancelled) before its pass is given back.
struct EmbeddedInsert<'s> {
    insert: RawInsert<'s>,
    engine: &'s EmbeddedEngine,
    _pass: Option<WritePass<'s>>,
}

impl InsertStream for EmbeddedInsert<'_> {
    fn send(&mut self, data: &[u8]) -> Result<(), ClientError> {
        self.insert.send(data)
    }

    fn finish(self: Box<Self>) -> Result<Answer, ClientError> {
        let Self { insert, engine, _pass } = *self;
        let Some(_pass) = _pass else {
            return insert.finish();
        };
        // What the user needed to send the data is not the engine's time.
        engine.pace().time(|| insert.finish())
    }
}
