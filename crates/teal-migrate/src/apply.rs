//! A plan, carried out in its order. Safe to repeat after any end.

use serde::Serialize;
use teal_plan::{Migration, Operation, Plan};

use crate::state::{Migrating, Phase};
use crate::{Goal, MigrateError, Operator, failpoint};

/// What was done of a plan.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    pub created: Vec<String>,
    /// Tables altered and views changed.
    pub changed: Vec<String>,
    pub dropped: Vec<String>,
    pub migrated: Vec<Migrated>,
}

/// A migration taken to a verified copy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Migrated {
    pub migration: String,
    pub table: String,
    pub green: String,
    pub phase: &'static str,
    /// Rows in green at the verification.
    pub rows: u64,
}

impl Operator<'_> {
    /// Does what the plan says, in its order.
    ///
    /// # Errors
    /// What stopped it. What was done before stays; the next plan goes on from there.
    pub fn apply(&self, plan: &Plan) -> Result<Applied, MigrateError> {
        // A change is there when the command ends, and so is an error of it.
        let mut session = self.server.session(&[("mutations_sync", "1")])?;
        let mut run = |sql: &str| {
            self.check_lock()?;
            session.command(sql)?;
            failpoint::reached("statement-done");
            Ok::<_, MigrateError>(())
        };
        let mut applied = Applied::default();
        for operation in &plan.operations {
            match operation {
                Operation::CreateTable { table: name, sql, .. }
                | Operation::CreateView { view: name, sql, .. } => {
                    run(sql)?;
                    applied.created.push(name.to_string());
                }
                Operation::AlterTable { table, statements, .. } => {
                    statements.iter().try_for_each(|sql| run(sql))?;
                    applied.changed.push(table.to_string());
                }
                Operation::ChangeView { view, sql, .. } => {
                    run(sql)?;
                    applied.changed.push(view.to_string());
                }
                Operation::Drop { object, sql, .. } => {
                    run(sql)?;
                    applied.dropped.push(object.to_string());
                }
                Operation::Migrate { migration, resumes, .. } => {
                    let migrating = match resumes {
                        Some(id) => unchanged(self.find(id)?, migration)?,
                        None => self.start((**migration).clone())?,
                    };
                    applied.migrated.push(self.migrate(migrating)?);
                }
            }
        }
        Ok(applied)
    }

    fn migrate(&self, mut migrating: Migrating) -> Result<Migrated, MigrateError> {
        self.advance(&mut migrating, Goal::Verified)?;
        Ok(Migrated {
            table: migrating.migration.table.clone(),
            green: migrating.migration.green.to_string(),
            phase: migrating.phase.name(),
            rows: match &migrating.phase {
                Phase::Verified(verified) => verified.parity.green_rows,
                _ => 0,
            },
            migration: migrating.id,
        })
    }

    fn find(&self, id: &str) -> Result<Migrating, MigrateError> {
        let found = self.migrations()?.into_iter().find(|migrating| migrating.id == id);
        found.ok_or_else(|| MigrateError::NoMigration { id: id.to_owned() })
    }
}

/// A migration goes on as it began. Models that say something else meanwhile are not what it does.
fn unchanged(begun: Migrating, planned: &Migration) -> Result<Migrating, MigrateError> {
    let declared = |migration: &Migration| {
        (migration.select.clone(), migration.create_green.clone(), migration.columns.clone())
    };
    if declared(&begun.migration) == declared(planned) {
        return Ok(begun);
    }
    let said = |migration: &Migration| format!("{} … {}", migration.create_green, migration.select);
    Err(MigrateError::ModelsChanged {
        green: planned.green.clone(),
        began: said(&begun.migration),
        now: said(planned),
    })
}
