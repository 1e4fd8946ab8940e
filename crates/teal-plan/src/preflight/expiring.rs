use serde::Deserialize;
use teal_schema::{clause, head, names, quote_ident, quote_string, split_list};

use super::Preflight;
use super::created::Columns;
use crate::planner::PlanError;
use crate::{Change, Field, Migration, Operation};

impl Preflight<'_> {
    /// Where the two tables come to reset a value at different times, no row is the same in both meanwhile. And of
    /// folded rows it cannot be told which were made of rows whose time is over.
    pub(super) fn look_at_resetting(&mut self, migration: &Migration) {
        let blue = self.current.table(&migration.blue);
        let ttls = [blue.and_then(|it| it.ttl().ok().flatten()), migration.green_ttl.clone()];
        let deletes = ttls.iter().flatten().any(|ttl| expired(ttl).is_some());
        let what = match migration.ttl_changes_rows {
            true => Some("a TTL gives rows other values (of a column, or by GROUP BY)"),
            false if migration.fold.is_some() && deletes => {
                Some("a TTL deletes rows, and the new engine folds rows")
            }
            false => None,
        };
        if let Some(what) = what {
            let says = format!(
                "{what}: where it comes to one table earlier than to the other, the verification fails"
            );
            let fix = format!(
                "SYSTEM STOP TTL MERGES {} until the cutover, and of {} too when it is there; or leave such a TTL out until then",
                migration.blue.sql(),
                migration.green.sql()
            );
            self.found(&migration.blue, false, says, fix);
        }
    }

    /// Rows that a new TTL deletes at once, or empties a column of.
    pub(super) fn look_at_expiring(&mut self) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(rename = "_teal_rows")]
            rows: u64,
            #[serde(rename = "_teal_expired")]
            expired: u64,
        }
        let mut ttls = Vec::new();
        for operation in &self.operations {
            match operation {
                Operation::AlterTable { table, changes, .. } => {
                    for change in changes {
                        let column = match &change.field {
                            Field::Ttl => None,
                            Field::ColumnTtl(column) => Some(column.clone()),
                            _ => continue,
                        };
                        let ttl = change.to.clone();
                        ttls.extend(ttl.map(|ttl| (table.clone(), table.sql(), ttl, column)));
                    }
                }
                Operation::Migrate { migration, .. } => {
                    let blue = self.current.table(&migration.blue);
                    let old = blue.and_then(|blue| blue.ttl().ok().flatten());
                    let ttl = migration
                        .green_ttl
                        .clone()
                        .filter(|_| blue.is_some() && old != migration.green_ttl);
                    let green = Columns::of(&migration.create_green);
                    let of_columns = migration.columns.iter().filter_map(|column| {
                        let ttl = green.part(&column.name, "TTL")?;
                        let has_one = blue?.column_ttl(&column.name).ok()?.is_some();
                        let is_changed =
                            |change: &Change| change.field == Field::ColumnTtl(column.name.clone());
                        let is_new = !has_one || migration.changes.iter().any(is_changed);
                        is_new.then(|| (ttl, Some(column.name.clone())))
                    });
                    for (ttl, column) in ttl.map(|ttl| (ttl, None)).into_iter().chain(of_columns) {
                        let rows = as_green(migration, &ttl);
                        ttls.push((migration.blue.clone(), rows, ttl, column));
                    }
                }
                _ => (),
            }
        }
        for (table, rows, ttl, column) in ttls {
            let Some(expired) = expired(&ttl) else {
                continue;
            };
            let (what, does) = match column {
                None => ("the TTL".to_owned(), "deletes"),
                Some(column) => (format!("the TTL of column {column}"), "empties it in"),
            };
            // One of a column that comes with the same change is not there to be asked for.
            let counted = self.look_in_time::<Row>(
                &table,
                &format!(
                    "SELECT count() AS _teal_rows, countIf({expired}) AS _teal_expired FROM {rows}"
                ),
                &format!("rows that {what} {does} as soon as it is there"),
            )?;
            if let Some(Row { rows, expired: expired @ 1.. }) = counted {
                let says = format!("{what} {does} {expired} of {rows} rows as soon as it is there");
                let fix = "see that this is meant; a time that is too far ahead for its type (a DateTime ends in 2106) counts as past";
                self.found(&table, false, says, fix.to_owned());
            }
        }
        Ok(())
    }
}

/// The rows that green gets, as far as an expression over its columns (a TTL, a key) asks for them, in green's types; as
/// what can stand behind FROM.
pub(crate) fn as_green(migration: &Migration, expression: &str) -> String {
    // Of one that cannot be read nothing is asked at all.
    let asked = names(expression).unwrap_or_default();
    let columns = migration.columns.iter().filter(|column| asked.contains(&column.name));
    let columns = columns.map(|column| {
        let name = quote_ident(&column.name);
        match &column.from_type {
            Some(_) => format!("CAST({name}, {}) AS {name}", quote_string(&column.data_type)),
            None => name,
        }
    });
    // Of a column that green computes, nothing is asked for here.
    let columns = columns.chain(["1 AS _teal_one".to_owned()]).collect::<Vec<_>>().join(", ");
    format!("(SELECT {columns} FROM ({}))", migration.select)
}

/// Whether a row's time is over, by those items of a TTL that delete, as an expression.
pub fn expired(ttl: &str) -> Option<String> {
    const CLAUSES: [&[&str]; 6] =
        [&["DELETE"], &["WHERE"], &["TO"], &["RECOMPRESS"], &["GROUP"], &["SET"]];
    let items = split_list(ttl).ok()?;
    let has =
        |item: &str, word: &str| clause(item, &[word], &CLAUSES).ok().flatten().map(str::to_owned);
    // What comes behind a GROUP BY may be its keys, or what it sets.
    let told = items.iter().take_while(|item| has(item, "GROUP").is_none());
    let deleting = told.filter_map(|item| {
        let keeps = ["TO", "RECOMPRESS"].iter().any(|word| has(item, word).is_some());
        let time = head(item, &CLAUSES).ok().filter(|_| !keeps)?;
        let condition = has(item, "WHERE").unwrap_or_else(|| "1".to_owned());
        // 1970 stands for never. (Yet where all the other rows of a part are over, 26.7 drops the part with it:
        // a row that is counted here and gone is told, which is better than one that is lost and not told.)
        Some(format!("(toUnixTimestamp({time}) != 0 AND ({time}) <= now() AND ({condition}))"))
    });
    let deleting = deleting.collect::<Vec<_>>();
    (!deleting.is_empty()).then(|| deleting.join(" OR "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_deletes_expires() {
        let of = |ttl| expired(ttl);
        assert_eq!(of("d GROUP BY a, b SET x = max(x), y = any(y)"), None);
        assert_eq!(
            of("d + toIntervalDay(1)").unwrap(),
            "(toUnixTimestamp(d + toIntervalDay(1)) != 0 AND (d + toIntervalDay(1)) <= now() AND (1))"
        );
        assert_eq!(
            of(
                "d DELETE WHERE f(a, b) > 1, d + 1 TO VOLUME 'slow', e RECOMPRESS CODEC(ZSTD(9)), g"
            )
            .unwrap(),
            "(toUnixTimestamp(d) != 0 AND (d) <= now() AND (f(a, b) > 1)) OR (toUnixTimestamp(g) != 0 AND (g) <= now() AND (1))"
        );
        assert_eq!(of("d + 1 TO DISK 'x'"), None);
    }
}
