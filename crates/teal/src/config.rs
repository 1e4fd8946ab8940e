use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use teal_client::{Address, HttpOptions};
use teal_migrate::{Bytes, Hours, Latency, Limit, Limits, Parts};
use teal_plan::Cutover;

use crate::failure::Failure;
use crate::time_span::TimeSpan;

/// `teal.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) models: Models,
    #[serde(default)]
    pub(crate) targets: BTreeMap<String, Target>,
    #[serde(default)]
    pub(crate) migrate: Migrate,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Models {
    pub(crate) folder: PathBuf,
}

impl Default for Models {
    fn default() -> Self {
        Self { folder: "app".into() }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Target {
    Embedded {
        /// The data directory, relative to the project.
        path: PathBuf,
        #[serde(default = "default_database")]
        database: String,
        /// A ClickHouse configuration file, relative to the project.
        #[serde(default)]
        config: Option<PathBuf>,
    },
    Server(Server),
}

/// A server reached by HTTP. `${NAME}` in a text is taken from the environment.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    url: String,
    user: Option<String>,
    password: Option<String>,
    /// A JWT, in place of user and password.
    token: Option<String>,
    database: Option<String>,
    /// PEM files, relative to the project.
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    /// Seconds.
    connect_timeout: Option<u64>,
    read_timeout: Option<u64>,
    compress: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Migrate {
    pub(crate) cutover: Option<Cutover>,
    pub(crate) workers: Option<usize>,
    pub(crate) chunk_rows: Option<u64>,
    /// Seconds.
    pub(crate) fence_timeout: Option<u64>,
    pub(crate) retention: Option<TimeSpan>,
    pub(crate) park: Option<TimeSpan>,
    bytes_per_second: Option<Limit<Bytes>>,
    query_latency: Option<Limit<Latency>>,
    max_parts: Option<Limit<Parts>>,
    disk_free: Option<Limit<Bytes>>,
    hours: Option<Limit<Hours>>,
}

impl Migrate {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            bytes_per_second: self.bytes_per_second,
            query_latency: self.query_latency,
            max_parts: self.max_parts,
            disk_free: self.disk_free,
            hours: self.hours,
        }
    }
}

pub(crate) fn default_database() -> String {
    "default".to_owned()
}

impl Target {
    pub(crate) fn database(&self) -> String {
        match self {
            Self::Embedded { database, .. } => database.clone(),
            Self::Server(server) => server.database(),
        }
    }
}

impl Server {
    pub(crate) fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            user: None,
            password: None,
            token: None,
            database: None,
            ca: None,
            certificate: None,
            key: None,
            connect_timeout: None,
            read_timeout: None,
            compress: None,
        }
    }

    /// The database that it names. Where the environment lacks what that takes, the server's default.
    fn database(&self) -> String {
        match &self.database {
            Some(name) => from_environment(name).ok(),
            None => from_environment(&self.url)
                .ok()
                .and_then(|url| Address::parse(&url).ok())
                .map(|address| address.database),
        }
        .unwrap_or_else(default_database)
    }

    /// How to reach it. Secrets are filled in here, and are in no message.
    pub(crate) fn options(&self, project: &Path) -> Result<HttpOptions, Failure> {
        let filled = |text: &Option<String>| text.as_deref().map(from_environment).transpose();
        let mut address = Address::parse(&from_environment(&self.url)?)
            .map_err(|error| Failure::usage(format!("the target's url: {error}")))?;
        address.user = filled(&self.user)?.or(address.user);
        address.password = filled(&self.password)?.map(SecretString::from).or(address.password);
        address.token = filled(&self.token)?.map(SecretString::from);
        if let Some(database) = filled(&self.database)? {
            address.database = database;
        }
        let file = |path: &Option<PathBuf>| path.as_ref().map(|path| project.join(path));
        let defaults = HttpOptions::new(address);
        let seconds = |value: Option<u64>, default| value.map_or(default, Duration::from_secs);
        Ok(HttpOptions {
            ca: file(&self.ca),
            certificate: file(&self.certificate),
            key: file(&self.key),
            connect_timeout: seconds(self.connect_timeout, defaults.connect_timeout),
            read_timeout: seconds(self.read_timeout, defaults.read_timeout),
            compress: self.compress,
            ..defaults
        })
    }
}

