use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use teal_schema::{
    Column, ConstraintKind, DefaultKind, LifeCycle, Schema, Table, TokenError, View, call,
    split_list,
};

use super::names::{pascal, snake};
use super::typescript::nullable;
use super::{ModelFile, key_expression, literal, plain_columns, summed_columns, tables_of};

const LONGEST_LINE: usize = 88;

/// The types that need no import.
const BUILT_IN: &[&str] = &["bool", "dict", "float", "int", "list", "str"];

/// Names by the module that they come from.
#[derive(Default)]
struct Imports(BTreeMap<&'static str, BTreeSet<String>>);

impl Imports {
    fn add(&mut self, module: &'static str, name: &str) {
        self.0.entry(module).or_default().insert(name.to_owned());
    }

    fn has(&self, name: &str) -> bool {
        self.0.values().any(|names| names.contains(name))
    }

    /// The standard library first, then the others.
    fn text(&self) -> String {
        let lines = |modules: &[&str]| {
            let of_module = modules.iter().filter_map(|module| {
                let names = self.0.get(module)?.iter().map(String::as_str).collect::<Vec<_>>();
                let line = format!("from {module} import {}\n", names.join(", "));
                // As ruff and black write it.
                Some(match line.len() <= LONGEST_LINE {
                    true => line,
                    false => format!("from {module} import (\n    {},\n)\n", names.join(",\n    ")),
                })
            });
            of_module.collect::<String>()
        };
        let own = lines(&["datetime", "ipaddress", "typing", "uuid"]);
        let others = lines(&["pydantic", "teal"]);
        match own.is_empty() {
            true => others,
            false => format!("{own}\n{others}"),
        }
    }
}

pub(super) fn table(table: &Table) -> Result<ModelFile, TokenError> {
    let physical = table.physical_name();
    let row = pascal(&physical);
    let mut imports = Imports::default();
    imports.add("pydantic", "BaseModel");
    imports.add("teal", "OlapTable");
    imports.add("teal", "OlapConfig");
    let mut text = format!("\n\nclass {row}(BaseModel):\n");
    let annotations = table
        .columns
        .iter()
        .map(|column| annotation(column, &mut imports))
        .collect::<Result<Vec<_>, _>>()?;
    let mut used = BTreeSet::new();
    for (column, annotation) in table.columns.iter().zip(annotations) {
        // A field with a value has its name from then on, also in annotations.
        let is_type = BUILT_IN.contains(&column.name.as_str())
            || imports.has(&column.name)
            || column.name == "Field";
        let field = field_name(&column.name, is_type && column.comment.is_some(), &mut used);
        let mut arguments = Vec::new();
        if field != column.name {
            arguments.push(format!("alias={}", literal(&column.name)));
        }
        if let Some(comment) = &column.comment {
            arguments.push(format!("description={}", literal(comment)));
        }
        let _ = match arguments.is_empty() {
            true => writeln!(text, "    {field}: {annotation}"),
            false => {
                imports.add("pydantic", "Field");
                writeln!(text, "    {field}: {annotation} = Field({})", arguments.join(", "))
            }
        };
    }
    let options = options(table, &mut imports);
    let variable = snake(&physical);
    let _ = writeln!(text, "\n\n{variable} = OlapTable[{row}](");
    let _ = writeln!(text, "    {},\n    config=OlapConfig(", literal(&table.name));
    for (name, value) in options {
        let _ = writeln!(text, "        {name}={value},");
    }
    text.push_str("    ),\n)\n");
    let path = format!("tables/{variable}.py");
    Ok(ModelFile { path, of: physical, text: format!("{}{text}", imports.text()) })
}

pub(super) fn view(view: &View, schema: &Schema, folder: &str) -> ModelFile {
    let (sources, target) = tables_of(view, schema);
    let package = folder.trim_matches('/').replace('/', ".");
    let mut text = match target {
        Some(_) => "from teal import MaterializedView, MaterializedViewOptions\n\n".to_owned(),
        None => "from teal import View\n\n".to_owned(),
    };
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
            let module = snake(&physical);
            let _ = writeln!(text, "from {package}.tables.{module} import {row}{module}");
        }
    }
    let names = sources.iter().map(|table| snake(&table.physical_name())).collect::<Vec<_>>();
    let names = names.join(", ");
    let name = literal(&view.name);
    let select = match view.select.contains(['\\', '"']) {
        true => literal(&view.select),
        false => format!("\"\"\"\n{}\n\"\"\"", view.select),
    };
    let variable = snake(&view.name);
    match target {
        Some(target) => {
            let physical = target.physical_name();
            let _ = write!(
                text,
                "\n{variable} = MaterializedView[{}](\n    MaterializedViewOptions(\n        \
                 materialized_view_name={name},\n        select_statement={select},\n        \
                 select_tables=[{names}],\n    ),\n    target_table={},\n)\n",
                pascal(&physical),
                snake(&physical)
            );
        }
        None => {
            let _ = write!(text, "\n{variable} = View({name}, {select}, [{names}])\n");
        }
    }
    ModelFile { path: format!("views/{variable}.py"), of: view.name.clone(), text }
}

