//! Finds the models of a project and loads them into a schema.
//!
//! TypeScript and Python each have an extractor, a program of its own that runs the models and writes one JSON
//! document to a file; the form of the document is `schema/model.schema.json` for both. SQL
//! is read by ClickHouse itself.

mod document;
mod error;
mod extractor;
mod load;
mod sdk;
mod sql;
mod write;

pub use error::ModelError;
pub use load::{LoadOptions, Loaded, Loading};
pub use sdk::{python_sdk, typescript_sdk};
pub use write::{ModelFile, ModelLanguage, write_models};
