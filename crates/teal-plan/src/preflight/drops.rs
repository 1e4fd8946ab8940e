//! Who still needs what is to be dropped.

use std::collections::BTreeMap;

use teal_catalog::{Feeder, FeederKind, QueryTree, feeders, fired_views, reads};
use teal_client::ClientError;
use teal_schema::{QualifiedName, read_create, shell_word};

use super::Preflight;
use crate::Operation;

impl Preflight<'_> {
    pub(super) fn look_at_drops(&mut self) -> Result<(), ClientError> {
        let drop = |operation: &&Operation| match operation {
            Operation::Drop { object, rows, .. } => Some((object.clone(), *rows)),
            _ => None,
        };
        let drops = self.operations.iter().filter_map(drop).collect::<BTreeMap<_, _>>();
        if drops.is_empty() {
            return Ok(());
        }
        for (object, then) in &drops {
            let now = self.current.table(object).map_or(0, |table| table.rows);
            if now != *then {
                // It is used, whatever a saved plan says. With fewer rows it may have been filled anew.
                let says = format!("it had {then} rows when the plan was made, and has {now} now");
                let fix = "make the plan anew, if it is to be dropped".to_owned();
                self.found(object, true, says, fix);
            }
        }
        for object in drops.keys() {
            let feeders = feeders(self.session, object, None)?;
            let stays = |feeder: &&Feeder| {
                !drops.contains_key(&feeder.name)
                    && matches!(feeder.kind, FeederKind::Buffer | FeederKind::Distributed)
            };
            for feeder in feeders.iter().filter(|it| it.by.is_empty()).filter(stays) {
                let says =
                    format!("{} writes into it, and what comes there would be lost", feeder.told());
                let fix = format!(
                    "drop it first: DROP TABLE {}; or let the table stay",
                    feeder.name.sql()
                );
                self.found(object, true, says, fix);
            }
        }
        let views = fired_views(self.session)?;
        for (view, sql) in views.iter().filter(|(view, _)| !drops.contains_key(view)) {
            let Some((object, does)) = self.needed(view, sql, &drops) else { continue };
            let says = format!(
                "the view {view} {does}, and every INSERT into the table of that view would fail"
            );
            let fix = format!(
                "drop the view as well (`--allow-drop {}`), or let the table stay",
                shell_word(&view.name)
            );
            self.found(&object, true, says, fix);
        }
        Ok(())
    }

    /// What of the dropped the view cannot do without. The table that fires it can go, and with it nothing is left to
    /// fail.
    fn needed(
        &mut self,
        view: &QualifiedName,
        sql: &str,
        drops: &BTreeMap<QualifiedName, u64>,
    ) -> Option<(QualifiedName, &'static str)> {
        let create = read_create(sql).ok()??;
        let target = create
            .target
            .map(|(of, name)| QualifiedName::new(of.as_deref().unwrap_or(&view.database), name));
        let select = create.select?;
        let target = target.filter(|target| drops.contains_key(target));
        let read = drops.keys().filter(|it| reads(select, &view.database, it)).collect::<Vec<_>>();
        if target.is_none() && read.is_empty() {
            return None;
        }
        // Of a view that does not work anyway nothing is said.
        let fired_by = QueryTree::explain(self.session, select).ok()?.fired_by;
        if drops.keys().any(|it| Some(it.to_string()) == fired_by) {
            return None;
        }
        let looked_up = || read.first().map(|it| ((*it).clone(), "looks rows up in it"));
        target.map(|target| (target, "writes to it")).or_else(looked_up)
    }
}
