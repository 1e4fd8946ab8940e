//! Whether somebody has altered blue or green since the migration began.
//!
//! The view, the copy and the comparison were planned for the tables as they were. So each step begins
//! with a look, and so does each publication; what differs stops the migration where it stands. Undoing
//! the change lets it go on. (A view that is made again forwards again; what it missed is found by the
//! verification.)
//!
//! Storage settings and the table's comment are of no account here: they change no row, and teal itself
//! sets some of green's.

use std::collections::BTreeMap;

use serde::Deserialize;
use teal_catalog::own_directory;
use teal_plan::{Drift, Field, Migration, definition_changes};
use teal_schema::{QualifiedName, head, quote_string, read_create};

use crate::journal::state::{Definitions, Migrating};
use crate::{Event, MigrateError, Operator, Phase};

/// What is there, by name.
type Objects = BTreeMap<QualifiedName, Object>;

/// Whether a difference of a table counts.
type Counts<'a> = &'a dyn Fn(&QualifiedName, &Field) -> Result<bool, MigrateError>;

/// A table or a view.
#[derive(Debug, Deserialize)]
struct Object {
    /// The statement that makes it.
    sql: String,
    /// A view has none.
    rows: Option<u64>,
    /// The directory of its data.
    path: String,
}

const GONE: &str = "it was there, and is not any more";

impl Operator<'_> {
    /// How the two tables are, for the looks to come; nothing where that is known.
    pub(crate) fn definitions_to_record(
        &self,
        migrating: &Migrating,
    ) -> Result<Option<Event>, MigrateError> {
        let (blue, green) = migrating.tables_now();
        let known = migrating.definitions.as_ref();
        if known.is_some_and(|known| known.green.is_some()) {
            return Ok(None);
        }
        let mut now = self.objects(&[blue, green])?;
        let green = now.remove(green).map(|it| it.sql);
        // Without blue, what needs it will say that it is not there.
        let blue_now = || now.remove(blue).map(|it| (own_directory(&it.path).to_owned(), it.sql));
        let known_blue = known.map(|known| (known.blue_data.clone(), known.blue.clone()));
        let defined = |(blue_data, blue)| Event::Defined { blue, green: green.clone(), blue_data };
        let blue = known_blue.or_else(blue_now);
        Ok(blue.map(defined).filter(|_| known.is_none() || green.is_some()))
    }

    /// # Errors
    /// [`MigrateError::Altered`], with what differs, field by field.
    pub(crate) fn refuse_altered(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let is_attached = matches!(
            migrating.phase,
            Phase::Attached(_) | Phase::Backfilled(_) | Phase::Verified(_)
        );
        self.refuse_any_altered(migrating, is_attached, &counts).map(drop)
    }

    /// As [`refuse_altered`](Self::refuse_altered), before the fence is opened: undoing it drops the view and
    /// empties green, and a view or rows that are there already are not ours to drop.
    pub(crate) fn refuse_what_is_not_ours(
        &self,
        migrating: &Migrating,
    ) -> Result<(), MigrateError> {
        let now = self.refuse_any_altered(migrating, false, &counts)?;
        let Migration { view, green, .. } = &migrating.migration;
        if now.contains_key(view) {
            return Err(MigrateError::ViewExists { view: view.clone() });
        }
        match now.get(green).and_then(|it| it.rows) {
            None | Some(0) => Ok(()),
            Some(rows) => Err(MigrateError::GreenNotEmpty { green: green.clone(), rows }),
        }
    }

    /// As [`refuse_altered`](Self::refuse_altered), where the view may have been dropped by teal itself.
    pub(crate) fn refuse_tables_altered(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        self.refuse_any_altered(migrating, false, &counts).map(drop)
    }

    /// After a cutover the new table may be altered as any other; but a way back has no place for the values
    /// of a column that only the new one has. And a default gives rows whose parts do not store the column other
    /// values than they had when they were compared.
    ///
    /// # Errors
    /// [`MigrateError::AlteredBeyondCompare`].
    pub(crate) fn refuse_other_columns(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let counts = |table: &QualifiedName, field: &Field| match field {
            Field::ColumnDefault(name) => {
                let is_copied = migrating.migration.columns.iter().any(|it| it.name == *name);
                Ok(is_copied && self.computes_when_read(table, name)?)
            }
            field => Ok(is_of_columns(field)),
        };
        match self.refuse_any_altered(migrating, false, &counts) {
            Err(MigrateError::Altered { altered }) => {
                Err(MigrateError::AlteredBeyondCompare { altered })
            }
            other => other.map(drop),
        }
    }

    /// What stands under the names of the migration, if that is as it was.
    fn refuse_any_altered(
        &self,
        migrating: &Migrating,
        has_view: bool,
        counts: Counts<'_>,
    ) -> Result<Objects, MigrateError> {
        let (blue, green) = migrating.tables_now();
        let view = &migrating.migration.view;
        let now = self.objects(&[blue, green, view])?;
        let Some(definitions) = &migrating.definitions else {
            return Ok(now);
        };
        // Where one of the two is gone, the other may be all that there is of the rows.
        match &migrating.phase {
            Phase::CutOver(state) if !now.contains_key(green) => {
                self.refuse_without_new(migrating, state, true)?;
            }
            Phase::CutOver(_) => (),
            _ => match now.get(blue) {
                Some(blue) if !is_other(definitions, blue) => (),
                _ => self.refuse_last_copy(migrating)?,
            },
        }
        let mut altered = Vec::new();
        let green_was = definitions.green.as_deref().map(|was| (green, was));
        for (object, was) in
            [Some((blue, definitions.blue.as_str())), green_was].into_iter().flatten()
        {
            let differences = match now.get(object) {
                Some(is) => self.differences(object, was, &is.sql, counts)?,
                None => vec![GONE.to_owned()],
            };
            if !differences.is_empty() {
                altered.push(Drift { object: object.clone(), differences });
            }
        }
        if has_view && !now.contains_key(view) {
            altered.push(Drift { object: view.clone(), differences: vec![GONE.to_owned()] });
        }
        match altered.is_empty() {
            true => Ok(now),
            false => Err(MigrateError::Altered { altered }),
        }
    }

    /// Whether blue's name means the table that it meant when the migration began; where it is gone, it does not.
    pub(crate) fn is_blue_itself(&self, migrating: &Migrating) -> Result<bool, MigrateError> {
        let blue = migrating.tables_now().0;
        let now = self.objects(&[blue])?;
        let known = migrating.definitions.as_ref();
        Ok(now.get(blue).is_some_and(|now| !known.is_some_and(|it| is_other(it, now))))
    }

    /// A green that is there already may be what a process before has made, or somebody else.
    ///
    /// # Errors
    /// [`MigrateError::OtherGreen`], with what differs from how the migration makes it.
    pub(crate) fn refuse_other_green(&self, migration: &Migration) -> Result<(), MigrateError> {
        let green = &migration.green;
        let Some(is) = self.objects(&[green])?.remove(green) else {
            return Ok(());
        };
        let differences = self.differences(green, &migration.create_green, &is.sql, &counts)?;
        match differences.is_empty() {
            true => Ok(()),
            false => {
                let other = Drift { object: green.clone(), differences };
                Err(MigrateError::OtherGreen { other: vec![other] })
            }
        }
    }

    fn differences(
        &self,
        table: &QualifiedName,
        was: &str,
        is: &str,
        counts: Counts<'_>,
    ) -> Result<Vec<String>, MigrateError> {
        let (before, now) = (what_counts(was)?, what_counts(is)?);
        if before == now {
            return Ok(Vec::new());
        }
        Ok(match definition_changes(self.server, was, is, table)? {
            Some(changes) => {
                let mut differences = Vec::new();
                for change in changes {
                    if counts(table, &change.field)? {
                        differences.push(change.to_string());
                    }
                }
                differences
            }
            None => vec![format!("was: {before}"), format!("is:  {now}")],
        })
    }

    /// Whether the table has rows whose parts do not store the column, as one that was added behind them. Parts of
    /// updates have columns of theirs only.
    fn computes_when_read(
        &self,
        table: &QualifiedName,
        column: &str,
    ) -> Result<bool, MigrateError> {
        let of = table.condition("table");
        let parts = self.count_rows(&format!(
            "SELECT 1 FROM system.parts \
             WHERE active AND rows > 0 AND {of} AND NOT startsWith(partition_id, 'patch-') \
                 AND name NOT IN (\
                     SELECT name FROM system.parts_columns WHERE active AND column = {} AND {of})",
            quote_string(column)
        ))?;
        Ok(parts > 0)
    }

    /// Those of these names that are there.
    fn objects(&self, names: &[&QualifiedName]) -> Result<Objects, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            database: String,
            name: String,
            #[serde(flatten)]
            object: Object,
        }
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT database, name, create_table_query AS sql, total_rows AS rows, \
                     ifNull(arrayElement(data_paths, 1), '') AS path \
                 FROM system.tables WHERE {}",
                QualifiedName::condition_of_any(names, "name")
            ))
        })?;
        let named = |row: Row| (QualifiedName::new(row.database, row.name), row.object);
        Ok(rows.into_iter().map(named).collect())
    }
}

