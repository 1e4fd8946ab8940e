use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use teal_client::Server;
use teal_schema::{
    Diagnostic, QualifiedName, Schema, Table, TableRef, View, quote_ident,
    rewrite_table_references, sorting_key, statements,
};

use crate::ModelError;
use crate::extractor::{Extractor, Language};
use crate::sql::SqlModels;

#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The folder of the models, relative to the project.
    pub folder: PathBuf,
    /// How long the models may run.
    pub time_limit: Duration,
    /// The target's default database: what a model names without one is there.
    pub database: String,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            folder: "app".into(),
            time_limit: Duration::from_secs(60),
            database: "default".to_owned(),
        }
    }
}

/// What the models of a project declare.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub schema: Schema,
    /// Tables that the server has created once already, in a scratch database, as teal would.
    pub accepted: BTreeSet<TableRef>,
    pub warnings: Vec<Diagnostic>,
}

/// Models being loaded: those of TypeScript and Python run as programs of their own meanwhile.
pub struct Loading {
    project: PathBuf,
    extractors: Vec<Extractor>,
    /// Files relative to the project.
    sql: Vec<String>,
    time_limit: Duration,
    database: String,
}

impl Loading {
    /// Starts to run the models of `project`.
    ///
    /// # Errors
    /// When there are none, or their language cannot be run.
    pub fn start(project: &Path, options: &LoadOptions) -> Result<Self, ModelError> {
        let project = project
            .canonicalize()
            .map_err(|source| ModelError::Io { path: project.into(), source })?;
        let folder = project.join(&options.folder);
        let found = Found::below(&folder, &project)?;
        if found.languages.is_empty() && found.sql.is_empty() {
            return Err(ModelError::NoModels { folder });
        }
        // All languages at once.
        let extractors = found
            .languages
            .into_iter()
            .map(|language| Extractor::start(language, &project, &options.folder))
            .collect::<Result<_, _>>()?;
        let LoadOptions { time_limit, database, .. } = options.clone();
        Ok(Self { project, extractors, sql: found.sql, time_limit, database })
    }

    /// Waits for what the models declare. `server` reads those in SQL.
    ///
    /// # Errors
    /// When a model is wrong or does not end, or they do not fit together.
    pub fn finish(self, server: &dyn Server) -> Result<Loaded, ModelError> {
        let mut schema = Schema::default();
        let mut warnings = Vec::new();
        let sql = match self.sql.is_empty() {
            true => SqlModels::default(),
            false => crate::sql::load(&self.project, &self.sql, &self.database, server)?,
        };
        for extractor in self.extractors {
            let document = extractor.finish(self.time_limit)?;
            if let Some(failure) = document.error {
                return Err(failure.into());
            }
            schema.tables.extend(document.tables);
            schema.views.extend(document.views);
            warnings.extend(document.warnings);
        }
        for table in &mut schema.tables {
            normalise(table)?;
        }
        leave_out_own_database(&mut schema, &self.database);
        schema.tables.extend(sql.tables);
        for view in sql.views {
            schema.views.push(view.resolved(&schema.tables, &self.database)?);
        }
        for view in &mut schema.views {
            view.select = with_physical_names(view, &self.database)?;
        }
        schema.sort_views()?;
        schema.check()?;
        for view in &schema.views {
            warnings.extend(without_version(view, &schema.tables)?);
        }
        Ok(Loaded { schema, accepted: sql.accepted, warnings })
    }
}

/// Brings what a language says in several ways into one form.
fn normalise(table: &mut Table) -> Result<(), ModelError> {
    if table.engine.is_merge_tree() && table.order_by.is_empty() {
        let message = format!("table {} has no sorting key", table.name);
        return Err(Diagnostic::at(&table.location, message)
            .instead("name its columns (orderByFields, order_by_fields) or mark them as Key; where none is meant, say so with the expression tuple()")
            .into());
    }
    // A sorting key that was given as one expression.
    if let [key] = table.order_by.as_slice() {
        let names = table.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
        table.order_by = sorting_key(key, |item| names.contains(&item))?;
    }
    // What `Key` said is in the sorting key.
    for column in &mut table.columns {
        column.key = false;
    }
    Ok(())
}

