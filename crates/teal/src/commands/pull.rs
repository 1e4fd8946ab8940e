use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use teal_catalog::{Catalog, Pulled};
use teal_client::{Format, Server};
use teal_migrate::{Journal, Migrating, history};
use teal_models::{Loading, ModelError, ModelFile, ModelLanguage, write_models};
use teal_schema::{QualifiedName, Schema, Table, matches, quote_string};

use crate::cli::{Common, Language, Pull};
use crate::failure::Failure;
use crate::show;
use crate::target::{Opened, Project};

/// What `pull` or `init` did, for `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// A new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) project: Option<PathBuf>,
    /// Models.
    pub(super) written: Vec<String>,
    /// What models cannot declare.
    pub(super) left: Vec<String>,
}

/// What `pull --dry-run` would write, by path.
#[derive(Debug, Serialize)]
struct Drafts {
    files: BTreeMap<String, String>,
    /// What models cannot declare.
    left: Vec<String>,
}

pub(crate) fn run(common: &Common, args: &Pull) -> Result<(), Failure> {
    let found = Models::of_target(common, args)?;
    let Models { files, left, .. } = &found;
    if args.dry_run && common.json {
        let drafts = files.iter().map(|file| (file.path.clone(), file.text.clone()));
        return show::json(&Drafts { files: drafts.collect(), left: left.clone() });
    }
    if args.dry_run {
        for ModelFile { path, text, .. } in files {
            show::data(&format!("-- {path}\n{text}"))?;
        }
        left.iter().for_each(|reason| show::warning(reason));
        return Ok(());
    }
    found.write(common, args, None)
}

/// Models of what the target has and the project's models do not.
pub(super) struct Models {
    /// The project's, in which the files belong.
    folder: PathBuf,
    files: Vec<ModelFile>,
    /// What they cannot hold.
    left: Vec<String>,
}

impl Models {
    pub(super) fn of_target(common: &Common, args: &Pull) -> Result<Self, Failure> {
        let project = Project::read(common)?;
        let folder = common.project.join(&project.load.folder);
        let loading = match folder.exists() {
            true => Loading::start(&common.project, &project.load),
            false => Err(ModelError::NoModels { folder: folder.clone() }),
        };
        let (declared, server) = match loading {
            Ok(loading) => {
                let Opened { loaded, server, .. } = project.finish(loading, project.open()?)?;
                (loaded.schema, server)
            }
            Err(ModelError::NoModels { .. }) => (Schema::default(), project.open()?),
            Err(error) => return Err(error.into()),
        };
        let (files, left) = models(server.as_ref(), &project, &folder, &declared, args)?;
        Ok(Self { folder, files, left })
    }

    /// Writes the files that are not there yet, and tells of them.
    pub(super) fn write(
        self,
        common: &Common,
        args: &Pull,
        new: Option<&Path>,
    ) -> Result<(), Failure> {
        let Self { folder, files, left } = self;
        let mut written = Vec::new();
        for ModelFile { path, text, .. } in &files {
            let path = folder.join(path);
            if super::init::write(&path, text)? {
                written.push(path.display().to_string());
            }
        }
        for reason in &left {
            show::warning(reason);
        }
        match common.json {
            true => show::json(&Report { project: new.map(Path::to_owned), written, left }),
            false if !written.is_empty() => show::data(&written.join("\n")),
            false if args.names.is_empty() && files.is_empty() && left.is_empty() => {
                show::data("The models declare all that the target has.")
            }
            false => show::data("No file was written."),
        }
    }
}

