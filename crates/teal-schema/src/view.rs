use serde::{Deserialize, Serialize};

use crate::{LifeCycle, Location, QualifiedName, TableRef};

/// A view as declared in a model. A materialized view forwards what is inserted into the tables it
/// reads to its target; one without a target is a plain view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct View {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The SELECT, with tables by their physical names.
    pub select: String,
    /// The tables that the SELECT reads, as the model lists them.
    pub select_tables: Vec<TableRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TableRef>,
    #[serde(default)]
    pub life_cycle: LifeCycle,
    pub location: Location,
}

impl View {
    /// The view's name on a server whose default database is `database`.
    pub fn qualified(&self, database: &str) -> QualifiedName {
        QualifiedName::new(self.database.as_deref().unwrap_or(database), &self.name)
    }
}
