use teal_catalog::{Grant, has_rights, missing_on_tables};
use teal_schema::QualifiedName;

use super::Preflight;
use crate::planner::PlanError;
use crate::{Cutover, Operation};

/// On blue and on green: both are read and written, and one may be dropped.
pub const MIGRATION_RIGHTS: &[&str] =
    &["SELECT", "INSERT", "CREATE TABLE", "DROP TABLE", "ALTER TABLE", "TRUNCATE", "SYSTEM MERGES"];

/// On the logical name, to exchange one alias for another.
const ALIAS_RIGHTS: &[&str] = &["SELECT", "INSERT", "CREATE TABLE", "DROP TABLE"];

/// The journal, the lock, snapshots, staging tables and shadows are in databases of teal's own.
pub const OWN_DATABASES: &str = "_teal*.*";

pub const OWN_RIGHTS: &[&str] = &[
    "SELECT",
    "INSERT",
    "CREATE TABLE",
    "DROP TABLE",
    "ALTER TABLE",
    "TRUNCATE",
    "CREATE VIEW",
    "DROP VIEW",
    "CREATE DATABASE",
    "DROP DATABASE",
];

/// On everything: the log of parts must be up to date.
pub const GLOBAL_RIGHTS: &[&str] = &["SYSTEM FLUSH LOGS"];

impl Preflight<'_> {
    /// Asks the server for each right that the operations take.
    pub(super) fn look_at_grants(&mut self) -> Result<(), PlanError> {
        let mut needed = Vec::new();
        let mut needs = |object: &QualifiedName, rights: &[&'static str]| {
            needed.extend(rights.iter().map(|right| (object.clone(), *right)));
        };
        for operation in &self.operations {
            match operation {
                Operation::CreateTable { table, .. } => needs(table, &["CREATE TABLE"]),
                Operation::CreateAlias { alias, .. } => needs(alias, &["CREATE TABLE"]),
                Operation::CreateView { view, .. } => needs(view, &["CREATE VIEW"]),
                Operation::AlterTable { table, .. } => needs(table, &["ALTER TABLE"]),
                Operation::ChangeView { view, .. } => {
                    needs(view, &["CREATE VIEW", "DROP VIEW", "ALTER VIEW"]);
                }
                Operation::Drop { object, .. } => needs(object, &["DROP TABLE", "DROP VIEW"]),
                Operation::Migrate { migration, .. } => {
                    for table in [&migration.blue, &migration.green] {
                        needs(table, MIGRATION_RIGHTS);
                    }
                    needs(&migration.view, &["CREATE VIEW", "DROP VIEW"]);
                    if migration.cutover == Cutover::Alias {
                        needs(&migration.logical_name(), ALIAS_RIGHTS);
                    }
                }
            }
        }
        let migrating = self.operations.iter().find_map(|operation| match operation {
            Operation::Migrate { migration, .. } => Some(migration.blue.clone()),
            _ => None,
        });
        if let Some(blue) = migrating {
            for (on, rights) in [(OWN_DATABASES, OWN_RIGHTS), ("*.*", GLOBAL_RIGHTS)] {
                if has_rights(self.session, rights, on)? == Some(false) {
                    let grant = Grant { rights: rights.to_vec(), on: on.to_owned() };
                    let says = format!("teal's user lacks one of {} on {on}", rights.join(", "));
                    self.found(&blue, true, says, grant.sql("its user"));
                }
            }
        }
        for (object, grant) in missing_on_tables(self.session, &needed)?.unwrap_or_default() {
            let says = format!("teal's user lacks {}", grant.rights.join(", "));
            let fix = grant.sql("its user");
            self.found(&object, true, says, fix);
        }
        Ok(())
    }
}
