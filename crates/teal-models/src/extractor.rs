use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::document::{Document, Unreadable};
use crate::{ModelError, sdk};

/// A language that models are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    TypeScript,
    Python,
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::TypeScript => "TypeScript",
            Self::Python => "Python",
        }
    }

    /// The extractor's program, with the variable that names another one.
    fn command(self, project: &Path) -> Result<(Command, &'static str), ModelError> {
        match self {
            Self::TypeScript => {
                let mut command = Command::new(sdk::node());
                command.arg("--no-warnings").arg(sdk::typescript_extractor()?);
                Ok((command, "TEAL_NODE"))
            }
            Self::Python => {
                let mut command = Command::new(sdk::python(project));
                command.args(["-m", "teal.extract"]);
                let mut path = sdk::python_path()?.into_os_string();
                if let Some(others) = std::env::var_os("PYTHONPATH").filter(|p| !p.is_empty()) {
                    path.push(":");
                    path.push(others);
                }
                command.env("PYTHONPATH", path);
                // Loading models leaves nothing in the project.
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                Ok((command, "TEAL_PYTHON"))
            }
        }
    }
}

/// An extractor that is running.
pub(crate) struct Extractor {
    language: Language,
    child: Child,
    began: Instant,
    /// Holds the document and what the models printed.
    directory: tempfile::TempDir,
}

impl Extractor {
    pub(crate) fn start(
        language: Language,
        project: &Path,
        folder: &Path,
    ) -> Result<Self, ModelError> {
        let directory = tempfile::Builder::new()
            .prefix("teal-models-")
            .tempdir()
            .map_err(|source| ModelError::Io { path: std::env::temp_dir(), source })?;
        let printed = directory.path().join("printed");
        let io = |source| ModelError::Io { path: printed.clone(), source };
        let output = File::create(&printed).map_err(io)?;
        let errors = output.try_clone().map_err(io)?;
        let (mut command, variable) = language.command(project)?;
        ends_with_teal(&mut command);
        let child = command
            .arg("--project")
            .arg(project)
            .arg("--models")
            .arg(folder)
            .arg("--out")
            .arg(directory.path().join("document.json"))
            .current_dir(project)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // A group of its own, to end what the models started as well.
            .process_group(0)
            .spawn()
            .map_err(|source| ModelError::NoInterpreter {
                language: language.name(),
                program: command.get_program().to_string_lossy().into_owned(),
                variable,
                source,
            })?;
        Ok(Self { language, child, began: Instant::now(), directory })
    }

    /// Waits for the document.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<Document, ModelError> {
        let language = self.language.name();
        let io = |source| ModelError::Io { path: self.directory.path().to_owned(), source };
        let status =
            wait(&mut self.child, limit.saturating_sub(self.began.elapsed())).map_err(io)?;
        let Some(status) = status else {
            return Err(ModelError::TimeLimit { language, limit });
        };
        let document = std::fs::read_to_string(self.directory.path().join("document.json"));
        match document {
            Ok(text) if status.success() => Document::read(&text).map_err(|error| match error {
                Unreadable::Model(diagnostic) => ModelError::Model(diagnostic),
                Unreadable::Document(reason) => ModelError::BadDocument { language, reason },
            }),
            _ => {
                let printed = std::fs::read(self.directory.path().join("printed")).map_err(io)?;
                Err(ModelError::NoDocument {
                    language,
                    status: status.to_string(),
                    said: indented_end(&String::from_utf8_lossy(&printed)),
                })
            }
        }
    }
}

impl Drop for Extractor {
    fn drop(&mut self) {
        // Nothing of it outlives the load: not after a time limit, not after another's error.
        if let Ok(None) = self.child.try_wait() {
            if let Some(group) =
                i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }
}

/// Models that run for ever end also where teal is killed before their time is over. By the thread that starts them: the
/// program's first one.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn ends_with_teal(command: &mut Command) {
    let end_with = || {
        let signal = Some(rustix::process::Signal::KILL);
        Ok(rustix::process::set_parent_process_death_signal(signal)?)
    };
    // SAFETY: between fork and exec it makes one system call, and allocates nothing.
    unsafe { command.pre_exec(end_with) };
}

#[cfg(not(target_os = "linux"))]
fn ends_with_teal(_: &mut Command) {}

/// `None` when the child did not end in time.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    const LOOK: Duration = Duration::from_millis(2);
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() > limit {
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

/// The last lines of what a program printed.
fn indented_end(text: &str) -> String {
    const LINES: usize = 20;
    let lines = text.lines().collect::<Vec<_>>();
    let from = lines.len().saturating_sub(LINES);
    lines.iter().skip(from).map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
