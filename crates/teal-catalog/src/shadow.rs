use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use teal_client::{ClientError, Server, Session};
use teal_schema::{
    Diagnostic, Engine, Location, QualifiedName, Schema, Table, TableRef, TokenError, View,
    create_table, create_view, quote_ident, rewrite_table_references,
};

use crate::alike::{as_made, formatted};
use crate::{Catalog, CatalogTable, QueryTree, QueryTreeError, Scratch, permissive_session};

/// The desired tables and views, created empty in scratch databases and read back, so that they
/// are in the server's own words and the server has checked them. Dropped with the value; what a
/// crash left behind is dropped by the next one.
pub struct Shadow<'s> {
    scratch: Scratch,
    trials: &'s dyn Server,
    /// Once it was needed.
    permissive: Option<Box<dyn Session>>,
    /// What the target has: it may have come by a setting, without which the server would not make it.
    there: BTreeSet<QualifiedName>,
    /// The target's default database.
    database: String,
    /// What has a shadow.
    made: BTreeSet<QualifiedName>,
    /// The declared engine, and its clause, of those shadows that have another one.
    engines: BTreeMap<QualifiedName, (String, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The server refuses a declaration.
    #[error("{0}")]
    Refused(Box<Diagnostic>),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    QueryTree(#[from] QueryTreeError),
}

impl<'s> Shadow<'s> {
    /// Creates the tables and views of `schema` on the server `trials`, mostly the target itself, which has what
    /// `current` says. A table of `without` gets no shadow, unless a view needs it.
    ///
    /// # Errors
    /// The server's refusal, with the place of the declaration that it is about.
    pub fn create(
        target: &dyn Server,
        trials: &'s dyn Server,
        current: &Catalog,
        schema: &Schema,
        database: &str,
        without: &BTreeSet<TableRef>,
    ) -> Result<Self, ShadowError> {
        let of_views = tables_of_views(&schema.views, schema, database, true)?;
        let is_needed = |table: &&Table| {
            !without.contains(&table.reference()) || of_views.contains(&table.qualified(database))
        };
        let tables = schema.tables.iter().filter(is_needed).collect::<Vec<_>>();
        let views = schema.views.iter().map(|view| view.qualified(database));
        let mut made =
            tables.iter().map(|table| table.qualified(database)).collect::<BTreeSet<_>>();
        made.extend(views);
        // On another server there are no real tables to read.
        let is_target = trials.describe() == target.describe();
        let reads_copies = schema.views.iter().filter(|it| it.target.is_some() || !is_target);
        // Behind IN a column or an alias may be meant.
        let mut stand_ins = tables_of_views(reads_copies, schema, database, false)?;
        stand_ins.retain(|name| !made.contains(name));
        made.extend(stand_ins.iter().cloned());

        let databases = made.iter().map(|name| name.database.as_str()).chain([database]);
        let databases = databases.map(str::to_owned).collect::<BTreeSet<_>>();
        let scratch = Scratch::create(trials, &[], &databases.into_iter().collect::<Vec<_>>())?;
        let mut shadow = Self {
            scratch,
            trials,
            permissive: None,
            there: current.tables().map(CatalogTable::qualified).collect(),
            database: database.to_owned(),
            made,
            engines: BTreeMap::new(),
        };
        shadow.create_tables(&tables)?;
        shadow.create_stand_ins(target, &stand_ins)?;
        for view in &schema.views {
            shadow.create_view(schema, view)?;
        }
        Ok(shadow)
    }

    /// What the server made of the declarations. The names are those of the shadow databases:
    /// see [`name`](Self::name).
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn catalog(&mut self) -> Result<Catalog, ClientError> {
        let mut catalog = self.scratch.catalog()?;
        for (name, (engine, clause)) in &self.engines {
            if let Some(table) = catalog.table_mut(name) {
                table.engine.clone_from(engine);
                table.engine_full.clone_from(clause);
            }
        }
        Ok(catalog)
    }

    /// Where the table or view `name` stands in the shadow.
    pub fn name(&self, name: &QualifiedName) -> QualifiedName {
        self.scratch.name(name)
    }

    /// A statement or message of the server's about a shadow, said of the real databases.
    pub fn unshadowed(&self, text: &str) -> String {
        self.scratch.unscratched_statement(text)
    }

    /// The definition that the server would give of the real table or view, by that of its shadow in
    /// `catalog`. Nothing where the shadow is another table in its place.
    pub fn definition(&self, catalog: &Catalog, name: &QualifiedName) -> Option<String> {
        let shadow = self.name(name);
        let stands_in = self.engines.contains_key(&shadow);
        let made = catalog.table(&shadow).filter(|_| !stands_in)?;
        Some(self.unshadowed(&made.create_table_query))
    }

    /// Makes the shadow of `name` anew, as `table` says.
    ///
    /// # Errors
    /// The server's refusal, of which the name is that of the shadow database.
    pub fn put(&mut self, name: &QualifiedName, table: &Table) -> Result<(), ClientError> {
        let shadow = self.name(name);
        self.scratch.session.command(&format!("DROP TABLE IF EXISTS {} SYNC", shadow.sql()))?;
        let table = without_effects(table).unwrap_or_else(|| table.clone());
        self.make(name, &create_table(&table, &shadow, &[]))?;
        self.made.insert(name.clone());
        Ok(())
    }

    /// Whether the shadow of `table` would be the table itself, so that a change tried on it is the
    /// change of the table.
    pub fn is_faithful(table: &Table) -> bool {
        without_effects(table).is_none_or(|shadow| shadow.engine.is_merge_tree())
    }

    /// Tries a statement on a shadow. Gives the server's reason where it refuses.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn attempt(&mut self, sql: &str) -> Result<Result<(), String>, ClientError> {
        match self.scratch.session.command(sql) {
            Ok(_) => Ok(Ok(())),
            Err(ClientError::Server { message, .. }) => Ok(Err(self.unshadowed(&message))),
            Err(other) => Err(other),
        }
    }

    /// How many mutations there have been of the shadow of `name`. A statement that makes one
    /// rewrites parts; one that makes none changes metadata only.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn mutations(&mut self, name: &QualifiedName) -> Result<u64, ClientError> {
        #[derive(Deserialize)]
        struct Row {
            mutations: u64,
        }
        let shadow = self.name(name);
        let sql = format!(
            "SELECT count() AS mutations FROM system.mutations WHERE {}",
            shadow.condition("table")
        );
        Ok(self.scratch.session.row::<Row>(&sql)?.mutations)
    }

    /// How the server reads the SELECT of `view`.
    ///
    /// # Errors
    /// When the server cannot be asked, or its answer cannot be read.
    pub fn explain(&mut self, view: &View) -> Result<QueryTree, ShadowError> {
        let select = self.shadow_select(view)?;
        let mut tree = QueryTree::explain(self.scratch.session.as_mut(), &select)?;
        for table in &mut tree.tables {
            *table = self.scratch.unscratched(table);
        }
        let reads = tree.reads.into_iter();
        tree.reads = reads.map(|(of, column)| (self.scratch.unscratched(&of), column)).collect();
        tree.fired_by = tree.fired_by.map(|table| self.scratch.unscratched(&table));
        Ok(tree)
    }

    /// Whether the server lets green take blue's parts as they are: `ALTER … ATTACH PARTITION ALL
    /// FROM` between the two empty tables. `Err` holds its reason why not.
    ///
    /// The server compares columns, keys and partitioning; not indexes, projections and codecs
    /// (seen on 26.7).
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn try_clone(
        &mut self,
        blue: &QualifiedName,
        green: &QualifiedName,
    ) -> Result<Result<(), String>, ClientError> {
        let sql = format!(
            "ALTER TABLE {} ATTACH PARTITION ALL FROM {}",
            self.name(green).sql(),
            self.name(blue).sql()
        );
        self.attempt(&sql)
    }

    fn create_tables(&mut self, tables: &[&Table]) -> Result<(), ShadowError> {
        let mut statements = Vec::new();
        let mut others = Vec::new();
        let mut as_declared = Vec::new();
        for table in tables {
            let name = self.name(&table.qualified(&self.database));
            match without_effects(table) {
                None => statements.push(create_table(table, &name, &[])),
                Some(other) => {
                    statements.push(create_table(&other, &name, &[]));
                    let bare = Table { comment: None, ..(*table).clone() };
                    as_declared.push(as_made(&bare, &name));
                    others.push((name, *table));
                }
            }
        }
        let formatted = formatted(self.scratch.session.as_mut(), &as_declared)?;
        for ((name, table), sql) in others.into_iter().zip(formatted) {
            let clause = sql.as_deref().and_then(|sql| sql.split_once(" ENGINE = "));
            let clause = clause.map_or_else(|| table.engine.to_string(), |(_, c)| c.to_owned());
            self.engines.insert(name, (table.engine.name.clone(), clause));
        }
        let results = self.scratch.run_all(&statements).into_iter().zip(&statements);
        for ((result, sql), table) in results.zip(tables) {
            let object = || format!("table {}", table.physical_name());
            let result = self.or_by_settings(&table.qualified(&self.database), sql, result);
            result.map_err(|error| self.refused(error, object(), &table.location))?;
        }
        Ok(())
    }

    fn make(&mut self, name: &QualifiedName, sql: &str) -> Result<(), ClientError> {
        let made = self.scratch.session.command(sql).map(drop);
        self.or_by_settings(name, sql, made)
    }

    /// Makes by settings what the server has refused to make without, where the target has it.
    fn or_by_settings(
        &mut self,
        name: &QualifiedName,
        sql: &str,
        made: Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let Err(refused @ ClientError::Server { .. }) = made else {
            return made;
        };
        if !self.there.contains(name) {
            return Err(refused);
        }
        let mut session = match self.permissive.take() {
            Some(session) => session,
            None => permissive_session(self.trials, &[])?,
        };
        let made = session.command(sql).map(drop);
        self.permissive = Some(session);
        match made {
            Err(ClientError::Server { .. }) => Err(refused),
            made => made,
        }
    }

    /// A materialized view in the shadow must read no real table: it would get the users' INSERTs,
    /// and one of them would fail when the shadow is dropped. So a table that no model declares has
    /// its columns copied. Where there is no such table, or what is named is none, the server says so of the view.
    fn create_stand_ins(
        &mut self,
        target: &dyn Server,
        names: &BTreeSet<QualifiedName>,
    ) -> Result<(), ClientError> {
        #[derive(Deserialize)]
        struct Row {
            name: String,
            #[serde(rename = "type")]
            data_type: String,
        }
        if names.is_empty() {
            return Ok(());
        }
        let mut session = target.session(&[])?;
        for name in names {
            let columns = match session.rows::<Row>(&format!("DESCRIBE TABLE {}", name.sql())) {
                Err(error)
                    if matches!(
                        error.server_name(),
                        Some("UNKNOWN_TABLE" | "UNKNOWN_DATABASE")
                    ) =>
                {
                    continue;
                }
                columns => columns?,
            };
            let column = |row: &Row| format!("{} {}", quote_ident(&row.name), row.data_type);
            let columns = columns.iter().map(column).collect::<Vec<_>>().join(", ");
            let shadow = self.name(name).sql();
            self.there.insert(name.clone());
            self.make(name, &format!("CREATE TABLE {shadow} ({columns}) ENGINE = Null"))?;
        }
        Ok(())
    }

    fn create_view(&mut self, schema: &Schema, view: &View) -> Result<(), ShadowError> {
        let target = schema.target(view).map(|table| self.name(&table.qualified(&self.database)));
        let select = self.shadow_select(view)?;
        let name = view.qualified(&self.database);
        let sql = create_view(&self.name(&name), target.as_ref(), &select);
        self.make(&name, &sql).map_err(|error| {
            self.refused(error, format!("the SELECT of view {}", view.name), &view.location)
        })
    }

    /// The view's SELECT, reading the shadow of every table that has one, and any other by its full
    /// name.
    fn shadow_select(&self, view: &View) -> Result<String, ShadowError> {
        rewrite_table_references(&view.select, |table| {
            let database = table.database.as_ref().unwrap_or(&self.database);
            let real = QualifiedName::new(database, &table.name);
            match self.made.contains(&real) {
                true => Some(self.name(&real).sql()),
                // Behind IN a column or an alias may be meant.
                false => (!table.after_in).then(|| real.sql()),
            }
        })
        .map_err(|error| unreadable(view, &error))
    }

    fn refused(&self, error: ClientError, object: String, location: &Location) -> ShadowError {
        match error {
            ClientError::Server { name, message, .. } => {
                let message = self.unshadowed(&message);
                let said = format!("ClickHouse does not accept {object}: {message} ({name})");
                ShadowError::Refused(Box::new(Diagnostic::at(location, said)))
            }
            other => other.into(),
        }
    }
}

