//! The fence of a target with a write gate: attaches the view and takes the snapshot at one moment
//! at which no INSERT runs.
//!
//! ClickHouse binds an INSERT to the views that exist when it starts. With the gate closed none is
//! running: every INSERT that ended is in the snapshot and was not forwarded, every INSERT that
//! starts later is forwarded and is not in the snapshot.
//!
//! A crash anywhere between `FenceOpened` and `Attached` is undone by the next process, whatever of
//! the cut had happened: view and snapshot are dropped, green is emptied. That loses nothing, for
//! until the migration is attached blue has every row and nobody is on green.

use serde::Deserialize;
use teal_catalog::active_parts;
use teal_plan::CopyStrategy;
use teal_schema::quote_string;

use crate::state::{Migrating, Prepared, Snapshot};
use crate::{Event, MigrateError, Operator, Step, Update, failpoint, names};

impl Operator<'_> {
    /// Makes the cut. When it fails, what was done of it is undone at once.
    pub(crate) fn attach(
        &self,
        migrating: &mut Migrating,
        state: Prepared,
    ) -> Result<(), MigrateError> {
        if state.fence_open {
            self.undo_fence(migrating)?;
        }
        self.step(migrating, Step::Fence, |migrating| {
            self.refuse_running_mutations(migrating)?;
            self.refuse_what_is_not_ours(migrating)?;
            self.record(migrating, Event::FenceOpened)?;
            failpoint::reached("fence-opened");
            match self.cut(migrating) {
                Ok((attached, outcome)) => {
                    self.record(migrating, attached)?;
                    failpoint::reached("attached");
                    Ok(((), outcome))
                }
                Err(error) => {
                    // Should this fail too, the next command undoes it; the first error tells why.
                    let _ = self.undo_fence(migrating);
                    Err(error)
                }
            }
        })
    }

    fn cut(&self, migrating: &Migrating) -> Result<(Event, String), MigrateError> {
        let migration = &migrating.migration;
        let snapshot = names::snapshot(&migrating.id);
        if migration.strategy == CopyStrategy::Rewrite {
            self.make_own(&snapshot, &migration.blue)?;
        }
        let clone = match migration.strategy {
            CopyStrategy::Clone => &migration.green,
            CopyStrategy::Rewrite => &snapshot,
        };
        let cut = self.with_gate_closed(|| {
            self.command(&migration.create_view)?;
            failpoint::reached("view-created");
            // One statement, one moment, no bytes copied; `ALL` covers every partition.
            self.command(&format!(
                "ALTER TABLE {} ATTACH PARTITION ALL FROM {}",
                clone.sql(),
                migration.blue.sql()
            ))?;
            failpoint::reached("blue-cloned");
            // For a clone the list must be of this moment; a snapshot gets no more parts.
            Ok(match migration.strategy {
                CopyStrategy::Clone => {
                    Some(self.with_control(|session| active_parts(session, clone))?)
                }
                CopyStrategy::Rewrite => None,
            })
        })?;
        failpoint::reached("gate-opened");
        let held = cut.held;
        let parts = match cut.value {
            Some(parts) => parts,
            None => self.with_control(|session| active_parts(session, clone))?,
        };

        let rows = parts.iter().map(|part| part.rows).sum();
        let bytes = parts.iter().map(|part| part.uncompressed_bytes).sum();
        let snapshot = (migration.strategy == CopyStrategy::Rewrite).then(|| Snapshot {
            rows,
            parts: parts.len() as u64,
            chunk_rows: self.options.backfill.chunk_rows(rows, bytes),
        });
        let outcome = format!("{rows} rows in {} parts cut off; {held}", parts.len(),);
        Ok((Event::Attached { snapshot, rows, attempts: cut.attempts }, outcome))
    }

    /// Takes back a fence that was not journalled as done.
    pub(crate) fn undo_fence(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        let migration = &migrating.migration;
        // With the gate closed no INSERT is on its way through the view.
        self.with_gate_closed(|| {
            self.command(&format!("DROP TABLE IF EXISTS {}", migration.view.sql()))?;
            failpoint::reached("undo-view-dropped");
            self.command(&format!("TRUNCATE TABLE {}", migration.green.sql()))
        })?;
        self.drop_table(&names::snapshot(&migrating.id))?;
        failpoint::reached("undo-snapshot-dropped");
        self.record(migrating, Event::FenceUndone)?;
        let what = format!("the open fence of {} was undone", migrating.migration.green);
        self.observer.update(Update::Healed { what });
        Ok(())
    }

    /// From here on, undoing the fence drops the view and empties green: a view or rows that are
    /// there already are not ours to drop.
    fn refuse_what_is_not_ours(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        if self.exists(&migrating.migration.view)? {
            return Err(MigrateError::ViewExists { view: migrating.migration.view.clone() });
        }
        let green = &migrating.migration.green;
        match self.rows_of(green)? {
            0 => Ok(()),
            rows => Err(MigrateError::GreenNotEmpty { green: green.clone(), rows }),
        }
    }

    /// A snapshot would have the parts as they were before the mutation, and the view does not
    /// forward what a mutation changes.
    fn refuse_running_mutations(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            command: String,
        }
        let blue = &migrating.migration.blue;
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT command FROM system.mutations \
                 WHERE NOT is_done AND database = {} AND table = {}",
                quote_string(&blue.database),
                quote_string(&blue.name)
            ))
        })?;
        match rows.first() {
            None => Ok(()),
            Some(first) => Err(MigrateError::MutationsRunning {
                blue: blue.clone(),
                mutations: rows.len(),
                first: first.command.clone(),
            }),
        }
    }
}
