use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use teal_schema::QualifiedName;

use crate::error::shortened;
use crate::{ClientError, WriteGate};

/// The `log_comment` of every statement that teal itself sends, so that its own statements can be
/// told from the users' in the server's logs and process list.
pub const TEAL_LOG_COMMENT: &str = "teal";

/// For teal's own statements, which may name thousands of parts, and each of thousands of columns some thirty times:
/// the server's own limits are 256 KiB, 50,000 and 500,000.
pub(crate) const LARGE_STATEMENTS: [(&str, &str); 3] = [
    ("max_query_size", "67108864"),
    ("max_ast_elements", "5000000"),
    ("max_expanded_ast_elements", "5000000"),
];

/// The server's own limit, of 50 GB unless it is configured, is there for a person who errs. A snapshot of a
/// larger table counts as large, though it shares the table's files, and could not be dropped any more.
pub(crate) const DROPS_OF_ANY_SIZE: [(&str, &str); 2] =
    [("max_table_size_to_drop", "0"), ("max_partition_size_to_drop", "0")];

/// Query-level settings of a session, as ClickHouse names and writes them.
pub type Settings<'a> = &'a [(&'a str, &'a str)];

/// A target: something that teal can open sessions to.
pub trait Server: Send + Sync {
    /// Opens a session of teal's own. Its statements carry teal's `log_comment` and pass the write
    /// gate freely.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses a setting.
    fn session(&self, settings: Settings<'_>) -> Result<Box<dyn Session>, ClientError>;

    /// Opens a session for the users' statements: its writes pass the write gate, and none of its
    /// settings is teal's.
    ///
    /// # Errors
    /// As [`session`](Self::session).
    fn user_session(&self, settings: Settings<'_>) -> Result<Box<dyn Session>, ClientError>;

    /// The gate that all INSERTs of the users pass, where every statement goes through teal.
    fn write_gate(&self) -> Option<&WriteGate>;

    /// What and where the target is: the same from one command to the next, and never with a secret in
    /// it.
    fn describe(&self) -> String;

    /// Whether only this process can have the server's data open, so that any other process that
    /// left a mark there is known to have ended.
    fn is_exclusive(&self) -> bool;

    /// What is written to one of several servers behind one address is not read from the others, unless they share
    /// their tables. To be asked before a write.
    ///
    /// # Errors
    /// [`ClientError::SeveralServers`] when the answers until now were not all of one server. Where one came under a new
    /// name, its server is asked who it is; errors of that too.
    fn refuse_several(&self) -> Result<(), ClientError> {
        Ok(())
    }

    /// The data directory that no other process can open meanwhile, where there is one. What other
    /// processes should know or say stands in files beside it.
    fn exclusive_directory(&self) -> Option<&Path> {
        None
    }

    /// Makes the definition of a table or view outlive a power cut, where it was created with
    /// `fsync_metadata = 0`. Only the embedded engine's files can be reached; a server's are its own concern.
    ///
    /// # Errors
    /// When the disk does not take it.
    fn sync_definition(&self, _of: &QualifiedName) -> Result<(), ClientError> {
        Ok(())
    }

    /// Brings what was written to the disk, so that it outlives a power cut as what was written long ago does. Only the
    /// embedded engine's files can be reached.
    ///
    /// # Errors
    /// When the disk does not take it.
    fn sync(&self) -> Result<(), ClientError> {
        Ok(())
    }

    /// What the users' statements took that have ended within this time; `None` where they do not
    /// pass through this process.
    fn users_pace(&self, _within: Duration) -> Option<Vec<Duration>> {
        None
    }
}

/// One conversation with a server: one statement at a time, with settings of its own.
pub trait Session: Send {
    /// Runs one statement to its end. `format` names the format of the result.
    ///
    /// # Errors
    /// The server's error, or that of the way to it.
    fn run(&mut self, statement: &str, format: Format) -> Result<Answer, ClientError>;

    /// Starts an INSERT whose data is sent piece by piece. `statement` has neither a FORMAT clause
    /// nor data, such as ``INSERT INTO `db`.`t` (`a`)``.
    ///
    /// # Errors
    /// The server's error, or that of the way to it.
    fn insert<'s>(
        &'s mut self,
        statement: &str,
        format: Format,
    ) -> Result<Box<dyn InsertStream + 's>, ClientError>;

    /// Runs a query and hands over its result piece by piece.
    ///
    /// # Errors
    /// The server's error, or that of the way to it.
    fn stream(
        &mut self,
        statement: &str,
        format: Format,
        receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), ClientError> {
        self.stream_from_now(statement, format, &mut || (), receive)
    }

    /// As [`stream`](Self::stream), and calls `started` as soon as it is fixed which rows a SELECT
    /// reads: what is written, merged or dropped after that is not in the result. The embedded
    /// engine takes hold of the parts before it gives the stream back (seen on 26.7, with and
    /// without FINAL).
    ///
    /// # Errors
    /// The server's error, or that of the way to it.
    fn stream_from_now(
        &mut self,
        statement: &str,
        format: Format,
        started: &mut dyn FnMut(),
        receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), ClientError> {
        self.stream_while(statement, format, started, &mut |piece| {
            receive(piece);
            ControlFlow::Continue(())
        })
    }

    /// As [`stream_from_now`](Self::stream_from_now), until `receive` breaks: then the query is ended,
    /// on the server too, and that is no error.
    ///
    /// # Errors
    /// The server's error, or that of the way to it.
    fn stream_while(
        &mut self,
        statement: &str,
        format: Format,
        started: &mut dyn FnMut(),
        receive: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ClientError>;
}

/// An INSERT under way. Dropped before [`finish`](InsertStream::finish), it is cancelled.
pub trait InsertStream {
    /// # Errors
    /// The server's error: the INSERT has failed.
    fn send(&mut self, data: &[u8]) -> Result<(), ClientError>;

    /// Ends the data and waits until the server has stored it.
    ///
    /// # Errors
    /// The server's error: the INSERT has failed.
    fn finish(self: Box<Self>) -> Result<Answer, ClientError>;
}

/// A format of data, by ClickHouse's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(pub Cow<'static, str>);

impl Format {
    pub const JSON_EACH_ROW: Self = Self(Cow::Borrowed("JSONEachRow"));
    pub const NONE: Self = Self(Cow::Borrowed("Null"));
    pub const TSV: Self = Self(Cow::Borrowed("TabSeparated"));
}

/// What a statement gave back.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub body: Vec<u8>,
    /// Rows and bytes read from storage.
    pub rows_read: u64,
    pub bytes_read: u64,
    /// Rows written, those written through views included.
    pub rows_written: u64,
    /// Time in the server, in seconds.
    pub seconds: f64,
    /// What the server that answered calls itself, where it says so.
    pub server: Option<String>,
}

impl dyn Session + '_ {
    /// Runs a statement that gives nothing back.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn command(&mut self, statement: &str) -> Result<Answer, ClientError> {
        self.run(statement, Format::NONE)
    }

    /// Runs a query and reads its rows.
    ///
    /// # Errors
    /// As [`Session::run`], and when a row does not have the fields of `T`.
    pub fn rows<T: DeserializeOwned>(&mut self, query: &str) -> Result<Vec<T>, ClientError> {
        read_rows(&self.run(query, Format::JSON_EACH_ROW)?.body, query)
    }

    /// Runs a query that gives exactly one row.
    ///
    /// # Errors
    /// As [`rows`](Self::rows), and when there is not exactly one row.
    pub fn row<T: DeserializeOwned>(&mut self, query: &str) -> Result<T, ClientError> {
        only(self.rows(query)?, query)
    }
}

fn only<T>(mut rows: Vec<T>, query: &str) -> Result<T, ClientError> {
    match (rows.len(), rows.pop()) {
        (1, Some(row)) => Ok(row),
        (others, _) => Err(unreadable(query, &format!("one row expected, and not {others}"))),
    }
}

/// Reads rows that a query gave as `JSONEachRow`.
///
/// # Errors
/// When a row does not have the fields of `T`.
pub fn read_rows<T: DeserializeOwned>(body: &[u8], query: &str) -> Result<Vec<T>, ClientError> {
    serde_json::Deserializer::from_slice(body)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(query, &error.to_string()))
}

pub(crate) fn unreadable(statement: &str, reason: &str) -> ClientError {
    ClientError::Answer { statement: shortened(statement), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_numbers_of_rows_than_one_are_told() {
        assert_eq!(only(vec![7], "SELECT 7").unwrap(), 7);
        for rows in [vec![], vec![1, 2, 3]] {
            let said = format!("one row expected, and not {}", rows.len());
            let error = only(rows, "SELECT 7").unwrap_err().to_string();
            assert!(error.contains(&said), "{error}");
        }
    }
}
