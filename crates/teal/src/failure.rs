use std::path::Path;
use std::process::ExitCode;

use annotate_snippets::Level;
use owo_colors::OwoColorize as _;
use teal_catalog::{QueryTreeError, ShadowError};
use teal_client::ClientError;
use teal_fetch::FetchError;
use teal_migrate::{JournalError, MigrateError, RequestError};
use teal_models::ModelError;
use teal_plan::PlanError;
use teal_schema::Diagnostic;

use crate::diagnose;

/// Why a command did not do what it was asked for, and the exit code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    said: Said,
}

#[derive(Debug)]
enum Said {
    Text(String),
    /// About a place in the user's code, which is shown with it.
    Code(Box<Diagnostic>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// 1: it did not work.
    Failed,
    /// 2: it was asked for in a wrong way.
    Usage,
    /// 3: it would not have been safe.
    Refused,
    /// 130, as shells give it: a signal ended it.
    Interrupted,
}

pub(crate) const INTERRUPTED: u8 = 130;

/// 4: the plan is not empty (`plan --check`).
pub(crate) const PLAN_NOT_EMPTY: u8 = 4;

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, said: Said::Text(message.into()) }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, said: Said::Text(message.into()) }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { kind: Kind::Refused, said: Said::Text(message.into()) }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Refused => 3,
            Kind::Interrupted => INTERRUPTED,
        })
    }

    /// Nothing where it is a refusal: to be asked again.
    pub(crate) fn unless_refused<T>(self) -> Result<Option<T>, Self> {
        match self.kind {
            Kind::Refused => Ok(None),
            _ => Err(self),
        }
    }

    /// As it is shown. Places in the code are relative to `project`.
    pub(crate) fn render(&self, project: &Path) -> String {
        let word = match self.kind {
            Kind::Failed | Kind::Usage => "error",
            Kind::Refused => "refused",
            Kind::Interrupted => "interrupted",
        };
        match &self.said {
            Said::Text(text) => format!("{} {text}", format!("{word}:").red().bold()),
            Said::Code(diagnostic) => {
                diagnose::render(Level::ERROR.with_name(word), diagnostic, project)
            }
        }
    }

    fn about_code(kind: Kind, diagnostic: Diagnostic) -> Self {
        Self { kind, said: Said::Code(Box::new(diagnostic)) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error.is_refusal() {
            true => Self::refused(error.to_string()),
            false => Self::failed(error.to_string()),
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Unsafe(diagnostic) => Self::about_code(Kind::Refused, *diagnostic),
            PlanError::References(diagnostic)
            | PlanError::Shadow(ShadowError::Refused(diagnostic)) => {
                Self::about_code(Kind::Failed, *diagnostic)
            }
            PlanError::Client(error)
            | PlanError::Shadow(
                ShadowError::Client(error) | ShadowError::QueryTree(QueryTreeError::Client(error)),
            ) => error.into(),
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<MigrateError> for Failure {
    fn from(error: MigrateError) -> Self {
        let kind = match &error {
            MigrateError::Interrupted => Kind::Interrupted,
            error if error.is_refusal() => Kind::Refused,
            _ => Kind::Failed,
        };
        Self { kind, said: Said::Text(error.to_string()) }
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        MigrateError::from(error).into()
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        MigrateError::from(error).into()
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Model(diagnostic) => Self::about_code(Kind::Failed, *diagnostic),
            other => Self::failed(other.to_string()),
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::failed(format!("cannot write JSON: {error}"))
    }
}