/// Engines whose tables keep to themselves. A table of any other engine may act on the world as soon
/// as it is there: consume a queue, join the replicas of a table, make files.
const KEEP_TO_THEMSELVES: &[&str] = &[
    "Buffer",
    "Distributed",
    "Join",
    "Log",
    "Memory",
    "Merge",
    "Null",
    "Set",
    "StripeLog",
    "TinyLog",
];

/// Engines whose tables do something elsewhere as soon as they are there: consume a queue, replicate a table, write
/// the metadata of one.
const ACT_WHEN_MADE: &[&str] = &[
    "AzureQueue",
    "FileLog",
    "Kafka",
    "KeeperMap",
    "MaterializedPostgreSQL",
    "NATS",
    "RabbitMQ",
    "S3Queue",
];
const LAKES: &[&str] = &["DeltaLake", "Hudi", "Iceberg", "Paimon"];

/// Whether a table of this engine is not to be made only to see what it is.
pub fn acts_when_made(engine: &str) -> bool {
    ACT_WHEN_MADE.contains(&engine) || LAKES.iter().any(|lake| engine.starts_with(lake))
}

/// What is made in the shadow in place of a table that might act on the world; nothing where the
/// table itself does no harm. Of a replicated table that is the same one without replicas, of any
/// other the columns.
fn without_effects(table: &Table) -> Option<Table> {
    let engine = &table.engine;
    if let Some((engine, _)) = without_replicas(engine) {
        return Some(Table { engine, ..table.clone() });
    }
    if engine.is_merge_tree() || KEEP_TO_THEMSELVES.contains(&engine.name.as_str()) {
        return None;
    }
    let mut columns = table.columns.clone();
    columns.iter_mut().for_each(|column| column.ttl = None);
    Some(Table {
        columns,
        engine: Engine { name: "Null".to_owned(), arguments: Vec::new() },
        order_by: Vec::new(),
        primary_key: None,
        partition_by: None,
        sample_by: None,
        ttl: None,
        settings: BTreeMap::new(),
        indexes: Vec::new(),
        projections: Vec::new(),
        constraints: Vec::new(),
        ..table.clone()
    })
}