/// A model may name the project's own database or not, and means the same.
fn leave_out_own_database(schema: &mut Schema, own: &str) {
    let leave_out = |database: &mut Option<String>| {
        database.take_if(|database| database == own);
    };
    for table in &mut schema.tables {
        leave_out(&mut table.database);
    }
    for view in &mut schema.views {
        leave_out(&mut view.database);
        for table in view.select_tables.iter_mut().chain(&mut view.target) {
            leave_out(&mut table.database);
        }
    }
}

/// The models below a folder.
#[derive(Default)]
struct Found {
    languages: Vec<Language>,
    sql: Vec<String>,
}

impl Found {
    fn below(folder: &Path, project: &Path) -> Result<Self, ModelError> {
        let mut found = Self::default();
        found.search(folder, project)?;
        found.sql.sort();
        Ok(found)
    }

    fn search(&mut self, folder: &Path, project: &Path) -> Result<(), ModelError> {
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(source) => return Err(ModelError::Io { path: folder, source }),
            };
            for entry in entries.flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with('.') || ["node_modules", "__pycache__"].contains(&name.as_str())
                {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                if path.extension().is_some_and(|extension| extension == "sql") {
                    let relative = path.strip_prefix(project).unwrap_or(&path);
                    self.sql.push(relative.to_string_lossy().into_owned());
                    continue;
                }
                let language = match path.extension().and_then(|extension| extension.to_str()) {
                    Some("ts" | "tsx" | "mts" | "cts") if !name.contains(".d.") => {
                        Language::TypeScript
                    }
                    Some("py") if name != "__init__.py" => Language::Python,
                    _ => continue,
                };
                if !self.languages.contains(&language) {
                    self.languages.push(language);
                }
            }
        }
        Ok(())
    }
}

/// The view's SELECT, where a bare reference to one of its source tables means that version of it:
/// `FROM events` reads `events_0_0` when `events` 0.0 is what the view lists. `own` is the project's
/// database.
fn with_physical_names(view: &View, own: &str) -> Result<String, ModelError> {
    let unreadable = |error| {
        let said = format!("cannot read the SELECT of view {}: {error}", view.name);
        Diagnostic::at(&view.location, said).instead("close the string or comment")
    };
    let statements = statements(&view.select).map_err(unreadable)?;
    // Without the semicolon or the comment behind it: it is going to stand in parentheses.
    let [statement] = statements.as_slice() else {
        let said = format!(
            "the SELECT of view {} is {} statements, where one is to stand",
            view.name,
            statements.len()
        );
        let instead = "give one SELECT; a view for each, where there are several";
        return Err(Diagnostic::at(&view.location, said).instead(instead).into());
    };
    let mut ambiguous = None;
    let select = rewrite_table_references(statement.sql, |table| {
        let is_named =
            |it: &&TableRef| it.physical_name() == table.name || it.name == table.name;
        let database = table.database.as_deref().filter(|database| *database != own);
        let (here, elsewhere): (Vec<_>, Vec<_>) = view
            .select_tables
            .iter()
            .filter(is_named)
            .partition(|source| source.database.as_deref() == database);
        // A physical name is as it should be, also where another table has it as its logical one.
        if here.iter().any(|source| source.physical_name() == table.name) {
            return None;
        }
        match here.as_slice() {
            [] => {
                if let (Some(other), None, false) =
                    (elsewhere.first(), &table.database, table.after_in)
                {
                    let said = format!(
                        "the SELECT of view {} reads {}, which is of the database {own}, and its source table is {}",
                        view.name,
                        table.name,
                        other.called()
                    );
                    let instead = format!(
                        "write the table with its database: {}, or {own}.{}",
                        other.called(),
                        table.name
                    );
                    ambiguous = Some(Diagnostic::at(&view.location, said).instead(instead));
                }
                None
            }
            [source] => Some(match &table.database {
                Some(database) => QualifiedName::new(database, source.physical_name()).sql(),
                None => quote_ident(&source.physical_name()),
            }),
            [first, ..] => {
                let names = here.iter().map(|source| source.physical_name()).collect::<Vec<_>>();
                let said = format!(
                    "the SELECT of view {} reads {}, and its source tables are {}",
                    view.name,
                    table.name,
                    names.join(", ")
                );
                let instead = format!("write the physical name, such as {}", first.physical_name());
                ambiguous = Some(Diagnostic::at(&view.location, said).instead(instead));
                None
            }
        }
    })
    .map_err(unreadable)?;
    match ambiguous {
        Some(error) => Err(error.into()),
        None => Ok(select),
    }
}

