use std::fmt;

use serde::{Deserialize, Serialize};

/// A table engine: its name and its arguments as SQL texts, such as `ReplacingMergeTree(updated_at)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    pub name: String,
    /// Each argument as it stands in SQL: a column quoted as an identifier, a text as a string.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
}

impl Engine {
    pub fn merge_tree() -> Self {
        Self { name: "MergeTree".to_owned(), arguments: Vec::new() }
    }

    /// Whether the engine keeps parts: the MergeTree family, replicated or not.
    pub fn is_merge_tree(&self) -> bool {
        self.name.ends_with("MergeTree")
    }

    /// Whether merges change rows (fold or drop them), so that parity is that of the folded rows.
    pub fn folds_rows(&self) -> bool {
        self.is_merge_tree() && !matches!(self.name.as_str(), "MergeTree" | "ReplicatedMergeTree")
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.arguments.is_empty() {
            true => Ok(()),
            false => write!(f, "({})", self.arguments.join(", ")),
        }
    }
}
