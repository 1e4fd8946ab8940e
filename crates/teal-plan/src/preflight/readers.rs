//! What else reads the tables of a migration.

use std::collections::BTreeMap;

use serde::Deserialize;
use teal_catalog::{reading_views, reads};
use teal_schema::{CreateKind, QualifiedName, call, quote_string, read_create, split_list};

use crate::planner::PlanError;
use crate::preflight::Preflight;
use crate::{Cutover, Migration, Operation};

impl Preflight<'_> {
    /// Views that read blue or green, and are not the migration's own: those of the target, in
    /// whatever database, and those that the plan makes.
    pub(crate) fn look_at_readers(&mut self, migration: &Migration) -> Result<(), PlanError> {
        self.look_at_merge_tables(migration)?;
        let (of_blue, of_green) = (self.readers(&migration.blue)?, self.readers(&migration.green)?);
        let but_own = |views: BTreeMap<QualifiedName, bool>| {
            views.into_iter().filter(|(name, _)| *name != migration.view).collect::<Vec<_>>()
        };
        let of_blue = but_own(of_blue);
        if !of_blue.is_empty() {
            let (what, fix) = match migration.cutover {
                Cutover::Exchange => (
                    "follow the name: from the cutover on they read the new layout",
                    "look at the plan of their SELECT over the new layout",
                ),
                Cutover::App | Cutover::Alias => (
                    "go on reading the old table: rows that are written to the new version alone do not reach them",
                    "let plain views read the new version; and after the cutover change the SELECT of the materialized ones to read it, which misses no INSERT (a second one beside them would bring rows twice)",
                ),
            };
            let says = format!("views over it ({}) {what}", names(&of_blue));
            self.found(&migration.blue, false, says, fix.to_owned());
        }
        let mut of_green = but_own(of_green);
        of_green.retain(|(_, materialized)| *materialized);
        if !of_green.is_empty() && migration.cutover == Cutover::Exchange {
            let says = format!(
                "{} read it, and an exchange gives that name the old layout, and at the end makes it an alias, which fires no view",
                names(&of_green)
            );
            let fix = "declare them after the migration, over the name that is kept; or move by app or by alias";
            self.found(&migration.green, true, says, fix.to_owned());
            return Ok(());
        }
        // A migration from the new version copies the history itself.
        let is_of_another = |name: &QualifiedName| {
            self.operations.iter().any(|operation| {
                matches!(operation, Operation::Migrate { migration, .. } if migration.view == *name)
            })
        };
        of_green.retain(|(name, _)| !is_of_another(name));
        if !of_green.is_empty() {
            let says = format!(
                "{} read it, and get the rows of INSERTs alone: the history comes as parts, which reach no view",
                names(&of_green)
            );
            let fix = "after the migration, fill what they write to with the history by hand, or let them be filled from the old version";
            self.found(&migration.green, false, says, fix.to_owned());
        }
        Ok(())
    }

    /// A table of the engine `Merge` reads all tables whose names match. From the fence on, green has rows that blue
    /// has too.
    fn look_at_merge_tables(&mut self, migration: &Migration) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            database: String,
            name: String,
            engine_full: String,
        }
        #[derive(Deserialize)]
        struct Matches {
            matches: u8,
        }
        let merging = self.session.rows::<Row>(
            "SELECT database, name, engine_full FROM system.tables WHERE engine = 'Merge'",
        )?;
        for table in merging {
            // Merge(database, 'regular expression')
            let Ok((_, Some(inside))) = call(&table.engine_full) else { continue };
            let Some(pattern) = split_list(inside).ok().and_then(|items| items.get(1).copied())
            else {
                continue;
            };
            let of = |name: &str| format!("match({}, {pattern})", quote_string(name));
            let (blue, green) = (of(&migration.blue.name), of(&migration.green.name));
            let Matches { matches } =
                self.session.row(&format!("SELECT {blue} AND {green} AS matches"))?;
            if matches == 1 {
                let name = QualifiedName::new(&table.database, &table.name);
                let says = format!(
                    "{name} (a Merge table) reads both it and {}, and from the fence on each row twice",
                    migration.green
                );
                let fix = "let its regular expression name one version, or leave it out of reports until the cleanup";
                self.found(&migration.blue, false, says, fix.to_owned());
            }
        }
        Ok(())
    }

    /// The views that read `table`, and whether each is materialized.
    fn readers(
        &mut self,
        table: &QualifiedName,
    ) -> Result<BTreeMap<QualifiedName, bool>, PlanError> {
        let views = reading_views(self.session, table)?;
        let mut readers = views
            .into_iter()
            .map(|view| (view.name, view.is_materialized))
            .collect::<BTreeMap<_, _>>();
        for operation in &self.operations {
            let (view, select, materialized) = match operation {
                Operation::CreateView { view, statement, .. }
                | Operation::ChangeView { view, statement, .. } => {
                    let Ok(Some(create)) = read_create(&statement.sql) else {
                        continue;
                    };
                    let materialized = create.kind == CreateKind::MaterializedView;
                    (view, create.select.unwrap_or_default(), materialized)
                }
                Operation::Migrate { migration, .. } => {
                    (&migration.view, migration.select.as_str(), true)
                }
                _ => continue,
            };
            if reads(select, &view.database, table) {
                readers.entry(view.clone()).or_insert(materialized);
            }
        }
        Ok(readers)
    }
}

fn names(views: &[(QualifiedName, bool)]) -> String {
    views.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", ")
}
