//! SQL models: files of plain `CREATE` statements. ClickHouse reads them: each table is created in a
//! scratch database and read back, so that what a file declares is what the server understood.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use teal_catalog::{
    CatalogTable, Declaration, HIDDEN, Scratch, acts_when_made, formatted, made_alike,
    permissive_session, without_replicas,
};
use teal_client::{ClientError, Server, Session};
use teal_schema::{
    Comment, Create, CreateKind, Diagnostic, Engine, LifeCycle, Location, QualifiedName, Statement,
    Table, TableRef, Version, View, call, clause, head, read_create, rewrite_table_references,
    split_list, statements,
};

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

#[derive(Debug)]
pub(crate) struct SqlView {
    name: String,
    database: Option<String>,
    select: String,
    /// The database, where one is named, and the name.
    target: Option<(Option<String>, String)>,
    life_cycle: LifeCycle,
    location: Location,
}

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

/// Creates the tables: one that has its columns of another declared one behind that. Tells those that the server makes
/// on request only: such a one may be on the target nevertheless, and whether it may be made anew shows the plan.
fn create(
    scratch: &mut Scratch,
    permissive: &mut dyn FnMut() -> Result<Box<dyn Session>, ClientError>,
    creating: &mut [String],
    made: &[New],
) -> Result<BTreeSet<TableRef>, ModelError> {
    let mut rounds = vec![0; made.len()];
    for (i, new) in made.iter().enumerate() {
        let Some((of, range)) = &new.like else {
            continue;
        };
        // What no file declares is the target's.
        let Some(like) = declared_by(made, of) else {
            continue;
        };
        if !new.has_engine && (like.replicas.is_some() || like.acting.is_some()) {
            return Err(failure(
                new.declaration.location.clone(),
                format!("table {} has columns and engine of {} (AS)", new.name_in_file.1, of.1),
                "give its engine",
            ));
        }
        creating[i].replace_range(range.clone(), &scratch.name(&like.name).sql());
        let next = |new: &New| declared_by(made, &new.like.as_ref()?.0);
        let chain = std::iter::successors(Some(like), |new| next(new));
        rounds[i] = chain.take(made.len()).count();
    }
    let mut on_request = BTreeSet::new();
    let last = rounds.iter().max().copied().unwrap_or_default();
    for round in 0..=last {
        let now = (0..made.len()).filter(|i| rounds[*i] == round).collect::<Vec<_>>();
        let statements = now.iter().map(|i| creating[*i].clone()).collect::<Vec<_>>();
        let results = scratch.run_all(&statements);
        for ((i, result), sql) in now.into_iter().zip(results).zip(statements) {
            let Err(error) = result else {
                continue;
            };
            let declaration = &made[i].declaration;
            match permissive()?.command(&sql) {
                Ok(_) => on_request.insert(declaration.reference()),
                Err(_) => return Err(refused(error, scratch, &declaration.location)),
            };
        }
    }
    Ok(on_request)
}

fn declared_by<'m>(made: &'m [New], name: &TableName) -> Option<&'m New> {
    let physical = |new: &&New| {
        let Declaration { database, name: logical, version, .. } = &new.declaration;
        *database == name.0 && teal_schema::physical_name(logical, version.as_ref()) == name.1
    };
    made.iter().find(physical).or_else(|| made.iter().find(|new| new.name_in_file == *name))
}

/// What stands behind a table's name, from byte `start` on, with its engine without replicas; and the
/// arguments that say where those meet. Lines stay where they are.
fn alone<'s>(
    rest: &'s str,
    start: usize,
    create: &Create<'_>,
) -> Result<(Cow<'s, str>, Option<Vec<String>>), ModelError> {
    let range = create.engine.clone().map(|range| range.start - start..range.end - start);
    let Some((range, text)) = range.and_then(|range| Some((range.clone(), rest.get(range)?)))
    else {
        return Ok((rest.into(), None));
    };
    let (name, arguments) = call(text)?;
    let arguments = split_list(arguments.unwrap_or_default())?;
    let arguments = arguments.into_iter().map(str::to_owned).collect();
    let engine = Engine { name: name.trim().to_owned(), arguments };
    let Some((engine, of_replicas)) = without_replicas(&engine) else {
        return Ok((rest.into(), None));
    };
    let lines = "\n".repeat(text.matches('\n').count());
    let mut rest = rest.to_owned();
    rest.replace_range(range, &format!("{engine}{lines}"));
    Ok((rest.into(), Some(of_replicas)))
}

