use serde::Deserialize;
use teal_client::{ClientError, Session};
use teal_schema::quote_string;

/// Whether every value of the first type is one of the second: by the server's rules, their
/// common type is the second one.
///
/// # Errors
/// When the server cannot be asked.
pub fn widens(session: &mut dyn Session, from: &str, to: &str) -> Result<bool, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        widens: u8,
    }
    // How a value is stored is not part of what it is.
    let plain = |text: &str| match text.strip_prefix("LowCardinality(") {
        Some(rest) => rest.strip_suffix(')').unwrap_or(rest).to_owned(),
        None => text.to_owned(),
    };
    let (from, to) = (plain(from), plain(to));
    let value = |text: &str| format!("defaultValueOfTypeName({})", quote_string(text));
    let sql = format!(
        "SELECT toTypeName([{}, {}]) = toTypeName([{}]) AS widens",
        value(&from),
        value(&to),
        value(&to)
    );
    match session.row::<Row>(&sql) {
        Ok(row) => Ok(row.widens == 1),
        // They have no common type.
        Err(ClientError::Server { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
