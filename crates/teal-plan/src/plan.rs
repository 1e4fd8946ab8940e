use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use teal_schema::{Location, QualifiedName};

use crate::{Change, FenceKind, Migration, Needs};

/// What has to be done so that the target has what the models declare. It serialises to the plan
/// file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Plan {
    /// The version of the plan file's own form.
    pub format_version: u32,
    pub target: String,
    pub database: String,
    /// Of what the plan was made from: SHA-256 over the definitions of the tables and views that its
    /// operations are about.
    pub fingerprint: String,
    /// In the order in which they are to be done.
    pub operations: Vec<Operation>,
    /// What stands in the way of the models and is not teal's to change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
    /// What the target would have to say to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What the models want beside that, and what it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<String>,
    /// Migrations of which nothing is left for `teal apply`, and what comes next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// What a reader of the plan may want to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Where the definition of a table or view is given, it is as the server writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Operation {
    CreateTable {
        table: QualifiedName,
        #[serde(flatten)]
        statement: Statement,
        /// An older version with rows, which nothing brings over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beside: Option<QualifiedName>,
        declared_at: Location,
    },
    /// A name that stands for a table (the engine `Alias`).
    CreateAlias { alias: QualifiedName, target: QualifiedName, sql: String, declared_at: Location },
    CreateView {
        view: QualifiedName,
        #[serde(flatten)]
        statement: Statement,
        declared_at: Location,
    },
    /// A table that `ALTER` changes in place.
    AlterTable {
        table: QualifiedName,
        changes: Vec<Change>,
        cost: AlterCost,
        /// Rows and bytes on disk of the table when the plan was made.
        rows: u64,
        bytes: u64,
        needs: Needs,
        /// The table's definition when the plan was made.
        before: String,
        /// In this order.
        statements: Vec<Statement>,
        declared_at: Location,
    },
    /// A view whose SELECT is another one now.
    ChangeView {
        view: QualifiedName,
        changes: Vec<Change>,
        before: String,
        #[serde(flatten)]
        statement: Statement,
        declared_at: Location,
    },
    /// What no model declares, where `--allow-drop` names it.
    Drop {
        object: QualifiedName,
        sql: String,
        before: String,
        /// Tells a table's data from that of another one which was made under its name since.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        data: String,
        rows: u64,
        bytes: u64,
    },
    /// A blue/green migration. `resumes` names the one that is already under way.
    Migrate {
        #[serde(flatten)]
        migration: Box<Migration>,
        needs: Needs,
        /// Blue's definition when the plan was made; nothing where an earlier operation makes blue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resumes: Option<String>,
        /// What attaches the view; nothing where it is attached.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fence: Option<FenceKind>,
        declared_at: Location,
    },
}

/// A statement, and the definition that its table or view has when it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    pub sql: String,
    pub after: String,
}

/// What an operation does to one table or view, statement by statement.
pub(crate) struct Steps<'p> {
    pub(crate) object: &'p QualifiedName,
    /// The object's definition before the first and after each; nothing where there is no object.
    pub(crate) states: Vec<Option<&'p str>>,
}

impl Operation {
    /// The table or view that it is about: of a migration, blue.
    pub fn object(&self) -> &QualifiedName {
        match self {
            Self::CreateTable { table, .. } | Self::AlterTable { table, .. } => table,
            Self::CreateAlias { alias, .. } => alias,
            Self::CreateView { view, .. } | Self::ChangeView { view, .. } => view,
            Self::Drop { object, .. } => object,
            Self::Migrate { migration, .. } => &migration.blue,
        }
    }

    /// All tables and views that it is about: of a migration, green and its view too.
    pub fn tables(&self) -> impl Iterator<Item = &QualifiedName> {
        let more = match self {
            Self::Migrate { migration, .. } => vec![&migration.green, &migration.view],
            _ => Vec::new(),
        };
        std::iter::once(self.object()).chain(more)
    }

    /// Its statements, where it is nothing else than these.
    pub fn statements(&self) -> Option<Vec<&str>> {
        Some(match self {
            Self::CreateTable { statement, .. }
            | Self::CreateView { statement, .. }
            | Self::ChangeView { statement, .. } => vec![&statement.sql],
            Self::AlterTable { statements, .. } => {
                statements.iter().map(|statement| statement.sql.as_str()).collect()
            }
            Self::CreateAlias { sql, .. } | Self::Drop { sql, .. } => vec![sql],
            Self::Migrate { .. } => return None,
        })
    }