/// The files to write, and what they cannot hold.
fn models(
    server: &dyn Server,
    project: &Project,
    folder: &Path,
    declared: &Schema,
    args: &Pull,
) -> Result<(Vec<ModelFile>, Vec<String>), Failure> {
    let database = &project.plan.database;
    let mut session = server.session(&[])?;
    let catalog = Catalog::read(session.as_mut(), &[database])?;
    if !catalog.tables().any(|table| table.database == *database) {
        show::warning(&format!(
            "the database {database} has no tables; another one is named in the address, as clickhouse://host/NAME or http://host/?database=NAME (the path of http:// and https:// is for proxies), or by `database` in teal.toml"
        ));
    }
    let unreadable = |error: teal_schema::TokenError| {
        Failure::failed(format!("cannot read what the server says of its tables: {error}"))
    };
    let Pulled { mut schema, mut left } = catalog.pull(database).map_err(unreadable)?;
    let is_wanted = |name: &str| {
        args.names.is_empty() || args.names.iter().any(|pattern| matches(pattern, name))
    };
    let history = history(&Migrating::all(&Journal::peek(server)?)?);
    let is_declared = |name: &QualifiedName| {
        let tables = declared.tables.iter().map(|table| table.qualified(database));
        let views = declared.views.iter().map(|view| view.qualified(database));
        tables.chain(views).any(|known| known == *name)
    };
    let is_made = |name: &QualifiedName| {
        history.of(name).is_some_and(|past| !past.is_over() && past.has_made(name))
    };
    let is_new = |name: &str| {
        let is_logical = |table: &Table| table.version.is_some() && table.name == name;
        let name = QualifiedName::new(database, name);
        let past = history.of(&name);
        // What a migration is making, and an alias of teal's, is no table of its own.
        let is_teals = match catalog.table(&name) {
            Some(table) if table.is_alias() => {
                past.is_some() || declared.tables.iter().any(is_logical)
            }
            _ => is_made(&name),
        };
        !is_teals && !history.has_parked(&name) && !is_declared(&name)
    };
    schema.views.retain(|view| is_wanted(&view.name) && is_new(&view.name));
    if args.lang != Language::Sql {
        // A view imports its tables, and where those are that the models declare is for a person.
        schema.views.retain(|view| {
            let declared = view.select_tables.iter().chain(&view.target).find(|t| !is_new(&t.name));
            left.extend(declared.map(|table| {
                format!(
                    "{}: the models declare its table {}; declare the view beside it",
                    view.name, table.name
                )
            }));
            declared.is_none()
        });
    }
    // A view needs the tables that it reads and writes.
    let needed = schema.views.iter().flat_map(|view| view.select_tables.iter().chain(&view.target));
    let needed = needed.map(|table| table.name.clone()).collect::<Vec<_>>();
    schema.tables.retain(|table| {
        (is_wanted(&table.name) || needed.contains(&table.name)) && is_new(&table.name)
    });
    for view in &mut schema.views {
        let query = format!("SELECT formatQuery({})", quote_string(&view.select));
        let formatted = session.run(&query, Format("TSVRaw".into()))?.body;
        view.select = String::from_utf8_lossy(&formatted).trim_end().to_owned();
    }
    let left = left.into_iter().filter(|reason| {
        reason.split_once(':').is_none_or(|(name, _)| is_wanted(name) && is_new(name))
    });
    let language = match args.lang {
        Language::Ts => ModelLanguage::TypeScript,
        Language::Py => ModelLanguage::Python,
        Language::Sql => ModelLanguage::Sql,
    };
    let package = project.load.folder.to_string_lossy();
    let mut left = left.collect::<Vec<_>>();
    let is_told = |name: &QualifiedName| {
        // No model declares what teal has named.
        let is_in_place = history.of(name).is_some_and(|past| past.in_place);
        is_made(name) && !is_in_place && !is_declared(name) && is_wanted(&name.name)
    };
    let made = catalog.tables().map(|table| table.qualified()).filter(is_told);
    left.extend(made.map(|name| {
        format!(
            "{}: a migration makes it that is not over (`teal status`); its models declare it",
            name.name
        )
    }));
    let mut files: Vec<ModelFile> = Vec::new();
    // Under the names of these, code has another table.
    let mut without = BTreeSet::new();
    for file in write_models(&schema, language, &package).map_err(unreadable)? {
        let view = schema.views.iter().find(|view| view.name == file.of);
        let mut tables =
            view.into_iter().flat_map(|view| view.select_tables.iter().chain(&view.target));
        if let Some(table) = tables.find(|table| without.contains(&table.name)) {
            left.push(format!(
                "{}: the file of its table {} is another one's; declare both by hand",
                file.of, table.name
            ));
            continue;
        }
        let other = files.iter().find(|other| other.path == file.path);
        if args.lang != Language::Sql && (other.is_some() || folder.join(&file.path).exists()) {
            without.insert(file.of.clone());
        }
        match other {
            Some(other) => left.push(format!(
                "{}: its file would be that of {}, {}; declare it by hand",
                file.of, other.of, file.path
            )),
            None => files.push(file),
        }
    }
    Ok((files, left))
}
