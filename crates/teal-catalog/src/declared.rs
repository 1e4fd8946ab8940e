//! From what a server has to what a model would declare: the way back from
//! [`create_table`](teal_schema::create_table).

use std::collections::BTreeMap;

use teal_schema::{
    Column, ColumnDefault, Constraint, ConstraintKind, CreateKind, DefaultKind, Engine, Index,
    LifeCycle, Location, Projection, Schema, Table, TableRef, TokenError, Version, View, call,
    clause, head, quote_ident, read_create, rewrite_table_references, sorting_key, split_list,
    unquote_string,
};

use crate::{Catalog, CatalogColumn, CatalogTable};

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

impl Declaration {
    /// What the model of a table says of it beside its definition.
    pub fn of(table: &Table) -> Self {
        Self {
            name: table.name.clone(),
            version: table.version.clone(),
            database: table.database.clone(),
            life_cycle: table.life_cycle,
            cluster: table.cluster.clone(),
            location: table.location.clone(),
        }
    }

    pub fn reference(&self) -> TableRef {
        TableRef {
            name: self.name.clone(),
            version: self.version.clone(),
            database: self.database.clone(),
        }
    }
}

/// What stands in a definition in the place of a secret.
pub const HIDDEN: &str = "[HIDDEN]";

/// What a database holds, as models would declare it.
#[derive(Debug, Clone, Default)]
pub struct Pulled {
    pub schema: Schema,
    /// What models cannot declare, one sentence each.
    pub left: Vec<String>,
}

impl Catalog {
    /// The tables and views of `database` as models would declare them: without a version, each by
    /// the name that it has.
    ///
    /// # Errors
    /// When the server's texts cannot be read as tokens.
    pub fn pull(&self, database: &str) -> Result<Pulled, TokenError> {
        let mut pulled = Pulled::default();
        let own =
            |table: &&CatalogTable| table.database == database && !table.name.starts_with(".inner");
        for table in self.tables().filter(own) {
            let name = &table.name;
            if table.create_table_query.contains(HIDDEN) {
                pulled.left.push(format!(
                    "{name}: its definition holds a secret, which the server does not show; declare it by hand, with the life cycle EXTERNALLY_MANAGED"
                ));
            } else if table.columns.iter().any(|column| column.data_type.starts_with("Nested(")) {
                pulled.left.push(format!(
                    "{name}: it has a Nested column that is not flattened, and teal creates them flattened"
                ));
            } else if table.is_of_old_syntax()? {
                pulled.left.push(format!(
                    "{name}: its engine is of the syntax without ORDER BY, by which ClickHouse makes no table any more; declare it by hand, with the life cycle EXTERNALLY_MANAGED"
                ));
            } else if table.create_table_query.starts_with("CREATE DICTIONARY ") {
                pulled.left.push(format!(
                    "{name}: it is a dictionary, and teal declares tables and views"
                ));
            } else if !table.is_view() {
                let stays = |what| {
                    format!(
                        "{name}: models cannot declare {what}; a table that teal makes of the model is without"
                    )
                };
                pulled.left.extend(table.undeclarable()?.into_iter().map(stays));
                pulled.schema.tables.push(table.declared(Declaration {
                    name: name.clone(),
                    version: None,
                    database: None,
                    life_cycle: LifeCycle::FullyManaged,
                    cluster: None,
                    location: nowhere(),
                })?);
            }
        }
        for view in self.tables().filter(own).filter(|table| table.is_view()) {
            let create = read_create(&view.create_table_query)?;
            if create.as_ref().is_some_and(|create| create.is_refreshed) {
                pulled.left.push(format!("{}: {REFRESHED}", view.name));
                continue;
            }
            // A server writes it to every materialized view, to new ones too.
            if view.engine == "View" && create.as_ref().is_some_and(|create| create.has_security) {
                pulled.left.push(format!(
                    "{}: models cannot declare whose rights it runs with (DEFINER, SQL SECURITY); a view that teal makes of the model is without",
                    view.name
                ));
            }
            if !view.comment.is_empty() {
                pulled.left.push(format!(
                    "{}: models cannot declare the comment of a view; one that teal makes of the model is without",
                    view.name
                ));
            }
            let target = match create.map(|create| (create.kind, create.target)) {
                Some((CreateKind::View, _)) => None,
                Some((CreateKind::MaterializedView, Some((of, target))))
                    if of.as_deref().is_none_or(|of| of == database)
                        && pulled.schema.tables.iter().any(|table| table.name == target) =>
                {
                    Some(TableRef { name: target, version: None, database: None })
                }
                _ => {
                    pulled.left.push(format!(
                        "{}: teal declares plain views, and materialized views that write TO a table of the same database",
                        view.name
                    ));
                    continue;
                }
            };
            let mut select_tables = Vec::new();
            let select = rewrite_table_references(&view.as_select, |table| {
                if table.database.as_deref().is_some_and(|of| of != database) {
                    return None;
                }
                let reference =
                    TableRef { name: table.name.clone(), version: None, database: None };
                let is_known = pulled.schema.table(&reference).is_some();
                if is_known && !select_tables.contains(&reference) {
                    select_tables.push(reference);
                }
                // Without the database the table would be another one to its columns.
                let is_bound = table.database.is_none() || table.qualifies_in_full;
                (!is_bound).then(|| quote_ident(&table.name))
            })?;
            pulled.schema.views.push(View {
                name: view.name.clone(),
                database: None,
                select,
                select_tables,
                target,
                life_cycle: LifeCycle::FullyManaged,
                location: nowhere(),
            });
        }
        Ok(pulled)
    }
}

