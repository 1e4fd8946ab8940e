use serde::Deserialize;
use teal_plan::row_policies;
use teal_schema::QualifiedName;

use crate::journal::state::Migrating;
use crate::{MigrateError, Operator};

impl Operator<'_> {
    /// A row policy that came since the preflight: what it hides is neither copied nor compared. What is hidden in
    /// blue seems to be too many in green, and where one table alone has it, the two seem to be equal.
    ///
    /// # Errors
    /// [`MigrateError::RowsHidden`].
    pub(crate) fn refuse_hidden_rows(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let (blue, green) = migrating.tables_now();
        let policy = match self.with_control(|session| row_policies(session, &[blue, green]))? {
            Some(policies) => policies.into_iter().find(|it| it.is_for_me()).map(|it| it.sql()),
            // Nobody but this process uses an engine of its own.
            None if self.server.is_exclusive() => None,
            None => {
                let hidden = [blue, green].map(|table| Ok((self.hides_rows(table)?, table)));
                let hidden = hidden.into_iter().collect::<Result<Vec<_>, MigrateError>>()?;
                let some = hidden.into_iter().find(|(hides, _)| *hides);
                some.map(|(_, table)| format!("… ON {}", table.sql()))
            }
        };
        match policy {
            Some(policy) => Err(MigrateError::RowsHidden { policy }),
            None => Ok(()),
        }
    }

    /// Whether a SELECT sees fewer rows of a table than its parts have, for one who may not see policies. Without
    /// a policy it need read none of them.
    fn hides_rows(&self, table: &QualifiedName) -> Result<bool, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            number: u64,
        }
        /// Merges may make fewer meanwhile, and INSERTs more, but hardly one and the other each time.
        const LOOKS: u32 = 5;
        let number = |query: &str| {
            self.with_control(|session| session.row::<Row>(query)).map(|row| row.number)
        };
        // The rows of a part count those too that are deleted in it, or by a patch.
        let of_parts = format!(
            "SELECT if(countIf(startsWith(partition_id, 'patch-')) > 0, 0, sumIf(rows, NOT has_lightweight_delete)) AS number \
             FROM system.parts WHERE active AND {}",
            table.condition("table")
        );
        for _ in 0..LOOKS {
            let before = number(&of_parts)?;
            let seen = number(&format!("SELECT count() AS number FROM {}", table.sql()))?;
            if seen >= before || seen >= number(&of_parts)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
