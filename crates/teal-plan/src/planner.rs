//! Makes the plan: what the server is asked, and in which order the operations come.

use std::collections::{BTreeMap, BTreeSet};

use teal_catalog::{Catalog, Features, Shadow, ShadowError, definitions, made_alike};
use teal_client::{ClientError, Server, Session};
use teal_schema::{
    Diagnostic, LifeCycle, Location, QualifiedName, Schema, Table, TableRef, TokenError, View,
    create_table, rewrite_table_references,
};

use crate::declared::Unsafe;
use crate::preflight::Preflight;
use crate::{Conflict, Cutover, FenceKind, History, Migration, Needs, Operation, Plan, Statement};

/// What a plan depends on beside the models and the server.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The target's default database.
    pub database: String,
    /// How readers and writers will move.
    pub cutover: Cutover,
    /// What may be dropped though it is in no model: names of tables and views, and `table.column`,
    /// with `*` for any text.
    pub allow_drop: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Shadow(#[from] ShadowError),
    #[error("{0}")]
    References(Box<Diagnostic>),
    /// A migration that could not be made exact.
    #[error("{0}")]
    Unsafe(Box<Diagnostic>),
}

/// Makes the plan that brings the server to `schema`. Nothing is changed but for the shadow
/// database on the server `trials`, which comes and goes. The tables of `accepted` are known to be such that this server
/// would create them.
///
/// # Errors
/// When the server does not accept a declaration or cannot be asked, and when a migration would
/// not be safe.
pub fn make_plan(
    server: &dyn Server,
    trials: &dyn Server,
    schema: &Schema,
    accepted: &BTreeSet<TableRef>,
    history: &History,
    options: &PlanOptions,
) -> Result<Plan, PlanError> {
    let made = make(server, trials, schema, accepted, history, options);
    // First: what one made is not found on another, which is no error of the models.
    server.refuse_several()?;
    made
}

fn make(
    server: &dyn Server,
    trials: &dyn Server,
    schema: &Schema,
    accepted: &BTreeSet<TableRef>,
    history: &History,
    options: &PlanOptions,
) -> Result<Plan, PlanError> {
    let databases = schema
        .tables
        .iter()
        .map(|table| table.database.as_deref())
        .chain(schema.views.iter().map(|view| view.database.as_deref()))
        .flatten()
        .chain([options.database.as_str()])
        .collect::<BTreeSet<_>>();
    let mut session = server.session(&[])?;
    let current = Catalog::read(session.as_mut(), &databases.into_iter().collect::<Vec<_>>())?;
    // What need not be tried: a table that is there as it is declared, and a new one that the server
    // has accepted.
    let mut settled = BTreeSet::new();
    let mut there = Vec::new();
    for table in &schema.tables {
        let name = table.qualified(&options.database);
        match current.table(&name) {
            _ if history.is_compared(&name) => (),
            Some(now) => there.push((table, now)),
            None if accepted.contains(&table.reference()) => {
                settled.insert(table.reference());
            }
            None => (),
        }
    }
    let alike = made_alike(session.as_mut(), &there)?.into_iter().zip(&there);
    settled.extend(alike.filter(|(alike, _)| *alike).map(|(_, (table, _))| table.reference()));
    let mut shadow = Shadow::create(server, trials, &current, schema, &options.database, &settled)?;
    let desired = shadow.catalog()?;
    let mut created = BTreeMap::new();
    let mut by_parser = Vec::new();
    for table in &schema.tables {
        let name = table.qualified(&options.database);
        match shadow.definition(&desired, &name) {
            _ if current.table(&name).is_some() => (),
            Some(definition) => {
                created.insert(name, definition);
            }
            None => by_parser.push((table, name)),
        }
    }
    let definitions = definitions(session.as_mut(), &by_parser)?;
    created.extend(by_parser.into_iter().map(|(_, name)| name).zip(definitions));
    let plan = Plan {
        format_version: Plan::FORMAT_VERSION,
        target: server.describe(),
        database: options.database.clone(),
        fingerprint: String::new(),
        operations: Vec::new(),
        conflicts: Vec::new(),
        findings: Vec::new(),
        later: Vec::new(),
        waiting: Vec::new(),
        notes: Vec::new(),
    };
    let (migrating, kept) = (Vec::new(), Vec::new());
    let features = Features::read(session.as_mut())?;
    let is_exclusive = server.is_exclusive();
    let has_gate = server.write_gate().is_some();
    let mut planner = Planner {
        schema,
        history,
        options,
        session,
        features,
        created,
        is_exclusive,
        has_gate,
        shadow,
        desired,
        current,
        migrating,
        kept,
        plan,
    };
    planner.plan_tables()?;
    planner.plan_aliases();
    planner.plan_views()?;
    planner.plan_drops()?;
    planner.put_views_behind_their_tables();
    planner.refuse_clusters();
    planner.preflight()?;
    planner.plan.take_fingerprint();
    Ok(planner.plan)
}

