use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use teal_plan::Cutover;

use crate::failure::Failure;

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
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Migrate {
    pub(crate) cutover: Option<Cutover>,
    pub(crate) workers: Option<usize>,
    pub(crate) chunk_rows: Option<u64>,
    /// Seconds.
    pub(crate) fence_timeout: Option<u64>,
}

fn default_database() -> String {
    "default".to_owned()
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
        toml::from_str(&text)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
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
