use std::path::Path;

use teal_client::Address;
use teal_schema::shell_word;

use super::pull::{Models, Report};
use crate::cli::{Common, Init, Language, Pull};
use crate::config::Config;
use crate::failure::Failure;
use crate::show;

const CONFIG: &str = r#"# What teal reads and where it works. All of it: docs/config.md.

[models]
folder = "app"

[targets.default]
kind = "embedded"
path = ".teal/data"
database = "default"
"#;

const TYPESCRIPT: &str = r#"import { Key, OlapTable } from "teal-sdk";

export interface Event {
  id: Key<string>;
  name: string;
  createdAt: Date;
}

// To change the sorting key, declare the table again with version "0.1" and a MaterializedView from
// this one to that one; `teal plan` shows what happens then.
export const events = new OlapTable<Event>("events", {
  version: "0.0",
  orderByFields: ["id"],
});
"#;

const PACKAGE: &str = r#"{
  "name": "models",
  "private": true,
  "devDependencies": {
    "typescript": ">=5"
  }
}
"#;

const PYTHON: &str = r#"from datetime import datetime

from pydantic import BaseModel
from teal import Key, OlapConfig, OlapTable


class Event(BaseModel):
    id: Key[str]
    name: str
    created_at: datetime


# To change the sorting key, declare the table again with version "0.1" and a MaterializedView from
# this one to that one; `teal plan` shows what happens then.
events = OlapTable[Event]("events", config=OlapConfig(version="0.0", order_by_fields=["id"]))
"#;

const SQL: &str = r#"-- To change the sorting key, create the table again as events_0_1, with its directive, and a
-- materialized view that selects from this one TO that one; `teal plan` shows what happens then.

-- teal: table events version 0.0
CREATE TABLE events_0_0
(
    id String,
    name String,
    created_at DateTime
)
ENGINE = MergeTree
ORDER BY id;
"#;

pub(crate) fn run(common: &Common, args: &Init) -> Result<(), Failure> {
    let at = &common.project.join(&args.directory);
    if at.join(Config::FILE).exists() {
        return Err(Failure::refused(format!(
            "{} is there already: this is a teal project",
            at.join(Config::FILE).display()
        )));
    }
    let (model, editor): (_, &[(&str, String)]) = match args.lang {
        Language::Ts => (
            ("app/tables/events.ts", TYPESCRIPT),
            &[("tsconfig.json", tsconfig()), ("package.json", PACKAGE.to_owned())],
        ),
        Language::Py => (("app/tables/events.py", PYTHON), &[("pyproject.toml", pyproject())]),
        Language::Sql => (("app/tables/events.sql", SQL), &[]),
    };
    // Before anything is written, so that the same command can be repeated where the target is not reached.
    let pulled = match &args.from {
        Some(from) => Some(pull_from(common, args, at, from)?),
        None => None,
    };
    let config = match &args.from {
        Some(from) => config_for(from)?,
        None => CONFIG.to_owned(),
    };
    write(&at.join(Config::FILE), &config)?;
    write(&at.join(".gitignore"), ".teal/\nnode_modules/\n__pycache__/\n")?;
    for (file, text) in editor {
        write(&at.join(file), text)?;
    }
    if let Some(models) = pulled {
        return models.write(common, &everything(args), Some(at));
    }
    write(&at.join(model.0), model.1)?;
    match common.json {
        true => show::json(&Report {
            project: Some(at.clone()),
            written: vec![at.join(model.0).display().to_string()],
            left: Vec::new(),
        }),
        false => {
            let enter = match at.as_path() == Path::new(".") {
                true => String::new(),
                false => format!("`cd {}`, ", shell_word(&at.display().to_string())),
            };
            show::data(&format!(
                "a project in {}; next: {enter}`teal plan`, then `teal apply`",
                at.display()
            ))
        }
    }
}

/// Models of what the target has that the project is to begin with.
fn pull_from(common: &Common, args: &Init, at: &Path, from: &str) -> Result<Models, Failure> {
    config_for(from)?;
    let is_url = from.contains("://");
    let there = Common {
        project: at.to_owned(),
        target: "default".to_owned(),
        // The address as it was given may have the password, which teal.toml does not get.
        url: is_url.then(|| from.to_owned()),
        data: (!is_url).then(|| from.into()),
        engine_config: common.engine_config.clone(),
        model_timeout: common.model_timeout,
        json: common.json,
    };
    Models::of_target(&there, &everything(args))
}

fn everything(args: &Init) -> Pull {
    Pull { lang: args.lang, names: Vec::new(), dry_run: false }
}

/// For editors and `tsc`: they find the package where teal has it, for it is in no registry.
fn tsconfig() -> String {
    let sdk = serde_json::Value::from(teal_models::typescript_sdk().to_string_lossy());
    format!(
        r#"{{
  "compilerOptions": {{
    "target": "ES2022",
    "module": "ESNext",
    "moduleResolution": "Bundler",
    "strict": true,
    "noEmit": true,
    // Where this machine has teal's package, for editors and tsc. It is in no registry, and teal
    // itself finds it without this.
    "paths": {{ "teal-sdk": [{sdk}] }}
  }},
  "include": ["app"]
}}
"#
    )
}

/// For editors, as [`tsconfig`].
fn pyproject() -> String {
    let sdk = text(&teal_models::python_sdk().to_string_lossy());
    format!(
        r#"[project]
name = "models"
version = "0.1.0"
requires-python = ">=3.10"
dependencies = ["pydantic>=2"]

# Where this machine has teal's package, for editors. It is in no registry, and teal itself finds it
# without this.
[tool.pyright]
extraPaths = [{sdk}]
"#
    )
}

/// A configuration whose target is `from`, without its password.
fn config_for(from: &str) -> Result<String, Failure> {
    let target = match from.contains("://") {
        true => {
            let address =
                Address::parse(from).map_err(|error| Failure::usage(format!("--from: {error}")))?;
            let mut target = format!("kind = \"server\"\nurl = {}\n", text(&address.url()));
            if let Some(user) = &address.user {
                target.push_str(&format!("user = {}\n", text(user)));
            }
            if address.password.is_some() {
                target.push_str("password = \"${CLICKHOUSE_PASSWORD}\"\n");
            }
            target + &format!("database = {}\n", text(&address.database))
        }
        false => {
            let path = std::path::absolute(from)?;
            if !path.exists() {
                return Err(Failure::usage(format!(
                    "--from: there is no data directory {}",
                    path.display()
                )));
            }
            format!("kind = \"embedded\"\npath = {}\n", text(&path.to_string_lossy()))
        }
    };
    Ok(format!(
        "# What teal reads and where it works. All of it: docs/config.md.\n\n[models]\nfolder = \"app\"\n\n[targets.default]\n{target}"
    ))
}

/// A text of TOML.
fn text(value: &str) -> String {
    toml::Value::from(value).to_string()
}

/// Writes a file unless it is there: what the user has is the user's. Gives whether it did.
pub(crate) fn write(path: &Path, text: &str) -> Result<bool, Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    if path.exists() {
        show::note(&format!("{} is there already and stays as it is", path.display()));
        return Ok(false);
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_an_address_are_those_of_the_target() {
        let config =
            config_for("https://ana:hunter2@h:8443/?database=d&max_execution_time=60&a=b%26c");
        let config = config.unwrap();
        let target = "url = \"https://h:8443/?max_execution_time=60&a=b%26c\"\nuser = \"ana\"\n";
        assert!(config.contains(target) && !config.contains("hunter2"), "{config}");
        assert!(config_for("http://h:8123").unwrap().contains("url = \"http://h:8123\"\n"));
    }
}