/// What stands behind the name of a table whose engine acts when it is made, with one in its place that does not: the
/// columns alone. Nothing of other engines. Lines stay where they are.
fn stand_in(sql: &str, create: &Create<'_>) -> Result<Option<String>, ModelError> {
    // Else the server has them of what the table is to read.
    let has_columns = create.definitions.is_some() || create.like.is_some();
    let Some(range) = create.engine.clone().filter(|_| has_columns) else {
        return Ok(None);
    };
    let (Some(columns), Some(engine)) =
        (sql.get(create.name_range.end..range.start), sql.get(range.start..))
    else {
        return Ok(None);
    };
    let acts = acts_when_made(call(&engine[..range.len()])?.0);
    let comment = clause(engine, &["COMMENT"], &[])?.map(|text| format!(" COMMENT {text}"));
    Ok(acts.then(|| format!("{columns}Null{}", comment.unwrap_or_default())))
}

/// Gives the table that stands in for another one the engine of that, as the server's parser writes it.
fn put_engine(
    made: &mut CatalogTable,
    statement: &str,
    scratch: &mut Scratch,
    declaration: &Declaration,
) -> Result<(), ModelError> {
    read_engine(made, statement)?;
    // The log of queries would show what stands in a text.
    if made.declared(declaration.clone()).is_ok_and(|table| !table.secrets().is_empty()) {
        return Ok(());
    }
    let session = scratch.session.as_mut();
    let written = formatted(session, &[statement.to_owned()])?.pop().flatten();
    let written = match written {
        Some(written) => written,
        None => {
            // The parser says what is wrong; a server may be too old to write it.
            let explained = session.command(&format!("EXPLAIN AST {statement}"));
            explained.map_err(|error| refused(error, scratch, &declaration.location))?;
            return Ok(());
        }
    };
    read_engine(made, &written)
}

