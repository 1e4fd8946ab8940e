//! How a declared table is made in the scratch database: without replicas, which it would join; without an engine that
//! acts as soon as it is there; and behind the table that it has its columns of.

use std::borrow::Cow;
use std::collections::BTreeSet;

use teal_catalog::{
    CatalogTable, Declaration, Scratch, acts_when_made, formatted, without_replicas,
};
use teal_client::{ClientError, Session};
use teal_schema::{Create, Engine, TableRef, call, clause, head, read_create, split_list};

use super::{New, TableName, failure, refused};
use crate::ModelError;

/// Creates the tables: one that has its columns of another declared one behind that. Tells those that the server makes
/// on request only: such a one may be on the target nevertheless, and whether it may be made anew shows the plan.
pub(super) fn create(
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
pub(super) fn alone<'s>(
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
pub(super) fn stand_in(sql: &str, create: &Create<'_>) -> Result<Option<String>, ModelError> {
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
pub(super) fn put_engine(
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
