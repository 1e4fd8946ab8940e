use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use teal_catalog::CatalogTable;
use teal_schema::{Location, QualifiedName};

use crate::Migration;

/// What has to be done so that the target has what the models declare. It serialises to the plan
/// file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Plan {
    /// The version of the plan file's own form.
    pub format_version: u32,
    pub target: String,
    pub database: String,
    /// Of the catalog that the plan was made from: SHA-256 over its definitions.
    pub fingerprint: String,
    /// In the order in which they are to be done.
    pub operations: Vec<Operation>,
    /// What stands in the way of the models and is not teal's to change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
    /// What a reader of the plan may want to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Operation {
    CreateTable {
        table: QualifiedName,
        sql: String,
        declared_at: Location,
    },
    CreateView {
        view: QualifiedName,
        sql: String,
        declared_at: Location,
    },
    /// A blue/green migration. `resumes` names the one that is already under way.
    Migrate {
        #[serde(flatten)]
        migration: Box<Migration>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resumes: Option<String>,
        declared_at: Location,
    },
}

/// A table or view that is there, and differs from its declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Conflict {
    pub object: QualifiedName,
    pub declared_at: Location,
    /// What differs, one sentence each.
    pub differences: Vec<String>,
    pub instead: String,
}

impl Plan {
    pub const FORMAT_VERSION: u32 = 1;

    /// Whether the target has all that the models declare.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.conflicts.is_empty()
    }

    /// # Errors
    /// When the plan cannot be written as YAML.
    pub fn to_yaml(&self) -> Result<String, serde_norway::Error> {
        serde_norway::to_string(self)
    }
}

/// The fingerprint of a catalog: of the definitions in it, not of its rows.
pub(crate) fn fingerprint<'t>(tables: impl Iterator<Item = &'t CatalogTable>) -> String {
    let mut hash = Sha256::new();
    for table in tables {
        for text in [&table.database, &table.name, &table.create_table_query] {
            hash.update(text.as_bytes());
            hash.update([0]);
        }
    }
    hash.finalize().iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