fn annotation(column: &Column, imports: &mut Imports) -> Result<String, TokenError> {
    // A column with a default is not made nullable by `None`.
    let inner = nullable(&column.data_type)?.filter(|_| column.default.is_none());
    let is_nullable = inner.is_some();
    let data_type = inner.unwrap_or_else(|| column.data_type.clone());
    let mut text = match plain(&data_type, imports)? {
        Some(text) => text,
        None => {
            imports.add("typing", "Annotated");
            imports.add("typing", "Any");
            imports.add("teal", "ClickHouseType");
            format!("Annotated[Any, ClickHouseType({})]", literal(&data_type))
        }
    };
    let mut marks = Vec::new();
    let mut mark = |name: &str, expression: &str| {
        imports.add("teal", name);
        marks.push(format!("{name}({})", literal(expression)));
    };
    if let Some(default) = &column.default {
        let name = match default.kind {
            DefaultKind::Default => "ClickHouseDefault",
            DefaultKind::Materialized => "ClickHouseMaterialized",
            DefaultKind::Alias => "ClickHouseAlias",
            DefaultKind::Ephemeral => "ClickHouseEphemeral",
        };
        mark(name, &default.expression);
    }
    if let Some(codec) = &column.codec {
        mark("ClickHouseCodec", codec);
    }
    if let Some(ttl) = &column.ttl {
        mark("ClickHouseTTL", ttl);
    }
    if is_nullable {
        text.push_str(" | None");
    }
    if !marks.is_empty() {
        imports.add("typing", "Annotated");
        text = format!("Annotated[{text}, {}]", marks.join(", "));
    }
    Ok(text)
}

