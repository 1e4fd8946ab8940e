use std::fmt;

use serde::Deserialize;

use crate::Location;

/// Something in the user's code to be changed: what, where, and what to write instead. Also the form in
/// which the extractors give errors and warnings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diagnostic {
    pub message: String,
    #[serde(default)]
    pub hint: Option<String>,
    #[serde(default)]
    pub location: Option<Location>,
    /// The user's part of a traceback, or the server's words.
    #[serde(default)]
    pub trace: Option<String>,
    /// Another place that has to do with it, and what it has.
    #[serde(skip)]
    pub also: Option<(Location, String)>,
}

impl Diagnostic {
    pub fn at(location: &Location, message: impl Into<String>) -> Self {
        Self { message: message.into(), location: Some(location.clone()), ..Self::default() }
    }

    #[must_use]
    pub fn instead(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    #[must_use]
    pub fn also(self, location: &Location, what: impl Into<String>) -> Self {
        Self { also: Some((location.clone(), what.into())), ..self }
    }
}

/// Without the source: `file:line:column (declaration): message`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some((location, what)) = &self.also {
            write!(f, "\n  {location}: {what}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  instead: {hint}")?;
        }
        match &self.trace {
            Some(trace) => write!(f, "\n  {}", trace.replace('\n', "\n  ")),
            None => Ok(()),
        }
    }
}
