use serde::{Deserialize, Serialize};
use teal_client::{ClientError, Session, TEAL_LOG_COMMENT};
use teal_schema::{QualifiedName, quote_string};

/// What one user did with a table in the last hour, by `query_log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    pub user: String,
    pub selects: u64,
    pub inserts: u64,
}

/// Who read or wrote `table` in the last hour, the busiest first; teal itself is left out. The server
/// must have `query_log`, whose rows are some seconds late.
///
/// # Errors
/// When the server cannot be asked.
pub fn traffic(
    session: &mut dyn Session,
    table: &QualifiedName,
) -> Result<Vec<Traffic>, ClientError> {
    session.rows(&format!(
        "SELECT user, countIf(query_kind = 'Select') AS selects, countIf(query_kind = 'Insert') AS inserts \
         FROM system.query_log \
         WHERE type = 'QueryFinish' AND event_date >= toDate(now() - 3600) AND event_time > now() - 3600 \
             AND has(tables, {}) AND log_comment != {} \
         GROUP BY user HAVING selects + inserts > 0 ORDER BY selects + inserts DESC, user",
        quote_string(&table.to_string()),
        quote_string(TEAL_LOG_COMMENT)
    ))
}
