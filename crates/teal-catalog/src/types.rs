use serde::Deserialize;
use teal_client::{ClientError, Session};
use teal_schema::quote_string;

/// Whether every value of the first type is one of the second: by the server's rules, their
/// common type is the second one, and no value is another one on the way there.
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
    if loses(&from, &to) {
        return Ok(false);
    }
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

/// Whether some value is lost on the way to what the server calls the common type: it is another one there,
/// or an error (all seen on 26.7). Of types within others, all that contain such a type count.
fn loses(from: &str, to: &str) -> bool {
    let plain = |text: &str| match text.strip_prefix("Nullable(") {
        Some(rest) => rest.strip_suffix(')').unwrap_or(rest).to_owned(),
        None => text.to_owned(),
    };
    let (from, to) = (plain(from), plain(to));
    if from == to {
        return false;
    }
    let (name, to_name) = (name(&from), name(&to));
    match (name, to_name) {
        // It ends in 2149, and a DateTime in 2106.
        ("Date" | "Date32", "DateTime") => true,
        // Of nanoseconds, it ends in 2262.
        ("Date32" | "DateTime64", "DateTime64") => numbers(&to).first() == Some(&9),
        // The zero bytes at the end go.
        ("FixedString", _) => true,
        ("Time" | "Time64", "DateTime64") => true,
        (_, "Decimal") => match (whole_digits(&from), whole_digits(&to)) {
            (Some(from), Some(to)) => from > to,
            _ => true,
        },
        ("Array" | "Map" | "Tuple" | "Nested" | "Variant", _) => {
            ["Date", "Time", "FixedString", "Decimal"].iter().any(|name| from.contains(name))
                || to.contains("Decimal")
        }
        _ => false,
    }
}

fn name(data_type: &str) -> &str {
    data_type.split_once('(').map_or(data_type, |(name, _)| name)
}

/// The numbers among a type's arguments.
fn numbers(data_type: &str) -> Vec<u32> {
    let arguments = data_type.split_once('(').map_or("", |(_, rest)| rest);
    let words = arguments.split(|c: char| !c.is_ascii_digit());
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Digits in front of the point, at most.
fn whole_digits(data_type: &str) -> Option<u32> {
    Some(match name(data_type) {
        "Decimal" => match numbers(data_type).as_slice() {
            [precision, scale] => precision.saturating_sub(*scale),
            _ => return None,
        },
        "Bool" => 1,
        "Int8" | "UInt8" => 3,
        "Int16" | "UInt16" => 5,
        "Int32" | "UInt32" => 10,
        "Int64" => 19,
        "UInt64" => 20,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_the_server_calls_wider_and_that_lose_values_are_told() {
        for (from, to) in [
            ("Date", "DateTime"),
            ("Nullable(Date)", "Nullable(DateTime('UTC'))"),
            ("Date32", "DateTime64(9)"),
            ("DateTime64(3)", "DateTime64(9, 'UTC')"),
            ("FixedString(4)", "String"),
            ("Decimal(18, 2)", "Decimal(18, 4)"),
            ("Int64", "Decimal(38, 20)"),
            ("Time", "DateTime64(0)"),
            ("Array(Date)", "Array(DateTime)"),
        ] {
            assert!(loses(from, to), "{from} to {to}");
        }
        for (from, to) in [
            ("Date", "Date32"),
            ("Date", "DateTime64(3)"),
            ("DateTime", "Nullable(DateTime)"),
            ("DateTime64(3)", "DateTime64(6)"),
            ("Decimal(18, 2)", "Decimal(38, 4)"),
            ("Int32", "Decimal(18, 4)"),
            ("Array(UInt8)", "Array(UInt16)"),
            ("Enum8('a' = 1)", "String"),
        ] {
            assert!(!loses(from, to), "{from} to {to}");
        }
    }
}