fn read_engine(made: &mut CatalogTable, statement: &str) -> Result<(), ModelError> {
    if let Some(engine) = read_create(statement)?.and_then(|create| create.engine) {
        made.engine = call(&statement[engine.clone()])?.0.to_owned();
        made.engine_full = head(&statement[engine.start..], &[&["COMMENT"]])?.to_owned();
    }
    Ok(())
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

/// `-- teal: table events version 0.1 lifecycle deletion_protected`, in front of a statement.
#[derive(Debug, Default)]
struct Directive {
    table: Option<String>,
    version: Option<Version>,
    life_cycle: LifeCycle,
    renamed: Vec<Renamed>,
}

/// `-- teal: column city renamed_from town`.
#[derive(Debug)]
struct Renamed {
    column: String,
    from: String,
}

impl Directive {
    fn read(
        statement: &Statement<'_>,
        create: &Create<'_>,
        location: &Location,
    ) -> Result<Self, ModelError> {
        let mut directive = Self::default();
        let is_directive = |comment: &&Comment| comment.text.starts_with("teal:");
        if let Some(comment) = statement.later_comments.iter().find(is_directive) {
            let location = Location { line: comment.line, column: None, ..location.clone() };
            let message = format!("the directive stands within the statement of {}", create.name);
            return Err(failure(
                location,
                message,
                "write it in front of the statement that it is about",
            ));
        }
        for comment in &statement.comments {
            let Some(text) = comment.text.strip_prefix("teal:") else {
                continue;
            };
            let wrong = |message: String| {
                let location = Location { line: comment.line, column: None, ..location.clone() };
                failure(location, message, "write such as `-- teal: table events version 0.1`")
            };
            let mut column = None;
            let mut words = text.split_whitespace();
            while let Some(word) = words.next() {
                let Some(value) = words.next() else {
                    return Err(wrong(format!("the directive ends behind {word}")));
                };
                match word {
                    "table" => directive.table = Some(value.to_owned()),
                    "version" => {
                        let version = Version::parse(value);
                        directive.version =
                            Some(version.map_err(|error| wrong(error.to_string()))?);
                    }
                    "lifecycle" => {
                        directive.life_cycle = match value.to_lowercase().as_str() {
                            "fully_managed" => LifeCycle::FullyManaged,
                            "deletion_protected" => LifeCycle::DeletionProtected,
                            "externally_managed" => LifeCycle::ExternallyManaged,
                            _ => {
                                return Err(wrong(format!(
                                    "there is no life cycle {value}; there are fully_managed, deletion_protected and externally_managed"
                                )));
                            }
                        };
                    }
                    "column" => column = Some(value.to_owned()),
                    "renamed_from" => {
                        let column = column.take().ok_or_else(|| {
                            wrong("renamed_from stands behind the column's new name, as in `column city renamed_from town`".to_owned())
                        })?;
                        directive.renamed.push(Renamed { column, from: value.to_owned() });
                    }
                    _ => {
                        return Err(wrong(format!(
                            "a directive has no {word}; it has table, version, lifecycle, and column with renamed_from"
                        )));
                    }
                }
            }
        }
        directive.check(create, location)?;
        Ok(directive)
    }

    /// The statement's own name must be one that the table has.
    fn check(&self, create: &Create<'_>, location: &Location) -> Result<(), ModelError> {
        if create.kind != CreateKind::Table && (self.table.is_some() || self.version.is_some()) {
            return Err(failure(
                location.clone(),
                format!("{} is a view, and views have no version", create.name),
                "leave `table` and `version` out of the directive",
            ));
        }
        let logical = self.table.as_ref().unwrap_or(&create.name);
        let physical = teal_schema::physical_name(logical, self.version.as_ref());
        match create.name == *logical || create.name == physical {
            true => Ok(()),
            false => Err(failure(
                location.clone(),
                format!(
                    "the statement creates {}, and its directive says that this is {physical}",
                    create.name
                ),
                "give both one name",
            )),
        }
    }

    fn declaration(self, create: &Create<'_>, location: Location) -> Declaration {
        Declaration {
            name: self.table.unwrap_or_else(|| create.name.clone()),
            version: self.version,
            database: create.database.clone(),
            life_cycle: self.life_cycle,
            cluster: create.cluster.clone(),
            location,
        }
    }
}

impl SqlView {
    fn read(
        create: Create<'_>,
        directive: Directive,
        location: Location,
    ) -> Result<Self, ModelError> {
        let Some(select) = create.select.filter(|select| !select.is_empty()) else {
            return Err(failure(
                location,
                format!("view {} has no SELECT", create.name),
                "add AS SELECT …",
            ));
        };
        if create.kind == CreateKind::MaterializedView && create.target.is_none() {
            return Err(failure(
                location,
                format!("the materialized view {} has a table of its own inside", create.name),
                "declare its target as a table, and write CREATE MATERIALIZED VIEW … TO that table",
            ));
        }
        if create.kind == CreateKind::MaterializedView && create.is_refreshed {
            return Err(failure(
                location,
                format!("the materialized view {} runs by the clock (REFRESH)", create.name),
                "make it by hand: teal declares views that INSERTs fire",
            ));
        }
        if create.has_security && directive.life_cycle != LifeCycle::ExternallyManaged {
            return Err(failure(
                location,
                format!(
                    "view {} says whose rights it runs with (DEFINER, SQL SECURITY), which teal does not carry over",
                    create.name
                ),
                "leave that out of the model; or make the view by hand, and declare it with `-- teal: lifecycle externally_managed`",
            ));
        }
        if directive.life_cycle != LifeCycle::ExternallyManaged
            && let Some((what, instead)) = not_carried(&create)
        {
            let message =
                format!("view {} has {what}, which teal does not carry over", create.name);
            let hint = format!(
                "{instead}; or make the view by hand, and declare it with `-- teal: lifecycle externally_managed`"
            );
            return Err(failure(location, message, &hint));
        }
        Ok(Self {
            name: create.name,
            database: create.database,
            select: select.to_owned(),
            target: create.target,
            life_cycle: directive.life_cycle,
            location,
        })
    }

    /// The view, with the tables that it means among `tables`. `own` is the project's database.
    pub(crate) fn resolved(self, tables: &[Table], own: &str) -> Result<View, ModelError> {
        let in_database = |database: Option<&String>| {
            let database = database.filter(|database| *database != own);
            let is_there = |table: &&Table| table.database.as_ref() == database;
            tables.iter().filter(is_there).collect::<Vec<_>>()
        };
        let target = match &self.target {
            Some((database, name)) => {
                let here = in_database(database.as_ref());
                let mut target = self.meant(name, &here)?;
                if target.is_none() && database.is_none() {
                    target = self.meant(name, &tables.iter().collect::<Vec<_>>())?;
                }
                Some(target.ok_or_else(|| self.unknown_target(database.as_deref(), name, tables))?)
            }
            None => None,
        };
        let mut names = Vec::new();
        rewrite_table_references(&self.select, |table| {
            names.push((table.database.clone(), table.name.clone()));
            None
        })
        .map_err(|error| {
            let message = format!("cannot read the SELECT of view {}: {error}", self.name);
            failure(self.location.clone(), message, "close the string or comment")
        })?;
        let mut select_tables = Vec::new();
        for (database, name) in names {
            if let Some(table) = self.meant(&name, &in_database(database.as_ref()))?
                && !select_tables.contains(&table)
            {
                select_tables.push(table);
            }
        }
        Ok(View {
            name: self.name,
            database: self.database,
            select: self.select,
            select_tables,
            target,
            life_cycle: self.life_cycle,
            location: self.location,
        })
    }

    /// The table of this physical name; else that of this logical name, if it has one version.
    fn meant(&self, name: &str, tables: &[&Table]) -> Result<Option<TableRef>, ModelError> {
        let of = |is_it: &dyn Fn(&Table) -> bool| {
            let named = tables.iter().filter(|table| is_it(table));
            named.map(|table| table.reference()).collect::<Vec<_>>()
        };
        let physical = of(&|table| table.physical_name() == name);
        let logical = of(&|table| table.name == name);
        match if physical.is_empty() { logical } else { physical }.as_slice() {
            [] => Ok(None),
            [table] => Ok(Some(table.clone())),
            several => {
                let names = several.iter().map(TableRef::called).collect::<Vec<_>>();
                Err(failure(
                    self.location.clone(),
                    format!("view {} names {name}, of which there are several", self.name),
                    &format!("name one of them: {}", names.join(", ")),
                ))
            }
        }
    }

    fn unknown_target(&self, database: Option<&str>, name: &str, tables: &[Table]) -> ModelError {
        let others = tables.iter().filter(|it| it.name == name || it.physical_name() == name);
        let others = others.map(|table| table.reference().called()).collect::<Vec<_>>();
        let target = database.map_or_else(|| name.to_owned(), |of| format!("{of}.{name}"));
        failure(
            self.location.clone(),
            format!("the target {target} of view {} is declared in no model", self.name),
            &match others.as_slice() {
                [] => "declare it with CREATE TABLE".to_owned(),
                others => format!(
                    "declare it with CREATE TABLE, or write TO a table that is: {}",
                    others.join(", ")
                ),
            },
        )
    }
}

/// What of a view's statement the view that teal makes would not have, and what to write instead.
fn not_carried(create: &Create<'_>) -> Option<(String, &'static str)> {
    if let Some(cluster) = &create.cluster {
        let instead = "leave ON CLUSTER out: teal changes the one server that it is connected to";
        return Some((format!("ON CLUSTER {cluster}"), instead));
    }
    // With `TO`, the columns are the target's, and what SHOW CREATE lists says no more.
    let is_list = |other: &str| other.starts_with('(') && other.ends_with(')');
    let is_told = |other: &&&str| create.target.is_none() || !is_list(other);
    let text = create.others.iter().find(is_told)?.split_whitespace().collect::<Vec<_>>().join(" ");
    let word = text.split(' ').next().unwrap_or_default().to_uppercase();
    Some(match word.as_str() {
        _ if text.starts_with('(') => (
            format!("a list of columns, {text}"),
            "leave the list out, and give the names and types in the SELECT (toUInt32(a) AS id)",
        ),
        "POPULATE" => (
            text,
            "leave it out, and fill the target with `teal query` (INSERT INTO … SELECT); a migration from version to version copies what is there",
        ),
        "COMMENT" => (text, "leave it out, or write it as a comment of the file (-- …)"),
        _ => (text, "leave it out"),
    })
}

fn failure(location: Location, message: String, hint: &str) -> ModelError {
    Diagnostic::at(&location, message).instead(hint).into()
}

fn first_words(sql: &str) -> String {
    sql.split_whitespace().take(4).collect::<Vec<_>>().join(" ")
}