/// Whether a table is not the one that was blue.
fn is_other(definitions: &Definitions, table: &Object) -> bool {
    definitions.blue_data != own_directory(&table.path)
}

fn counts(_: &QualifiedName, field: &Field) -> Result<bool, MigrateError> {
    Ok(!matches!(field, Field::Setting(_) | Field::Comment))
}

fn is_of_columns(field: &Field) -> bool {
    matches!(field, Field::Column(_) | Field::ColumnName(_) | Field::ColumnType(_))
}

/// The definition without the name, which an exchange swaps, the settings and the comment.
fn what_counts(definition: &str) -> Result<&str, MigrateError> {
    let behind_name = read_create(definition)?.map_or(0, |create| create.name_range.end);
    let rest = definition.get(behind_name..).unwrap_or(definition);
    Ok(head(rest, &[&["SETTINGS"], &["COMMENT"]])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_comment_and_name_do_not_count_and_all_else_does() {
        let one = "CREATE TABLE d.settings (`a` UInt8 COMMENT 'x') ENGINE = MergeTree ORDER BY a \
             SETTINGS index_granularity = 8192";
        let other = "CREATE TABLE d.b (`a` UInt8 COMMENT 'x') ENGINE = MergeTree ORDER BY a \
             SETTINGS index_granularity = 8192, max_bytes_to_merge_at_max_space_in_pool = 1 COMMENT 'c'";
        assert_eq!(what_counts(one).unwrap(), what_counts(other).unwrap());
        let altered = other.replace("UInt8", "UInt16");
        assert_ne!(what_counts(one).unwrap(), what_counts(&altered).unwrap());
    }
}
