//! SQL models: files of plain `CREATE` statements. ClickHouse reads them: each table is created in a
//! scratch database and read back, so that what a file declares is what the server understood.

mod directive;
mod scratched;
mod view;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use directive::{Directive, Renamed};
use scratched::{alone, create, put_engine, stand_in};
use teal_catalog::{Declaration, HIDDEN, Scratch, made_alike, permissive_session};
use teal_client::{ClientError, Server};
use teal_schema::{
    CreateKind, Diagnostic, Engine, LifeCycle, Location, QualifiedName, Table, TableRef, clause,
    read_create, statements,
};
pub(crate) use view::SqlView;

use crate::ModelError;

/// The database that stands for the target's default one.
const DATABASE: &str = "models";

/// What the files declare. The views' tables are given as the statements name them, since they may be
/// declared in another language: see [`SqlView::resolved`].
#[derive(Debug, Default)]
pub(crate) struct SqlModels {
    pub(crate) tables: Vec<Table>,
    pub(crate) views: Vec<SqlView>,
    /// The tables that the server has created from the very statement that teal would write.
    pub(crate) accepted: BTreeSet<TableRef>,
}

/// A table on its way through the scratch database.
struct New {
    name: QualifiedName,
    declaration: Declaration,
    /// The statement says anything of a key.
    has_key: bool,
    renamed: Vec<Renamed>,
    /// Where the replicas of a replicated table meet. The scratch one has none: it would join them.
    replicas: Option<Vec<String>>,
    /// The statement itself, where another engine stands in the scratch database for one that acts when it is made.
    acting: Option<String>,
    /// Its columns are those of another table (`AS`): which one's, and where that is named in the statement.
    like: Option<(TableName, Range<usize>)>,
    /// Its name in the statement, and its own database where that is another than the project's.
    name_in_file: TableName,
    has_engine: bool,
}

type TableName = (Option<String>, String);

/// Reads the SQL models of a project, `files` relative to it. `own` is its database.
pub(crate) fn load(
    project: &Path,
    files: &[String],
    own: &str,
    server: &dyn Server,
) -> Result<SqlModels, ModelError> {
    // A nested column stays one, as the statement has it.
    let settings = [("flatten_nested", "0")];
    let mut scratch = Scratch::create(server, &settings, &[DATABASE.to_owned()])?;
    let mut models = SqlModels::default();
    let mut made = Vec::new();
    let mut creating = Vec::new();
    for file in files {
        let path = project.join(file);
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ModelError::Io { path: path.clone(), source })?;
        let at = |line, column| Location { file: file.clone(), line, column, declaration: None };
        let found = statements(&text).map_err(|error| {
            failure(at(1, None), error.to_string(), "close the string or comment")
        })?;
        for statement in found {
            let location = at(statement.line, Some(statement.column));
            let mut create = read_create(statement.sql)
                .map_err(|error| failure(location.clone(), error.to_string(), "see docs/models-sql.md"))?
                .ok_or_else(|| {
                    failure(
                        location.clone(),
                        format!("this statement declares nothing: {}", first_words(statement.sql)),
                        "a model has CREATE TABLE, CREATE MATERIALIZED VIEW … TO and CREATE VIEW; run other statements with `teal query`",
                    )
                })?;
            let location = Location { declaration: Some(create.name.clone()), ..location };
            create.database.take_if(|database| database == own);
            let mut directive = Directive::read(&statement, &create, &location)?;
            match create.kind {
                CreateKind::Table => {
                    if create.is_filled {
                        return Err(failure(
                            location,
                            format!(
                                "table {} is filled as it is made (AS SELECT, CLONE AS)",
                                create.name
                            ),
                            "give its columns and its engine: a model says what a table is; fill it with `teal query`, or by a view",
                        ));
                    }
                    let name = QualifiedName::new(DATABASE, format!("{}", made.len()));
                    let head = statement.sql.get(..create.name_range.start).unwrap_or_default();
                    let rest = statement.sql.get(create.name_range.end..).unwrap_or_default();
                    let scratched = format!("{head}{}", scratch.name(&name).sql());
                    let stand_in = stand_in(statement.sql, &create)?;
                    let acting = stand_in.is_some().then(|| format!("{scratched}{rest}"));
                    let (rest, replicas) = match stand_in {
                        Some(rest) => (rest.into(), None),
                        None => alone(rest, create.name_range.end, &create)?,
                    };
                    let name_end = create.name_range.end;
                    let like = create.like.take().map(|(mut database, name, range)| {
                        database.take_if(|database| database == own);
                        let of_rest = |at: usize| scratched.len() + at - name_end;
                        ((database, name), of_rest(range.start)..of_rest(range.end))
                    });
                    creating.push(format!("{scratched}{rest}"));
                    let name_in_file = (create.database.clone(), create.name.clone());
                    let has_engine = create.engine.is_some();
                    let has_key = names_key(statement.sql)?;
                    let renamed = std::mem::take(&mut directive.renamed);
                    let declaration = directive.declaration(&create, location);
                    made.push(New {
                        name,
                        declaration,
                        has_key,
                        renamed,
                        replicas,
                        acting,
                        like,
                        name_in_file,
                        has_engine,
                    });
                }
                CreateKind::MaterializedView | CreateKind::View => {
                    models.views.push(SqlView::read(create, directive, location)?);
                }
            }
        }
    }
    let mut permissive = || permissive_session(server, &settings);
    let mut on_request = create(&mut scratch, &mut permissive, &mut creating, &made)?;
    let catalog = scratch.catalog()?;
    let mut there = Vec::new();
    for New { name, declaration, has_key, renamed, replicas, acting, .. } in made {
        let location = declaration.location.clone();
        let unread = |reason: String| failure(location.clone(), reason, "see docs/models-sql.md");
        let mut made = catalog
            .table(&scratch.name(&name))
            .ok_or_else(|| unread("the server made the table and does not list it".to_owned()))?
            .clone();
        if let Some(statement) = &acting {
            put_engine(&mut made, statement, &mut scratch, &declaration)?;
        }
        let is_managed = declaration.life_cycle != LifeCycle::ExternallyManaged;
        if is_managed && made.create_table_query.contains(HIDDEN) {
            return Err(holds_secret(&declaration));
        }
        let undeclarable = made.undeclarable().map_err(|error| unread(error.to_string()))?;
        if let Some(what) = undeclarable.first()
            && is_managed
        {
            return Err(failure(
                location,
                format!("table {} has {what}, which teal does not carry over", declaration.name),
                "take it out of the model, and add it to the table with `teal query` (ALTER TABLE)",
            ));
        }
        let mut table =
            made.declared(declaration.clone()).map_err(|error| unread(error.to_string()))?;
        if acting.is_some() && !table.secrets().is_empty() {
            if is_managed {
                return Err(holds_secret(&declaration));
            }
            // Of a table that is managed elsewhere, its columns are all that matters.
            table.engine.arguments.clear();
            table.settings.clear();
        }
        on_request.extend(acting.is_some().then(|| table.reference()));
        if let Some(of_replicas) = replicas {
            let Engine { name, arguments } = &mut table.engine;
            *name = format!("Replicated{name}");
            arguments.splice(0..0, of_replicas);
        }
        for Renamed { column, from } in renamed {
            let named = table.columns.iter_mut().find(|other| other.name == column);
            let named = named.ok_or_else(|| {
                let message = format!(
                    "the directive names a column {column}, which {name} has not",
                    name = table.name
                );
                failure(location.clone(), message, "give it the column's new name")
            })?;
            named.renamed_from = Some(from);
        }
        // Newer releases take the empty key then.
        if table.engine.is_merge_tree() && !has_key && table.order_by.is_empty() {
            return Err(failure(
                location,
                format!("table {} has no sorting key", table.name),
                "write ORDER BY with the columns of the key, or ORDER BY tuple() where none is meant",
            ));
        }
        models.tables.push(table);
        there.push(made);
    }
    let as_teal_would =
        |table: &Table| !is_nested(table) && !on_request.contains(&table.reference());
    let pairs = models.tables.iter().zip(&there).filter(|(table, _)| as_teal_would(table));
    let pairs = pairs.collect::<Vec<_>>();
    let alike = made_alike(scratch.session.as_mut(), &pairs)?.into_iter().zip(&pairs);
    models.accepted =
        alike.filter(|(alike, _)| *alike).map(|(_, (table, _))| table.reference()).collect();
    Ok(models)
}

