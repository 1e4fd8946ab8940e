use serde::de::DeserializeOwned;
use teal_client::{ClientError, Session};
use teal_schema::QualifiedName;

use super::Preflight;
use crate::planner::PlanError;

/// How long one look may take: a plan is made often, and the table may have a trillion rows.
const SECONDS: u32 = 10;

/// How many rows a look reads at most: first so many, and where that takes too long, fewer.
///
/// A query that ends by `timeout_overflow_mode = 'break'` gives no row at all (26.7), so the time is no way to
/// look at a part of a table; what was read until `max_rows_to_read` is aggregated.
const ROWS: [u64; 2] = [100_000_000, 1_000_000];

/// Looks at as much as can be looked at in time; nothing where even that is too much. `look` is given the
/// query's settings.
pub(super) fn in_time<T>(
    look: impl FnMut(&str) -> Result<T, ClientError>,
) -> Result<Option<T>, ClientError> {
    Ok(in_time_up_to(look)?.map(|(looked, _)| looked))
}

/// As [`in_time`], with how many rows that may have been: of no more, all were looked at.
pub(super) fn in_time_up_to<T>(
    mut look: impl FnMut(&str) -> Result<T, ClientError>,
) -> Result<Option<(T, u64)>, ClientError> {
    for rows in ROWS {
        let looked = look(&format!(
            "max_rows_to_read = {rows}, read_overflow_mode = 'break', \
             max_execution_time = {SECONDS}, timeout_overflow_mode = 'throw'"
        ));
        match looked {
            Err(error) if is_out_of_time(&error) => (),
            other => return other.map(|looked| Some((looked, rows))),
        }
    }
    Ok(None)
}

/// Whether a server's error is that of a value which another type does not have, or of a type that becomes no other
/// (26.7).
fn does_not_convert(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "ATTEMPT_TO_READ_AFTER_EOF",
        "CANNOT_CONVERT_TYPE",
        "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
        "DECIMAL_OVERFLOW",
        "ILLEGAL_COLUMN",
        "ILLEGAL_TYPE_OF_ARGUMENT",
        "NOT_IMPLEMENTED",
        "NO_COMMON_TYPE",
        "TOO_LARGE_STRING_SIZE",
        "TYPE_MISMATCH",
        "UNKNOWN_ELEMENT_OF_ENUM",
        "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    ];
    name.starts_with("CANNOT_PARSE_") || NAMES.contains(&name)
}

pub(super) fn is_out_of_time(error: &ClientError) -> bool {
    matches!(error.server_name(), Some("TIMEOUT_EXCEEDED" | "TOO_SLOW"))
}

impl Preflight<'_> {
    /// The one row of a query, of as many rows as can be looked at in time. Nothing where none could, or where it meets
    /// what does not convert to green's types, which is told; or where the query names a column that is not there yet.
    pub(crate) fn look_in_time<T: DeserializeOwned>(
        &mut self,
        about: &QualifiedName,
        query: &str,
        what: &str,
    ) -> Result<Option<T>, PlanError> {
        let session: &mut dyn Session = self.session;
        match in_time(|settings| session.row(&format!("{query} SETTINGS {settings}"))) {
            Ok(Some(row)) => Ok(Some(row)),
            Ok(None) => {
                self.not_in_time(about, what);
                Ok(None)
            }
            Err(error) if error.server_name() == Some("UNKNOWN_IDENTIFIER") => Ok(None),
            Err(error) => match error.server_name().filter(|name| does_not_convert(name)) {
                Some(name) => {
                    let says =
                        format!("what does not convert kept teal from looking for {what} ({name})");
                    let instead = "look whether the SELECT works for every row".to_owned();
                    self.found(about, false, says, instead);
                    Ok(None)
                }
                None => Err(error.into()),
            },
        }
    }

    pub(super) fn not_in_time(&mut self, about: &QualifiedName, what: &str) {
        let says = format!("{SECONDS} s were not enough to look for {what}");
        self.found(about, false, says, "look for yourself, on a sample say".to_owned());
    }
}
