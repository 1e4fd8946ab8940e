//! The limits of a backfill, as they are written in flags, `teal.toml`, requests and `status`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is said of the limits. What is not said stays as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Bytes copied in a second, before compression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<Limit<Bytes>>,
    /// The time within which 95 of 100 of the users' statements are to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_latency: Option<Limit<Latency>>,
    /// Parts in a partition of blue or green.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parts: Option<Limit<Parts>>,
    /// Bytes that are to stay free on green's disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free: Option<Limit<Bytes>>,
    /// The hours in which to copy, by the server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Limit<Hours>>,
}

impl Limits {
    /// These, with what `later` says put over them.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            bytes_per_second: later.bytes_per_second.or(self.bytes_per_second),
            query_latency: later.query_latency.or(self.query_latency),
            max_parts: later.max_parts.or(self.max_parts),
            disk_free: later.disk_free.or(self.disk_free),
            hours: later.hours.or(self.hours),
        }
    }

    /// With every limit said.
    #[must_use]
    pub fn filled(self) -> Self {
        Self {
            bytes_per_second: Some(self.bytes_per_second.unwrap_or_default()),
            query_latency: Some(self.query_latency.unwrap_or_default()),
            max_parts: Some(self.max_parts.unwrap_or_default()),
            disk_free: Some(self.disk_free.unwrap_or_default()),
            hours: Some(self.hours.unwrap_or_default()),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        let mut say = |name: &str, limit: Option<String>| {
            said.extend(limit.map(|limit| format!("{name} {limit}")));
        };
        say("bytes per second", self.bytes_per_second.map(|limit| limit.to_string()));
        say("query latency", self.query_latency.map(|limit| limit.to_string()));
        say("parts", self.max_parts.map(|limit| limit.to_string()));
        say("disk free", self.disk_free.map(|limit| limit.to_string()));
        say("hours", self.hours.map(|limit| limit.to_string()));
        f.write_str(&said.join(", "))
    }
}

/// One limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Limit<T> {
    /// As teal chooses it; where it has nothing to go by, off.
    #[default]
    Auto,
    Off,
    At(T),
}

impl<T> Limit<T> {
    /// The user's own.
    pub(crate) fn at(self) -> Option<T> {
        match self {
            Self::At(value) => Some(value),
            Self::Auto | Self::Off => None,
        }
    }
}

impl<T: FromStr<Err: fmt::Display>> FromStr for Limit<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => match text.parse() {
                Ok(value) => Ok(Self::At(value)),
                Err(error) => Err(format!("{error}; or write `off` or `auto`")),
            },
        }
    }
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::At(value) => value.fmt(f),
        }
    }
}

impl<T: fmt::Display> Serialize for Limit<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A number may stand without quotes; one that is no limit is told as what was written.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i64),
            Fraction(f64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Fraction(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A number of bytes, such as `50MB`, `2GiB` or `1048576`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
        let unit = text.get(digits.len()..).unwrap_or_default().trim();
        let size = match unit {
            "" => Some(1),
            _ => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, n)| *n),
        };
        let bytes = size
            .zip(digits.parse::<u64>().ok())
            .and_then(|(size, number)| number.checked_mul(size))
            .filter(|bytes| *bytes > 0);
        bytes.map(Self).ok_or_else(|| {
            format!("{text} is not a number of bytes: write one such as 50MB, 2GiB or 1048576")
        })
    }
}

