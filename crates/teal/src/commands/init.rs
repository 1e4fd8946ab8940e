use std::path::Path;

use crate::cli::{Init, Language};
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

const TSCONFIG: &str = r#"{
  "compilerOptions": {
    "target": "ES2022",
    "module": "ESNext",
    "moduleResolution": "Bundler",
    "strict": true,
    "noEmit": true
  },
  "include": ["app"]
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

const PYPROJECT: &str = r#"[project]
name = "models"
version = "0.1.0"
requires-python = ">=3.10"
dependencies = ["pydantic>=2", "teal-sdk"]
"#;

pub(crate) fn run(args: &Init) -> Result<(), Failure> {
    let at = &args.directory;
    if at.join(Config::FILE).exists() {
        return Err(Failure::refused(format!(
            "{} is there already: this is a teal project",
            at.join(Config::FILE).display()
        )));
    }
    let language: &[(&str, &str)] = match args.lang {
        Language::Ts => &[("app/tables/events.ts", TYPESCRIPT), ("tsconfig.json", TSCONFIG)],
        Language::Py => &[("app/tables/events.py", PYTHON), ("pyproject.toml", PYPROJECT)],
    };
    let common: &[(&str, &str)] = &[(Config::FILE, CONFIG), (".gitignore", ".teal/\n")];
    for (file, text) in common.iter().chain(language) {
        write(&at.join(file), text)?;
    }
    show::data(&format!("a project in {}; next: `teal plan`, then `teal apply`", at.display()))
}

/// Writes a file unless it is there: what the user has is the user's.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    if path.exists() {
        anstream::eprintln!("{} is there already and stays as it is", path.display());
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}
