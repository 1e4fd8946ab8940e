//! From what a server has to what a model would declare: the way back from
//! [`create_table`](teal_schema::create_table).

use std::collections::BTreeMap;

use teal_schema::{
    Column, ColumnDefault, Constraint, ConstraintKind, DefaultKind, Engine, Index, LifeCycle,
    Location, Projection, Table, TokenError, Version, call, clause, head, quote_ident, read_create,
    split_list,
};

use crate::{CatalogColumn, CatalogTable};

/// The clauses of an engine, as ClickHouse orders them.
const ENGINE_CLAUSES: [&[&str]; 6] = [
    &["PARTITION", "BY"],
    &["PRIMARY", "KEY"],
    &["ORDER", "BY"],
    &["SAMPLE", "BY"],
    &["TTL"],
    &["SETTINGS"],
];

/// The clauses of a column, behind its default.
const COLUMN_CLAUSES: [&[&str]; 6] =
    [&["COMMENT"], &["CODEC"], &["STATISTICS"], &["TTL"], &["COLLATE"], &["SETTINGS"]];

/// What a model adds to what the server knows of a table.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// The logical name.
    pub name: String,
    pub version: Option<Version>,
    pub database: Option<String>,
    pub life_cycle: LifeCycle,
    pub cluster: Option<String>,
    pub location: Location,
}

impl CatalogTable {
    /// The table as a model would declare it.
    ///
    /// # Errors
    /// When the server's texts about the table cannot be read as tokens.
    pub fn declared(&self, declaration: Declaration) -> Result<Table, TokenError> {
        let definitions = self.definitions()?;
        let columns = self
            .columns
            .iter()
            .map(|column| column.declared(&definitions))
            .collect::<Result<Vec<_>, _>>()?;
        let is_column = |item: &str| self.columns.iter().any(|column| column.name == item);
        // Columns quoted, as the other languages give them.
        let item = |item: &str| match is_column(item) {
            true => quote_ident(item),
            false => item.to_owned(),
        };
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let primary_key = given(&self.primary_key).filter(|key| *key != self.sorting_key);
        let Declaration { name, version, database, life_cycle, cluster, location } = declaration;
        Ok(Table {
            name,
            version,
            database,
            columns,
            engine: self.declared_engine()?,
            order_by: split_list(&self.sorting_key)?.into_iter().map(item).collect(),
            primary_key: primary_key.map(|key| match key.contains(',') {
                true => format!("({key})"),
                false => key,
            }),
            partition_by: given(&self.partition_key),
            sample_by: given(&self.sampling_key),
            ttl: clause(&self.engine_full, &["TTL"], &ENGINE_CLAUSES)?.map(str::to_owned),
            settings: self.declared_settings()?,
            indexes: indexes(&definitions)?,
            projections: projections(&definitions)?,
            constraints: constraints(&definitions)?,
            comment: given(&self.comment),
            life_cycle,
            cluster,
            location,
        })
    }

    /// The items between the parentheses of the CREATE statement.
    fn definitions(&self) -> Result<Vec<&str>, TokenError> {
        let create = read_create(&self.create_table_query)?;
        split_list(create.and_then(|create| create.definitions).unwrap_or_default())
    }

    fn declared_engine(&self) -> Result<Engine, TokenError> {
        // The engine's arguments stand right behind its name; other parentheses come later.
        let arguments = match self.engine_full.strip_prefix(&self.engine) {
            Some(rest) if rest.starts_with('(') => {
                split_list(call(&self.engine_full)?.1.unwrap_or_default())?
            }
            _ => Vec::new(),
        };
        let arguments = arguments.into_iter().map(|argument| {
            match self.columns.iter().any(|column| column.name == argument) {
                true => quote_ident(argument),
                false => argument.to_owned(),
            }
        });
        Ok(Engine { name: self.engine.clone(), arguments: arguments.collect() })
    }

    fn declared_settings(&self) -> Result<BTreeMap<String, String>, TokenError> {
        let text = clause(&self.engine_full, &["SETTINGS"], &ENGINE_CLAUSES)?.unwrap_or_default();
        let settings = split_list(text)?.into_iter().filter_map(|setting| {
            let (name, value) = setting.split_once('=')?;
            Some((name.trim().to_owned(), unquoted(value.trim())))
        });
        // The server writes this one to every table.
        Ok(settings
            .filter(|(name, value)| (name.as_str(), value.as_str()) != GRANULARITY)
            .collect())
    }
}