fn holds_secret(declaration: &Declaration) -> ModelError {
    failure(
        declaration.location.clone(),
        format!(
            "table {} holds a secret, which ClickHouse does not tell whoever reads its definition",
            declaration.name
        ),
        "keep the secret in a named collection of the server (CREATE NAMED COLLECTION), and name that here; or let the table be, with `-- teal: lifecycle externally_managed`",
    )
}

/// teal creates nested columns flattened, unlike the scratch database.
fn is_nested(table: &Table) -> bool {
    table.columns.iter().any(|column| column.data_type.starts_with("Nested("))
}

fn refused(error: ClientError, scratch: &Scratch, location: &Location) -> ModelError {
    let ClientError::Server { message, name, .. } = error else {
        return error.into();
    };
    let message = scratch.unscratched(&message);
    let table = location.declaration.as_deref().unwrap_or_default();
    failure(
        at_position(location, &message),
        format!("ClickHouse does not accept table {table}: {message} ({name})"),
        "correct the statement; `teal query` runs it by itself",
    )
}

/// Whether a statement says anything of a key.
fn names_key(sql: &str) -> Result<bool, ModelError> {
    let has = |keyword: &[&str]| clause(sql, keyword, &[]).map(|key| key.is_some());
    Ok(has(&["ORDER", "BY"])? || has(&["PRIMARY", "KEY"])?)
}

/// The place that a syntax error names, `… (line 2, col 5)`, as one in the file.
fn at_position(location: &Location, message: &str) -> Location {
    let numbers = message.split_once("(line ").and_then(|(_, rest)| {
        let (line, rest) = rest.split_once(", col ")?;
        let (column, _) = rest.split_once(')')?;
        Some((line.parse::<u32>().ok()?, column.parse::<u32>().ok()?))
    });
    match numbers {
        // On the first line the table's other name has moved what follows it.
        Some((line, column)) if line > 1 => {
            Location { line: location.line + line - 1, column: Some(column), ..location.clone() }
        }
        _ => location.clone(),
    }
}

fn failure(location: Location, message: String, hint: &str) -> ModelError {
    Diagnostic::at(&location, message).instead(hint).into()
}

fn first_words(sql: &str) -> String {
    sql.split_whitespace().take(4).collect::<Vec<_>>().join(" ")
}
