//! A plan, carried out in its order. Safe to repeat after any end.

use serde::Serialize;
use teal_plan::{Migration, Operation, Plan, check};

use crate::journal::phase::Phase;
use crate::journal::state::{Migrating, history};
use crate::{Goal, MigrateError, Operator, PhaseName, failpoint};

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
    pub phase: PhaseName,
    /// Rows in green at the verification.
    pub rows: u64,
}

impl Operator<'_> {
    /// Does what the plan says, in its order. What of it was done before is not done again.
    ///
    /// # Errors
    /// [`MigrateError::Drift`] before anything is done, if the target is not as the plan found it. Later,
    /// what stopped it, [`MigrateError::Interrupted`] when that was asked; what was done until then stays,
    /// and the next call goes on from there.
    pub fn apply(&self, plan: &Plan) -> Result<Applied, MigrateError> {
        let _heeding = self.options.interrupt.heed();
        let history = history(&self.migrations()?);
        let check = check(self.server, plan, &history)?;
        if !check.drift.is_empty() {
            return Err(MigrateError::Drift { drift: check.drift });
        }
        let mut session = self.server.session(&[])?;
        let mut applied = Applied::default();
        for (operation, done) in plan.operations.iter().zip(check.done) {
            let statements = operation.statements().unwrap_or_default();
            let is_left = done < statements.len();
            for sql in statements.into_iter().skip(done) {
                self.check_lock()?;
                self.refuse_interrupted()?;
                match operation {
                    // It is there when the command ends, and so is an error of it.
                    Operation::AlterTable { table, .. } => self.alter(table, sql)?,
                    _ => {
                        session.command(sql)?;
                        failpoint::written();
                    }
                }
                // What another server did is not done.
                self.server.refuse_several()?;
                failpoint::reached("statement-done");
            }
            let of_this_run = is_left.then(|| operation.object().to_string());
            match operation {
                Operation::CreateTable { .. }
                | Operation::CreateView { .. }
                | Operation::CreateAlias { .. } => applied.created.extend(of_this_run),
                Operation::AlterTable { .. } | Operation::ChangeView { .. } => {
                    applied.changed.extend(of_this_run);
                }
                Operation::Drop { .. } => applied.dropped.extend(of_this_run),
                Operation::Migrate { migration, .. } => {
                    let migrating = match self.under_way(migration)? {
                        Some(migrating) => {
                            refuse_changed_models(&migrating.migration, migration)?;
                            migrating
                        }
                        None => self.start((**migration).clone())?,
                    };
                    applied.migrated.extend(self.migrate(migrating)?);
                }
            }
        }
        Ok(applied)
    }

    /// `None` of one that is further than a proof: nothing of it was left to do here.
    fn migrate(&self, mut migrating: Migrating) -> Result<Option<Migrated>, MigrateError> {
        self.advance(&mut migrating, Goal::Verified)?;
        let Phase::Verified(verified) = &migrating.phase else {
            return Ok(None);
        };
        Ok(Some(Migrated {
            table: migrating.migration.table.clone(),
            green: migrating.migration.green.to_string(),
            phase: migrating.phase.name(),
            rows: verified.parity.green_rows,
            migration: migrating.id,
        }))
    }

    /// The migration into the same green, if it is not over.
    fn under_way(&self, planned: &Migration) -> Result<Option<Migrating>, MigrateError> {
        let is_it = |migrating: &Migrating| {
            migrating.migration.green == planned.green && !migrating.phase.is_over()
        };
        Ok(self.migrations()?.into_iter().rfind(is_it))
    }
}

/// A migration goes on as it began. Models that say something else meanwhile are not what it does.
fn refuse_changed_models(begun: &Migration, planned: &Migration) -> Result<(), MigrateError> {
    if begun.is_declared_like(planned) {
        return Ok(());
    }
    let said = |migration: &Migration| format!("{} … {}", migration.create_green, migration.select);
    Err(MigrateError::ModelsChanged {
        green: planned.green.clone(),
        began: said(begun),
        now: said(planned),
    })
}
