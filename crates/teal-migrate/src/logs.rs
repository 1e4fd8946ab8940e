//! The server's logs of parts and of statements, and the conditions that pick their entries.

use serde::Deserialize;
use teal_catalog::Features;
use teal_schema::quote_string;

use crate::{MigrateError, Operator};

/// The entries of `part_log` or `query_log` since then, by the server's clock; by the day first, which their key has.
pub(crate) fn since(then: u32) -> String {
    format!("event_date >= toDate(toDateTime({then})) - 1 AND event_time >= toDateTime({then})")
}

/// Those of `part_log` that tell what happened to a table: `of` tells which one, by its name or its data.
pub(crate) fn parts_since(of: &str, then: u32) -> String {
    format!("{} AND error = 0 AND {of}", since(then))
}

/// The condition on `part_log` that tells the entries of a table's data, whatever its name.
pub(crate) fn of_data(data: &str) -> String {
    format!("toString(table_uuid) = {}", quote_string(data))
}

impl Operator<'_> {
    /// Whether `part_log` is there and tells a table whatever its name.
    pub(crate) fn has_log_of_parts(&self) -> Result<bool, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            there: u64,
        }
        if !self.with_control(|session| Features::read(session))?.part_log.is_there {
            return Ok(false);
        }
        let Row { there } = self.with_control(|session| {
            session.row(
                "SELECT count() AS there FROM system.columns \
                 WHERE database = 'system' AND table = 'part_log' AND name = 'table_uuid'",
            )
        })?;
        Ok(there > 0)
    }
}
