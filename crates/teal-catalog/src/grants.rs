use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use teal_client::{ClientError, Session};
use teal_schema::QualifiedName;

/// Rights that teal's user needs on something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub rights: Vec<&'static str>,
    /// As it stands behind `ON`: `*.*`, a pattern, or a table.
    pub on: String,
}

impl Grant {
    /// The statement that gives them.
    pub fn sql(&self, user: &str) -> String {
        format!("GRANT {} ON {} TO {user}", self.rights.join(", "), self.on)
    }
}

/// Those of the rights on tables and views that the user of `session` has not. `None` where the server
/// cannot be asked (`CHECK GRANT` came with 24.11).
///
/// # Errors
/// When the server refuses for another reason.
pub fn missing_on_tables(
    session: &mut dyn Session,
    needed: &[(QualifiedName, &'static str)],
) -> Result<Option<Vec<(QualifiedName, Grant)>>, ClientError> {
    let mut by_database = BTreeMap::<&str, BTreeSet<&'static str>>::new();
    for (name, right) in needed {
        by_database.entry(&name.database).or_default().insert(right);
    }
    let mut lacking = BTreeMap::<&QualifiedName, Vec<&'static str>>::new();
    for (database, rights) in by_database {
        // Who has them on the whole database has them on each table.
        let whole = format!("{}.*", teal_schema::quote_ident(database));
        let rights = rights.into_iter().collect::<Vec<_>>();
        match has_rights(session, &rights, &whole)? {
            None => return Ok(None),
            Some(true) => continue,
            Some(false) => (),
        }
        let inside = needed.iter().filter(|(name, _)| name.database == database);
        for (name, right) in inside {
            let known = lacking.get(name).is_some_and(|rights| rights.contains(right));
            if !known && has_rights(session, &[right], &name.sql())? == Some(false) {
                lacking.entry(name).or_default().push(right);
            }
        }
    }
    let grant =
        |(name, rights): (&QualifiedName, _)| (name.clone(), Grant { rights, on: name.sql() });
    Ok(Some(lacking.into_iter().map(grant).collect()))
}

/// Whether the user has the rights. `None` where the server cannot be asked.
///
/// # Errors
/// When the server refuses for another reason.
pub fn has_rights(
    session: &mut dyn Session,
    rights: &[&str],
    on: &str,
) -> Result<Option<bool>, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        result: u8,
    }
    match session.row::<Row>(&format!("CHECK GRANT {} ON {on}", rights.join(", "))) {
        Ok(row) => Ok(Some(row.result == 1)),
        Err(error) if error.server_name() == Some("SYNTAX_ERROR") => Ok(None),
        Err(error) => Err(error),
    }
}
