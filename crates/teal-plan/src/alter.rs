//! Changes that `ALTER` makes in place.

use teal_schema::{
    Column, QualifiedName, Table, column_definition, constraint_definition, index_definition,
    projection_definition, quote_ident, quote_string, setting_value, sorting_key_expression,
};

use crate::diff::{Change, Field, origin};

/// The statements that turn the table `name` from `current` into `desired`. Whether the server takes
/// them, and whether they have that effect, is for a trial to show.
pub(crate) fn statements(
    name: &QualifiedName,
    current: &Table,
    desired: &Table,
    changes: &[Change],
) -> Vec<String> {
    let is = |field: &dyn Fn(&Field) -> bool| changes.iter().any(|change| field(&change.field));
    let mut commands = [
        // What stands on a column goes before the column changes, and comes after it.
        removals(changes),
        renames(changes),
        columns(current, desired, changes),
        lost_parts(desired, changes),
        additions(desired, changes),
    ]
    .into_iter()
    .filter(|commands| !commands.is_empty())
    .map(|commands| commands.join(", "))
    .collect::<Vec<_>>();
    if is(&|field| *field == Field::Ttl) {
        commands.push(match &desired.ttl {
            Some(ttl) => format!("MODIFY TTL {ttl}"),
            None => "REMOVE TTL".to_owned(),
        });
    }
    commands.extend(settings(changes));
    if is(&|field| *field == Field::Comment) {
        let comment = quote_string(desired.comment.as_deref().unwrap_or_default());
        commands.push(format!("MODIFY COMMENT {comment}"));
    }
    let table = name.sql();
    commands.into_iter().map(|commands| format!("ALTER TABLE {table} {commands}")).collect()
}

fn removals(changes: &[Change]) -> Vec<String> {
    let gone = changes.iter().filter(|change| change.from.is_some());
    let dropped = gone.filter_map(|change| match &change.field {
        Field::Index(name) => Some(format!("DROP INDEX {}", quote_ident(name))),
        Field::Projection(name) => Some(format!("DROP PROJECTION {}", quote_ident(name))),
        Field::Constraint(name) => Some(format!("DROP CONSTRAINT {}", quote_ident(name))),
        _ => None,
    });
    dropped.collect()
}

fn renames(changes: &[Change]) -> Vec<String> {
    let renamed = changes.iter().filter_map(|change| match (&change.field, &change.from) {
        (Field::ColumnName(to), Some(from)) => {
            Some(format!("RENAME COLUMN {} TO {}", quote_ident(from), quote_ident(to)))
        }
        _ => None,
    });
    renamed.collect()
}

/// Columns that come, go, move or change, and the sorting key, which may only get columns that come
/// in the same statement.
fn columns(current: &Table, desired: &Table, changes: &[Change]) -> Vec<String> {
    let mut commands = Vec::new();
    // The names as they stand while the statement is carried out.
    let mut order = Vec::new();
    for column in &current.columns {
        let now = desired.columns.iter().find(|new| {
            origin(new, current, desired).is_some_and(|origin| origin.name == column.name)
        });
        match now {
            Some(new) => order.push(new.name.as_str()),
            None => commands.push(format!("DROP COLUMN {}", quote_ident(&column.name))),
        }
    }
    for (i, column) in desired.columns.iter().enumerate() {
        let name = column.name.as_str();
        let before = i.checked_sub(1).and_then(|i| desired.columns.get(i));
        let place = match before {
            Some(before) => format!("AFTER {}", quote_ident(&before.name)),
            None => "FIRST".to_owned(),
        };
        let behind = before.and_then(|before| order.iter().position(|n| *n == before.name));
        let at = behind.map_or(0, |behind| behind + 1);
        let definition = format!("{} {}", quote_ident(name), column_definition(column));
        match order.iter().position(|other| *other == name) {
            None => {
                commands.push(format!("ADD COLUMN {definition} {place}"));
                order.insert(at, name);
            }
            Some(was) if was != at => {
                commands.push(format!("MODIFY COLUMN {definition} {place}"));
                order.remove(was);
                order.insert(at.min(order.len()), name);
            }
            Some(_) if is_modified(column, changes) => {
                commands.push(format!("MODIFY COLUMN {definition}"));
            }
            Some(_) => (),
        }
    }
    if changes.iter().any(|change| change.field == Field::SortingKey) {
        commands.push(format!("MODIFY ORDER BY {}", sorting_key_expression(desired)));
    }
    commands
}

fn is_modified(column: &Column, changes: &[Change]) -> bool {
    changes.iter().filter(|change| change.to.is_some()).any(|change| {
        matches!(&change.field,
            Field::ColumnType(name) | Field::ColumnDefault(name) | Field::ColumnCodec(name)
            | Field::ColumnTtl(name) | Field::ColumnComment(name) if *name == column.name)
    })
}

/// What a column loses: the definition of a column says only what it has.
fn lost_parts(desired: &Table, changes: &[Change]) -> Vec<String> {
    let lost = changes.iter().filter(|change| change.to.is_none()).filter_map(|change| {
        let (name, part) = match &change.field {
            Field::ColumnDefault(name) => {
                let kind = change.from.as_deref()?.split(' ').next()?;
                (name, kind)
            }
            Field::ColumnCodec(name) => (name, "CODEC"),
            Field::ColumnTtl(name) => (name, "TTL"),
            Field::ColumnComment(name) => (name, "COMMENT"),
            _ => return None,
        };
        let is_there = desired.columns.iter().any(|column| column.name == *name);
        is_there.then(|| format!("MODIFY COLUMN {} REMOVE {part}", quote_ident(name)))
    });
    lost.collect()
}

fn additions(desired: &Table, changes: &[Change]) -> Vec<String> {
    let mut commands = Vec::new();
    for change in changes.iter().filter(|change| change.to.is_some()) {
        match &change.field {
            Field::Index(name) => {
                let index = desired.indexes.iter().find(|index| index.name == *name);
                commands.extend(index.map(|index| {
                    format!("ADD INDEX {} {}", quote_ident(name), index_definition(index))
                }));
            }
            Field::Projection(name) => {
                let projection = desired.projections.iter().find(|it| it.name == *name);
                commands.extend(projection.map(|it| {
                    format!("ADD PROJECTION {} {}", quote_ident(name), projection_definition(it))
                }));
            }
            Field::Constraint(name) => {
                let constraint = desired.constraints.iter().find(|it| it.name == *name);
                commands.extend(constraint.map(|it| {
                    format!("ADD CONSTRAINT {} {}", quote_ident(name), constraint_definition(it))
                }));
            }
            _ => (),
        }
    }
    commands
}

fn settings(changes: &[Change]) -> Vec<String> {
    let mut set = Vec::new();
    let mut reset = Vec::new();
    for change in changes {
        if let Field::Setting(name) = &change.field {
            match &change.to {
                Some(value) => set.push(format!("{name} = {}", setting_value(value))),
                None => reset.push(name.as_str()),
            }
        }
    }
    let mut commands = Vec::new();
    if !set.is_empty() {
        commands.push(format!("MODIFY SETTING {}", set.join(", ")));
    }
    if !reset.is_empty() {
        commands.push(format!("RESET SETTING {}", reset.join(", ")));
    }
    commands
}
