use std::collections::BTreeMap;

use serde::Deserialize;
use teal_catalog::{QueryTree, QueryTreeError, active_parts};
use teal_client::ClientError;
use teal_schema::{QualifiedName, names, quote_ident};

use super::Preflight;
use crate::Migration;
use crate::planner::PlanError;

impl Preflight<'_> {
    /// Parts from before a column was added do not store it: its default is computed each time that they are
    /// read. One that gives another value each time cannot be copied, nor compared.
    pub(super) fn look_at_unstored(&mut self, migration: &Migration) -> Result<(), PlanError> {
        let blue = &migration.blue;
        let columns = self.current.table(blue).map(|table| table.columns.clone());
        let mut defaults = columns.unwrap_or_default();
        // What the SELECT does not give is neither copied nor compared. (A `*` gives no MATERIALIZED column.)
        let named = names(&migration.select).unwrap_or_default();
        defaults.retain(|column| match column.default_kind.as_str() {
            "DEFAULT" => true,
            "MATERIALIZED" => named.contains(&column.name),
            _ => false,
        });
        if defaults.is_empty() {
            return Ok(());
        }
        let parts = active_parts(self.session, blue)?.len() as u64;
        let stored = self.parts_that_store(blue)?;
        for column in defaults {
            let lack = parts.saturating_sub(stored.get(&column.name).copied().unwrap_or_default());
            if lack == 0 || !self.may_differ(blue, &column.default_expression)? {
                continue;
            }
            let says = format!(
                "column {}: {lack} of {parts} parts do not store it, and its default ({}) gives another value each time that they are read",
                column.name, column.default_expression
            );
            let fix = format!(
                "store what it gives now: ALTER TABLE {} MATERIALIZE COLUMN {}",
                blue.sql(),
                quote_ident(&column.name)
            );
            self.found(blue, true, says, fix);
        }
        Ok(())
    }

    /// How many parts of the table do not store the column.
    pub(super) fn parts_that_lack(
        &mut self,
        table: &QualifiedName,
        column: &str,
    ) -> Result<u64, ClientError> {
        let parts = active_parts(self.session, table)?.len() as u64;
        let stored = self.parts_that_store(table)?;
        Ok(parts.saturating_sub(stored.get(column).copied().unwrap_or_default()))
    }

    /// Of each column, in how many parts with rows it is.
    fn parts_that_store(
        &mut self,
        table: &QualifiedName,
    ) -> Result<BTreeMap<String, u64>, ClientError> {
        #[derive(Deserialize)]
        struct Row {
            column: String,
            parts: u64,
        }
        let rows = self.session.rows::<Row>(&format!(
            "SELECT column, uniqExact(name) AS parts FROM system.parts_columns \
             WHERE active AND rows > 0 AND {} GROUP BY column",
            table.condition("table")
        ))?;
        Ok(rows.into_iter().map(|row| (row.column, row.parts)).collect())
    }

    /// Whether a column's default may give another value the next time. What the server does not compute from
    /// what is stored (it may be made of an `EPHEMERAL` column), it does not compute when it reads either.
    pub(super) fn may_differ(
        &mut self,
        table: &QualifiedName,
        default: &str,
    ) -> Result<bool, PlanError> {
        Ok(!self.non_deterministic(table, default)?.is_empty())
    }

    /// By which functions it may.
    pub(super) fn non_deterministic(
        &mut self,
        table: &QualifiedName,
        default: &str,
    ) -> Result<Vec<String>, PlanError> {
        let select = format!("SELECT {default} FROM {}", table.sql());
        match QueryTree::explain(self.session, &select) {
            Ok(tree) => Ok(tree.non_deterministic),
            Err(QueryTreeError::Client(ClientError::Server { .. })) => Ok(Vec::new()),
            Err(QueryTreeError::Client(error)) => Err(error.into()),
            Err(error @ QueryTreeError::Unreadable { .. }) => {
                Err(teal_catalog::ShadowError::from(error).into())
            }
        }
    }
}