/// The engine of a replicated table without its replicas, and the arguments that say where they meet.
pub fn without_replicas(engine: &Engine) -> Option<(Engine, Vec<String>)> {
    let name = engine.name.strip_prefix("Replicated").filter(|_| engine.is_merge_tree())?;
    let (of_replicas, arguments) = engine.arguments.split_at_checked(replica_arguments(engine))?;
    let engine = Engine { name: name.to_owned(), arguments: arguments.to_vec() };
    Some((engine, of_replicas.to_vec()))
}

/// How many arguments say where the replicas meet: the path and the replica's name, or none.
fn replica_arguments(engine: &Engine) -> usize {
    match engine.arguments.first() {
        Some(path) if path.starts_with('\'') => 2,
        _ => 0,
    }
}

/// The tables that `views` read or write.
fn tables_of_views<'v>(
    views: impl IntoIterator<Item = &'v View>,
    schema: &Schema,
    database: &str,
    with_those_after_in: bool,
) -> Result<BTreeSet<QualifiedName>, ShadowError> {
    let mut tables = BTreeSet::new();
    for view in views {
        tables.extend(schema.target(view).map(|table| table.qualified(database)));
        rewrite_table_references(&view.select, |table| {
            let of = table.database.as_deref().unwrap_or(database);
            if with_those_after_in || !table.after_in {
                tables.insert(QualifiedName::new(of, &table.name));
            }
            None
        })
        .map_err(|error| unreadable(view, &error))?;
    }
    Ok(tables)
}

fn unreadable(view: &View, error: &TokenError) -> ShadowError {
    let message = format!("cannot read the SELECT of view {}: {error}", view.name);
    ShadowError::Refused(Box::new(Diagnostic::at(&view.location, message)))
}
