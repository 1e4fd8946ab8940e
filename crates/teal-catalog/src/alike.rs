use serde::Deserialize;
use teal_client::{ClientError, Session};
use teal_schema::{QualifiedName, Table, create_table, quoted_list};

use crate::CatalogTable;
use crate::declared::GRANULARITY;

/// A query may have 256 KiB (`max_query_size`), with every text quoted.
const QUERY_BYTES: usize = 100_000;

/// `UNKNOWN_FUNCTION`: a server older than 23.10 has no `formatQuerySingleLine`.
const NO_SUCH_FUNCTION: i32 = 46;

/// Of each declaration, whether to ClickHouse's own parser it is the statement that the table has
/// come from. Of a pair that is not alike it is not known whether the tables differ: the server may
/// write a type or a default in other words than the declaration.
///
/// # Errors
/// When the server cannot be asked.
pub fn made_alike(
    session: &mut dyn Session,
    pairs: &[(&Table, &CatalogTable)],
) -> Result<Vec<bool>, ClientError> {
    let ours =
        pairs.iter().map(|(table, theirs)| as_made(table, &theirs.qualified())).collect::<Vec<_>>();
    let alike = |(sql, (_, theirs)): (Option<String>, &(&Table, &CatalogTable))| {
        sql.is_some_and(|sql| sql == theirs.create_table_query)
    };
    Ok(formatted(session, &ours)?.into_iter().zip(pairs).map(alike).collect())
}

/// The definition that a server gives of each table when it has created it, as far as the parser
/// knows: the server may still put a type or a default in other words.
///
/// # Errors
/// When the server cannot be asked.
pub fn definitions(
    session: &mut dyn Session,
    tables: &[(&Table, QualifiedName)],
) -> Result<Vec<String>, ClientError> {
    let ours = tables.iter().map(|(table, name)| as_made(table, name)).collect::<Vec<_>>();
    let formatted = formatted(session, &ours)?.into_iter().zip(&ours);
    Ok(formatted.map(|(sql, ours)| sql.unwrap_or_else(|| ours.clone())).collect())
}

/// Each statement as ClickHouse's parser writes it, on one line; nothing where it refuses the text.
///
/// # Errors
/// When the server cannot be asked.
pub fn formatted(
    session: &mut dyn Session,
    statements: &[String],
) -> Result<Vec<Option<String>>, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        sql: Option<String>,
    }
    let mut formatted = Vec::with_capacity(statements.len());
    let mut rest = statements;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |sql: &&String| {
            bytes += sql.len();
            bytes < QUERY_BYTES
        };
        let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        rest = later;
        let texts = quoted_list(now);
        let query = format!("SELECT formatQuerySingleLineOrNull(arrayJoin([{texts}])) AS sql");
        match session.rows::<Row>(&query) {
            Ok(rows) => formatted.extend(rows.into_iter().map(|row| row.sql)),
            Err(ClientError::Server { code: NO_SUCH_FUNCTION, .. }) => {
                return Ok(vec![None; statements.len()]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(formatted)
}

/// The statement that creates `table`, with what a server adds to it.
pub(crate) fn as_made(table: &Table, name: &QualifiedName) -> String {
    let has_granularity = table.settings.contains_key(GRANULARITY.0);
    let added = match table.engine.is_merge_tree() && !has_granularity {
        true => &[GRANULARITY][..],
        false => &[],
    };
    create_table(table, name, added)
}
