use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use teal_catalog::CatalogTable;
use teal_schema::{Location, QualifiedName};

use crate::{Change, Migration};

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
    /// What the target would have to say to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
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
    /// A table that `ALTER` changes in place.
    AlterTable {
        table: QualifiedName,
        /// In this order; each can be repeated by a new plan.
        statements: Vec<String>,
        changes: Vec<Change>,
        cost: AlterCost,
        /// Rows and bytes on disk of the table when the plan was made.
        rows: u64,
        bytes: u64,
        declared_at: Location,
    },
    /// A view whose SELECT is another one now.
    ChangeView {
        view: QualifiedName,
        sql: String,
        changes: Vec<Change>,
        declared_at: Location,
    },
    /// What no model declares, where `--allow-drop` names it.
    Drop {
        object: QualifiedName,
        sql: String,
        rows: u64,
        bytes: u64,
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

/// What an `ALTER` costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AlterCost {
    /// Nothing that is stored is touched.
    Metadata,
    /// Parts are rewritten, as far as the changed columns go.
    Mutation,
}

impl fmt::Display for AlterCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "metadata only",
            Self::Mutation => "mutation",
        })
    }
}

/// A table or view that is there, and differs from its declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Conflict {
    pub object: QualifiedName,
    pub declared_at: Location,
    /// What differs, a sentence each.
    pub differences: Vec<String>,
    pub instead: String,
}

/// What was seen on the target that an operation would meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Finding {
    pub about: QualifiedName,
    /// The plan is not carried out as long as it is so.
    pub blocks: bool,
    pub says: String,
    pub fix: String,
}

impl Plan {
    pub const FORMAT_VERSION: u32 = 1;

    /// Whether the target has all that the models declare.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.conflicts.is_empty()
    }

    /// Whether there is something for which the plan must not be carried out.
    pub fn is_blocked(&self) -> bool {
        !self.conflicts.is_empty() || self.findings.iter().any(|finding| finding.blocks)
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