impl fmt::Display for Bytes {
    /// By the largest unit that leaves no fraction, so that it reads back as it was.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, size): &&(&str, u64)| self.0 >= *size && self.0.is_multiple_of(*size);
        match UNITS.iter().find(fits) {
            Some((name, size)) => write!(f, "{}{name}", self.0 / size),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A number of parts. None would be too many as soon as there is a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parts(pub u64);

impl FromStr for Parts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u64>() {
            Ok(parts) if parts > 0 => Ok(Self(parts)),
            _ => Err(format!("{text} is no number of parts: write one such as 300")),
        }
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A time such as `200ms` or `2s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Latency(pub Duration);

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, unit) = match text.strip_suffix("ms") {
            Some(digits) => (digits, 1),
            None => (text.strip_suffix('s').unwrap_or_default(), 1000),
        };
        let millis = digits.trim().parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
        match millis.filter(|millis| *millis > 0) {
            Some(millis) => Ok(Self(Duration::from_millis(millis))),
            None => Err(format!("{text} is not a time: write one such as 200ms or 2s")),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

/// From one time of the day to another, such as `22:00-06:00`, by the server's clock. The first
/// minute is in it, the last one is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    from: Minute,
    to: Minute,
}

/// A minute of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Minute(pub(crate) u16);

impl Hours {
    pub(crate) fn contain(self, now: Minute) -> bool {
        match self.from <= self.to {
            true => (self.from..self.to).contains(&now),
            // Over midnight.
            false => now >= self.from || now < self.to,
        }
    }

    pub(crate) fn begin(self) -> Minute {
        self.from
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hours = text.split_once('-').and_then(|(from, to)| {
            let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
            (from != to).then_some(Self { from, to })
        });
        hours.ok_or_else(|| {
            format!("{text} is not a span of hours: write one such as 22:00-06:00, or `off` for the whole day")
        })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from, self.to)
    }
}

impl FromStr for Minute {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (hour, minute) = text.split_once(':').ok_or(())?;
        match (hour.parse::<u16>(), minute.parse::<u16>()) {
            (Ok(24), Ok(0)) => Ok(Self(0)),
            (Ok(hour), Ok(minute)) if hour < 24 && minute < 60 => Ok(Self(hour * 60 + minute)),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(text: &str) -> Minute {
        text.parse().unwrap()
    }

    #[test]
    fn limits_read_back_as_they_are_written() {
        for text in ["50MB", "2GiB", "1048577B", "1MiB", "3kB", "7B"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        assert_eq!("1048576".parse::<Bytes>().unwrap().to_string(), "1MiB");
        assert_eq!("10 gib".parse::<Bytes>().unwrap(), Bytes(10 << 30));
        assert_eq!("2s".parse::<Latency>().unwrap().to_string(), "2000ms");
        assert_eq!("22:00-06:00".parse::<Hours>().unwrap().to_string(), "22:00-06:00");
        let limits = Limits {
            bytes_per_second: Some("50MB".parse().unwrap()),
            max_parts: Some(Limit::Off),
            hours: Some(Limit::Auto),
            ..Limits::default()
        };
        let text = serde_json::to_string(&limits).unwrap();
        assert_eq!(text, r#"{"bytesPerSecond":"50MB","maxParts":"off","hours":"auto"}"#);
        assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), limits);
        let number = r#"{"maxParts":300}"#;
        let limits = serde_json::from_str::<Limits>(number).unwrap();
        assert_eq!(limits.max_parts, Some(Limit::At(Parts(300))));
    }

    #[test]
    fn what_is_no_limit_says_what_would_be_one() {
        for text in ["", "0", "5 apples", "-1", "MB", "99999999TiB"] {
            let error = text.parse::<Limit<Bytes>>().unwrap_err();
            assert!(error.contains("50MB") && error.contains("`off`"), "{text}: {error}");
        }
        for text in ["0", "many", "-1", "1.5"] {
            let error = text.parse::<Limit<Parts>>().unwrap_err();
            assert!(error.contains("such as 300") && error.contains("`off`"), "{text}: {error}");
        }
        for number in ["-1", "1.5", "0"] {
            let limits = format!(r#"{{"maxParts":{number}}}"#);
            let error = serde_json::from_str::<Limits>(&limits).unwrap_err().to_string();
            assert!(error.contains("such as 300"), "{number}: {error}");
        }
        for text in ["5", "0ms", "soon"] {
            assert!(text.parse::<Latency>().is_err(), "{text}");
        }
        for text in ["22-06", "22:00", "25:00-06:00", "06:00-06:00", "06:61-07:00"] {
            assert!(text.parse::<Hours>().is_err(), "{text}");
        }
    }

    #[test]
    fn hours_may_go_over_midnight() {
        let night = "22:00-06:00".parse::<Hours>().unwrap();
        for (time, is_in) in
            [("21:59", false), ("22:00", true), ("00:00", true), ("05:59", true), ("06:00", false)]
        {
            assert_eq!(night.contain(minute(time)), is_in, "{time}");
        }
        let day = "09:30-17:00".parse::<Hours>().unwrap();
        for (time, is_in) in [("09:29", false), ("09:30", true), ("16:59", true), ("17:00", false)]
        {
            assert_eq!(day.contain(minute(time)), is_in, "{time}");
        }
        assert!("22:00-24:00".parse::<Hours>().unwrap().contain(minute("23:59")));
    }

    #[test]
    fn a_later_word_counts_and_what_it_leaves_out_stays() {
        let first = Limits {
            max_parts: Some(Limit::At(Parts(9))),
            hours: Some(Limit::Off),
            ..Limits::default()
        };
        let then = Limits { max_parts: Some(Limit::Auto), ..Limits::default() };
        let both = first.then(then);
        assert_eq!((both.max_parts, both.hours), (Some(Limit::Auto), Some(Limit::Off)));
    }
}
