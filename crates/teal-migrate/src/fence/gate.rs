//! The fence of a target with a write gate: the view is attached and the snapshot taken at one moment
//! at which no INSERT runs.
//!
//! With the gate closed, every INSERT that ended is in the snapshot and was not forwarded, and every
//! INSERT that starts later is forwarded and is not in the snapshot.

use teal_catalog::amount;
use teal_plan::{CopyStrategy, FenceKind};

use crate::at_once::at_once;
use crate::journal::state::Migrating;
use crate::{Event, MigrateError, Operator, failpoint, names};

impl Operator<'_> {
    pub(super) fn cut_at_gate(
        &self,
        migrating: &Migrating,
    ) -> Result<(Event, String), MigrateError> {
        let migration = &migrating.migration;
        let snapshot = names::snapshot(&migrating.id);
        if migration.strategy == CopyStrategy::Rewrite {
            self.make_own(&snapshot, &migration.blue)?;
            self.make_history(migrating)?;
        }
        let clone = match migration.strategy {
            CopyStrategy::Clone => &migration.green,
            CopyStrategy::Rewrite => &snapshot,
        };
        // A green whose name is known may be written to by others, whose rows must stay.
        let may_be_ahead = migration.strategy == CopyStrategy::Rewrite || migration.in_place;
        let is_ahead = may_be_ahead && self.clone_ahead(&migration.blue, clone)?;
        // An fsync takes a hundred milliseconds now and then (26.7, on a busy disk), and INSERTs wait for it.
        let mut quick = self.server.session(&[("fsync_metadata", "0")])?;
        let cut = self.with_gate_closed(|| {
            self.check_lock()?;
            // No INSERT runs, so that it is of no matter which of the two is there first.
            let (cloned, viewed) = at_once(
                || self.clone_now(&migration.blue, clone, is_ahead),
                || {
                    quick.command(&migration.create_view)?;
                    failpoint::written();
                    failpoint::reached("view-created");
                    // Of a clone it must be of this moment; a snapshot gets no more parts.
                    Ok::<_, MigrateError>(match migration.strategy {
                        CopyStrategy::Clone => Some(amount(quick.as_mut(), &migration.blue)?),
                        CopyStrategy::Rewrite => None,
                    })
                },
            );
            cloned?;
            failpoint::reached("blue-cloned");
            viewed
        })?;
        failpoint::reached("gate-opened");
        self.server.sync_definition(&migration.view)?;
        let held = cut.held;
        let amount = match cut.value {
            Some(amount) => amount,
            None => self.with_control(|session| amount(session, clone))?,
        };

        Ok(self.attached(migrating, amount, cut.attempts, FenceKind::WriteGate, &held))
    }

    /// Nothing comes to green by the view afterwards: with the gate closed no INSERT is on its way through it.
    pub(super) fn drop_view_at_gate(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        self.with_gate_closed(|| self.drop_view(&migrating.migration.view))?;
        failpoint::reached("undo-view-dropped");
        Ok(())
    }
}
