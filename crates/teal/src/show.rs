//! How numbers, tables and data are shown.

use std::io::Write as _;
use std::time::Duration;

use comfy_table::{Table, presets};
use owo_colors::OwoColorize as _;
use serde::Serialize;

use crate::failure::Failure;
use crate::secrets;

/// From which version a table is migrated to which.
pub(crate) fn versions(from: &str, to: &str) -> String {
    match (from, to) {
        _ if from == to => "in place".to_owned(),
        ("", to) => format!("without a version → {to}"),
        _ => format!("{from} → {to}"),
    }
}

/// A number with its thousands apart.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub(crate) fn bytes(n: u64) -> String {
    indicatif::HumanBytes(n).to_string()
}

pub(crate) fn duration(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds < 100.0 => format!("{seconds:.2} s"),
        _ => indicatif::HumanDuration(duration).to_string(),
    }
}

/// A guess at a time.
pub(crate) fn roughly(seconds: u64) -> String {
    match seconds {
        0 | 1 => "about a second".to_owned(),
        more => format!("about {}", indicatif::HumanDuration(Duration::from_secs(more))),
    }
}

pub(crate) fn warning(text: &dyn std::fmt::Display) {
    note(&format!("{} {text}", "warning:".yellow().bold()));
}

/// What goes on, for a person. Where that cannot be written, as to a log on a full disk, the work goes on.
pub(crate) fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{}", secrets::hidden(text));
}

/// A table without lines, for people and for `grep`.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    table.add_rows(rows);
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Writes data to the standard output. A reader that goes away early is no error.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    data_while_read(text).map(drop)
}

/// As [`data`]; `false` when nobody reads it any more.
pub(crate) fn data_while_read(text: &str) -> Result<bool, Failure> {
    let (text, mut out) = (secrets::hidden(text), anstream::stdout().lock());
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    data(&serde_json::to_string_pretty(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(21_000_000), "21,000,000");
    }
}