    pub(crate) fn steps(&self) -> Option<Steps<'_>> {
        let states = match self {
            Self::CreateTable { statement, .. } | Self::CreateView { statement, .. } => {
                vec![None, Some(statement.after.as_str())]
            }
            Self::AlterTable { before, statements, .. } => {
                let after = statements.iter().map(|statement| Some(statement.after.as_str()));
                std::iter::once(Some(before.as_str())).chain(after).collect()
            }
            Self::ChangeView { before, statement, .. } => {
                vec![Some(before.as_str()), Some(statement.after.as_str())]
            }
            Self::Drop { before, .. } => vec![Some(before.as_str()), None],
            // An alias has no definition of its own: the server writes the columns of its table.
            Self::CreateAlias { .. } | Self::Migrate { .. } => return None,
        };
        Some(Steps { object: self.object(), states })
    }

    /// The definition that its statements leave.
    pub(crate) fn after(&self) -> Option<&str> {
        self.steps()?.states.last().copied().flatten()
    }

    /// The definition that the plan found its object with.
    pub(crate) fn before(&self) -> Option<&str> {
        match self {
            Self::Migrate { before, .. } => before.as_deref(),
            other => other.steps()?.states.first().copied().flatten(),
        }
    }
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
        self.has_nothing_to_do() && self.later.is_empty()
    }

    /// Whether nothing can be done of what the models declare and the target has not.
    pub fn has_nothing_to_do(&self) -> bool {
        self.operations.is_empty() && self.conflicts.is_empty()
    }

    /// Whether there is something for which the plan must not be carried out.
    pub fn is_blocked(&self) -> bool {
        !self.conflicts.is_empty() || self.findings.iter().any(|finding| finding.blocks)
    }

    /// Those of the tables and views that it is about.
    pub(crate) fn databases(&self) -> BTreeSet<&str> {
        self.operations.iter().map(|operation| operation.object().database.as_str()).collect()
    }

    /// Sets the fingerprint, when all operations are there.
    pub(crate) fn take_fingerprint(&mut self) {
        let mut hash = Sha256::new();
        for operation in &self.operations {
            for text in [&operation.object().to_string(), operation.before().unwrap_or_default()] {
                hash.update(text);
                hash.update([0]);
            }
        }
        self.fingerprint = hex(hash);
    }

    /// The plan as it stands in a file.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn file(&self) -> Result<PlanFile, PlanFileError> {
        Ok(PlanFile { plan: self.clone(), checksum: self.checksum()? })
    }

    /// # Errors
    /// When it cannot be written as YAML.
    pub fn to_yaml(&self) -> Result<String, PlanFileError> {
        serde_norway::to_string(&self.file()?)
            .map_err(|error| PlanFileError::Unreadable(error.to_string()))
    }

    /// Reads a plan file.
    ///
    /// # Errors
    /// When it is none, is cut off, was changed by hand, or is of another version of teal.
    pub fn from_yaml(text: &str) -> Result<Self, PlanFileError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Versioned {
            format_version: u32,
        }
        let unreadable = |error: serde_norway::Error| PlanFileError::Unreadable(error.to_string());
        let Versioned { format_version } = serde_norway::from_str(text).map_err(unreadable)?;
        if format_version != Self::FORMAT_VERSION {
            return Err(PlanFileError::Version { found: format_version });
        }
        let PlanFile { plan, checksum } = serde_norway::from_str(text).map_err(unreadable)?;
        match plan.checksum()? == checksum {
            true => Ok(plan),
            false => Err(PlanFileError::Changed),
        }
    }

    fn checksum(&self) -> Result<String, PlanFileError> {
        let text = serde_json::to_vec(self)
            .map_err(|error| PlanFileError::Unreadable(error.to_string()))?;
        Ok(hex(Sha256::new_with_prefix(text)))
    }
}

/// A plan as it stands in a file.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlanFile {
    #[serde(flatten)]
    plan: Plan,
    /// Of the rest. It stands at the end, so that a file that was cut off has none.
    checksum: String,
}

#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    #[error("this is no plan, or one that was cut off: {0}")]
    Unreadable(String),
    #[error(
        "this is a plan of version {found}, and this teal reads version {}; make a new one",
        Plan::FORMAT_VERSION
    )]
    Version { found: u32 },
    #[error(
        "the plan was changed since it was made: its checksum does not fit; change the models, and make a new one"
    )]
    Changed,
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
