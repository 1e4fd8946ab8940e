//! Writes models: the way back from a schema to a user's files.

mod names;
mod python;
mod sql;
mod typescript;

use teal_schema::{Schema, Table, TokenError, View};

/// A language that models are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelLanguage {
    TypeScript,
    Python,
    Sql,
}

/// A file of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Relative to the models' folder.
    pub path: String,
    /// The table or view that it declares; empty for a file that declares nothing.
    pub of: String,
    pub text: String,
}

/// The models that declare `schema`, a file for each table and view. `folder` is the models' folder,
/// as modules are imported from it.
///
/// # Errors
/// When a type or expression cannot be read as tokens.
pub fn write_models(
    schema: &Schema,
    language: ModelLanguage,
    folder: &str,
) -> Result<Vec<ModelFile>, TokenError> {
    let mut files = Vec::new();
    for table in &schema.tables {
        files.push(match language {
            ModelLanguage::TypeScript => typescript::table(table)?,
            ModelLanguage::Python => python::table(table)?,
            ModelLanguage::Sql => sql::table(table),
        });
    }
    for view in &schema.views {
        files.push(match language {
            ModelLanguage::TypeScript => typescript::view(view, schema),
            ModelLanguage::Python => python::view(view, schema, folder),
            ModelLanguage::Sql => sql::view(view),
        });
    }
    if language == ModelLanguage::Python {
        // Packages, so that views can import tables.
        let folders = ["tables", "views"].into_iter();
        let used = folders.filter(|folder| files.iter().any(|f| f.path.starts_with(folder)));
        let packages = used
            .map(|folder| format!("{folder}/__init__.py"))
            .map(|path| ModelFile { path, of: String::new(), text: String::new() })
            .collect::<Vec<_>>();
        files.extend(packages);
    }
    Ok(files)
}

/// The columns of a sorting key that is made of nothing else.
fn plain_columns(table: &Table) -> Option<Vec<&str>> {
    let plain = |item: &String| {
        let is_it = |name: &str| teal_schema::quote_ident(name) == *item;
        table.columns.iter().map(|column| column.name.as_str()).find(|name| is_it(name))
    };
    table.order_by.iter().map(plain).collect()
}

/// The columns that a SummingMergeTree names, as a list of texts in TypeScript or Python.
fn summed_columns(table: &Table) -> Option<String> {
    let argument = match table.engine.arguments.as_slice() {
        [argument] if table.engine.name == "SummingMergeTree" => argument,
        _ => return None,
    };
    let list = argument.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let items = teal_schema::split_list(list.unwrap_or(argument)).ok()?;
    let column = |item: &&str| {
        let named = table.columns.iter().find(|c| teal_schema::quote_ident(&c.name) == **item);
        named.map(|column| literal(&column.name))
    };
    let columns = items.iter().map(column).collect::<Option<Vec<_>>>()?;
    Some(format!("[{}]", columns.join(", ")))
}

/// The sorting key as one expression.
fn key_expression(table: &Table) -> String {
    match table.order_by.as_slice() {
        [] => "tuple()".to_owned(),
        [item] => item.clone(),
        items => format!("({})", items.join(", ")),
    }
}

/// A text as a literal of TypeScript or Python.
fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The tables of the schema that a view reads, and its target.
fn tables_of<'s>(view: &View, schema: &'s Schema) -> (Vec<&'s Table>, Option<&'s Table>) {
    let sources = view.select_tables.iter().filter_map(|table| schema.table(table)).collect();
    (sources, schema.target(view))
}
