//! What statements by a table's name meet when the name has come to mean the new layout.

use super::Preflight;
use super::created::Columns;
use crate::{Cutover, Migration};

impl Preflight<'_> {
    pub(super) fn look_at_statements(&mut self, migration: &Migration) {
        let Some(blue) = self.current.table(&migration.blue) else { return };
        let (name, instead) = match migration.cutover {
            Cutover::App => return,
            Cutover::Exchange if migration.in_place => (migration.blue.clone(), ""),
            Cutover::Exchange => (migration.blue.clone(), "; or move by app"),
            Cutover::Alias => (migration.logical_name(), "; or move by app"),
        };
        let green = Columns::of(&migration.create_green);
        let columns = blue.columns.iter().map(|column| column.name.as_str());
        let gone = columns.filter(|column| !green.has(column)).collect::<Vec<_>>();
        if !gone.is_empty() {
            let says = format!(
                "when {name} has the new layout, statements by that name fail that use {}, and INSERTs without a list of columns",
                gone.join(", ")
            );
            self.found(&migration.blue, false, says, format!("change that code first{instead}"));
        }
    }
}
