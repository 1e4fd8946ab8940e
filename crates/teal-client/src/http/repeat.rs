//! What may be sent again after a failure whose outcome nobody knows.

use std::time::Duration;

use backon::ExponentialBuilder;

use crate::ClientError;

/// About 13 seconds in all: a server's restart.
pub(super) fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(7)
        .with_jitter()
}

/// What changes something is not sent again later than that: whoever sent it may have lost the leave to.
pub(super) const LATEST: Duration = Duration::from_secs(15);

/// Whether the statement changes nothing, whenever it comes.
pub(super) fn only_reads(statement: &str) -> bool {
    let first = statement.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    is_repeatable(statement) && !["DROP", "CREATE", "SYSTEM"].contains(&first.as_str())
}

/// Whether running the statement of teal's own twice is the same as running it once. Of a table that a user drops,
/// another may have been made by then.
pub(super) fn is_repeatable(statement: &str) -> bool {
    let upper = statement.to_ascii_uppercase();
    let words = upper.split_whitespace().collect::<Vec<_>>();
    let has =
        |words_in_a_row: &[&str]| words.windows(words_in_a_row.len()).any(|w| w == words_in_a_row);
    match words.first().copied() {
        Some("SELECT" | "SHOW" | "DESCRIBE" | "DESC" | "EXPLAIN" | "EXISTS") => true,
        // `WITH … INSERT` is an INSERT; one that is no more than a text or a name is taken for one too.
        Some("WITH") => !upper.split(|c: char| !c.is_alphanumeric()).any(|word| word == "INSERT"),
        Some("DROP") => has(&["IF", "EXISTS"]),
        Some("CREATE") => words.get(1) == Some(&"DATABASE") && has(&["IF", "NOT", "EXISTS"]),
        Some("SYSTEM") => [["FLUSH", "LOGS"], ["START", "MERGES"], ["STOP", "MERGES"]]
            .iter()
            .any(|its| words.get(1..3) == Some(its)),
        _ => false,
    }
}

/// Whether another try may end better.
pub(super) fn is_passing(error: &ClientError, repeatable: bool) -> bool {
    match error {
        // Nothing was sent.
        ClientError::Unreachable { refused, .. } => *refused,
        ClientError::Cut { received, .. } => repeatable && *received == 0,
        ClientError::Server { name, message, .. } => match name.as_str() {
            // Refused before it began; not where another server says so, in the midst of it.
            "TOO_MANY_SIMULTANEOUS_QUERIES" | "SERVER_OVERLOADED" => {
                repeatable || !message.contains("Received from ")
            }
            "SOCKET_TIMEOUT"
            | "NETWORK_ERROR"
            | "ALL_CONNECTION_TRIES_FAILED"
            | "KEEPER_EXCEPTION" => repeatable,
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_repeated_is() {
        for (statement, repeatable) in [
            ("SELECT 1", true),
            ("  with 1 AS a SELECT a", true),
            ("WITH 1 AS a INSERT INTO t SELECT a", false),
            ("WITH a AS (SELECT 1)INSERT INTO t SELECT * FROM a", false),
            ("INSERT INTO t SELECT 1", false),
            ("DROP TABLE IF EXISTS t SYNC", true),
            ("DROP TABLE t", false),
            ("CREATE DATABASE IF NOT EXISTS d", true),
            ("CREATE TABLE IF NOT EXISTS t ENGINE = Memory AS SELECT 1", false),
            ("SYSTEM FLUSH LOGS", true),
            ("SYSTEM STOP MERGES t", true),
            ("SYSTEM KILL", false),
            ("SYSTEM REFRESH VIEW v", false),
            ("ALTER TABLE t DELETE WHERE 1", false),
            ("EXCHANGE TABLES a AND b", false),
            ("", false),
        ] {
            assert_eq!(is_repeatable(statement), repeatable, "{statement}");
        }
    }

    #[test]
    fn what_changes_something_is_no_read() {
        for (statement, reads) in [
            ("SELECT 1", true),
            (" with 1 AS a SELECT a", true),
            ("DROP TABLE IF EXISTS t SYNC", false),
            ("CREATE DATABASE IF NOT EXISTS d", false),
            ("SYSTEM STOP MERGES t", false),
            ("INSERT INTO t SELECT 1", false),
        ] {
            assert_eq!(only_reads(statement), reads, "{statement}");
        }
    }
}
