use std::collections::BTreeSet;
use std::fmt::Write as _;

use teal_schema::{
    Column, ConstraintKind, DefaultKind, LifeCycle, Schema, Table, TokenError, View, call,
    split_list,
};

use super::names::{camel, pascal, snake};
use super::{ModelFile, key_expression, literal, plain_columns, summed_columns, tables_of};

pub(super) fn table(table: &Table) -> Result<ModelFile, TokenError> {
    let physical = table.physical_name();
    let row = pascal(&physical);
    let mut imports = BTreeSet::from(["OlapTable".to_owned()]);
    let mut text = format!("export interface {row} {{\n");
    for column in &table.columns {
        if let Some(comment) = column.comment.as_ref().filter(|comment| is_tsdoc(comment)) {
            let _ = writeln!(text, "  /** {comment} */");
        }
        let Typed { text: typed, optional } = property(column, &mut imports)?;
        let mark = if optional { "?" } else { "" };
        let _ = writeln!(text, "  {}{mark}: {typed};", property_name(&column.name));
    }
    text.push_str("}\n\n");
    let _ = writeln!(
        text,
        "export const {} = new OlapTable<{row}>({}, {{",
        camel(&physical),
        literal(&table.name)
    );
    for (name, value) in options(table, &mut imports) {
        let _ = writeln!(text, "  {name}: {value},");
    }
    text.push_str("});\n");
    let path = format!("tables/{}.ts", snake(&physical));
    Ok(ModelFile { path, of: physical, text: format!("{}{text}", import(&imports)) })
}

pub(super) fn view(view: &View, schema: &Schema) -> ModelFile {
    let (sources, target) = tables_of(view, schema);
    let class = if target.is_some() { "MaterializedView" } else { "View" };
    let mut text = import(&BTreeSet::from([class.to_owned(), "sql".to_owned()]));
    text.truncate(text.trim_end().len());
    text.push('\n');
    let mut imported = BTreeSet::new();
    for table in sources.iter().copied().chain(target) {
        let physical = table.physical_name();
        if imported.insert(physical.clone()) {
            let row = match target {
                Some(target) if target.physical_name() == physical => {
                    format!("{}, ", pascal(&physical))
                }
                _ => String::new(),
            };
            let _ = writeln!(
                text,
                "import {{ {row}{} }} from \"../tables/{}\";",
                camel(&physical),
                snake(&physical)
            );
        }
    }
    let names = sources.iter().map(|table| camel(&table.physical_name())).collect::<Vec<_>>();
    let select = format!("sql`{}`", template(&view.select));
    let name = literal(&view.name);
    let variable = camel(&view.name);
    match target {
        Some(target) => {
            let physical = target.physical_name();
            let _ = write!(
                text,
                "\nexport const {variable} = new MaterializedView<{}>({{\n  materializedViewName: {name},\n  \
                 selectStatement: {select},\n  selectTables: [{}],\n  targetTable: {},\n}});\n",
                pascal(&physical),
                names.join(", "),
                camel(&physical)
            );
        }
        None => {
            let _ = write!(
                text,
                "\nexport const {variable} = new View({name}, {select}, [{}]);\n",
                names.join(", ")
            );
        }
    }
    ModelFile { path: format!("views/{}.ts", snake(&view.name)), of: view.name.clone(), text }
}

fn import(names: &BTreeSet<String>) -> String {
    let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    format!("import {{ {names} }} from \"teal-sdk\";\n\n")
}

struct Typed {
    text: String,
    optional: bool,
}

fn property(column: &Column, imports: &mut BTreeSet<String>) -> Result<Typed, TokenError> {
    // A column with a default is not made nullable by `?`.
    let inner = nullable(&column.data_type)?.filter(|_| column.default.is_none());
    let optional = inner.is_some();
    let data_type = inner.unwrap_or_else(|| column.data_type.clone());
    let mut text = match plain(&data_type, imports)? {
        Some(text) => text,
        None => raw(&data_type, imports),
    };
    let mut tag = |name: &str, expression: &str| {
        imports.insert(name.to_owned());
        let _ = write!(text, " & {name}<{}>", literal(expression));
    };
    if let Some(default) = &column.default {
        let name = match default.kind {
            DefaultKind::Default => "ClickHouseDefault",
            DefaultKind::Materialized => "ClickHouseMaterialized",
            DefaultKind::Alias => "ClickHouseAlias",
            DefaultKind::Ephemeral => "ClickHouseEphemeral",
        };
        tag(name, &default.expression);
    }
    if let Some(codec) = &column.codec {
        tag("ClickHouseCodec", codec);
    }
    if let Some(ttl) = &column.ttl {
        tag("ClickHouseTTL", ttl);
    }
    if let Some(comment) = column.comment.as_ref().filter(|comment| !is_tsdoc(comment)) {
        tag("ClickHouseComment", comment);
    }
    Ok(Typed { text, optional })
}

