use std::path::PathBuf;
use std::time::Duration;

use teal_client::ClientError;
use teal_schema::{Diagnostic, SchemaError, TokenError};

#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(
        "there is no model below {folder}: write one there, or name another folder in teal.toml ([models] folder)",
        folder = .folder.display()
    )]
    NoModels { folder: PathBuf },
    #[error("{path}: {source}", path = .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(
        "cannot run {program} for the {language} models: {source}; install it, or set {variable} to the program"
    )]
    NoInterpreter {
        language: &'static str,
        program: String,
        variable: &'static str,
        source: std::io::Error,
    },
    #[error("the {language} SDK is not where it should be ({path}): {instead}", path = .path.display())]
    NoSdk { language: &'static str, path: PathBuf, instead: &'static str },
    /// The models themselves are wrong.
    #[error("{0}")]
    Model(Box<Diagnostic>),
    #[error(
        "the {language} models did not end within {} s: a model declares, and waits for nothing (--model-timeout allows more)",
        .limit.as_secs()
    )]
    TimeLimit { language: &'static str, limit: Duration },
    #[error("loading the {language} models ended with {status} and no result\n{said}")]
    NoDocument { language: &'static str, status: String, said: String },
    #[error("the {language} models gave a document that teal cannot read: {reason}")]
    BadDocument { language: &'static str, reason: String },
    #[error("cannot read the SELECT of a view: {0}")]
    Tokens(#[from] TokenError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<Diagnostic> for ModelError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Model(Box::new(diagnostic))
    }
}

impl From<SchemaError> for ModelError {
    fn from(error: SchemaError) -> Self {
        error.diagnostic().into()
    }
}
