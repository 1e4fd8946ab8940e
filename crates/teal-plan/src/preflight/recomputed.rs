use serde::Deserialize;
use teal_catalog::CatalogColumn;
use teal_client::{ClientError, Session};
use teal_schema::{QualifiedName, names, quote_ident, quote_string};

use super::Preflight;
use super::created::Columns;
use super::in_time::{in_time, in_time_up_to};
use crate::planner::PlanError;
use crate::{CopyStrategy, Migration};

/// What to do where values are not to be computed anew.
pub(crate) const COPY_IT: &str = "make it a DEFAULT column first, in the model of the old layout too, which changes no stored value; then it is copied, where the SELECT gives it (`*` does)";

/// Whether values are other ones than those that would be computed.
enum Differs {
    No,
    Yes,
    /// Those that were looked at are not.
    Perhaps,
}

/// A function by whose tables a row gets the same value in both tables of an INSERT.
fn looks_up(function: &str) -> bool {
    ["dict", "joinGet", "region"].iter().any(|kind| function.starts_with(kind))
}

impl Preflight<'_> {
    /// What a table computes as rows are inserted (`MATERIALIZED`), a rewrite computes anew, and so does the new one of
    /// a row that comes before the cutover. Where that gives another value each time, such as the time of the INSERT,
    /// those that the old table has would be lost.
    pub(super) fn look_at_recomputed(&mut self, migration: &Migration) -> Result<(), PlanError> {
        let blue = &migration.blue;
        let columns = self.current.table(blue).map(|table| table.columns.clone());
        let made = names(&migration.create_green).unwrap_or_default();
        let columns = columns.unwrap_or_default().into_iter().filter(|column| {
            column.default_kind == "MATERIALIZED"
                && made.contains(&column.name)
                && migration.columns.iter().all(|copied| copied.name != column.name)
        });
        for column in columns.collect::<Vec<_>>() {
            let rewrites = migration.strategy == CopyStrategy::Rewrite;
            let (name, by) = (&column.name, &column.default_expression);
            let by_what = self.non_deterministic(blue, by)?;
            if by_what.is_empty() {
                if rewrites {
                    self.look_at_replaced(migration, &column)?;
                }
                continue;
            }
            let differs = if rewrites { self.differs(blue, &column)? } else { Differs::No };
            let lost = match differs {
                Differs::No if by_what.iter().all(|name| looks_up(name)) => continue,
                Differs::No => {
                    let says = format!(
                        "column {name}: a row that comes before the cutover gets another value in {} (MATERIALIZED {by}), and the old table's is lost with it",
                        migration.green
                    );
                    self.found(blue, true, says, COPY_IT.to_owned());
                    continue;
                }
                Differs::Yes => "what it has now would be lost",
                Differs::Perhaps => {
                    "of too many rows to look at all, what they have now may be lost"
                }
            };
            let blocks = matches!(differs, Differs::Yes);
            let says = format!(
                "column {name}: the rewrite would compute it anew for every row (MATERIALIZED {by}), and {lost}"
            );
            self.found(blue, blocks, says, COPY_IT.to_owned());
        }
        Ok(())
    }

    /// What is stored may be another value than green's expression gives: by an expression of before, or as somebody
    /// wrote it.
    fn look_at_replaced(
        &mut self,
        migration: &Migration,
        column: &CatalogColumn,
    ) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(rename = "_teal_rows")]
            rows: u64,
            #[serde(rename = "_teal_replaced")]
            replaced: u64,
        }
        let (blue, name) = (&migration.blue, &column.name);
        let green = Columns::of(&migration.create_green);
        let of_green = |kind: &'static str| Some((kind, green.part(name, kind)?));
        let Some((kind, anew)) =
            ["MATERIALIZED", "ALIAS", "DEFAULT"].into_iter().find_map(of_green)
        else {
            return Ok(());
        };
        let (is, data_type) = (quote_ident(name), quote_string(&column.data_type));
        let query = format!(
            "SELECT count() AS _teal_rows, \
                 countIf(toString([{is}]) != toString([CAST({anew}, {data_type})])) AS _teal_replaced FROM {}",
            blue.sql()
        );
        let session: &mut dyn Session = self.session;
        let counted =
            in_time(|settings| session.row::<Row>(&format!("{query} SETTINGS {settings}")));
        let says = match counted {
            Ok(Some(Row { replaced: 0, .. })) => return Ok(()),
            Ok(Some(Row { rows, replaced })) => {
                format!("{replaced} of {rows} rows have another value stored, which it replaces")
            }
            Ok(None) => {
                self.not_in_time(blue, &format!("values of column {name} that a rewrite replaces"));
                return Ok(());
            }
            // It may be made of what is not stored, or of a column that comes with it.
            Err(ClientError::Server { .. }) => "it replaces what is stored".to_owned(),
            Err(error) => return Err(error.into()),
        };
        let says = format!("column {name}: the rewrite computes it anew ({kind} {anew}); {says}");
        self.found(blue, false, says, COPY_IT.to_owned());
        Ok(())
    }

    /// Whether what is stored is another value than what is computed now. Parts that do not store the column have
    /// nothing to lose: they are read by what is computed.
    fn differs(
        &mut self,
        table: &QualifiedName,
        column: &CatalogColumn,
    ) -> Result<Differs, PlanError> {
        #[derive(Deserialize)]
        struct Stored {
            stored: u64,
        }
        #[derive(Deserialize)]
        struct Row {
            differ: u64,
        }
        let storing = format!(
            "system.parts_columns WHERE active AND rows > 0 AND column = {} AND {}",
            quote_string(&column.name),
            table.condition("table")
        );
        let count = format!("SELECT sum(rows) AS stored FROM {storing}");
        let Stored { stored } = self.session.row(&count)?;
        if stored == 0 {
            return Ok(Differs::No);
        }
        let (name, computed) = (quote_ident(&column.name), &column.default_expression);
        let query = format!(
            "SELECT countIf(toString(_teal_is) != toString(CAST(_teal_now, toTypeName(_teal_is)))) AS differ \
             FROM (SELECT [{name}] AS _teal_is, [{computed}] AS _teal_now FROM {} \
                 WHERE _part IN (SELECT name FROM {storing}))",
            table.sql()
        );
        let session: &mut dyn Session = self.session;
        let look = |settings: &str| session.row::<Row>(&format!("{query} SETTINGS {settings}"));
        match in_time_up_to(look) {
            Ok(Some((Row { differ: 1.. }, _))) => Ok(Differs::Yes),
            Ok(Some((_, rows))) if stored <= rows => Ok(Differs::No),
            Ok(_) => Ok(Differs::Perhaps),
            // What cannot be compared may differ.
            Err(ClientError::Server { .. }) => Ok(Differs::Yes),
            Err(error) => Err(error.into()),
        }
    }
}
