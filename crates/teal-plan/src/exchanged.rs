//! Names after an exchange of two versions: the older one's means the new layout then, and the newer one's the old
//! layout, until at the end it is an alias.

use teal_catalog::CatalogTable;
use teal_schema::{QualifiedName, View, shell_word};

use crate::history::PastMigration;
use crate::planner::{Planner, source};
use crate::{Conflict, Cutover, Standing};

impl Planner<'_> {
    /// Refuses a migration whose tables go by other names now, but for one from rows that are known by theirs.
    pub(crate) fn refuse_exchanged(&mut self, view: &View) -> bool {
        let database = &self.options.database;
        let blue = source(self.schema, view, &self.options.database)
            .map(|table| table.qualified(database));
        let green = self.schema.target(view).map(|table| table.qualified(database));
        let of_blue = blue.and_then(|blue| {
            let (past, instead) = match (self.exchanged_away(&blue), self.exchanged(&blue)) {
                (Some(past), _) => {
                    (past, format!("a view that reads the newer version, {}", past.green.name))
                }
                (None, Some(past)) if !past.is_over() => {
                    (past, format!("`teal cleanup {}` first", shell_word(&past.green.name)))
                }
                _ => return None,
            };
            Some((blue, past, instead))
        });
        let of_green = || {
            let green = green?;
            let past = self.exchanged(&green)?;
            Some((green, past, "a further version, and a view from this one to it".to_owned()))
        };
        let Some((object, past, instead)) = of_blue.or_else(of_green) else {
            return false;
        };
        let differs = format!(
            "since the exchange of {} and {}, the rows of {} go by the name {}",
            past.blue, past.green, past.green, past.blue
        );
        self.plan.conflicts.push(Conflict {
            object,
            declared_at: view.location.clone(),
            differences: vec![differs],
            instead,
        });
        true
    }

    /// The name that the rows of a declared table go by.
    pub(crate) fn name_now(&self, name: &QualifiedName) -> QualifiedName {
        match self.history.of(name) {
            // Of one that is under way.
            Some(past) if past.declared_blue == *name => past.blue.clone(),
            Some(past) if past.is_over() && self.is_exchanged(past, name) => past.blue.clone(),
            _ => name.clone(),
        }
    }

    /// Whether this is a newer version's name that has changed places with the older one's.
    pub(crate) fn is_exchanged(&self, past: &PastMigration, name: &QualifiedName) -> bool {
        let is_it = !past.in_place && past.green == *name;
        match past.standing {
            Standing::CutOver(Cutover::Exchange) => is_it,
            Standing::Cleaned(Cutover::Exchange) => {
                is_it && self.current.table(name).is_none_or(CatalogTable::is_alias)
            }
            _ => false,
        }
    }

    fn exchanged(&self, name: &QualifiedName) -> Option<&PastMigration> {
        self.history.of(name).filter(|past| self.is_exchanged(past, name))
    }

    /// The exchange in which the table of this name was the older of two versions.
    fn exchanged_away(&self, name: &QualifiedName) -> Option<&PastMigration> {
        let is_it = |past: &&PastMigration| {
            !past.in_place && past.was_exchanged() && past.declared_blue == *name
        };
        self.history.migrations.iter().rev().find(is_it)
    }
}
