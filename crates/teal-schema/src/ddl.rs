use std::fmt::Write as _;

use crate::{
    Column, Constraint, ConstraintKind, Index, Projection, QualifiedName, Table, quote_ident,
    quote_string,
};

/// The statement that creates `table` as `name`. `name` is given apart from the table because the
/// same layout is also built under other names: in a shadow database, as a staging table.
///
/// `extra_settings` are storage settings that come on top of the table's own.
pub fn create_table(
    table: &Table,
    name: &QualifiedName,
    extra_settings: &[(&str, &str)],
) -> String {
    create_table_as(table, &name.sql(), extra_settings)
}

/// As [`create_table`], with the name as it shall stand in the statement.
pub fn create_table_as(table: &Table, name: &str, extra_settings: &[(&str, &str)]) -> String {
    let columns = table
        .columns
        .iter()
        .map(|column| format!("{} {}", quote_ident(&column.name), column_definition(column)));
    let indexes = table
        .indexes
        .iter()
        .map(|index| format!("INDEX {} {}", quote_ident(&index.name), index_definition(index)));
    let projections = table.projections.iter().map(|projection| {
        let name = quote_ident(&projection.name);
        format!("PROJECTION {name} {}", projection_definition(projection))
    });
    let constraints = table.constraints.iter().map(|constraint| {
        let name = quote_ident(&constraint.name);
        format!("CONSTRAINT {name} {}", constraint_definition(constraint))
    });
    let body = columns
        .chain(indexes)
        .chain(projections)
        .chain(constraints)
        .collect::<Vec<_>>()
        .join(",\n    ");

    let mut sql = format!("CREATE TABLE {name}\n(\n    {body}\n)\nENGINE = {}", table.engine);
    let mut clause = |keyword: &str, text: &Option<String>| {
        if let Some(text) = text {
            let _ = write!(sql, "\n{keyword} {text}");
        }
    };
    clause("PARTITION BY", &table.partition_by);
    clause("PRIMARY KEY", &table.primary_key);
    if table.engine.is_merge_tree() {
        clause("ORDER BY", &Some(sorting_key_expression(table)));
    }
    clause("SAMPLE BY", &table.sample_by);
    clause("TTL", &table.ttl);
    let settings = table
        .settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain(extra_settings.iter().copied())
        .map(|(name, value)| format!("{name} = {}", setting_value(value)))
        .collect::<Vec<_>>();
    if !settings.is_empty() {
        clause("SETTINGS", &Some(settings.join(", ")));
    }
    clause("COMMENT", &table.comment.as_deref().map(quote_string));
    sql
}

/// The statement that creates a view: a materialized one, which forwards `select` to `target`, or a
/// plain one where there is no target.
pub fn create_view(name: &QualifiedName, target: Option<&QualifiedName>, select: &str) -> String {
    match target {
        Some(target) => {
            format!("CREATE MATERIALIZED VIEW {} TO {} AS\n{select}", name.sql(), target.sql())
        }
        None => format!("CREATE VIEW {} AS\n{select}", name.sql()),
    }
}

/// The statement that makes `name` an alias of the table `target`. As two strings, since `Alias(db.table)` is
/// stored as one text, which is cut at its first dot (26.9).
pub fn create_alias(name: &QualifiedName, target: &QualifiedName) -> String {
    format!(
        "CREATE TABLE {} ENGINE = Alias({}, {})",
        name.sql(),
        quote_string(&target.database),
        quote_string(&target.name)
    )
}

/// What stands behind a column's name: its type, default, comment, codec and TTL.
pub fn column_definition(column: &Column) -> String {
    let mut sql = column.data_type.clone();
    if let Some(default) = &column.default {
        let _ = write!(sql, " {} {}", default.kind.keyword(), default.expression);
    }
    if let Some(comment) = &column.comment {
        let _ = write!(sql, " COMMENT {}", quote_string(comment));
    }
    if let Some(codec) = &column.codec {
        let _ = write!(sql, " CODEC({codec})");
    }
    if let Some(ttl) = &column.ttl {
        let _ = write!(sql, " TTL {ttl}");
    }
    sql
}

/// What stands behind the name of an index.
pub fn index_definition(index: &Index) -> String {
    let Index { expression, index_type, granularity, .. } = index;
    format!("{expression} TYPE {index_type} GRANULARITY {granularity}")
}

/// What stands behind the name of a projection.
pub fn projection_definition(projection: &Projection) -> String {
    let body = &projection.body;
    match body.split_whitespace().next() {
        Some(word) if word.eq_ignore_ascii_case("INDEX") => body.clone(),
        _ => format!("({body})"),
    }
}

/// What stands behind the name of a constraint.
pub fn constraint_definition(constraint: &Constraint) -> String {
    let kind = match constraint.kind {
        ConstraintKind::Check => "CHECK",
        ConstraintKind::Assume => "ASSUME",
    };
    format!("{kind} {}", constraint.expression)
}

/// The sorting key, in parentheses where it has several items; `tuple()` where it has none.
pub fn sorting_key_expression(table: &Table) -> String {
    match table.order_by.as_slice() {
        [] => "tuple()".to_owned(),
        [item] => item.clone(),
        items => format!("({})", items.join(", ")),
    }
}

/// A storage setting's value: a number stands as it is, and so does a disk that is defined there, `disk(type = …)`;
/// anything else as a string.
pub fn setting_value(value: &str) -> String {
    match value.parse::<f64>() {
        Ok(_) => value.to_owned(),
        Err(_) if defined_disk(value).is_some() => value.to_owned(),
        Err(_) => quote_string(value),
    }
}

/// What stands in the parentheses of `disk(type = …)`.
pub(crate) fn defined_disk(value: &str) -> Option<&str> {
    value.strip_prefix("disk(")?.strip_suffix(')')
}
