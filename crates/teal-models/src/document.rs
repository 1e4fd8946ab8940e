use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;
use teal_schema::{Diagnostic, Location, Table, View};

/// The one JSON Schema of the document.
const SCHEMA: &str = include_str!("../schema/model.schema.json");

/// What an extractor wrote.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    pub(crate) tables: Vec<Table>,
    pub(crate) views: Vec<View>,
    pub(crate) warnings: Vec<Diagnostic>,
    #[serde(default)]
    pub(crate) error: Option<Diagnostic>,
}

/// Why a document cannot be read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// A declaration in it is wrong, which says where it stands.
    Model(Box<Diagnostic>),
    Document(String),
}

impl Document {
    /// Reads a document, checking it against the JSON Schema first.
    pub(crate) fn read(text: &str) -> Result<Self, Unreadable> {
        let other = |error: serde_json::Error| Unreadable::Document(error.to_string());
        let value = serde_json::from_str(text).map_err(other)?;
        if let Some(validator) = validator() {
            validator.validate(&value).map_err(|error| {
                let path = error.instance_path().to_string();
                let in_model = of_declaration(&value, &path, &error.to_string());
                in_model.map_or_else(
                    || Unreadable::Document(format!("{path}: {error}")),
                    |diagnostic| Unreadable::Model(Box::new(diagnostic)),
                )
            })?;
        }
        serde_json::from_value(value).map_err(other)
    }
}

/// `/tables/0/settings/index_granularity` in the words of the model: which table, where it stands.
fn of_declaration(document: &Value, path: &str, reason: &str) -> Option<Diagnostic> {
    let mut parts = path.splitn(4, '/').skip(1);
    let list = parts.next()?;
    let index = parts.next()?.parse::<usize>().ok()?;
    let option = parts.next().map(|option| format!("{}: ", option.replace('/', ".")));
    let kind = match list {
        "tables" => "table",
        "views" => "view",
        _ => return None,
    };
    let declaration = document.get(list)?.get(index)?;
    let name = declaration.get("name").and_then(Value::as_str).unwrap_or_default();
    let location = declaration.get("location").cloned()?;
    let location = serde_json::from_value::<Location>(location).ok()?;
    let message = format!("{kind} {name}: {}{reason}", option.unwrap_or_default());
    let hint = "correct it; docs/models.md says what a model may have";
    (!location.file.is_empty()).then(|| Diagnostic::at(&location, message).instead(hint))
}

fn validator() -> Option<&'static jsonschema::Validator> {
    static VALIDATOR: OnceLock<Option<jsonschema::Validator>> = OnceLock::new();
    let make = || {
        let schema = serde_json::from_str(SCHEMA).ok()?;
        jsonschema::validator_for(&schema).ok()
    };
    VALIDATOR.get_or_init(make).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_one() {
        assert!(validator().is_some());
    }

    #[test]
    fn what_is_not_in_the_schema_is_refused_with_its_place() {
        let error = Document::read(
            r#"{"formatVersion":1,"tables":[{"name":"t","colums":[]}],"views":[],"warnings":[]}"#,
        )
        .unwrap_err();
        assert!(matches!(error, Unreadable::Document(said) if said.contains("/tables/0")));
    }

    #[test]
    fn a_mistake_in_a_declaration_is_told_with_the_models_place() {
        let error = Document::read(
            r#"{"formatVersion":1,"tables":[],"views":[{"name":"v","select":"SELECT 1","selectTables":[{"name":5}],"location":{"file":"app/v.ts","line":3}}],"warnings":[]}"#,
        )
        .unwrap_err();
        let Unreadable::Model(diagnostic) = error else {
            panic!("{error:?}");
        };
        let location = diagnostic.location.unwrap();
        assert_eq!((location.file.as_str(), location.line), ("app/v.ts", 3));
        assert!(
            diagnostic.message.starts_with("view v: selectTables.0.name: 5 is not of type"),
            "{}",
            diagnostic.message
        );
    }
}