/// What is on a server has no place in the user's code yet.
fn nowhere() -> Location {
    Location { file: String::new(), line: 0, column: None, declaration: None }
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
        // Not from `sorting_key`: VersionedCollapsingMergeTree adds its version there.
        let of_engine = |keyword: &[&str]| self.of_engine(keyword);
        let key = of_engine(&["ORDER", "BY"])?.unwrap_or_default();
        let order_by = sorting_key(&key, |name| self.has_column(name))?;
        let Declaration { name, version, database, life_cycle, cluster, location } = declaration;
        Ok(Table {
            name,
            version,
            database,
            columns,
            engine: self.declared_engine()?,
            order_by,
            primary_key: of_engine(&["PRIMARY", "KEY"])?,
            partition_by: of_engine(&["PARTITION", "BY"])?,
            sample_by: of_engine(&["SAMPLE", "BY"])?,
            ttl: self.ttl()?,
            settings: self.declared_settings()?,
            indexes: indexes(&definitions)?,
            projections: projections(&definitions)?,
            constraints: constraints(&definitions)?,
            comment: (!self.comment.is_empty()).then(|| self.comment.clone()),
            life_cycle,
            cluster,
            location,
        })
    }

    /// What its definition says that a model cannot: each with the place where it stands.
    ///
    /// # Errors
    /// When the server's text about the table cannot be read as tokens.
    pub fn undeclarable(&self) -> Result<Vec<String>, TokenError> {
        let definitions = self.definitions()?;
        let mut found = Vec::new();
        for column in &self.columns {
            let Some(definition) = column.definition(&definitions) else {
                continue;
            };
            for keyword in ["STATISTICS", "SETTINGS"] {
                // A default may be a column of that name.
                if definition.contains(keyword)
                    && let Some(text) = clause(definition, &[keyword], &COLUMN_CLAUSES)?
                    && text.starts_with('(')
                {
                    found.push(format!("{keyword} {text} of column {}", column.name));
                }
            }
        }
        for (name, text) in named(&definitions, "PROJECTION") {
            // Of one that is an index they are in its text.
            if text.starts_with('(')
                && let Some(settings) = clause(text, &["WITH", "SETTINGS"], &[])?
            {
                found.push(format!("SETTINGS {settings} of projection {name}"));
            }
        }
        Ok(found)
    }

    /// The TTL of its rows and parts.
    ///
    /// # Errors
    /// When the server's text about the table cannot be read as tokens.
    pub fn ttl(&self) -> Result<Option<String>, TokenError> {
        self.of_engine(&["TTL"])
    }

    /// The TTL of a column.
    ///
    /// # Errors
    /// When the server's text about the table cannot be read as tokens.
    pub fn column_ttl(&self, name: &str) -> Result<Option<String>, TokenError> {
        let definitions = self.definitions()?;
        let column = self.columns.iter().find(|column| column.name == name);
        let ttl = column.map(|column| column.ttl(&definitions)).transpose()?.flatten();
        Ok(ttl.map(str::to_owned))
    }

    /// The TTLs of the table and of its columns, those with their names.
    ///
    /// # Errors
    /// When the server's text about the table cannot be read as tokens.
    pub fn ttls(&self) -> Result<Vec<String>, TokenError> {
        let definitions = self.definitions()?;
        let mut ttls = Vec::from_iter(self.ttl()?);
        for column in &self.columns {
            if let Some(ttl) = column.ttl(&definitions)? {
                ttls.push(format!("{}: {ttl}", column.name));
            }
        }
        Ok(ttls)
    }

    /// Whether a TTL gives rows other values: of a column, or by `GROUP BY`.
    ///
    /// # Errors
    /// When the server's text about the table cannot be read as tokens.
    pub fn ttl_changes_rows(&self) -> Result<bool, TokenError> {
        let definitions = self.definitions()?;
        for column in &self.columns {
            if column.ttl(&definitions)?.is_some() {
                return Ok(true);
            }
        }
        match self.ttl()? {
            Some(ttl) => Ok(clause(&ttl, &["GROUP", "BY"], &[])?.is_some()),
            None => Ok(false),
        }
    }

    /// Whether its keys are arguments of its engine: `MergeTree(day, id, 8192)`.
    fn is_of_old_syntax(&self) -> Result<bool, TokenError> {
        let engine = self.declared_engine()?;
        let has_arguments = engine.is_merge_tree() && !engine.arguments.is_empty();
        Ok(has_arguments && self.of_engine(&["ORDER", "BY"])?.is_none())
    }

    fn of_engine(&self, keyword: &[&str]) -> Result<Option<String>, TokenError> {
        Ok(clause(&self.engine_full, keyword, &ENGINE_CLAUSES)?.map(str::to_owned))
    }

    /// The projections, by name. From the definition: the table `system.projections` came with 24.9.
    ///
    /// # Errors
    /// When the server's text about the table cannot be read as tokens.
    pub fn projections(&self) -> Result<BTreeMap<String, String>, TokenError> {
        let projections = projections(&self.definitions()?)?;
        Ok(projections.into_iter().map(|projection| (projection.name, projection.body)).collect())
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
        let arguments = arguments.into_iter().map(|argument| self.with_quotes(argument)).collect();
        Ok(Engine { name: self.engine.clone(), arguments })
    }

    /// A column quoted, as the other languages give it, also in a list; anything else as it is.
    fn with_quotes(&self, expression: &str) -> String {
        if let Some(list) = expression.strip_prefix('(').and_then(|e| e.strip_suffix(')'))
            && let Ok(items) = split_list(list)
        {
            let items = items.into_iter().map(|item| self.with_quotes(item)).collect::<Vec<_>>();
            return format!("({})", items.join(", "));
        }
        match self.has_column(expression) {
            true => quote_ident(expression),
            false => expression.to_owned(),
        }
    }

    fn has_column(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    /// The table's settings, without those that say what holds of every table.
    ///
    /// # Errors
    /// When the engine's text cannot be read.
    pub fn declared_settings(&self) -> Result<BTreeMap<String, String>, TokenError> {
        let text = clause(&self.engine_full, &["SETTINGS"], &ENGINE_CLAUSES)?.unwrap_or_default();
        let settings = split_list(text)?.into_iter().filter_map(|setting| {
            let (name, value) = setting.split_once('=')?;
            let value = value.trim();
            let text = unquote_string(value).unwrap_or_else(|| value.to_owned());
            Some((name.trim().to_owned(), text))
        });
        Ok(settings
            .filter(|(name, value)| {
                ![GRANULARITY, GRANULARITY_BYTES].contains(&(name.as_str(), value.as_str()))
            })
            .collect())
    }
}

