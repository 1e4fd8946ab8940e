use serde::Deserialize;
use teal_client::{ClientError, Session};
use teal_schema::{call, quote_string, split_list};

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

/// Whether what is stored as the first type is the same value read as the second, where `ALTER` would leave it as it is.
/// It does so for more (26.7): a `UInt8` that becomes a `Bool`, a date that becomes a number, an Enum with other
/// names for its numbers.
pub fn reads_alike(from: &str, to: &str) -> bool {
    let (from, to) = (aggregated(from), aggregated(to));
    let (Ok((name, of)), Ok((to_name, to_of))) = (call(from), call(to)) else {
        return false;
    };
    if name != to_name {
        return false;
    }
    let list = |of: Option<&str>| {
        let items = split_list(of.unwrap_or_default()).unwrap_or_default();
        items.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let (of, to_of) = (list(of), list(to_of));
    // An element of a Tuple has a name in front.
    match name.rsplit(' ').next() {
        Some("Enum8" | "Enum16") => of.iter().all(|value| to_of.contains(value)),
        // The time zone is for who reads it.
        Some("DateTime") => true,
        Some("DateTime64") => of.first() == to_of.first(),
        _ => {
            of.len() == to_of.len()
                && of.iter().zip(&to_of).all(|(of, to)| of == to || reads_alike(of, to))
        }
    }
}

/// The time zones of the types of times that a type is made of, in its order; nothing where it is the server's.
pub fn time_zones(data_type: &str) -> Vec<Option<String>> {
    let Ok((name, of)) = call(data_type) else {
        return Vec::new();
    };
    let of = split_list(of.unwrap_or_default()).unwrap_or_default();
    let zone = |at: usize| vec![of.get(at).map(|zone| (*zone).to_owned())];
    match name.rsplit(' ').next() {
        Some("DateTime") => zone(0),
        Some("DateTime64") => zone(1),
        _ => of.into_iter().flat_map(time_zones).collect(),
    }
}

/// The type of the values that a `SimpleAggregateFunction` keeps.
fn aggregated(data_type: &str) -> &str {
    let of = data_type.strip_prefix("SimpleAggregateFunction(").and_then(|it| it.strip_suffix(')'));
    let items = of.and_then(|of| split_list(of).ok());
    items.and_then(|items| items.get(1).copied()).unwrap_or(data_type)
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
    // A number says nothing of the name.
    let holds_names = to.contains("Enum") || to.contains("String");
    if from.contains("Enum") && !holds_names {
        return true;
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
        // It has digits in another base, and fewer of them.
        ("Decimal", "Float32" | "Float64" | "BFloat16") => true,
        (_, "Decimal") => match (whole_digits(&from), whole_digits(&to)) {
            (Some(from), Some(to)) => from > to,
            _ => true,
        },
        // The text is read as a value of another of its types where it can be: '007' is 7 then.
        ("String", "Variant") => true,
        // A value of several types has its own with it, and NULL becomes a text.
        ("Dynamic" | "JSON", other) if other != name => true,
        ("Variant", other) if !matches!(other, "Variant" | "Dynamic") => true,
        ("Array" | "Map" | "Tuple" | "Nested" | "Variant" | "JSON", _) => {
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
            ("Decimal(18, 2)", "Float64"),
            ("Nullable(Decimal(18, 2))", "Nullable(Float32)"),
            ("Time", "DateTime64(0)"),
            ("Array(Date)", "Array(DateTime)"),
            ("JSON(a Date)", "JSON(a DateTime)"),
            ("Nullable(String)", "Variant(Float64, String)"),
            ("Enum8('a' = 1)", "Int8"),
            ("Array(Enum8('a' = 1))", "Array(Int16)"),
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
            ("String", "Dynamic"),
            ("UInt64", "Variant(String, UInt64)"),
            ("Variant(String, UInt64)", "Variant(Float64, String, UInt64)"),
            ("JSON(a UInt8)", "JSON(a UInt16)"),
        ] {
            assert!(!loses(from, to), "{from} to {to}");
        }
    }

    #[test]
    fn time_zones_are_found_in_types_of_types() {
        let utc = Some("'UTC'".to_owned());
        assert_eq!(time_zones("Tuple(a DateTime, b Nullable(DateTime64(3, 'UTC')))"), [None, utc]);
        assert!(time_zones("Enum8('DateTime(' = 1)").is_empty());
    }

    #[test]
    fn a_type_that_only_means_more_of_the_same_reads_alike() {
        for (from, to) in [
            ("Enum8('a' = 1)", "Enum8('a' = 1, 'b, (' = 2)"),
            ("Array(Nullable(Enum8('a' = 1)))", "Array(Nullable(Enum8('a' = 1, 'b' = 2)))"),
            ("Tuple(e Enum8('a' = 1), b UInt8)", "Tuple(e Enum8('a' = 1, 'b' = 2), b UInt8)"),
            ("DateTime", "DateTime('UTC')"),
            ("Map(String, DateTime64(3, 'UTC'))", "Map(String, DateTime64(3))"),
            ("SimpleAggregateFunction(sum, UInt64)", "UInt64"),
            ("Nullable(UInt64)", "SimpleAggregateFunction(max, Nullable(UInt64))"),
        ] {
            assert!(reads_alike(from, to), "{from} to {to}");
        }
        for (from, to) in [
            ("UInt8", "Bool"),
            ("Array(UInt8)", "Array(Bool)"),
            ("Nullable(UInt8)", "Nullable(Bool)"),
            ("Enum8('a' = 1)", "Enum8('b' = 1)"),
            ("Enum8('a' = 1, 'b' = 2)", "Enum8('a' = 1)"),
            ("Enum8('a' = 1)", "Int8"),
            ("Date", "UInt16"),
            ("UInt32", "DateTime"),
            ("DateTime64(3)", "DateTime64(6)"),
            ("Tuple(a UInt8)", "Tuple(b UInt8)"),
        ] {
            assert!(!reads_alike(from, to), "{from} to {to}");
        }
    }
}
