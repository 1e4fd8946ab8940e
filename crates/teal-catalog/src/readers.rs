use serde::Deserialize;
use teal_client::{ClientError, Session};
use teal_schema::{
    QualifiedName, escape_ident, quote_string, read_create, rewrite_table_references,
};

/// A view that reads a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadingView {
    pub name: QualifiedName,
    pub select: String,
    /// INSERTs into the table fire it.
    pub is_materialized: bool,
    /// The table that it writes to, where it is one of its own.
    pub target: Option<QualifiedName>,
}

/// The views that read `table`, in whatever database, teal's own left out.
///
/// # Errors
/// When the server cannot be asked.
pub fn reading_views(
    session: &mut dyn Session,
    table: &QualifiedName,
) -> Result<Vec<ReadingView>, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        database: String,
        name: String,
        engine: String,
        as_select: String,
        create_table_query: String,
    }
    let views = session.rows::<Row>(&format!(
        "SELECT database, name, engine, as_select, create_table_query FROM system.tables \
         WHERE engine LIKE '%View' AND position(as_select, {}) > 0 \
             AND NOT startsWith(database, '_teal') ORDER BY database, name",
        quote_string(&escape_ident(&table.name))
    ))?;
    let views = views.into_iter().filter(|view| reads(&view.as_select, &view.database, table));
    let target = |view: &Row| {
        let create = read_create(&view.create_table_query).ok()??;
        let (database, name) = create.target?;
        Some(QualifiedName::new(database.as_deref().unwrap_or(&view.database), name))
    };
    let view = |view: Row| ReadingView {
        target: target(&view),
        name: QualifiedName::new(view.database, view.name),
        select: view.as_select,
        is_materialized: view.engine != "View" && !is_refreshed(&view.create_table_query),
    };
    Ok(views.map(view).collect())
}

fn is_refreshed(create: &str) -> bool {
    matches!(read_create(create), Ok(Some(create)) if create.is_refreshed)
}

/// The materialized views of a server that INSERTs fire, in whatever database: name and declaration.
///
/// # Errors
/// When the server cannot be asked.
pub fn fired_views(session: &mut dyn Session) -> Result<Vec<(QualifiedName, String)>, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        database: String,
        name: String,
        create_table_query: String,
    }
    let views = session.rows::<Row>(
        "SELECT database, name, create_table_query FROM system.tables \
         WHERE engine = 'MaterializedView' AND NOT startsWith(database, '_teal') \
         ORDER BY database, name",
    )?;
    let fired = views.into_iter().filter(|view| !is_refreshed(&view.create_table_query));
    let named = |view: Row| (QualifiedName::new(view.database, view.name), view.create_table_query);
    Ok(fired.map(named).collect())
}

/// Whether a SELECT names the table, where `database` is the one of names without any.
pub fn reads(select: &str, database: &str, table: &QualifiedName) -> bool {
    let mut reads_it = false;
    let read = rewrite_table_references(select, |named| {
        let of = named.database.as_deref().unwrap_or(database);
        reads_it |= QualifiedName::new(of, &named.name) == *table;
        None
    });
    // What cannot be read as tokens is no SELECT that teal knows.
    read.is_ok() && reads_it
}
