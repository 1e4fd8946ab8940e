//! What changes the old table in place around an exchange: a mutation, a dropped partition.
//!
//! No view forwards it, so the new table would lack it. What came since the last proof of parity is looked
//! for once more in the cut itself; then the cut is not made, and the proof is renewed, which finds and
//! mends it ([`crate::repair::stale`]). With the write gate closed that look is the last word, for what changes
//! a table passes the gate too.
//!
//! On a server something may come between that look and the `EXCHANGE`. It is found when the names have
//! changed places, on the old table, and told with the rows by which the two differ. It is not done again on
//! the new table by teal: there it would touch rows also that were written after it. Until the two are
//! alike, the old table is neither dropped nor, as if nothing had been, brought back.

use crate::fence::not_clean;
use crate::journal::state::Migrating;
use crate::repair::seen::PartsSeen;
use crate::repair::stale::{first_of, shortened};
use crate::{MigrateError, Operator};

impl Operator<'_> {
    /// The last look before an exchange.
    ///
    /// # Errors
    /// [`MigrateError::NotClean`] when something has changed blue since the last proof; [`MigrateError::Altered`]
    /// when either table has other columns, say, than it had then.
    pub(crate) fn refuse_changed_since_proof(
        &self,
        migrating: &Migrating,
    ) -> Result<(), MigrateError> {
        self.refuse_tables_altered(migrating)?;
        let blue = migrating.tables_now().0;
        match self.changes_since_proof(migrating)?.first() {
            None => Ok(()),
            Some(change) => Err(not_clean(&format!(
                "a proof of parity that covers what has changed {blue}: {change}"
            ))),
        }
    }

    /// What has changed the old table in place since the last proof of parity, in words.
    pub(crate) fn changes_since_proof(
        &self,
        migrating: &Migrating,
    ) -> Result<Vec<String>, MigrateError> {
        let mut changes = self.mutations_since_proof(migrating)?;
        if let Some(seen) = &migrating.seen {
            changes.extend(self.losses_since(migrating, seen)?);
        }
        Ok(changes)
    }

    /// Those of them that can have taken rows, or changed some. Also of what came since, as far as the log tells: not
    /// for a cut, which has no time for that.
    pub(crate) fn removals_since_proof(
        &self,
        migrating: &Migrating,
    ) -> Result<Vec<String>, MigrateError> {
        let mut changes = self.row_mutations_since_proof(migrating)?;
        if let Some(seen) = &migrating.seen {
            let old = migrating.tables_now().0;
            changes.extend(self.losses_since(migrating, &self.and_logged(old, seen)?)?);
        }
        Ok(changes)
    }

    pub(crate) fn row_mutations_since_proof(
        &self,
        migrating: &Migrating,
    ) -> Result<Vec<String>, MigrateError> {
        let mut changes = self.mutations_since_proof(migrating)?;
        changes.retain(|command| changes_rows(command));
        Ok(changes)
    }

    /// Of those that have given rows other values.
    pub(crate) fn updates_since_proof(
        &self,
        migrating: &Migrating,
    ) -> Result<Vec<String>, MigrateError> {
        let mut changes = self.mutations_since_proof(migrating)?;
        // A lightweight DELETE is an update of that column.
        let deletes = ["DELETE", "UPDATE _row_exists", "APPLY DELETED MASK"];
        changes.retain(|command| {
            let command = command.trim_start_matches('(');
            changes_rows(command) && !deletes.iter().any(|delete| command.starts_with(delete))
        });
        if let Some(seen) = &migrating.seen {
            changes.extend(self.lightweight_update(migrating.tables_now().0, seen)?);
        }
        Ok(changes)
    }

    fn losses_since(
        &self,
        migrating: &Migrating,
        seen: &PartsSeen,
    ) -> Result<Vec<String>, MigrateError> {
        let old = migrating.tables_now().0;
        let mut changes = Vec::from_iter(self.lightweight_update(old, seen)?);
        let gone = seen.fate(&self.see(old)?).gone.into_iter().collect::<Vec<_>>();
        if !gone.is_empty() {
            changes.push(format!("parts of partition {} went", first_of(&gone)));
        }
        Ok(changes)
    }

    pub(crate) fn mutations_since_proof(
        &self,
        migrating: &Migrating,
    ) -> Result<Vec<String>, MigrateError> {
        let Some(seen) = &migrating.seen else {
            return Ok(Vec::new());
        };
        let mutations = self.mutations_after(migrating.tables_now().0, seen)?;
        Ok(mutations.iter().map(|mutation| shortened(&mutation.command)).collect())
    }

    /// After an exchange on a server: compares the rows, if there are `changes` that it may have missed.
    ///
    /// # Errors
    /// [`MigrateError::MissedChange`] when the new table is not as the old one.
    pub(crate) fn refuse_missed(
        &self,
        migrating: &Migrating,
        changes: &[String],
    ) -> Result<(), MigrateError> {
        // Behind a cut at the gate, what has changed the old table did so later.
        let Some(change) = changes.first().filter(|_| self.server.write_gate().is_none()) else {
            return Ok(());
        };
        self.wait_for_mutations(migrating)?;
        let parity = self.compare_rows(migrating)?;
        if parity.holds() {
            return Ok(());
        }
        let (old, new) = migrating.tables_now();
        Err(MigrateError::MissedChange {
            old: old.clone(),
            new: new.clone(),
            change: change.as_str().into(),
            parity: Box::new(parity),
        })
    }
}

/// Of a mutation, whether it is about rows. Others build an index, a projection, statistics.
pub(crate) fn changes_rows(command: &str) -> bool {
    let mut words = command.trim_start_matches('(').split_whitespace();
    let builds = words.next().is_some_and(|verb| ["MATERIALIZE", "CLEAR", "DROP"].contains(&verb))
        && words.next().is_some_and(|of| ["INDEX", "PROJECTION", "STATISTICS"].contains(&of));
    !builds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutation_that_builds_something_changes_no_rows() {
        for (command, changes) in [
            ("(DELETE WHERE id = 1)", true),
            ("UPDATE town = 'a' WHERE 1", true),
            ("UPDATE INDEX = 1 WHERE 1", true),
            ("CLEAR COLUMN town", true),
            ("MATERIALIZE COLUMN town", true),
            ("MATERIALIZE INDEX town_index", false),
            ("(MATERIALIZE PROJECTION by_town)", false),
        ] {
            assert_eq!(changes_rows(command), changes, "{command}");
        }
    }
}
