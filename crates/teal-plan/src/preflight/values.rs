use serde::Deserialize;
use teal_catalog::widens;
use teal_client::{ClientError, Session};
use teal_schema::{quote_ident, quote_string};

use super::Preflight;
use super::in_time::{in_time, is_out_of_time};
use crate::planner::PlanError;
use crate::{CopyColumn, Migration};

/// What another type would make of the values of a column.
#[derive(Debug, Deserialize)]
pub struct Values {
    /// That were looked at.
    pub rows: u64,
    /// That would not be the same.
    pub lost: u64,
    /// One of those.
    pub example: String,
}

/// Counts the values of a column that green's type would change. Else what the server says of one, or nothing
/// where the SELECT gives green's own type. `settings` are the query's.
///
/// # Errors
/// When the server cannot be asked.
pub fn values(
    session: &mut dyn Session,
    select: &str,
    column: &CopyColumn,
    settings: &str,
) -> Result<Option<Result<Values, String>>, ClientError> {
    let Some(from) = &column.from_type else {
        return Ok(None);
    };
    let mut says = String::new();
    for cast in ["accurateCastOrNull", "accurateCast"] {
        let query = value_query(select, &column.name, from, &column.data_type, cast);
        match session.row::<Values>(&format!("{query}{settings}")) {
            Ok(values) => return Ok(Some(Ok(values))),
            Err(error) if is_out_of_time(&error) => return Err(error),
            // The first gives NULL for a value that does not fit, which not every type can
            // hold; the second gives an error.
            Err(ClientError::Server { message, .. }) => says = message,
            Err(other) => return Err(other),
        }
    }
    Ok(Some(Err(says)))
}

impl Preflight<'_> {
    /// Counts the values that another type would change.
    pub(super) fn look_at_values(&mut self, migration: &Migration) -> Result<(), PlanError> {
        let fix = match migration.in_place {
            true => {
                "leave the type, or declare a new version with a migration view whose SELECT converts the values"
            }
            false => "say in the view's SELECT how the values are converted",
        };
        let made = &migration.blue;
        for column in &migration.columns {
            let (name, to) = (&column.name, &column.data_type);
            let session: &mut dyn Session = self.session;
            let looked = in_time(|settings| {
                values(session, &migration.select, column, &format!(" SETTINGS {settings}"))
            })?;
            let Some(looked) = looked else {
                self.not_in_time(made, &format!("values of column {name} that are no {to}"));
                continue;
            };
            match looked {
                None => (),
                Some(Ok(values)) if values.lost > 0 => {
                    let says = format!(
                        "column {name}: {} of {} rows have a value that would not be the same as {to}, such as {}",
                        values.lost, values.rows, values.example
                    );
                    self.found(made, true, says, fix.to_owned());
                }
                Some(Ok(values)) => {
                    let looked = match values.rows < migration.rows {
                        true => {
                            format!("of {} rows, {} were looked at", migration.rows, values.rows)
                        }
                        false => format!("all {} rows were looked at", values.rows),
                    };
                    if may_lose(self.session, column)? {
                        let says = format!(
                            "column {name} becomes {to}; no value is lost so far ({looked}), but the view may make another of one that is no {to}, without a word to who inserts it (verification and cutover refuse then), or fail his INSERT"
                        );
                        let fix = "see that none is written until the cutover".to_owned();
                        self.found(made, false, says, fix);
                    }
                }
                Some(Err(message)) => {
                    let says =
                        format!("column {name}: a value would not be the same as {to}: {message}");
                    self.found(made, true, says, fix.to_owned());
                }
            }
        }
        Ok(())
    }
}

/// Whether green's type does not hold every value of the column.
///
/// # Errors
/// When the server cannot be asked.
pub fn may_lose(session: &mut dyn Session, column: &CopyColumn) -> Result<bool, ClientError> {
    match &column.from_type {
        Some(from) => Ok(!widens(session, from, &column.data_type)?),
        None => Ok(false),
    }
}

/// The type without what only lets it be NULL, or stores it otherwise.
fn bare(data_type: &str) -> &str {
    let within = ["Nullable(", "LowCardinality("]
        .into_iter()
        .find_map(|around| data_type.strip_prefix(around)?.strip_suffix(')'));
    within.map_or(data_type, bare)
}

/// Counts the values of a column of `select` that are not the same in another type: those that it
/// cannot hold, and those that are other ones on the way back. The two agree for most; an integer
/// that loses its sign comes back, and a time that loses its fraction fits (both seen on 26.7).
///
/// The two are compared as arrays of one, where NULL is NULL and NaN is NaN, alone and inside other
/// values (seen on 23.10, 24.8, 25.8 and 26.9). `isNotDistinctFrom` would not take NaN for NaN, and up
/// to 25.8 is an error outside of JOIN.
///
/// What comes back as it was too: what is of a fixed length, without the zero bytes at its end; an Enum's number, by
/// another name or by none; a number in a `Bool` that stands in another value (26.7).
fn value_query(select: &str, column: &str, from: &str, to: &str, cast: &str) -> String {
    let value = format!("_teal_value.{}", quote_ident(column));
    let both = |part: &str| from.contains(part) && to.contains(part);
    let mut or = String::new();
    let fixed = |of: &str| of.matches("FixedString(").count();
    if fixed(from) > fixed(to) && to.contains("String") {
        or += &match (bare(from).starts_with("FixedString("), bare(to)) {
            (true, "String") => format!(" OR ifNull(length(_teal_there) != length({value}), 0)"),
            // Within others, the text has them, as `\\0`.
            _ => format!(
                " OR ifNull(countSubstrings(toString(_teal_there), '\\\\0') != countSubstrings(toString({value}), '\\\\0'), 0)"
            ),
        };
    }
    if both("Enum") {
        // Of a number without a name it is NULL, or an error.
        or += &format!(" OR [toString(_teal_there)] != [toString({value})]");
    }
    if from.contains("Int") && to.contains("Bool") {
        let number =
            |of: &str| format!("replaceAll(replaceAll(toString({of}), 'true', '1'), 'false', '0')");
        let (there, is) = (number("_teal_there"), number(&value));
        or += &format!(" OR ifNull({there} != {is}, 0)");
    }
    let (from, to) = (quote_string(from), quote_string(to));
    format!(
        "SELECT count() AS rows, countIf(_teal_lost) AS lost, \
             anyIf(_teal_text, _teal_lost) AS example \
         FROM (SELECT ifNull(toString({value}), 'NULL') AS _teal_text, {cast}({value}, {to}) AS _teal_there, \
             (isNull(_teal_there) AND NOT (isNull({value}) AND isNullable(defaultValueOfTypeName({to})))) \
                 OR [CAST(_teal_there, {from})] != [{value}]{or} AS _teal_lost \
             FROM ({select}) AS _teal_value)"
    )
}