const GRANULARITY: (&str, &str) = ("index_granularity", "8192");

impl CatalogColumn {
    fn declared(&self, definitions: &[&str]) -> Result<Column, TokenError> {
        let kind = match self.default_kind.as_str() {
            "DEFAULT" => Some(DefaultKind::Default),
            "MATERIALIZED" => Some(DefaultKind::Materialized),
            "ALIAS" => Some(DefaultKind::Alias),
            "EPHEMERAL" => Some(DefaultKind::Ephemeral),
            _ => None,
        };
        let expression = self.default_expression.clone();
        // `system.columns` does not have the TTL.
        let quoted = quote_ident(&self.name);
        let definition = definitions.iter().find_map(|definition| {
            definition.strip_prefix(&quoted).filter(|rest| rest.starts_with(char::is_whitespace))
        });
        let ttl = match definition {
            Some(definition) => clause(definition, &["TTL"], &COLUMN_CLAUSES)?,
            None => None,
        };
        let codec = match self.compression_codec.is_empty() {
            true => None,
            false => call(&self.compression_codec)?.1.map(str::to_owned),
        };
        Ok(Column {
            name: self.name.clone(),
            data_type: self.data_type.clone(),
            key: false,
            default: kind.map(|kind| ColumnDefault { kind, expression }),
            codec,
            ttl: ttl.map(str::to_owned),
            comment: (!self.comment.is_empty()).then(|| self.comment.clone()),
        })
    }
}

/// The definitions that begin with `keyword`, each with its name taken off.
fn named<'d>(definitions: &'d [&str], keyword: &str) -> impl Iterator<Item = (String, &'d str)> {
    let keyword = format!("{keyword} ");
    definitions.iter().filter_map(move |definition| {
        let rest = definition.strip_prefix(&keyword)?;
        match rest.strip_prefix('`') {
            Some(quoted) => {
                let end = (1..=quoted.len()).find(|end| {
                    quoted
                        .get(..*end)
                        .is_some_and(|name| name.ends_with('`') && !name.ends_with("\\`"))
                })?;
                let name = quoted.get(..end - 1)?.replace("\\`", "`").replace("\\\\", "\\");
                Some((name, quoted.get(end..)?.trim()))
            }
            None => {
                let (name, rest) = rest.split_once(char::is_whitespace)?;
                Some((name.to_owned(), rest.trim()))
            }
        }
    })
}

fn indexes(definitions: &[&str]) -> Result<Vec<Index>, TokenError> {
    const CLAUSES: [&[&str]; 2] = [&["TYPE"], &["GRANULARITY"]];
    let read = |(name, text): (String, &str)| {
        let granularity = clause(text, &["GRANULARITY"], &CLAUSES)?;
        let index_type = clause(text, &["TYPE"], &CLAUSES)?.unwrap_or_default();
        Ok(Index {
            name,
            expression: head(text, &CLAUSES)?.to_owned(),
            index_type: index_type.to_owned(),
            granularity: granularity.and_then(|number| number.parse().ok()).unwrap_or(1),
        })
    };
    named(definitions, "INDEX").map(read).collect()
}

fn projections(definitions: &[&str]) -> Result<Vec<Projection>, TokenError> {
    let read = |(name, text): (String, &str)| {
        let body = call(text)?.1.unwrap_or_default().to_owned();
        Ok(Projection { name, body })
    };
    named(definitions, "PROJECTION").map(read).collect()
}

fn constraints(definitions: &[&str]) -> Result<Vec<Constraint>, TokenError> {
    let read = |(name, text): (String, &str)| {
        let (kind, expression) = match text.strip_prefix("ASSUME ") {
            Some(expression) => (ConstraintKind::Assume, expression),
            None => (ConstraintKind::Check, text.strip_prefix("CHECK ").unwrap_or(text)),
        };
        Ok(Constraint { name, kind, expression: expression.to_owned() })
    };
    named(definitions, "CONSTRAINT").map(read).collect()
}

/// A setting's value without the quotes of a string.
fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    inner.map_or_else(|| value.to_owned(), |text| text.replace("\\'", "'").replace("\\\\", "\\"))
}
