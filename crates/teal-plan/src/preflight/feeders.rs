//! What writes to the old table in the background, and what goes on to write to it after the cutover.

use teal_catalog::{Feeder, FeederKind, feeders, has_rights};

use super::Preflight;
use crate::planner::PlanError;
use crate::{Cutover, Migration};

impl Preflight<'_> {
    /// The server shows tables of other databases only to who may see them.
    pub(super) fn look_at_sight(&mut self, migrations: &[Migration]) -> Result<(), PlanError> {
        let Some(first) = migrations.first().filter(|_| !self.is_exclusive) else {
            return Ok(());
        };
        if has_rights(self.session, &["SHOW TABLES"], "*.*")? == Some(false) {
            let says =
                "teal may not see what writes to it or reads it from other databases, a Buffer say";
            let fix = "GRANT SHOW TABLES ON *.* to teal's user";
            self.found(&first.blue, false, says.to_owned(), fix.to_owned());
        }
        Ok(())
    }

    pub(super) fn look_at_feeders(&mut self, migration: &Migration) -> Result<(), PlanError> {
        let open = self.history.migrations.iter().filter(|past| !past.is_over());
        let of_teal = open.map(|past| past.view.clone()).collect::<Vec<_>>();
        for feeder in feeders(self.session, &migration.blue, Some(&migration.view))? {
            match feeder.kind {
                _ if of_teal.contains(&feeder.name) => (),
                FeederKind::Refreshed { appends: false } => {
                    self.found_replacing(migration, &feeder)
                }
                _ if feeder.is_in_background() => self.found_in_background(migration, &feeder),
                _ => self.found_behind(migration, &feeder),
            }
        }
        Ok(())
    }

    fn found_replacing(&mut self, migration: &Migration, feeder: &Feeder) {
        let says = format!(
            "{} puts its rows in the place of all others at each refresh, which no view forwards",
            feeder.told()
        );
        let view = feeder.name.sql();
        let fix = match self.has_gate {
            true => format!("DROP TABLE {view}, and make it anew over the new table"),
            false => format!("DETACH TABLE {view} PERMANENTLY until the cleanup"),
        };
        self.found(&migration.blue, true, says, fix);
    }

    fn found_in_background(&mut self, migration: &Migration, feeder: &Feeder) {
        let (told, table) = (feeder.told(), feeder.name.sql());
        let held = match feeder.held {
            0 => String::new(),
            bytes => format!(", with {bytes} bytes in memory,"),
        };
        let writes = format!("{told}{held} writes into it in the background");
        let (blocks, says, fix) = match migration.cutover {
            _ if self.has_gate => (
                true,
                format!(
                    "{writes}, where the write gate holds nothing: rows may come to one of the tables only"
                ),
                format!(
                    "{}DROP TABLE {table}, and make it anew when `teal cutover` is done (what is detached is attached when the engine is opened)",
                    if feeder.kind == FeederKind::Buffer {
                        format!("OPTIMIZE TABLE {table}, ")
                    } else {
                        String::new()
                    }
                ),
            ),
            Cutover::Exchange => (
                false,
                format!(
                    "{writes}: across an exchange that may be in one table only or in both, so `teal cutover` refuses while it is attached"
                ),
                format!(
                    "DETACH TABLE {table} before `teal cutover`, and ATTACH TABLE {table} behind it"
                ),
            ),
            // What brings its rows here is told itself.
            Cutover::App | Cutover::Alias if !feeder.by.is_empty() => return,
            Cutover::Alias if goes_along(migration, feeder) => return,
            Cutover::Alias | Cutover::App => (
                false,
                format!("{writes}, and goes on to after the cutover"),
                moved(migration, feeder),
            ),
        };
        self.found(&migration.blue, blocks, says, fix);
    }

    /// What follows the name needs nothing.
    fn found_behind(&mut self, migration: &Migration, feeder: &Feeder) {
        let follows = migration.cutover == Cutover::Exchange || goes_along(migration, feeder);
        if follows || !feeder.by.is_empty() {
            return;
        }
        let says = format!("{} writes into it, and goes on to after the cutover", feeder.told());
        self.found(&migration.blue, false, says, moved(migration, feeder));
    }
}

/// It writes to the alias that users know, which a cutover by alias swaps, and any cleanup takes along.
fn goes_along(migration: &Migration, feeder: &Feeder) -> bool {
    feeder.into != migration.blue && feeder.into == migration.logical_name()
}

/// How what writes to the old table comes to write to the new one.
fn moved(migration: &Migration, feeder: &Feeder) -> String {
    let (name, green) = (feeder.name.sql(), migration.green.sql());
    let behind = "when readers and writers have moved, and before `teal cleanup`";
    match feeder.kind {
        FeederKind::Buffer => format!(
            "put a Buffer in front of {green}, move its writers, then OPTIMIZE TABLE {name} and DROP TABLE {name}, before `teal cleanup`: a Buffer whose table is gone throws rows away without an error"
        ),
        FeederKind::Distributed => format!(
            "SYSTEM FLUSH DISTRIBUTED {name}, and CREATE OR REPLACE TABLE {name} over {green}, {behind}"
        ),
        _ => format!("let it write to {green} {behind}"),
    }
}
