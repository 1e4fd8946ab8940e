use teal_plan::row_policies;

use crate::state::Migrating;
use crate::{MigrateError, Operator};

impl Operator<'_> {
    /// A row policy that came since the preflight: what it hides is neither copied nor compared.
    ///
    /// # Errors
    /// [`MigrateError::RowsHidden`], with the policy.
    pub(super) fn refuse_hidden_rows(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let (blue, green) = migrating.tables_now();
        let policies = self.with_control(|session| row_policies(session, &[blue, green]))?;
        match policies.unwrap_or_default().iter().find(|policy| policy.is_for_me()) {
            Some(policy) => Err(MigrateError::RowsHidden { policy: policy.sql() }),
            None => Ok(()),
        }
    }

    /// Whether it is known that no row policy hides rows: teal may look, or nobody else uses the engine.
    pub(crate) fn sees_all_rows(&self, migrating: &Migrating) -> Result<bool, MigrateError> {
        let (blue, green) = migrating.tables_now();
        let policies = self.with_control(|session| row_policies(session, &[blue, green]))?;
        Ok(policies.is_some() || self.server.is_exclusive())
    }
}