pub(crate) struct Planner<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) history: &'a History,
    pub(crate) options: &'a PlanOptions,
    /// Of the target itself.
    pub(crate) session: Box<dyn Session>,
    pub(crate) features: Features,
    /// What the tables that are not there are to be, in the server's words.
    pub(crate) created: BTreeMap<QualifiedName, String>,
    /// Nobody else has the target open.
    pub(crate) is_exclusive: bool,
    /// INSERTs into the target can be held.
    pub(crate) has_gate: bool,
    pub(crate) shadow: Shadow<'a>,
    /// What the server makes of the declarations, by shadow names.
    pub(crate) desired: Catalog,
    pub(crate) current: Catalog,
    /// Tables whose layout will be another one after a cutover.
    pub(crate) migrating: Vec<QualifiedName>,
    /// Columns that are filled, that no model knows, and that stay where they are.
    pub(crate) kept: Vec<(QualifiedName, String)>,
    pub(crate) plan: Plan,
}

impl Planner<'_> {
    fn plan_tables(&mut self) -> Result<(), PlanError> {
        let greens = self.greens();
        for table in &self.schema.tables {
            let name = table.qualified(&self.options.database);
            if table.life_cycle == LifeCycle::ExternallyManaged {
                self.note_not_there(&name);
                continue;
            }
            if self.is_for_its_migration(table, &name)? {
                continue;
            }
            match self.current.table(&name) {
                Some(_) if greens.contains(&name) && self.history.of(&name).is_none() => {
                    self.refuse_other_green(table, &name)?;
                }
                Some(_) => self.plan_change(table, &name)?,
                None if greens.contains(&name) => (),
                None => {
                    let beside = self.older_with_rows(table);
                    self.plan.operations.push(Operation::CreateTable {
                        statement: Statement {
                            sql: create_table(table, &name, &[]),
                            after: self.created.get(&name).cloned().unwrap_or_default(),
                        },
                        table: name,
                        beside,
                        declared_at: table.location.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Of a table or view that is managed elsewhere, all that there is to say.
    pub(crate) fn note_not_there(&mut self, name: &QualifiedName) {
        if self.current.table(name).is_none() {
            let note = "is managed elsewhere (EXTERNALLY_MANAGED), and is not there";
            self.plan.notes.push(format!("{name} {note}"));
        }
    }

    /// The tables that declared migrations create.
    pub(crate) fn greens(&self) -> BTreeSet<QualifiedName> {
        let views = self.schema.views.iter().filter(|view| self.is_migration(view));
        let greens = views.filter_map(|view| self.schema.target(view));
        greens.map(|table| table.qualified(&self.options.database)).collect()
    }

    /// A statement of teal's changes the one server that it is sent to.
    fn refuse_clusters(&mut self) {
        let database = &self.options.database;
        let concerns = |operation: &Operation, name: &QualifiedName| match operation {
            Operation::Migrate { migration, .. } => {
                [&migration.blue, &migration.green].contains(&name)
            }
            other => other.object() == name,
        };
        for table in &self.schema.tables {
            let (Some(cluster), name) = (&table.cluster, table.qualified(database)) else {
                continue;
            };
            if !self.plan.operations.iter().any(|operation| concerns(operation, &name)) {
                continue;
            }
            if self.is_exclusive {
                self.plan.notes.push(format!(
                    "{name} is declared on the cluster {cluster}; the embedded engine is one server"
                ));
                continue;
            }
            self.plan.conflicts.push(Conflict {
                object: name,
                declared_at: table.location.clone(),
                differences: vec![format!("it is declared on the cluster {cluster}, and teal changes one server")],
                instead: "take the cluster out of the model, and run teal for each of its servers; or manage the table otherwise, with the life cycle EXTERNALLY_MANAGED".to_owned(),
            });
        }
    }

    /// Looks at what the plan would meet before anything is done.
    fn preflight(&mut self) -> Result<(), PlanError> {
        let fired_by = self.fired_by()?;
        let mut preflight = Preflight {
            session: self.session.as_mut(),
            features: &self.features,
            current: &self.current,
            history: self.history,
            is_exclusive: self.is_exclusive,
            has_gate: self.has_gate,
            operations: self.plan.operations.iter().collect(),
            fired_by,
            conflicts: Vec::new(),
            findings: Vec::new(),
            notes: Vec::new(),
        };
        preflight.look()?;
        let Preflight { conflicts, findings, notes, .. } = preflight;
        self.plan.conflicts.extend(conflicts);
        self.plan.findings = findings;
        self.plan.notes.extend(notes);
        Ok(())
    }

    /// Adds the migration to the plan.
    pub(crate) fn migrate(&mut self, migration: Migration, resumes: Option<String>, at: &Location) {
        if self.refuse_other_models(&migration, resumes.as_ref(), at) {
            return;
        }
        let is_same = |operation: &&Operation| *operation.object() == migration.blue;
        let earlier = self.plan.operations.iter().rfind(is_same).and_then(Operation::after);
        let now = self.current.table(&migration.blue);
        let before = earlier.map(str::to_owned).or_else(|| Some(now?.create_table_query.clone()));
        let lost = now.filter(|_| resumes.is_none()).and_then(|now| now.undeclarable().ok());
        self.plan.notes.extend(lost.into_iter().flatten().map(|what| {
            let Migration { blue, green, .. } = &migration;
            format!("{green} is without the {what} of {blue}, which models cannot declare")
        }));
        let is_attached = resumes.is_some() && self.current.table(&migration.view).is_some();
        let fence = FenceKind::of(self.has_gate, self.features.part_log.is_there);
        self.plan.operations.push(Operation::Migrate {
            fence: (!is_attached).then_some(fence),
            needs: Needs::of_copy(migration.strategy, migration.rows, migration.bytes),
            migration: Box::new(migration),
            before,
            resumes,
            declared_at: at.clone(),
        });
    }
}

impl PlanError {
    pub(crate) fn unreadable(view: &View, error: &TokenError) -> Self {
        let message = format!("cannot read the SELECT of view {}: {error}", view.name);
        Self::References(Box::new(Diagnostic::at(&view.location, message)))
    }

    pub(crate) fn unreadable_table(table: &Table, error: &TokenError) -> Self {
        let name = table.physical_name();
        let message = format!("cannot read what the server says of table {name}: {error}");
        Self::References(Box::new(Diagnostic::at(&table.location, message)))
    }

    pub(crate) fn refused(what: &str, refused: Unsafe, at: &Location) -> Self {
        let message = format!("{what}: {}", refused.reason);
        Self::Unsafe(Box::new(Diagnostic::at(at, message).instead(refused.instead)))
    }
}

/// Whether a table is an earlier version of another: one of its name elsewhere is a table of its own.
pub(crate) fn is_older(table: &Table, than: &Table) -> bool {
    (&table.database, &table.name) == (&than.database, &than.name) && table.version < than.version
}

/// The table that a view reads, where it reads one; of several, an older version of its target.
pub(crate) fn source<'s>(schema: &'s Schema, view: &View, database: &str) -> Option<&'s Table> {
    let listed = match view.select_tables.as_slice() {
        [table] => schema.table(table),
        _ => None,
    };
    let target = schema.target(view);
    let leads_on = |table: &&Table| target.is_some_and(|it| is_older(table, it));
    let named = || {
        let mut named = BTreeSet::new();
        rewrite_table_references(&view.select, |table| {
            let of = table.database.as_deref().unwrap_or(database);
            named.insert(QualifiedName::new(of, &table.name));
            None
        })
        .ok()?;
        let mut older = schema.tables.iter().filter(leads_on);
        older.rfind(|table| named.contains(&table.qualified(database)))
    };
    listed.filter(leads_on).or_else(named).or(listed)
}
