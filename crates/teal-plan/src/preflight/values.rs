use serde::Deserialize;
use teal_catalog::widens;
use teal_client::ClientError;
use teal_schema::{quote_ident, quote_string};

use super::{Preflight, SECONDS_PER_COLUMN};
use crate::Migration;
use crate::planner::PlanError;

impl Preflight<'_> {
    /// Counts the values that another type would change.
    pub(super) fn look_at_values(&mut self, migration: &Migration) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            rows: u64,
            lost: u64,
            example: String,
        }
        let changed = migration.columns.iter().filter_map(|column| {
            Some((column.name.clone(), column.from_type.clone()?, column.data_type.clone()))
        });
        let fix = match migration.in_place {
            true => {
                "leave the type, or declare a new version with a migration view whose SELECT converts the values"
            }
            false => "say in the view's SELECT how the values are converted",
        };
        for (name, from, to) in changed.collect::<Vec<_>>() {
            let made = migration.blue.clone();
            let mut counted = Err(None);
            for cast in ["accurateCastOrNull", "accurateCast"] {
                let query = value_query(&migration.select, &name, &from, &to, cast);
                match self.session.row::<Row>(&query) {
                    Ok(row) => {
                        counted = Ok(row);
                        break;
                    }
                    // The first gives NULL for a value that does not fit, which not every type can
                    // hold; the second gives an error.
                    Err(ClientError::Server { message, .. }) => counted = Err(Some(message)),
                    Err(other) => return Err(other.into()),
                }
            }
            match counted {
                Ok(row) if row.lost > 0 => {
                    let says = format!(
                        "column {name}: {} of {} rows have a value that would not be the same as {to}, such as {}",
                        row.lost, row.rows, row.example
                    );
                    self.found(&made, true, says, fix.to_owned());
                }
                Ok(row) => {
                    let looked = match row.rows < migration.rows {
                        true => {
                            format!("of {} rows, {} were looked at", migration.rows, row.rows)
                        }
                        false => format!("all {} rows were looked at", row.rows),
                    };
                    if !widens(self.session, &from, &to)? {
                        let says = format!(
                            "column {name} becomes {to}; no value is lost so far ({looked}), but an INSERT of one that is no {to} fails while the view is there"
                        );
                        let fix = "see that none is written until the cutover".to_owned();
                        self.found(&made, false, says, fix);
                    }
                }
                Err(message) => {
                    let message = message.unwrap_or_default();
                    let says =
                        format!("column {name}: a value would not be the same as {to}: {message}");
                    self.found(&made, true, says, fix.to_owned());
                }
            }
        }
        Ok(())
    }
}

/// Counts the values of a column of `select` that are not the same in another type: those that it
/// cannot hold, and those that are other ones on the way back. The two agree for most; an integer
/// that loses its sign comes back, and a time that loses its fraction fits (both seen on 26.7).
///
/// The two are compared as arrays of one, where NULL is NULL and NaN is NaN, alone and inside other
/// values (seen on 23.10, 24.8, 25.8 and 26.9). `isNotDistinctFrom` would not take NaN for NaN, and up
/// to 25.8 is an error outside of JOIN.
fn value_query(select: &str, column: &str, from: &str, to: &str, cast: &str) -> String {
    let value = format!("value.{}", quote_ident(column));
    let (from, to) = (quote_string(from), quote_string(to));
    format!(
        "SELECT count() AS rows, countIf(is_lost) AS lost, \
             anyIf(text, is_lost) AS example \
         FROM (SELECT ifNull(toString({value}), 'NULL') AS text, {cast}({value}, {to}) AS there, \
             (isNull(there) AND NOT (isNull({value}) AND isNullable(defaultValueOfTypeName({to})))) \
                 OR [CAST(there, {from})] != [{value}] AS is_lost \
             FROM ({select}) AS value) \
         SETTINGS max_execution_time = {SECONDS_PER_COLUMN}, timeout_overflow_mode = 'break'"
    )
}
