use std::fmt;

use serde::{Deserialize, Serialize};

/// Quotes an identifier for ClickHouse. Every identifier in a statement goes through here.
///
/// ```
/// assert_eq!(teal_schema::quote_ident("events"), "`events`");
/// assert_eq!(teal_schema::quote_ident("a`b\\c"), "`a\\`b\\\\c`");
/// ```
pub fn quote_ident(name: &str) -> String {
    quoted(name, '`')
}

/// Quotes a string literal for ClickHouse. Every text value in a statement goes through here.
///
/// ```
/// assert_eq!(teal_schema::quote_string("it's"), "'it\\'s'");
/// ```
pub fn quote_string(text: &str) -> String {
    quoted(text, '\'')
}

fn quoted(text: &str, mark: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(mark);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            c if c == mark => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push(mark);
    out
}

/// A table or view on a server: its database and its physical name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QualifiedName {
    pub database: String,
    pub name: String,
}

impl QualifiedName {
    pub fn new(database: impl Into<String>, name: impl Into<String>) -> Self {
        Self { database: database.into(), name: name.into() }
    }

    /// `` `database`.`name` ``, for use in a statement.
    pub fn sql(&self) -> String {
        format!("{}.{}", quote_ident(&self.database), quote_ident(&self.name))
    }
}

/// `database.name`, for people.
impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.name)
    }
}
