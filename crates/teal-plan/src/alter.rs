//! Changes that `ALTER` makes in place.

use teal_schema::{
    Column, QualifiedName, Table, column_definition, constraint_definition, index_definition,
    names, projection_definition, quote_ident, quote_string, setting_value, sorting_key_expression,
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
    let is_changed = |field: Field| changes.iter().any(|change| change.field == field);
    let (mut ttl_gone, mut ttl_set) = (Vec::new(), Vec::new());
    if is_changed(Field::Ttl) {
        match &desired.ttl {
            Some(ttl) => ttl_set.push(format!("MODIFY TTL {ttl}")),
            None => ttl_gone.push("REMOVE TTL".to_owned()),
        }
    }
    let mut comment = Vec::new();
    if is_changed(Field::Comment) {
        let text = quote_string(desired.comment.as_deref().unwrap_or_default());
        comment.push(format!("MODIFY COMMENT {text}"));
    }
    // A setting goes ahead of what needs it, and is reset behind what needed it. What stands on a column goes before the
    // column changes, and comes after it. A column is not dropped that a default or a TTL names, also where another
    // command of the same statement takes the name out of it (26.7).
    let commands = [
        settings_set(changes),
        removals(changes),
        ttl_gone,
        renames(changes),
        lost_parts(desired, changes),
        columns(current, desired, changes),
        ttl_set,
        drops(current, desired),
        additions(desired, changes),
        settings_reset(changes),
        comment,
    ];
    let commands = commands.into_iter().filter(|commands| !commands.is_empty());
    let table = name.sql();
    commands.map(|commands| format!("ALTER TABLE {table} {}", commands.join(", "))).collect()
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

/// Columns that come, move or change, and the sorting key, which may only get columns that come
/// in the same statement.
fn columns(current: &Table, desired: &Table, changes: &[Change]) -> Vec<String> {
    let mut commands = Vec::new();
    // The names as they stand while the statement is carried out, without those that are going to be dropped.
    let stay = current.columns.iter().filter_map(|column| becomes(column, current, desired));
    let mut order = stay.map(|new| new.name.as_str()).collect::<Vec<_>>();
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

/// What becomes of a column of the table, where it stays.
fn becomes<'d>(column: &Column, current: &Table, desired: &'d Table) -> Option<&'d Column> {
    let is_from = |new: &&Column| {
        origin(new, current, desired).is_some_and(|origin| origin.name == column.name)
    };
    desired.columns.iter().find(is_from)
}

/// What another one's default names goes behind that.
fn drops(current: &Table, desired: &Table) -> Vec<String> {
    let gone = current.columns.iter().filter(|it| becomes(it, current, desired).is_none());
    let of_default = |column: &Column| {
        let default = column.default.as_ref()?;
        names(&default.expression).ok()
    };
    let with_names = |column| (column, of_default(column).unwrap_or_default());
    let mut left = gone.map(with_names).collect::<Vec<_>>();
    let mut commands = Vec::new();
    while !left.is_empty() {
        let is_free = |(column, _): &(&Column, _)| {
            left.iter().all(|(other, named)| other == column || !named.contains(&column.name))
        };
        // In a circle the server will say what is wrong.
        let (column, _) = left.remove(left.iter().position(is_free).unwrap_or(0));
        commands.push(format!("DROP COLUMN {}", quote_ident(&column.name)));
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

fn settings_set(changes: &[Change]) -> Vec<String> {
    let set = changes.iter().filter_map(|change| match (&change.field, &change.to) {
        (Field::Setting(name), Some(value)) => Some(format!("{name} = {}", setting_value(value))),
        _ => None,
    });
    one_command("MODIFY SETTING", set.collect())
}

fn settings_reset(changes: &[Change]) -> Vec<String> {
    let reset = changes.iter().filter_map(|change| match (&change.field, &change.to) {
        (Field::Setting(name), None) => Some(name.clone()),
        _ => None,
    });
    one_command("RESET SETTING", reset.collect())
}

fn one_command(keyword: &str, items: Vec<String>) -> Vec<String> {
    match items.is_empty() {
        true => items,
        false => vec![format!("{keyword} {}", items.join(", "))],
    }
}