/// `text` with every `${NAME}` replaced by the variable of that name.
fn from_environment(text: &str) -> Result<String, Failure> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        let Some((name, after)) = behind.split_once('}') else {
            break;
        };
        let value = std::env::var(name).map_err(|_| {
            Failure::usage(format!(
                "the target takes ${{{name}}} from the environment, which has no {name}; set it, and run the command again"
            ))
        })?;
        filled.push_str(before);
        filled.push_str(&value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

impl Config {
    pub(crate) const FILE: &str = "teal.toml";

    pub(crate) fn read(project: &Path) -> Result<Self, Failure> {
        let path = project.join(Self::FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::usage(format!(
                "{}: {error}\n  Is this a teal project? `teal init` makes one, -C names another directory",
                path.display()
            ))
        })?;
        toml::from_str(&text).map_err(|error| {
            Failure::usage(format!("{}: {}", path.display(), what_is_wrong(&text, &error)))
        })
    }

    pub(crate) fn target(&self, name: &str) -> Result<&Target, Failure> {
        self.targets.get(name).ok_or_else(|| {
            let known = self.targets.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            Failure::usage(match known.is_empty() {
                true => format!("teal.toml has no target; write one: [targets.{name}]"),
                false => format!("teal.toml has no target {name}; it has {known}"),
            })
        })
    }
}

/// Keys of a target whose values are secrets, or hold them.
const SECRET: [&str; 3] = ["url", "password", "token"];

/// An error of the file as it may be shown. The library shows the line with it, and the value in place of which
/// another type is expected; of a target, both may be a password.
fn what_is_wrong(text: &str, error: &toml::de::Error) -> String {
    if let Ok(file) = text.parse::<toml::Table>()
        && let Some(toml::Value::Table(targets)) = file.get("targets")
    {
        for (name, target) in targets {
            let is_no_string = |key: &&str| target.get(key).is_some_and(|value| !value.is_str());
            if let Some(key) = SECRET.iter().find(|key| is_no_string(key)) {
                return format!("targets.{name}.{key} is not a string; write it in quotes");
            }
        }
    }
    let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count());
    // A value may be of several lines, of which each may be the one that is shown.
    let mut until = text.lines().take(line + 1);
    let header = until.clone().filter(|line| line.trim_start().starts_with('[')).last();
    let is_of_target = header.is_some_and(|header| header.contains("target"));
    let is_secret =
        text.lines().nth(line).is_some_and(|it| SECRET.iter().any(|key| it.contains(key)));
    match is_of_target
        || is_secret
        || until.any(|line| line.contains("targets")) && header.is_none()
    {
        true => format!("line {}: {}", line + 1, error.message()),
        false => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_file_shows_no_secret() {
        const TARGET: &str = "[models]\nfolder = \"app\"\n[targets.default]\nkind = \"server\"\nurl = \"http://h\"\n";
        for (target, said) in [
            ("password = 12345", "targets.default.password is not a string"),
            ("token = [12345]", "targets.default.token is not a string"),
            ("pasword = \"12345\"", "pasword"),
            ("password = \"\"\"\n12345\"\"", "line "),
            ("password = \"\"\"\n12345\\q\"\"\"", "line 7"),
            ("password = 12345x", "line 6"),
        ] {
            let text = format!("{TARGET}{target}\n");
            let said_it = what_is_wrong(&text, &toml::from_str::<Config>(&text).unwrap_err());
            assert!(said_it.contains(said) && !said_it.contains("12345"), "{target}: {said_it}");
        }
        for text in [
            "password = \"12345\"\n",
            "[target.default]\nurl = 12345x\n",
            "[target.x]\na = 12345x\n",
        ] {
            let said = what_is_wrong(text, &toml::from_str::<Config>(text).unwrap_err());
            assert!(said.contains("line ") && !said.contains("12345"), "{text}: {said}");
        }
        // Elsewhere, the line says more than its number.
        let text = format!("{TARGET}[migrate]\nworkers = \"many\"\n");
        let said = what_is_wrong(&text, &toml::from_str::<Config>(&text).unwrap_err());
        assert!(said.contains("workers = \"many\""), "{said}");
    }
}
