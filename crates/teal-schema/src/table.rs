use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ddl::defined_disk;
use crate::{
    Column, Engine, Location, QualifiedName, Version, physical_name, setting_value, split_list,
};

/// A table as declared in a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Table {
    /// The logical name.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The database, where the model names one; else the target's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    pub columns: Vec<Column>,
    #[serde(default = "Engine::merge_tree")]
    pub engine: Engine,
    /// The sorting key: each item an expression, such as `` `id` `` or `toDate(time)`. Empty means
    /// `ORDER BY tuple()`.
    #[serde(default)]
    pub order_by: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<Index>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projections: Vec<Projection>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(default)]
    pub life_cycle: LifeCycle,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub location: Location,
}

impl Table {
    pub fn physical_name(&self) -> String {
        physical_name(&self.name, self.version.as_ref())
    }

    /// The table's name on a server whose default database is `database`.
    pub fn qualified(&self, database: &str) -> QualifiedName {
        QualifiedName::new(self.database.as_deref().unwrap_or(database), self.physical_name())
    }

    pub fn reference(&self) -> TableRef {
        TableRef {
            name: self.name.clone(),
            version: self.version.clone(),
            database: self.database.clone(),
        }
    }

    /// What of its declaration is nobody else's to read, each as it stands in the statement that creates it.
    pub fn secrets(&self) -> Vec<String> {
        let settings = self.settings.iter().filter(|(name, _)| names_secret(name));
        let settings = settings.map(|(_, value)| setting_value(value));
        let of_disks = self.settings.values().flat_map(|value| secrets_of_disk(value));
        let all = self.engine.secrets().into_iter().chain(settings).chain(of_disks);
        // An empty text, or a digit or two, says nothing, and stands everywhere.
        all.filter(|secret| secret.len() > 4).collect()
    }
}

fn names_secret(name: &str) -> bool {
    const WORDS: [&str; 5] = ["password", "secret", "token", "access_key", "credential"];
    WORDS.iter().any(|word| name.contains(word))
}

/// What a disk that is defined in its place holds: `disk(type = cache, disk = disk(type = s3, secret_access_key = …))`.
fn secrets_of_disk(value: &str) -> Vec<String> {
    let parts = defined_disk(value).map(split_list).and_then(Result::ok).unwrap_or_default();
    let pairs = parts.into_iter().filter_map(|part| part.split_once('='));
    let secrets = pairs.flat_map(|(name, value)| {
        let (name, value) = (name.trim(), value.trim());
        let is_secret = names_secret(name)
            || name == "key"
            || name.contains("_key")
            || name == "connection_string";
        match is_secret && value != "false" {
            true => vec![value.to_owned()],
            false => secrets_of_disk(value),
        }
    });
    secrets.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_defined_in_its_place_holds_secrets() {
        for (disk, secrets) in [
            ("tiered", &[][..]),
            ("disk(type = local, path = '/d/')", &[]),
            (
                "disk(type = s3, access_key_id='id', secret_access_key='word', use_environment_credentials = false)",
                &["'id'", "'word'"],
            ),
            (
                "disk(type = encrypted, disk = 'd', key = 'sixteen letters.')",
                &["'sixteen letters.'"],
            ),
            (
                "disk(type = cache, path = '/c/', disk = disk(type = azure, connection_string = 'a=b', path = 'p'))",
                &["'a=b'"],
            ),
        ] {
            assert_eq!(secrets_of_disk(disk), secrets, "{disk}");
        }
    }
}

/// A table meant by a view: by logical name, version and database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRef {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The database, where the model names one: see [`Schema::table`](crate::Schema::table).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
}

impl TableRef {
    pub fn physical_name(&self) -> String {
        physical_name(&self.name, self.version.as_ref())
    }

    /// For messages: the physical name, with the database where one is named.
    pub fn called(&self) -> String {
        let name = self.physical_name();
        self.database.iter().fold(name, |name, database| format!("{database}.{name}"))
    }
}

/// A data skipping index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    pub name: String,
    pub expression: String,
    /// Type with its arguments, such as `bloom_filter(0.01)`.
    #[serde(rename = "type")]
    pub index_type: String,
    pub granularity: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    pub name: String,
    /// The SELECT inside the projection's parentheses; of one that is an index, what stands there
    /// without any: `INDEX c TYPE basic`.
    pub body: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    pub name: String,
    pub kind: ConstraintKind,
    pub expression: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConstraintKind {
    Check,
    Assume,
}

/// How far teal may change a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LifeCycle {
    #[default]
    FullyManaged,
    /// No drop of the table or of a column.
    DeletionProtected,
    /// Never changed.
    ExternallyManaged,
}