/// The type by Python's own means and the SDK's names; `None` where there are none.
fn plain(data_type: &str, imports: &mut Imports) -> Result<Option<String>, TokenError> {
    const NUMBERS: &[&str] =
        &["Int8", "Int16", "Int32", "UInt8", "UInt16", "UInt32", "UInt64", "Float32"];
    let (name, arguments) = call(data_type)?;
    let mut with = |module: &'static str, name: &str, text: String| {
        imports.add(module, name);
        Some(text)
    };
    Ok(match (name, arguments) {
        ("String", None) => Some("str".to_owned()),
        ("Bool", None) => Some("bool".to_owned()),
        ("Float64", None) => Some("float".to_owned()),
        ("Int64", None) => Some("int".to_owned()),
        ("JSON", None) => with("typing", "Any", "dict[str, Any]".to_owned()),
        (number, None) if NUMBERS.contains(&number) => with("teal", number, number.to_owned()),
        ("DateTime", None) => with("datetime", "datetime", "datetime".to_owned()),
        ("DateTime64", Some(digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            with("teal", "clickhouse_datetime64", format!("clickhouse_datetime64({digits})"))
        }
        ("Decimal", Some(size)) => {
            with("teal", "clickhouse_decimal", format!("clickhouse_decimal({size})"))
        }
        ("FixedString", Some(size)) => {
            with("teal", "FixedString", String::new());
            with("typing", "Annotated", format!("Annotated[str, FixedString({size})]"))
        }
        ("Date", None) => {
            with("datetime", "date", String::new());
            with("teal", "ClickhouseSize", String::new());
            with("typing", "Annotated", "Annotated[date, ClickhouseSize(2)]".to_owned())
        }
        ("Date32", None) => with("datetime", "date", "date".to_owned()),
        ("UUID", None) => with("uuid", "UUID", "UUID".to_owned()),
        ("IPv4", None) => with("ipaddress", "IPv4Address", "IPv4Address".to_owned()),
        ("IPv6", None) => with("ipaddress", "IPv6Address", "IPv6Address".to_owned()),
        ("LowCardinality", Some("String")) => {
            with("typing", "Annotated", "Annotated[str, \"LowCardinality\"]".to_owned())
        }
        ("Array", Some(item)) => plain(item, imports)?.map(|item| format!("list[{item}]")),
        ("Map", Some(both)) => match split_list(both)?.as_slice() {
            [key, value] => match (plain(key, imports)?, plain(value, imports)?) {
                (Some(key), Some(value)) => Some(format!("dict[{key}, {value}]")),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}

fn options(table: &Table, imports: &mut Imports) -> Vec<(&'static str, String)> {
    let mut options = Vec::new();
    if let Some(version) = &table.version {
        options.push(("version", literal(version.as_str())));
    }
    let list = |items: &[&str]| {
        let items = items.iter().map(|item| literal(item)).collect::<Vec<_>>();
        format!("[{}]", items.join(", "))
    };
    options.extend(engine(table, imports).map(|engine| ("engine", engine)));
    if table.engine.is_merge_tree() {
        options.push(match plain_columns(table) {
            Some(columns) if !columns.is_empty() => ("order_by_fields", list(&columns)),
            _ => ("order_by_expression", literal(&key_expression(table))),
        });
    }
    let texts = [
        ("primary_key_expression", &table.primary_key),
        ("partition_by", &table.partition_by),
        ("sample_by_expression", &table.sample_by),
        ("ttl", &table.ttl),
        ("database", &table.database),
        ("cluster", &table.cluster),
        ("comment", &table.comment),
    ];
    for (name, text) in texts {
        options.extend(text.as_ref().map(|text| (name, literal(text))));
    }
    if !table.settings.is_empty() {
        let settings =
            table.settings.iter().map(|(n, v)| format!("{}: {}", literal(n), literal(v)));
        options.push(("settings", format!("{{{}}}", settings.collect::<Vec<_>>().join(", "))));
    }
    let objects = |items: Vec<String>| {
        format!("[\n            {},\n        ]", items.join(",\n            "))
    };
    if !table.indexes.is_empty() {
        imports.add("teal", "TableIndex");
        let indexes = table.indexes.iter().map(|index| {
            format!(
                "TableIndex(name={}, expression={}, type={}, granularity={})",
                literal(&index.name),
                literal(&index.expression),
                literal(&index.index_type),
                index.granularity
            )
        });
        options.push(("indexes", objects(indexes.collect())));
    }
    if !table.projections.is_empty() {
        imports.add("teal", "TableProjection");
        let projections = table.projections.iter().map(|projection| {
            format!(
                "TableProjection(name={}, body={})",
                literal(&projection.name),
                literal(&projection.body)
            )
        });
        options.push(("projections", objects(projections.collect())));
    }
    if !table.constraints.is_empty() {
        imports.add("teal", "TableConstraint");
        let constraints = table.constraints.iter().map(|constraint| {
            let kind = match constraint.kind {
                ConstraintKind::Check => "check",
                ConstraintKind::Assume => "assume",
            };
            format!(
                "TableConstraint(name={}, kind=\"{kind}\", expression={})",
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
        imports.add("teal", "LifeCycle");
        options.push(("life_cycle", life_cycle.to_owned()));
    }
    options
}

/// `None` for a plain MergeTree.
fn engine(table: &Table, imports: &mut Imports) -> Option<String> {
    let column = |argument: &String| {
        let named = table.columns.iter().find(|c| teal_schema::quote_ident(&c.name) == *argument);
        named.map(|column| literal(&column.name))
    };
    let arguments = table.engine.arguments.iter().map(column).collect::<Option<Vec<_>>>();
    let names: Option<&[&str]> = match table.engine.name.as_str() {
        "MergeTree" if table.engine.arguments.is_empty() => return None,
        "AggregatingMergeTree" | "SummingMergeTree" => Some(&[]),
        "ReplacingMergeTree" => Some(&["ver", "is_deleted"]),
        "CollapsingMergeTree" => Some(&["sign"]),
        "VersionedCollapsingMergeTree" => Some(&["sign", "ver"]),
        _ => None,
    };
    if let Some(columns) = summed_columns(table) {
        imports.add("teal", "SummingMergeTreeEngine");
        return Some(format!("SummingMergeTreeEngine(columns={columns})"));
    }
    Some(match (names, arguments) {
        (Some(names), Some(arguments)) if arguments.len() <= names.len() => {
            let class = format!("{}Engine", table.engine.name);
            imports.add("teal", &class);
            let arguments =
                names.iter().zip(arguments).map(|(name, value)| format!("{name}={value}"));
            format!("{class}({})", arguments.collect::<Vec<_>>().join(", "))
        }
        _ => {
            imports.add("teal", "SqlEngine");
            let arguments = table.engine.arguments.iter().map(|argument| literal(argument));
            format!(
                "SqlEngine({}, [{}])",
                literal(&table.engine.name),
                arguments.collect::<Vec<_>>().join(", ")
            )
        }
    })
}

/// The column's name where it can be a field's, else one that can, with the column as its alias.
fn field_name(column: &str, is_unfit: bool, used: &mut BTreeSet<String>) -> String {
    // Names that pydantic's own methods have, or that it keeps for itself.
    let is_taken = |name: &str| {
        name.starts_with("model_")
            || name.starts_with('_')
            || ["copy", "dict", "json", "schema", "validate", "construct", "fields"].contains(&name)
    };
    let is_identifier = column.starts_with(|c: char| c.is_ascii_alphabetic())
        && column.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let mut name = match is_identifier && !is_unfit && !is_taken(column) && !is_keyword(column) {
        true => column.to_owned(),
        false => format!("{}_", snake(column)),
    };
    while !used.insert(name.clone()) {
        name.push('_');
    }
    name
}

fn is_keyword(name: &str) -> bool {
    [
        "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class",
        "continue", "def", "del", "elif", "else", "except", "finally", "for", "from", "global",
        "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return",
        "try", "while", "with", "yield",
    ]
    .contains(&name)
}
