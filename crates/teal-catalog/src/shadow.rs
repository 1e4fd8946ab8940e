use std::collections::BTreeSet;

use teal_client::{ClientError, Server, Session};
use teal_schema::{
    Location, QualifiedName, ReferenceError, Schema, Table, View, create_table, create_view,
    quote_ident, rewrite_table_references,
};

use crate::{Catalog, QueryTree, QueryTreeError};

/// Every shadow database's name starts so; then come the time of its making, in the server's seconds,
/// and the process that made it.
const PREFIX: &str = "_teal_shadow_";

/// No plan takes as long, so that what is older was left by a process that has ended.
const LONGEST_LIFE_SECONDS: u32 = 3600;

/// The desired tables and views, created empty in scratch databases and read back, so that they
/// are in the server's own words and the server has checked them. Dropped with the value; what a
/// crash left behind is dropped by the next one.
pub struct Shadow {
    session: Box<dyn Session>,
    prefix: String,
    /// The target's default database.
    database: String,
    /// The databases that the models name, and the default one.
    databases: Vec<String>,
    /// The tables that have a shadow.
    tables: BTreeSet<QualifiedName>,
}

#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The server refuses a declaration.
    #[error("{location}: ClickHouse does not accept {object}\n  {source}")]
    Refused { location: Box<Location>, object: String, source: Box<ClientError> },
    #[error("{location}: cannot read the SELECT of view {view}: {source}")]
    References { location: Box<Location>, view: String, source: ReferenceError },
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    QueryTree(#[from] QueryTreeError),
}

impl Shadow {
    /// Creates all tables and views of `schema`.
    ///
    /// # Errors
    /// The server's refusal, with the place of the declaration that it is about.
    pub fn create(
        server: &dyn Server,
        schema: &Schema,
        database: &str,
    ) -> Result<Self, ShadowError> {
        let mut session = server.session(&[])?;
        let now = drop_leftovers(server, session.as_mut())?;
        let mut databases = vec![database.to_owned()];
        let named = schema
            .tables
            .iter()
            .filter_map(|table| table.database.as_ref())
            .chain(schema.views.iter().filter_map(|view| view.database.as_ref()));
        for name in named {
            if !databases.contains(name) {
                databases.push(name.clone());
            }
        }
        let prefix = format!("{PREFIX}{now}_{}_", std::process::id());
        let tables = schema.tables.iter().map(|table| table.qualified(database)).collect();
        let mut shadow = Self { session, prefix, database: database.to_owned(), databases, tables };
        for name in shadow.databases.clone() {
            let name = quote_ident(&shadow.shadowed(&name));
            shadow.session.command(&format!("CREATE DATABASE {name}"))?;
        }
        for table in &schema.tables {
            shadow.create_table(table)?;
        }
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
        let names = self.databases.iter().map(|name| self.shadowed(name)).collect::<Vec<_>>();
        let names = names.iter().map(String::as_str).collect::<Vec<_>>();
        Catalog::read(self.session.as_mut(), &names)
    }

    /// Where the table or view `name` stands in the shadow.
    pub fn name(&self, name: &QualifiedName) -> QualifiedName {
        QualifiedName::new(self.shadowed(&name.database), &name.name)
    }

    /// A text of the server's about a shadow, said of the real databases.
    pub fn unshadowed(&self, text: &str) -> String {
        text.replace(&self.prefix, "")
    }

    /// How the server reads the SELECT of `view`.
    ///
    /// # Errors
    /// When the server cannot be asked, or its answer cannot be read.
    pub fn explain(&mut self, view: &View) -> Result<QueryTree, ShadowError> {
        let select = self.shadow_select(view)?;
        let mut tree = QueryTree::explain(self.session.as_mut(), &select)?;
        for table in &mut tree.tables {
            *table = table.replace(&self.prefix, "");
        }
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
        match self.session.command(&sql) {
            Ok(_) => Ok(Ok(())),
            Err(ClientError::Server { message, .. }) => Ok(Err(self.unshadowed(&message))),
            Err(other) => Err(other),
        }
    }

    fn shadowed(&self, database: &str) -> String {
        format!("{}{database}", self.prefix)
    }

    fn create_table(&mut self, table: &Table) -> Result<(), ShadowError> {
        let name = self.name(&table.qualified(&self.database));
        let sql = create_table(table, &name, &[]);
        self.session.command(&sql).map(drop).map_err(|error| {
            self.refused(error, format!("table {}", table.physical_name()), &table.location)
        })
    }

    fn create_view(&mut self, schema: &Schema, view: &View) -> Result<(), ShadowError> {
        let Some(target) = schema.table(&view.target) else {
            // `Schema::check` has refused such a view.
            return Ok(());
        };
        let select = self.shadow_select(view)?;
        let name = self.name(&view.qualified(&self.database));
        let target = self.name(&target.qualified(&self.database));
        self.session.command(&create_view(&name, &target, &select)).map(drop).map_err(|error| {
            self.refused(error, format!("the SELECT of view {}", view.name), &view.location)
        })
    }

    /// The view's SELECT, reading the shadows of the tables that the models declare, and every
    /// other table by its full name.
    fn shadow_select(&self, view: &View) -> Result<String, ShadowError> {
        rewrite_table_references(&view.select, |table| {
            let database = table.database.as_ref().unwrap_or(&self.database);
            let real = QualifiedName::new(database, &table.name);
            match self.tables.contains(&real) {
                true => Some(self.name(&real).sql()),
                // Behind IN a column or an alias may be meant.
                false => (!table.after_in).then(|| real.sql()),
            }
        })
        .map_err(|source| ShadowError::References {
            location: Box::new(view.location.clone()),
            view: view.name.clone(),
            source,
        })
    }

    fn refused(&self, error: ClientError, object: String, location: &Location) -> ShadowError {
        match error {
            ClientError::Server { code, name, message, statement } => ShadowError::Refused {
                location: Box::new(location.clone()),
                object,
                source: Box::new(ClientError::Server {
                    code,
                    name,
                    message: self.unshadowed(&message),
                    statement: self.unshadowed(&statement),
                }),
            },
            other => other.into(),
        }
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        for name in &self.databases {
            let sql = format!("DROP DATABASE IF EXISTS {} SYNC", quote_ident(&self.shadowed(name)));
            // What cannot be dropped now is dropped by the next shadow.
            let _ = self.session.command(&sql);
        }
    }
}

/// Drops what ended processes have left; gives the server's time.
fn drop_leftovers(server: &dyn Server, session: &mut dyn Session) -> Result<u32, ClientError> {
    #[derive(serde::Deserialize)]
    struct Now {
        seconds: u32,
    }
    #[derive(serde::Deserialize)]
    struct Row {
        name: String,
    }
    let now = session.row::<Now>("SELECT toUnixTimestamp(now()) AS seconds")?.seconds;
    let rows = session.rows::<Row>(&format!(
        "SELECT name FROM system.databases WHERE startsWith(name, '{PREFIX}')"
    ))?;
    for Row { name } in rows {
        let made = name.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next()?.parse().ok());
        let age = now.saturating_sub(made.unwrap_or(0));
        if server.is_exclusive() || age > LONGEST_LIFE_SECONDS {
            session.command(&format!("DROP DATABASE IF EXISTS {} SYNC", quote_ident(&name)))?;
        }
    }
    Ok(now)
}
