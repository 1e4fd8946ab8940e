use std::collections::BTreeMap;

use serde::Deserialize;
use teal_client::{ClientError, Session};
use teal_schema::{QualifiedName, quoted_list};

/// The tables and views of some databases of a server, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    tables: BTreeMap<(String, String), CatalogTable>,
}

/// A table or view as the server has it. Expressions and types are in the server's own words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CatalogTable {
    pub database: String,
    pub name: String,
    pub engine: String,
    /// Engine with its arguments, keys, TTL and settings.
    pub engine_full: String,
    pub sorting_key: String,
    pub primary_key: String,
    pub partition_key: String,
    pub sampling_key: String,
    pub storage_policy: String,
    pub comment: String,
    pub create_table_query: String,
    /// The SELECT of a view; empty for a table.
    pub as_select: String,
    /// Where the table's data lies. It stays with the table through a rename or an exchange, so
    /// it tells which table a name means now. An alias has that of the table behind it, or none.
    pub data_path: String,
    pub rows: u64,
    /// Bytes on disk.
    pub bytes: u64,
    #[serde(default)]
    pub columns: Vec<CatalogColumn>,
    /// Data skipping indexes, each as `name expression TYPE type GRANULARITY n`.
    #[serde(default)]
    pub indexes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CatalogColumn {
    pub name: String,
    #[serde(rename = "type")]
    pub data_type: String,
    /// Empty, `DEFAULT`, `MATERIALIZED`, `ALIAS` or `EPHEMERAL`.
    pub default_kind: String,
    pub default_expression: String,
    pub comment: String,
    pub compression_codec: String,
}

impl CatalogColumn {
    /// Whether the column's values are stored as an INSERT gives them.
    pub fn is_insertable(&self) -> bool {
        matches!(self.default_kind.as_str(), "" | "DEFAULT")
    }

    /// Whether parts have its values, given or computed.
    pub fn is_stored(&self) -> bool {
        self.is_insertable() || self.default_kind == "MATERIALIZED"
    }
}

impl CatalogTable {
    pub fn qualified(&self) -> QualifiedName {
        QualifiedName::new(&self.database, &self.name)
    }

    pub fn is_view(&self) -> bool {
        self.engine.ends_with("View")
    }

    /// Whether it only stands for another table (the engine `Alias`).
    pub fn is_alias(&self) -> bool {
        self.engine == "Alias"
    }

    /// What tells the table's data from any other's, whatever its name.
    pub fn data(&self) -> &str {
        own_directory(&self.data_path)
    }

    /// The columns that an INSERT fills, in the table's order.
    pub fn insertable_columns(&self) -> impl Iterator<Item = &CatalogColumn> {
        self.columns.iter().filter(|column| column.is_insertable())
    }
}

/// The last directory of a table's path is the table's own; those above it move with the server's data. In a database
/// of the engine `Ordinary` it goes by the table's name.
pub fn own_directory(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// Whether there is a table or view of this name.
///
/// # Errors
/// When the server cannot be asked.
pub fn exists(session: &mut dyn Session, name: &QualifiedName) -> Result<bool, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        found: u64,
    }
    let Row { found } = session.row(&format!(
        "SELECT count() AS found FROM system.tables WHERE {}",
        name.condition("name")
    ))?;
    Ok(found > 0)
}

impl Catalog {
    /// Reads all tables and views of `databases`, in three queries whatever their number.
    ///
    /// # Errors
    /// When the server refuses one of the queries.
    pub fn read(session: &mut dyn Session, databases: &[&str]) -> Result<Self, ClientError> {
        let within = format!("database IN ({})", quoted_list(databases));
        Self::read_where(session, &|_| within.clone())
    }

    /// Reads these only, if they are there.
    ///
    /// # Errors
    /// As of [`read`](Self::read).
    pub fn of(session: &mut dyn Session, tables: &[&QualifiedName]) -> Result<Self, ClientError> {
        Self::read_where(session, &|column| QualifiedName::condition_of_any(tables, column))
    }

    /// `within`: the condition, by the column that has the table's name.
    fn read_where(
        session: &mut dyn Session,
        within: &dyn Fn(&str) -> String,
    ) -> Result<Self, ClientError> {
        let tables: Vec<CatalogTable> = session.rows(&format!(
            "SELECT database, name, engine, engine_full, sorting_key, primary_key, partition_key, \
                 sampling_key, storage_policy, comment, create_table_query, as_select, \
                 arrayElement(data_paths, 1) AS data_path, \
                 ifNull(total_rows, 0) AS rows, ifNull(total_bytes, 0) AS bytes \
             FROM system.tables WHERE {}",
            within("name")
        ))?;
        let mut catalog = Self {
            tables: tables
                .into_iter()
                .map(|table| ((table.database.clone(), table.name.clone()), table))
                .collect(),
        };

        #[derive(Deserialize)]
        struct ColumnRow {
            database: String,
            table: String,
            #[serde(flatten)]
            column: CatalogColumn,
        }
        for row in session.rows::<ColumnRow>(&format!(
            "SELECT database, table, name, type, default_kind, default_expression, comment, \
                 compression_codec \
             FROM system.columns WHERE {} ORDER BY database, table, position",
            within("table")
        ))? {
            if let Some(table) = catalog.entry(row.database, row.table) {
                table.columns.push(row.column);
            }
        }

        #[derive(Deserialize)]
        struct TextRow {
            database: String,
            table: String,
            text: String,
        }
        for row in session.rows::<TextRow>(&format!(
            "SELECT database, table, \
                 concat(name, ' ', expr, ' TYPE ', type_full, ' GRANULARITY ', toString(granularity)) AS text \
             FROM system.data_skipping_indices WHERE {} ORDER BY database, table, name",
            within("table")
        ))? {
            if let Some(table) = catalog.entry(row.database, row.table) {
                table.indexes.push(row.text);
            }
        }
        Ok(catalog)
    }

    pub fn table(&self, name: &QualifiedName) -> Option<&CatalogTable> {
        self.tables.get(&(name.database.clone(), name.name.clone()))
    }

    /// Whether `name` is an alias of `table`, which it shows the data of.
    pub fn is_alias_of(&self, name: &QualifiedName, table: &QualifiedName) -> bool {
        let (Some(alias), Some(table)) = (self.table(name), self.table(table)) else {
            return false;
        };
        alias.is_alias() && !table.is_alias() && alias.data_path == table.data_path
    }

    pub fn tables(&self) -> impl Iterator<Item = &CatalogTable> {
        self.tables.values()
    }

    pub(crate) fn table_mut(&mut self, name: &QualifiedName) -> Option<&mut CatalogTable> {
        self.entry(name.database.clone(), name.name.clone())
    }

    fn entry(&mut self, database: String, table: String) -> Option<&mut CatalogTable> {
        self.tables.get_mut(&(database, table))
    }
}