/// What is in `Nullable(…)` or `LowCardinality(Nullable(…))`, where the extractors make that of a type with `null`.
pub(super) fn nullable(data_type: &str) -> Result<Option<String>, TokenError> {
    // To them none of these can be Nullable, though a server may have made one so (26.7).
    const CONTAINERS: &[&str] = &[
        "AggregateFunction",
        "Array",
        "LineString",
        "Map",
        "MultiLineString",
        "MultiPolygon",
        "Nested",
        "Point",
        "Polygon",
        "Ring",
        "SimpleAggregateFunction",
        "Tuple",
    ];
    Ok(match call(data_type)? {
        ("Nullable", Some(inner)) => {
            let is_container = CONTAINERS.contains(&call(inner)?.0);
            (!is_container).then(|| inner.to_owned())
        }
        ("LowCardinality", Some(inner)) => match call(inner)? {
            ("Nullable", Some(inner)) => Some(format!("LowCardinality({inner})")),
            _ => None,
        },
        _ => None,
    })
}

/// The type by TypeScript's own means and the SDK's names; `None` where there are none.
fn plain(data_type: &str, imports: &mut BTreeSet<String>) -> Result<Option<String>, TokenError> {
    const NUMBERS: &[&str] =
        &["Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32"];
    let (name, arguments) = call(data_type)?;
    let mut with = |name: &str, text: String| {
        imports.insert(name.to_owned());
        Some(text)
    };
    Ok(match (name, arguments) {
        ("String", None) => Some("string".to_owned()),
        ("Bool", None) => Some("boolean".to_owned()),
        ("Float64", None) => Some("number".to_owned()),
        ("JSON", None) => Some("Record<string, any>".to_owned()),
        (number, None) if NUMBERS.contains(&number) => with(number, number.to_owned()),
        ("DateTime", None) => with("DateTime", "DateTime".to_owned()),
        ("DateTime64", Some(digits)) if is_number(digits) => {
            with("DateTime64", format!("DateTime64<{digits}>"))
        }
        ("UUID", None) => with("tags", "string & tags.Format<\"uuid\">".to_owned()),
        ("IPv4", None) => with("tags", "string & tags.Format<\"ipv4\">".to_owned()),
        ("IPv6", None) => with("tags", "string & tags.Format<\"ipv6\">".to_owned()),
        ("Date32", None) => with("tags", "string & tags.Format<\"date\">".to_owned()),
        ("Date", None) => {
            with("ClickHouseByteSize", String::new());
            with("tags", "string & tags.Format<\"date\"> & ClickHouseByteSize<2>".to_owned())
        }
        ("Decimal", Some(size)) => with("Decimal", format!("Decimal<{size}>")),
        ("FixedString", Some(size)) => with("FixedString", format!("string & FixedString<{size}>")),
        ("LowCardinality", Some("String")) => {
            with("LowCardinality", "string & LowCardinality".to_owned())
        }
        ("Array", Some(item)) => match plain(item, imports)? {
            Some(item) if item.contains('&') => Some(format!("({item})[]")),
            Some(item) => Some(format!("{item}[]")),
            None => None,
        },
        ("Map", Some(both)) => match split_list(both)?.as_slice() {
            ["String", value] => {
                plain(value, imports)?.map(|value| format!("Record<string, {value}>"))
            }
            _ => None,
        },
        _ => None,
    })
}

fn raw(data_type: &str, imports: &mut BTreeSet<String>) -> String {
    imports.insert("ClickHouseType".to_owned());
    format!("ClickHouseType<{}>", literal(data_type))
}

