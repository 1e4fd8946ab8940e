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
        let outcome = self.raw.query(statement, &format.0);
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
        let insert = raw.insert(statement, &format.0)?;
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
        let streamed = (has_rows_alone(&format.0) && formats(statement).all(has_rows_alone))
            .then(|| self.raw.stream(statement, &format.0, started, receive));
        // The engine streams SELECTs only, and says so before it does anything.
        let is_none = matches!(&streamed, Some(Err(ClientError::Server { message, .. }))
            if message.starts_with("Streaming query is not supported"));
        let outcome = match streamed.filter(|_| !is_none) {
            Some(outcome) => outcome,
            None => self.raw.query(statement, &format.0).map(|answer| {
                started();
                let _ = receive(&answer.body);
            }),
        };
        self.took(began);
        outcome
    }
}

/// Whether a result in this format is rows and nothing before, between and behind them. The engine (26.7) makes each
/// piece of a stream a document of its own, and takes one without any bytes for the end.
fn has_rows_alone(format: &str) -> bool {
    const FORMATS: [&str; 14] = [
        "CSV",
        "JSONCompactEachRow",
        "JSONCompactStringsEachRow",
        "JSONEachRow",
        "JSONLines",
        "JSONStringsEachRow",
        "NDJSON",
        "Native",
        "RowBinary",
        "TSKV",
        "TSV",
        "TSVRaw",
        "TabSeparated",
        "TabSeparatedRaw",
    ];
    FORMATS.iter().any(|known| known.eq_ignore_ascii_case(format))
}

/// What the statement itself says behind `FORMAT`, be it in a text.
fn formats(statement: &str) -> impl Iterator<Item = &str> {
    let words = statement.split(|c: char| c.is_whitespace() || c == ';');
    let words = words.filter(|word| !word.is_empty());
    words
        .clone()
        .zip(words.skip(1))
        .filter_map(|(word, next)| word.eq_ignore_ascii_case("FORMAT").then_some(next))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_that_a_statement_says_is_found() {
        for (statement, said) in [
            ("SELECT 1", &[][..]),
            ("SELECT format('{}', 1) AS formats", &[]),
            ("SELECT 1\nformat\tCSV SETTINGS max_threads = 1;", &["CSV"]),
            ("SELECT 1 FORMAT XML;", &["XML"]),
            ("SELECT ' FORMAT CSV ' FORMAT Null", &["CSV", "Null"]),
        ] {
            assert_eq!(formats(statement).collect::<Vec<_>>(), said, "{statement}");
        }
    }
}
