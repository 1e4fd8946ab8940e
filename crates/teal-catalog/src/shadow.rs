use std::collections::BTreeSet;

use teal_client::{ClientError, Server};
use teal_schema::{
    Diagnostic, Location, QualifiedName, Schema, Table, View, create_table, create_view,
    rewrite_table_references,
};

use crate::{Catalog, QueryTree, QueryTreeError, Scratch};

/// The desired tables and views, created empty in scratch databases and read back, so that they
/// are in the server's own words and the server has checked them. Dropped with the value; what a
/// crash left behind is dropped by the next one.
pub struct Shadow {
    scratch: Scratch,
    /// The target's default database.
    database: String,
    /// The tables and views that have a shadow.
    declared: BTreeSet<QualifiedName>,
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
        let scratch = Scratch::create(server, &[], &databases)?;
        let tables = schema.tables.iter().map(|table| table.qualified(database));
        let views = schema.views.iter().map(|view| view.qualified(database));
        let declared = tables.chain(views).collect();
        let mut shadow = Self { scratch, database: database.to_owned(), declared };
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
        self.scratch.catalog()
    }

    /// Where the table or view `name` stands in the shadow.
    pub fn name(&self, name: &QualifiedName) -> QualifiedName {
        self.scratch.name(name)
    }

    /// A text of the server's about a shadow, said of the real databases.
    pub fn unshadowed(&self, text: &str) -> String {
        self.scratch.unscratched(text)
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
        match self.scratch.session.command(&sql) {
            Ok(_) => Ok(Ok(())),
            Err(ClientError::Server { message, .. }) => Ok(Err(self.unshadowed(&message))),
            Err(other) => Err(other),
        }
    }

    fn create_table(&mut self, table: &Table) -> Result<(), ShadowError> {
        let name = self.name(&table.qualified(&self.database));
        let sql = create_table(table, &name, &[]);
        self.scratch.session.command(&sql).map(drop).map_err(|error| {
            self.refused(error, format!("table {}", table.physical_name()), &table.location)
        })
    }

    fn create_view(&mut self, schema: &Schema, view: &View) -> Result<(), ShadowError> {
        let target = schema.target(view).map(|table| self.name(&table.qualified(&self.database)));
        let select = self.shadow_select(view)?;
        let name = self.name(&view.qualified(&self.database));
        let sql = create_view(&name, target.as_ref(), &select);
        self.scratch.session.command(&sql).map(drop).map_err(|error| {
            self.refused(error, format!("the SELECT of view {}", view.name), &view.location)
        })
    }

    /// The view's SELECT, reading the shadows of the tables that the models declare, and every
    /// other table by its full name.
    fn shadow_select(&self, view: &View) -> Result<String, ShadowError> {
        rewrite_table_references(&view.select, |table| {
            let database = table.database.as_ref().unwrap_or(&self.database);
            let real = QualifiedName::new(database, &table.name);
            match self.declared.contains(&real) {
                true => Some(self.name(&real).sql()),
                // Behind IN a column or an alias may be meant.
                false => (!table.after_in).then(|| real.sql()),
            }
        })
        .map_err(|error| {
            let message = format!("cannot read the SELECT of view {}: {error}", view.name);
            ShadowError::Refused(Box::new(Diagnostic::at(&view.location, message)))
        })
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
