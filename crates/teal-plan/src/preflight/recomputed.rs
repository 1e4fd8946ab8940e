use serde::Deserialize;
use teal_catalog::CatalogColumn;
use teal_client::ClientError;
use teal_schema::{QualifiedName, names, quote_ident};

use super::Preflight;
use crate::planner::PlanError;
use crate::{CopyStrategy, Migration};

/// Rows whose stored values are compared with what would be computed.
const LOOKED_AT: u32 = 1000;

impl Preflight<'_> {
    /// What a table computes as rows are inserted (`MATERIALIZED`), a rewrite computes anew. Where that gives another
    /// value each time, such as the time of the INSERT, those that are there would be lost.
    pub(super) fn look_at_recomputed(&mut self, migration: &Migration) -> Result<(), PlanError> {
        let blue = &migration.blue;
        let columns = self.current.table(blue).map(|table| table.columns.clone());
        let made = names(&migration.create_green).unwrap_or_default();
        let columns = columns.unwrap_or_default().into_iter().filter(|column| {
            column.default_kind == "MATERIALIZED"
                && migration.strategy == CopyStrategy::Rewrite
                && made.contains(&column.name)
                && migration.columns.iter().all(|copied| copied.name != column.name)
        });
        for column in columns.collect::<Vec<_>>() {
            if !self.may_differ(blue, &column.default_expression)?
                || !self.differs(blue, &column)?
            {
                continue;
            }
            let says = format!(
                "column {}: the rewrite would compute it anew for every row (MATERIALIZED {}), and what it has now would be lost",
                column.name, column.default_expression
            );
            let fix = String::from(
                "make it a DEFAULT column first, in the model of the old layout too, which changes no stored value; then it is copied, where the SELECT gives it (`*` does)",
            );
            self.found(blue, true, says, fix);
        }
        Ok(())
    }

    /// Whether what is stored is another value than what is computed now, of the first rows at least.
    fn differs(
        &mut self,
        table: &QualifiedName,
        column: &CatalogColumn,
    ) -> Result<bool, PlanError> {
        #[derive(Deserialize)]
        struct Row {
            differs: u8,
        }
        let (name, computed) = (quote_ident(&column.name), &column.default_expression);
        let row = self.session.row::<Row>(&format!(
            "SELECT countIf(toString(_teal_is) != toString(CAST(_teal_now, toTypeName(_teal_is)))) > 0 AS differs \
             FROM (SELECT [{name}] AS _teal_is, [{computed}] AS _teal_now FROM {} LIMIT {LOOKED_AT})",
            table.sql()
        ));
        match row {
            Ok(row) => Ok(row.differs == 1),
            // What cannot be compared may differ.
            Err(ClientError::Server { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}
