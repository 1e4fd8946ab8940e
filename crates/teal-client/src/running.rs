use serde::Deserialize;
use teal_schema::quote_string;

use crate::{ClientError, Session};

/// A statement under way, as `system.processes` shows it. The embedded engine's C API reports no
/// progress by itself; this needs nothing but another session, on any server.
#[derive(Debug, Clone, Deserialize)]
pub struct RunningStatement {
    pub query_id: String,
    pub seconds: f64,
    pub rows_read: u64,
    /// Rows to read, as far as the server knows by now. It grows while parts are being opened.
    pub rows_to_read: u64,
    /// Rows written, those written through views included.
    pub rows_written: u64,
    pub memory_bytes: i64,
}

impl dyn Session + '_ {
    /// The progress of the statements that run with this `log_comment`, the longest running first.
    /// The session that asks is not among them.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn running(&mut self, log_comment: &str) -> Result<Vec<RunningStatement>, ClientError> {
        self.rows(&format!(
            "SELECT query_id, elapsed AS seconds, read_rows AS rows_read, \
             total_rows_approx AS rows_to_read, written_rows AS rows_written, \
             memory_usage AS memory_bytes \
             FROM system.processes \
             WHERE Settings['log_comment'] = {} AND query_id != queryID() \
             ORDER BY elapsed DESC",
            quote_string(log_comment)
        ))
    }
}
