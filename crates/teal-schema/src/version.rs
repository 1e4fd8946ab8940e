use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The version of a table: one or more numbers with dots between them, such as `0.1`.
///
/// Versions are ordered number by number, not as text: `0.9` is older than `0.10`. A missing number
/// counts as 0 when two versions are compared, and the shorter text comes first among equals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    text: String,
    numbers: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a version; write numbers with dots between them, such as \"0.1\" or \"2024.11\""
)]
pub struct VersionError(String);

impl Version {
    /// # Errors
    /// When `text` is not a list of numbers joined by dots (underscores are taken as dots).
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let numbers = text
            .split(['.', '_'])
            .map(|part| match part.bytes().all(|b| b.is_ascii_digit()) {
                true => part.parse().ok(),
                false => None,
            })
            .collect::<Option<Vec<u64>>>();
        match numbers {
            Some(numbers) => Ok(Self { text: text.to_owned(), numbers }),
            None => Err(VersionError(text.to_owned())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The physical name of a table: `{name}`, or `{name}_{version}` with every dot as an underscore.
///
/// ```
/// let version = teal_schema::Version::parse("0.1").unwrap();
/// assert_eq!(teal_schema::physical_name("events", Some(&version)), "events_0_1");
/// assert_eq!(teal_schema::physical_name("events", None), "events");
/// ```
pub fn physical_name(name: &str, version: Option<&Version>) -> String {
    match version {
        Some(version) => format!("{name}_{}", version.text.replace('.', "_")),
        None => name.to_owned(),
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let longest = self.numbers.len().max(other.numbers.len());
        let number = |version: &Self, i: usize| version.numbers.get(i).copied().unwrap_or(0);
        (0..longest)
            .map(|i| number(self, i).cmp(&number(other, i)))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| {
                (self.numbers.len(), &self.text).cmp(&(other.numbers.len(), &other.text))
            })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        Self::parse(&text)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn versions_are_ordered_number_by_number() {
        assert!(version("0.9") < version("0.10"));
        assert!(version("1") < version("1.0.1"));
        assert!(version("2.0") > version("1.99"));
        assert!(version("1") < version("1.0"));
        assert_eq!(version("1.0").cmp(&version("1.0")), Ordering::Equal);
    }

    #[test]
    fn a_text_that_is_not_a_version_is_refused() {
        for text in ["", "v1", "1.", ".1", "1..2", "1.0-beta", "-1", "99999999999999999999999"] {
            assert!(Version::parse(text).is_err(), "{text:?} was taken as a version");
        }
    }
}