const REFRESHED: &str = "it runs by the clock (REFRESH), and teal declares views that INSERTs fire";

/// What the server writes to every table of the MergeTree family.
pub(crate) const GRANULARITY: (&str, &str) = ("index_granularity", "8192");

/// What holds where a table does not say it, and no `ALTER` can change.
const GRANULARITY_BYTES: (&str, &str) = ("index_granularity_bytes", "10485760");

impl CatalogColumn {
    /// What stands behind its name.
    fn definition<'d>(&self, definitions: &[&'d str]) -> Option<&'d str> {
        let quoted = quote_ident(&self.name);
        definitions.iter().find_map(|definition| {
            definition.strip_prefix(&quoted).filter(|rest| rest.starts_with(char::is_whitespace))
        })
    }

    /// `system.columns` does not have it.
    fn ttl<'d>(&self, definitions: &[&'d str]) -> Result<Option<&'d str>, TokenError> {
        match self.definition(definitions) {
            Some(definition) => clause(definition, &["TTL"], &COLUMN_CLAUSES),
            None => Ok(None),
        }
    }

    fn declared(&self, definitions: &[&str]) -> Result<Column, TokenError> {
        let kind = match self.default_kind.as_str() {
            "DEFAULT" => Some(DefaultKind::Default),
            "MATERIALIZED" => Some(DefaultKind::Materialized),
            "ALIAS" => Some(DefaultKind::Alias),
            "EPHEMERAL" => Some(DefaultKind::Ephemeral),
            _ => None,
        };
        let expression = self.default_expression.clone();
        let ttl = self.ttl(definitions)?;
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
            renamed_from: None,
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
        let body = match text.starts_with('(') {
            true => call(text)?.1.unwrap_or_default(),
            false => text,
        };
        Ok(Projection { name, body: body.to_owned() })
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