fn options(table: &Table, imports: &mut BTreeSet<String>) -> Vec<(&'static str, String)> {
    let mut options = Vec::new();
    if let Some(version) = &table.version {
        options.push(("version", literal(version.as_str())));
    }
    let list = |items: &[&str]| {
        let items = items.iter().map(|item| literal(item)).collect::<Vec<_>>();
        format!("[{}]", items.join(", "))
    };
    engine(table, imports, &mut options);
    if table.engine.is_merge_tree() {
        options.push(match plain_columns(table) {
            Some(columns) if !columns.is_empty() => ("orderByFields", list(&columns)),
            _ => ("orderByExpression", literal(&key_expression(table))),
        });
    }
    let texts = [
        ("primaryKeyExpression", &table.primary_key),
        ("partitionBy", &table.partition_by),
        ("sampleByExpression", &table.sample_by),
        ("ttl", &table.ttl),
        ("database", &table.database),
        ("cluster", &table.cluster),
        ("comment", &table.comment),
    ];
    for (name, text) in texts {
        options.extend(text.as_ref().map(|text| (name, literal(text))));
    }
    if !table.settings.is_empty() {
        let settings = table.settings.iter().map(|(n, v)| format!("{n}: {}", literal(v)));
        options.push(("settings", format!("{{ {} }}", settings.collect::<Vec<_>>().join(", "))));
    }
    let objects = |items: Vec<String>| format!("[\n    {},\n  ]", items.join(",\n    "));
    if !table.indexes.is_empty() {
        let indexes = table.indexes.iter().map(|index| {
            format!(
                "{{ name: {}, expression: {}, type: {}, granularity: {} }}",
                literal(&index.name),
                literal(&index.expression),
                literal(&index.index_type),
                index.granularity
            )
        });
        options.push(("indexes", objects(indexes.collect())));
    }
    if !table.projections.is_empty() {
        let projections = table.projections.iter().map(|projection| {
            format!(
                "{{ name: {}, body: {} }}",
                literal(&projection.name),
                literal(&projection.body)
            )
        });
        options.push(("projections", objects(projections.collect())));
    }
    if !table.constraints.is_empty() {
        let constraints = table.constraints.iter().map(|constraint| {
            let kind = match constraint.kind {
                ConstraintKind::Check => "check",
                ConstraintKind::Assume => "assume",
            };
            format!(
                "{{ name: {}, kind: \"{kind}\", expression: {} }}",
                literal(&constraint.name),
                literal(&constraint.expression)
            )
        });
        options.push(("constraints", objects(constraints.collect())));
    }
    let life_cycle = match table.life_cycle {
        LifeCycle::FullyManaged => None,
        LifeCycle::DeletionProtected => Some("LifeCycle.DELETION_PROTECTED"),
        LifeCycle::ExternallyManaged => Some("LifeCycle.EXTERNALLY_MANAGED"),
    };
    if let Some(life_cycle) = life_cycle {
        imports.insert("LifeCycle".to_owned());
        options.push(("lifeCycle", life_cycle.to_owned()));
    }
    options
}

fn engine(
    table: &Table,
    imports: &mut BTreeSet<String>,
    options: &mut Vec<(&'static str, String)>,
) {
    let column = |argument: &String| {
        let named = table.columns.iter().find(|c| teal_schema::quote_ident(&c.name) == *argument);
        named.map(|column| literal(&column.name))
    };
    let arguments = table.engine.arguments.iter().map(column).collect::<Option<Vec<_>>>();
    let names: Option<&[&'static str]> = match table.engine.name.as_str() {
        "MergeTree" | "AggregatingMergeTree" | "SummingMergeTree" => Some(&[]),
        "ReplacingMergeTree" => Some(&["ver", "isDeleted"]),
        "CollapsingMergeTree" => Some(&["sign"]),
        "VersionedCollapsingMergeTree" => Some(&["sign", "ver"]),
        _ => None,
    };
    if table.engine == teal_schema::Engine::merge_tree() {
        return;
    }
    if let Some(columns) = summed_columns(table) {
        imports.insert("ClickHouseEngines".to_owned());
        options.push(("engine", "ClickHouseEngines.SummingMergeTree".to_owned()));
        options.push(("columns", columns));
        return;
    }
    match (names, arguments) {
        (Some(names), Some(arguments)) if arguments.len() <= names.len() => {
            imports.insert("ClickHouseEngines".to_owned());
            options.push(("engine", format!("ClickHouseEngines.{}", table.engine.name)));
            options.extend(names.iter().copied().zip(arguments));
        }
        _ => {
            let arguments = table.engine.arguments.iter().map(|argument| literal(argument));
            let arguments = arguments.collect::<Vec<_>>().join(", ");
            options.push((
                "engine",
                format!("{{ name: {}, arguments: [{arguments}] }}", literal(&table.engine.name)),
            ));
        }
    }
}

/// Whether a comment in the code gives this text back.
fn is_tsdoc(comment: &str) -> bool {
    comment.trim() == comment
        && !comment.contains("*/")
        && !comment.contains(['\n', '\r', '@', '{', '`', '*'])
}

fn property_name(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match is_plain {
        true => name.to_owned(),
        false => literal(name),
    }
}

/// A text within a template literal.
fn template(text: &str) -> String {
    text.replace('\\', "\\\\").replace('`', "\\`").replace("${", "\\${")
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}