/// A table that the view names by its logical name alone, and does not list: which version is meant,
/// nobody knows, and there may be a table of just that name.
fn without_version(view: &View, tables: &[Table]) -> Result<Option<Diagnostic>, ModelError> {
    let mut warning = None;
    rewrite_table_references(&view.select, |table| {
        let of_name = |declared: &&Table| table.database.is_none() && declared.name == table.name;
        let versions = tables.iter().filter(of_name).map(Table::physical_name).collect::<Vec<_>>();
        let is_declared = tables.iter().any(|declared| declared.physical_name() == table.name);
        if !versions.is_empty() && !is_declared {
            let message = format!(
                "the SELECT of view {} reads {}, which is no version of the table {}",
                view.name, table.name, table.name
            );
            let instead = format!(
                "list the version among the view's source tables (selectTables, select_tables), or write its physical name: {}",
                versions.join(", ")
            );
            warning = Some(Diagnostic::at(&view.location, message).instead(instead));
        }
        None
    })?;
    Ok(warning)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(select: &str, tables: &[(&str, &str)]) -> View {
        let table = |(name, version): &(&str, &str)| serde_json::json!({ "name": name, "version": version });
        serde_json::from_value(serde_json::json!({
            "name": "mv",
            "select": select,
            "selectTables": tables.iter().map(table).collect::<Vec<_>>(),
            "target": { "name": "events", "version": "0.1" },
            "location": { "file": "app/v.py", "line": 4 },
        }))
        .unwrap()
    }

    #[test]
    fn a_bare_name_means_the_version_that_the_view_lists() {
        let view = view("SELECT * FROM events", &[("events", "0.0")]);
        assert_eq!(with_physical_names(&view, "default").unwrap(), "SELECT * FROM `events_0_0`");
    }

    #[test]
    fn a_physical_name_stays() {
        let view = view("SELECT * FROM events_0_0", &[("events", "0.0")]);
        assert_eq!(with_physical_names(&view, "default").unwrap(), "SELECT * FROM events_0_0");
    }

    #[test]
    fn what_ends_a_statement_is_no_part_of_the_select() {
        for select in [
            "SELECT ';' FROM events;",
            "SELECT ';' FROM events -- all",
            "/* all */ SELECT ';' FROM events; -- of them\n",
        ] {
            let select = with_physical_names(&view(select, &[("events", "0.0")]), "default");
            assert_eq!(select.unwrap(), "SELECT ';' FROM `events_0_0`");
        }
        for select in ["SELECT 1; SELECT 2", "-- nothing"] {
            let error = with_physical_names(&view(select, &[]), "default").unwrap_err();
            assert!(error.to_string().contains("app/v.py:4"), "{error}");
        }
    }

    #[test]
    fn a_bare_name_of_two_listed_versions_is_refused() {
        let view = view("SELECT * FROM events", &[("events", "0.0"), ("events", "0.1")]);
        let error = with_physical_names(&view, "default").unwrap_err().to_string();
        assert!(
            error.contains("app/v.py:4") && error.contains("events_0_0, events_0_1"),
            "{error}"
        );
    }

    #[test]
    fn a_bare_name_is_none_of_another_database() {
        let mut view = view("SELECT * FROM x.events, x.events_0_0", &[("events", "0.0")]);
        view.select_tables[0].database = Some("x".to_owned());
        let select = with_physical_names(&view, "default").unwrap();
        assert_eq!(select, "SELECT * FROM `x`.`events_0_0`, x.events_0_0");
        view.select = "SELECT * FROM default.events".to_owned();
        assert_eq!(with_physical_names(&view, "default").unwrap(), view.select);
        view.select = "SELECT * FROM events".to_owned();
        let error = with_physical_names(&view, "default").unwrap_err().to_string();
        assert!(error.contains("x.events_0_0") && error.contains("default.events"), "{error}");
    }
}
