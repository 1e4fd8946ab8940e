use std::str::FromStr;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::Deserialize;

/// A length of time as people write it: `7d`, `12h`, `90m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct TimeSpan(pub(crate) Duration);

impl FromStr for TimeSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| {
            format!("{text:?} is not a time, such as 7d, 12h or 90m: {error}")
        };
        let span = text.parse::<Span>().map_err(|error| said(&error))?;
        let duration =
            span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|error| said(&error))?;
        Duration::try_from(duration).map(Self).map_err(|error| said(&error))
    }
}

impl TryFrom<String> for TimeSpan {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_people_write_it() {
        for (text, seconds) in [("7d", 604_800), ("12h", 43_200), ("1d 30m", 88_200), ("0s", 0)] {
            assert_eq!(text.parse(), Ok(TimeSpan(Duration::from_secs(seconds))), "{text}");
        }
        for wrong in ["", "7", "a week", "-1d", "1 month"] {
            assert!(wrong.parse::<TimeSpan>().is_err(), "{wrong}");
        }
    }
}
