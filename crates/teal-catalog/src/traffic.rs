use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use teal_client::{ClientError, Session, TEAL_LOG_COMMENT};
use teal_schema::{QualifiedName, quote_ident, quote_string, rewrite_table_references};

use crate::Features;

/// What one user did with a table in the last hour, by `query_log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    pub user: String,
    pub selects: u64,
    pub inserts: u64,
}

/// The condition that a column of `query_log`, such as `tables`, names the table. What is no plain word is quoted
/// there where it was read or altered, and not where it was written to (26.9).
pub fn mentions(column: &str, table: &QualifiedName) -> String {
    let [database, table] =
        [&table.database, &table.name].map(|name| [name.clone(), quote_ident(name)]);
    let all = database.iter().flat_map(|database| {
        table.iter().map(move |table| quote_string(&format!("{database}.{table}")))
    });
    format!("hasAny({column}, [{}])", all.collect::<Vec<_>>().join(", "))
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
         WHERE type = 'QueryFinish' AND event_date >= toDate(now()) - 1 AND event_time > now() - 3600 \
             AND {} AND NOT startsWith(log_comment, {}) \
         GROUP BY user HAVING selects + inserts > 0 ORDER BY selects + inserts DESC, user",
        mentions("tables", table),
        quote_string(TEAL_LOG_COMMENT)
    ))
}

/// What one user has done with a table that is to go, by `query_log`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    pub user: String,
    pub selects: u64,
    pub inserts: u64,
    /// Statements a minute of the time that was looked at; nothing of one that still runs.
    #[serde(default)]
    pub per_minute: Option<f64>,
    /// The last time, by the server's clock and in UTC.
    pub last: String,
    /// The last statement, without its values.
    pub query: String,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} SELECTs, {} INSERTs", self.user, self.selects, self.inserts)?;
        match self.per_minute {
            Some(rate) if rate >= 0.1 => write!(f, ", {rate:.1} a minute")?,
            Some(rate) if rate * 1440.0 >= 1.0 => write!(f, ", {:.0} a day", rate * 1440.0)?,
            _ => (),
        }
        write!(f, ", the last at {} ({})", self.last, self.query)
    }
}

/// What is no use of a table, besides what teal itself does.
#[derive(Debug, Clone, Default)]
pub struct LeftOut {
    /// INSERTs into other tables that only came through this view.
    pub forwarded_by: Option<QualifiedName>,
    /// Statements that named this alias of the table.
    pub named: Option<QualifiedName>,
}

/// Who read or wrote `table` within the time `within` until this call, the latest first, and who reads it still, whenever
/// that began; teal itself is left out, and so is `left_out`. Where the server has no `query_log`, whose rows are some
/// seconds late, only the latter.
///
/// # Errors
/// When the server cannot be asked.
pub fn uses(
    session: &mut dyn Session,
    table: &QualifiedName,
    left_out: &LeftOut,
    within: Duration,
) -> Result<Vec<Use>, ClientError> {
    #[derive(Deserialize)]
    struct Now {
        microseconds: String,
    }
    // By the server's clock, and asked before anything that may take its time: what came in between would
    // else be forgotten.
    let called = Instant::now();
    let Now { microseconds } =
        session.row("SELECT toString(toUnixTimestamp64Micro(now64(6))) AS microseconds")?;
    let within = within + called.elapsed();
    let mut found = readers(session, table)?;
    if !Features::read(session)?.query_log.is_there {
        return Ok(found);
    }
    // An INSERT by an alias has both names among its tables (26.9).
    let left_out = [("views", &left_out.forwarded_by), ("tables", &left_out.named)];
    let left_out = left_out
        .into_iter()
        .filter_map(|(column, name)| Some(format!("AND NOT {}", mentions(column, name.as_ref()?))));
    let left_out = left_out.collect::<Vec<_>>().join(" ");
    found.extend(session.rows::<Use>(&format!(
        "SELECT user, countIf(query_kind = 'Select') AS selects, countIf(query_kind = 'Insert') AS inserts, \
             round((selects + inserts) / {minutes}, 4) AS perMinute, \
             formatDateTime(max(event_time), '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS last, \
             substring(normalizeQuery(argMax(query, event_time)), 1, 120) AS query \
         FROM system.query_log \
         WHERE type = 'QueryFinish' AND event_date >= toDate(now() - {seconds}) - 1 \
             AND query_start_time_microseconds > \
                 fromUnixTimestamp64Micro({microseconds}) - toIntervalMicrosecond({ago}) \
             AND {of_table} AND NOT startsWith(log_comment, {own}) {left_out} \
         GROUP BY user HAVING selects + inserts > 0 ORDER BY max(event_time) DESC, user",
        // A cutover of a moment ago tells nothing of a minute.
        minutes = (within.as_secs_f64() / 60.0).max(1.0),
        seconds = within.as_secs() + 60,
        ago = within.as_micros(),
        of_table = mentions("tables", table),
        own = quote_string(TEAL_LOG_COMMENT)
    ))?);
    Ok(found)
}

/// The SELECTs that run and name the table, as it is written: the log has none before its end.
fn readers(session: &mut dyn Session, table: &QualifiedName) -> Result<Vec<Use>, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        user: String,
        current_database: String,
        query: String,
        shown: String,
        now: String,
    }
    let rows = session.rows::<Row>(&format!(
        "SELECT user, current_database, query, substring(normalizeQuery(query), 1, 120) AS shown, \
             formatDateTime(now(), '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS now \
         FROM system.processes \
         WHERE query_kind = 'Select' AND is_initial_query AND position(query, {}) > 0 \
             AND NOT startsWith(Settings['log_comment'], {})",
        quote_string(&table.name),
        quote_string(TEAL_LOG_COMMENT)
    ))?;
    let reads = |row: &Row| {
        let mut is_named = false;
        let read = rewrite_table_references(&row.query, |it| {
            let database = it.database.as_ref().unwrap_or(&row.current_database);
            is_named |= *database == table.database && it.name == table.name;
            None
        });
        // What cannot be read as tokens, no server has begun to run.
        read.is_ok() && is_named
    };
    Ok(rows
        .into_iter()
        .filter(reads)
        .map(|Row { user, shown: query, now: last, .. }| Use {
            user,
            selects: 1,
            inserts: 0,
            per_minute: None,
            last,
            query,
        })
        .collect())
}
