use std::sync::OnceLock;

use serde::Deserialize;
use teal_schema::{Diagnostic, Table, View};

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

impl Document {
    /// Reads a document, checking it against the JSON Schema first.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if let Some(validator) = validator() {
            validator
                .validate(&value)
                .map_err(|error| format!("{}: {error}", error.instance_path()))?;
        }
        serde_json::from_value(value).map_err(|error| error.to_string())
    }
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
        assert!(error.contains("/tables/0"), "{error}");
    }
}
