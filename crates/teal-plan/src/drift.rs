//! Whether a target is as a plan found it, and how far the plan has been carried out.

use std::collections::BTreeMap;
use std::fmt;

use teal_catalog::{Catalog, Declaration, Scratch};
use teal_client::{ClientError, Server};
use teal_schema::{CreateKind, LifeCycle, Location, QualifiedName, Table, read_create};

use crate::plan::Steps;
use crate::{Change, History, Operation, Plan, compare};

/// How a plan and its target stand to each other.
#[derive(Debug, Default)]
pub struct Check {
    /// Of each operation, how many of its statements have been carried out.
    pub done: Vec<usize>,
    /// What is neither as the plan found it nor as it leaves it.
    pub drift: Vec<Drift>,
}

/// A table or view that was changed since the plan was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    pub object: QualifiedName,
    /// A sentence each.
    pub differences: Vec<String>,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        self.differences.iter().try_for_each(|difference| write!(f, "\n  {difference}"))
    }
}

/// Looks at the tables and views that the plan is about.
///
/// # Errors
/// When the server cannot be asked.
pub fn check(server: &dyn Server, plan: &Plan, history: &History) -> Result<Check, ClientError> {
    let databases = plan.databases().into_iter().collect::<Vec<_>>();
    let mut session = server.session(&[])?;
    let catalog = Catalog::read(session.as_mut(), &databases)?;
    let mut checker = Checker { server, catalog, left: BTreeMap::new() };
    let mut check = Check::default();
    for operation in &plan.operations {
        let (done, differences) = match (operation, operation.steps()) {
            (Operation::Drop { object, data, .. }, _) if checker.is_other_data(object, data) => {
                (0, vec!["it was dropped and made anew since the plan was made".to_owned()])
            }
            (_, Some(steps)) => checker.steps_done(&steps)?,
            (Operation::CreateAlias { alias, target, .. }, _) => checker.alias_done(alias, target),
            // The journal knows how far it has come.
            (Operation::Migrate { migration, .. }, _)
                if history.is_on_its_way(&migration.green) =>
            {
                (0, Vec::new())
            }
            _ => {
                let states = vec![operation.before()];
                checker.steps_done(&Steps { object: operation.object(), states })?
            }
        };
        check.done.push(done);
        if !differences.is_empty() {
            let object = operation.object().clone();
            check.drift.push(Drift { object, differences });
        }
    }
    Ok(check)
}

struct Checker<'a> {
    server: &'a dyn Server,
    catalog: Catalog,
    /// The definitions that the operations looked at so far leave.
    left: BTreeMap<QualifiedName, Option<String>>,
}

impl Checker<'_> {
    fn alias_done(&self, alias: &QualifiedName, target: &QualifiedName) -> (usize, Vec<String>) {
        let is_there = self.catalog.table(alias).is_some();
        match (self.catalog.is_alias_of(alias, target), is_there) {
            (true, _) => (1, Vec::new()),
            (false, false) => (0, Vec::new()),
            (false, true) => (0, vec!["it was not there, and is now".to_owned()]),
        }
    }

    fn is_other_data(&self, object: &QualifiedName, data: &str) -> bool {
        let now = self.catalog.table(object);
        !data.is_empty() && now.is_some_and(|now| now.data() != data)
    }

    /// How many of the steps have been done; else what differs.
    fn steps_done(&mut self, steps: &Steps<'_>) -> Result<(usize, Vec<String>), ClientError> {
        let now = self.catalog.table(steps.object).cloned();
        let is = match self.left.get(steps.object) {
            Some(left) => left.clone(),
            None => now.as_ref().map(|now| now.create_table_query.clone()),
        };
        let last = steps.states.last().copied().flatten().map(str::to_owned);
        self.left.insert(steps.object.clone(), last);
        if let Some(done) = steps.states.iter().position(|state| *state == is.as_deref()) {
            return Ok((done, Vec::new()));
        }
        // A server that was updated meanwhile may write the same in other words.
        let mut first = Vec::new();
        for (done, state) in steps.states.iter().enumerate() {
            let differences = match (state, &is, &now) {
                (Some(state), Some(is), Some(now)) => {
                    differences(self.server, state, is, &now.qualified())?
                }
                (Some(_), ..) => vec!["it was there, and is not any more".to_owned()],
                (None, ..) => vec!["it was not there, and is now".to_owned()],
            };
            if differences.is_empty() {
                return Ok((done, Vec::new()));
            }
            if done == 0 {
                first = differences;
            }
        }
        Ok((0, first))
    }
}

/// What differs between two definitions of a table or view, a sentence each.
fn differences(
    server: &dyn Server,
    was: &str,
    is: &str,
    name: &QualifiedName,
) -> Result<Vec<String>, ClientError> {
    let in_full = || vec![format!("was: {was}"), format!("is:  {is}")];
    let (Ok(Some(one)), Ok(Some(other))) = (read_create(was), read_create(is)) else {
        return Ok(in_full());
    };
    if one.kind != CreateKind::Table || other.kind != CreateKind::Table {
        let same =
            (one.kind, &one.target, &one.select) == (other.kind, &other.target, &other.select);
        return Ok(if same { Vec::new() } else { in_full() });
    }
    Ok(match definition_changes(server, was, is, name)? {
        Some(changes) => changes.iter().map(ToString::to_string).collect(),
        None => in_full(),
    })
}

/// What differs between two statements that create a table of this name, field by field. Nothing where
/// that cannot be told.
///
/// # Errors
/// When the server cannot be asked.
pub fn definition_changes(
    server: &dyn Server,
    was: &str,
    is: &str,
    name: &QualifiedName,
) -> Result<Option<Vec<Change>>, ClientError> {
    let (was, is) = (as_declared(server, was, name)?, as_declared(server, is, name)?);
    Ok(was.zip(is).map(|(was, is)| compare(&was, &is)))
}

/// The table that a statement creates, field by field. Nothing where the server does not make it,
/// or where it would be more than a table that keeps to itself.
fn as_declared(
    server: &dyn Server,
    sql: &str,
    table: &QualifiedName,
) -> Result<Option<Table>, ClientError> {
    let Ok(Some(create)) = read_create(sql) else {
        return Ok(None);
    };
    let engine = sql.split_once("ENGINE = ").map_or("", |(_, engine)| engine);
    let engine = engine.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    if !engine.ends_with("MergeTree")
        || engine.starts_with("Replicated")
        || engine.starts_with("Shared")
    {
        return Ok(None);
    }
    let databases = std::slice::from_ref(&table.database);
    let mut scratch = match Scratch::create(server, &[], databases) {
        Ok(scratch) => scratch,
        Err(ClientError::Server { .. }) => return Ok(None),
        Err(other) => return Err(other),
    };
    let name = scratch.name(table);
    let head = sql.get(..create.name_range.start).unwrap_or_default();
    let rest = sql.get(create.name_range.end..).unwrap_or_default();
    match scratch.session.command(&format!("{head}{}{rest}", name.sql())) {
        Ok(_) => (),
        Err(ClientError::Server { .. }) => return Ok(None),
        Err(other) => return Err(other),
    }
    let catalog = scratch.catalog()?;
    let declaration = Declaration {
        name: table.name.clone(),
        version: None,
        database: Some(table.database.clone()),
        life_cycle: LifeCycle::FullyManaged,
        cluster: None,
        location: Location { file: String::new(), line: 0, column: None, declaration: None },
    };
    Ok(catalog.table(&name).and_then(|made| made.declared(declaration).ok()))
}
