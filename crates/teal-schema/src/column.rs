use serde::{Deserialize, Serialize};

/// A column as declared or as read from a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    /// The type as ClickHouse writes it, such as `LowCardinality(String)`.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Part of the key by its type (`Key<T>`): the sorting key where none is given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ColumnDefault>,
    /// The arguments of `CODEC(…)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The column's name before it was renamed: a hint, for a rename is never guessed.
    #[serde(default, rename = "renamedFrom", skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnDefault {
    pub kind: DefaultKind,
    pub expression: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultKind {
    Default,
    Materialized,
    Alias,
    Ephemeral,
}

impl DefaultKind {
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT",
            Self::Materialized => "MATERIALIZED",
            Self::Alias => "ALIAS",
            Self::Ephemeral => "EPHEMERAL",
        }
    }
}

impl Column {
    /// Whether an INSERT may name this column and its rows are stored as given.
    pub fn is_insertable(&self) -> bool {
        !matches!(
            self.default.as_ref().map(|default| default.kind),
            Some(DefaultKind::Materialized | DefaultKind::Alias | DefaultKind::Ephemeral)
        )
    }

    /// Whether the table holds values of it, given or computed.
    pub fn is_stored(&self) -> bool {
        let kind = self.default.as_ref().map(|default| default.kind);
        !matches!(kind, Some(DefaultKind::Alias | DefaultKind::Ephemeral))
    }
}
