use std::collections::{BTreeMap, BTreeSet};

use teal_catalog::{Catalog, CatalogTable, Features, Shadow, ShadowError, definitions, made_alike};
use teal_client::{ClientError, Server, Session};
use teal_schema::{
    Diagnostic, LifeCycle, Location, QualifiedName, Schema, Table, TableRef, TokenError, View,
    create_table, rewrite_table_references,
};

use crate::history::PastMigration;
use crate::migration::{Declared, Unsafe};
use crate::preflight::Preflight;
use crate::{Conflict, Cutover, History, Migration, Needs, Operation, Plan, Standing, Statement};

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
        match current.table(&table.qualified(&options.database)) {
            Some(now) => there.push((table, now)),
            None if accepted.contains(&table.reference()) => {
                settled.insert(table.reference());
            }
            None => (),
        }
    }
    let alike = made_alike(session.as_mut(), &there)?.into_iter().zip(&there);
    settled.extend(alike.filter(|(alike, _)| *alike).map(|(_, (table, _))| table.reference()));
    let mut shadow = Shadow::create(server, trials, schema, &options.database, &settled)?;
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
    planner.refuse_flows()?;
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
    pub(crate) shadow: Shadow,
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
                if self.current.table(&name).is_none() {
                    let note = "is managed elsewhere (EXTERNALLY_MANAGED), and is not there";
                    self.plan.notes.push(format!("{name} {note}"));
                }
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
                None => self.plan.operations.push(Operation::CreateTable {
                    statement: Statement {
                        sql: create_table(table, &name, &[]),
                        after: self.created.get(&name).cloned().unwrap_or_default(),
                    },
                    table: name,
                    declared_at: table.location.clone(),
                }),
            }
        }
        Ok(())
    }

    /// The tables that declared migrations create.
    pub(crate) fn greens(&self) -> BTreeSet<QualifiedName> {
        let views = self.schema.views.iter().filter(|view| self.is_migration(view));
        let greens = views.filter_map(|view| self.schema.target(view));
        greens.map(|table| table.qualified(&self.options.database)).collect()
    }

    /// Whether a migration of the table is what says how it goes on.
    fn is_for_its_migration(
        &mut self,
        table: &Table,
        name: &QualifiedName,
    ) -> Result<bool, PlanError> {
        let Some(past) = self.history.of(name).cloned() else {
            return Ok(false);
        };
        let (id, is_blue) = (&past.id, past.is_blue(name));
        self.refuse_gone(table, name, &past);
        self.refuse_late_change(table, name, &past)?;
        let note = match past.standing {
            Standing::UnderWay if past.in_place && is_blue => {
                self.resume_change(table, name, id, &past.green)?;
                return Ok(true);
            }
            Standing::Verified if past.in_place && is_blue => {
                self.migrating.push(name.clone());
                format!("the new layout of {name} is verified; next: `teal cutover`")
            }
            Standing::CutOver(_) if past.in_place && is_blue => {
                format!("{name} has its new layout; next: `teal cleanup`")
            }
            Standing::UnderWay | Standing::Verified | Standing::CutOver(_) => return Ok(true),
            Standing::Cleaned(_) if past.in_place => return Ok(false),
            Standing::Cleaned(Cutover::Exchange) if is_blue => {
                format!("{name} has had the layout of {} since its migration {id}", past.green.name)
            }
            // It is an alias now, unless somebody has given the rows this name.
            Standing::Cleaned(Cutover::Exchange) => return Ok(self.is_exchanged(&past, name)),
            Standing::Cleaned(Cutover::App | Cutover::Alias) if is_blue => {
                format!("{name} was dropped at the end of the migration {id}; its model can go")
            }
            Standing::Cleaned(Cutover::App | Cutover::Alias) => return Ok(false),
        };
        self.plan.notes.push(note);
        Ok(true)
    }

    fn plan_views(&mut self) -> Result<(), PlanError> {
        let schema = self.schema;
        for view in &schema.views {
            let name = view.qualified(&self.options.database);
            let is_migration = self.is_migration(view);
            let select = self.real_select(view, is_migration)?;
            self.check_references(view)?;
            match (is_migration, self.history.of_view(&name)) {
                (true, None) => self.plan_migration(view, name, select)?,
                (true, Some(past)) if past.standing == Standing::UnderWay => {
                    let id = past.id.clone();
                    let migration = self.migration(view, select)?;
                    self.migrate(migration, Some(id), &view.location);
                }
                (true, Some(_)) => (),
                (false, _) => self.plan_plain_view(view, name, &select)?,
            }
        }
        self.note_undeclared();
        Ok(())
    }

    /// Migrations that have begun, and whose models are gone: `apply` cannot go on with them.
    fn note_undeclared(&mut self) {
        let database = &self.options.database;
        let views = self.schema.views.iter().map(|view| view.qualified(database));
        let views = views.collect::<BTreeSet<_>>();
        let left = self.history.migrations.iter().filter(|past| {
            past.standing == Standing::UnderWay && !past.in_place && !views.contains(&past.view)
        });
        let notes = left.map(|past| {
            format!(
                "the migration of {} has begun, and no model declares its view any more: bring the models back, or `teal abort {}`",
                past.green, past.green.name
            )
        });
        self.plan.notes.extend(notes);
    }

    fn plan_migration(
        &mut self,
        view: &View,
        name: QualifiedName,
        select: String,
    ) -> Result<(), PlanError> {
        if self.refuse_second_view(view, &name) {
            return Ok(());
        }
        if self.current.table(&name).is_some() {
            let instead = format!(
                "the view was not attached by teal, so nobody can tell which rows it missed; drop it (`DROP VIEW {}`), and teal will attach it exactly",
                name.sql()
            );
            self.plan.conflicts.push(Conflict {
                object: name,
                declared_at: view.location.clone(),
                differences: vec!["a view of this name is there already".to_owned()],
                instead,
            });
            return Ok(());
        }
        let tables = source(self.schema, view).into_iter().chain(self.schema.target(view));
        let names = tables.map(|table| table.qualified(&self.options.database));
        if let Some(table) = names.into_iter().find(|name| self.migrating.contains(name)) {
            let note = format!(
                "the migration by view {name} waits for the cutover of {table}, which gets another layout first"
            );
            self.plan.notes.push(note);
            return Ok(());
        }
        if self.refuse_exchanged(view) {
            return Ok(());
        }
        let migration = self.migration(view, select)?;
        if let Some(green) = self.current.table(&migration.green)
            && green.rows > 0
        {
            self.plan.conflicts.push(Conflict {
                object: migration.green.clone(),
                declared_at: view.location.clone(),
                differences: vec![format!(
                    "the migration's green table has {} rows already, which no migration brought there",
                    green.rows
                )],
                instead: "empty or drop it, or give the new version another number".to_owned(),
            });
            return Ok(());
        }
        if let Some(blue) = source(self.schema, view).filter(|_| migration.was_exchanged()) {
            self.keep_columns_of(blue, &migration.blue)?;
        }
        if self.refuse_lost_columns(&migration.blue, &view.location) {
            return Ok(());
        }
        self.migrate(migration, None, &view.location);
        Ok(())
    }

    /// What a migration has brought, or needs still, may have been dropped by somebody. It must not be taken for done.
    fn refuse_gone(&mut self, table: &Table, name: &QualifiedName, past: &PastMigration) {
        let is_it = if past.in_place { &past.declared_blue } else { &past.green };
        if name != is_it {
            return;
        }
        let (green, live) = (&past.green.name, past.live());
        let (needed, instead) = match past.standing {
            Standing::UnderWay => return,
            Standing::Verified => (
                vec![&past.blue, &past.green, &past.view],
                format!(
                    "bring it back (`UNDROP TABLE`, a short while after it was dropped); or, where {} is there, `teal abort {green}`, and begin again",
                    past.blue
                ),
            ),
            Standing::CutOver(_) => {
                (vec![live], "bring it back (`UNDROP TABLE`, a short while after)".to_owned())
            }
            Standing::Cleaned(_) if past.in_place => return,
            Standing::Cleaned(Cutover::Exchange) => (
                vec![live],
                "bring it back; or declare a further version, which is made anew and empty".to_owned(),
            ),
            Standing::Cleaned(_) if !self.greens().contains(name) => return,
            Standing::Cleaned(_) => (
                vec![live],
                "bring it back; or, where it is to be made anew and empty, delete the models of the older version and of the view".to_owned(),
            ),
        };
        let may_lack = |name: &QualifiedName| past.is_moving && *name == past.view;
        let gone = needed.into_iter().filter(|name| self.current.table(name).is_none());
        let gone = gone.filter(|name| !may_lack(name));
        let differences = gone.map(|name| format!("{name} is gone, of the migration {}", past.id));
        let differences = differences.collect::<Vec<_>>();
        if !differences.is_empty() {
            let (object, declared_at) = (name.clone(), table.location.clone());
            self.plan.conflicts.push(Conflict { object, declared_at, differences, instead });
        }
    }

    /// Between the proof of a migration and its end, a model that is changed once more has to wait. It must not
    /// be taken for done.
    fn refuse_late_change(
        &mut self,
        table: &Table,
        name: &QualifiedName,
        past: &PastMigration,
    ) -> Result<(), PlanError> {
        let is_it = if past.in_place { &past.blue } else { &past.green };
        let actual = match past.standing {
            Standing::Verified => &past.green,
            Standing::CutOver(Cutover::Exchange) => &past.blue,
            Standing::CutOver(_) => &past.green,
            Standing::Cleaned(_) if self.is_exchanged(past, name) => &past.blue,
            Standing::UnderWay | Standing::Cleaned(_) => return Ok(()),
        };
        if name != is_it {
            return Ok(());
        }
        let changes = self.changes_of(table, name, actual)?;
        if changes.is_empty() {
            return Ok(());
        }
        let green = &past.green.name;
        self.plan.conflicts.push(Conflict {
            object: name.clone(),
            declared_at: table.location.clone(),
            differences: changes.iter().map(ToString::to_string).collect(),
            instead: match past.standing {
                Standing::Verified => format!(
                    "bring the model back until the migration is over (`teal cutover {green}`, `teal cleanup {green}`); or `teal abort {green}`, and begin again with this model"
                ),
                Standing::Cleaned(_) => {
                    "bring the model back, and declare a further version, with a view from this one to it".to_owned()
                }
                _ => format!(
                    "bring the model back until the migration is over: `teal cleanup {green}`"
                ),
            },
        });
        Ok(())
    }

    /// A migration brings over what the models know, and its cleanup drops the rest with the old table.
    fn refuse_lost_columns(&mut self, blue: &QualifiedName, at: &Location) -> bool {
        let lost = self.kept.iter().filter(|(table, _)| table == blue);
        let says = |(_, column): &(QualifiedName, String)| {
            format!(
                "column {column} is in no model, so the migration would not bring it over, and its cleanup would drop it"
            )
        };
        let differences = lost.map(says).collect::<Vec<_>>();
        if differences.is_empty() {
            return false;
        }
        self.plan.conflicts.push(Conflict {
            object: blue.clone(),
            declared_at: at.clone(),
            differences,
            instead: format!(
                "declare it in the old version's model, and in the new one's where it is to stay; or `--allow-drop {}.COLUMN`",
                blue.name
            ),
        });
        true
    }

    /// Looks at what the plan would meet before anything is done.
    fn preflight(&mut self) -> Result<(), PlanError> {
        let mut preflight = Preflight {
            session: self.session.as_mut(),
            features: &self.features,
            current: &self.current,
            history: self.history,
            is_exclusive: self.is_exclusive,
            has_gate: self.has_gate,
            operations: self.plan.operations.iter().collect(),
            findings: Vec::new(),
            notes: Vec::new(),
        };
        preflight.look()?;
        let Preflight { findings, notes, .. } = preflight;
        self.plan.findings = findings;
        self.plan.notes.extend(notes);
        Ok(())
    }

    /// Adds the migration to the plan.
    pub(crate) fn migrate(&mut self, migration: Migration, resumes: Option<String>, at: &Location) {
        let begun = self.history.migrations.iter().find(|past| Some(&past.id) == resumes.as_ref());
        if let Some(past) = begun.filter(|past| !past.begun.is_declared_like(&migration)) {
            let said = |of: &Migration| {
                let text = format!("{} … {}", of.create_green, of.select);
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            };
            self.plan.conflicts.push(Conflict {
                object: migration.green.clone(),
                declared_at: at.clone(),
                differences: vec![
                    format!("its models have changed since its migration began: {}", past.id),
                    format!("then: {}", said(&past.begun)),
                    format!("now:  {}", said(&migration)),
                ],
                instead: format!(
                    "bring the models back until it is over; or `teal abort {}`, and begin again with these",
                    migration.green.name
                ),
            });
            return;
        }
        let is_same = |operation: &&Operation| *operation.object() == migration.blue;
        let earlier = self.plan.operations.iter().rfind(is_same).and_then(Operation::after);
        let now = self.current.table(&migration.blue);
        let before = earlier.map(str::to_owned).or_else(|| Some(now?.create_table_query.clone()));
        self.plan.operations.push(Operation::Migrate {
            needs: Needs::of_copy(migration.strategy, migration.rows, migration.bytes),
            migration: Box::new(migration),
            before,
            resumes,
            declared_at: at.clone(),
        });
    }

    fn migration(&mut self, view: &View, select: String) -> Result<Migration, PlanError> {
        let refused = |refused| {
            let what = format!("the migration by view {} is refused", view.name);
            PlanError::refused(&what, refused, &view.location)
        };
        let (Some(blue), Some(green)) = (source(self.schema, view), self.schema.target(view))
        else {
            return Err(refused(Unsafe {
                reason: "one of its tables is declared in no model".to_owned(),
                instead: "declare both",
            }));
        };
        let tree = self.shadow.explain(view)?;
        let database = &self.options.database;
        let shadow_of =
            |table: &Table| self.desired.table(&self.shadow.name(&table.qualified(database)));
        let (Some(desired_blue), Some(desired_green)) = (shadow_of(blue), shadow_of(green)) else {
            return Err(refused(Unsafe {
                reason: "the server did not list its tables in the shadow database".to_owned(),
                instead: "try again",
            }));
        };
        let declared_blue = blue.qualified(database);
        let blue_now = self.name_now(&declared_blue);
        let there = self.current.table(&blue_now);
        let desired_blue = CatalogTable {
            rows: there.map_or(0, |table| table.rows),
            bytes: there.map_or(0, |table| table.bytes),
            ..desired_blue.clone()
        };
        let desired_green = desired_green.clone();
        // Readers and writers know the rows by a name that is not their version's, and is to stay.
        let cutover = match blue_now == declared_blue {
            true => self.options.cutover,
            false => Cutover::Exchange,
        };
        let declared = Declared { view, blue, green, blue_now, select, database, cutover };
        declared
            .plan(&self.features, &mut self.shadow, &tree, &desired_blue, &desired_green)?
            .map_err(refused)
    }

    /// A view from an older version of a table to a newer one.
    pub(crate) fn is_migration(&self, view: &View) -> bool {
        let Some(target) = &view.target else {
            return false;
        };
        source(self.schema, view)
            .is_some_and(|blue| blue.name == target.name && blue.version < target.version)
    }

    /// The view's SELECT, every table by its full name; for a migration, by that which its rows have now.
    fn real_select(&self, view: &View, is_migration: bool) -> Result<String, PlanError> {
        let database = &self.options.database;
        let declared = |name: &QualifiedName| {
            self.schema.tables.iter().any(|t| t.qualified(database) == *name)
        };
        rewrite_table_references(&view.select, |table| {
            let name = QualifiedName::new(table.database.as_ref().unwrap_or(database), &table.name);
            // Behind IN a column or an alias may be meant.
            let meant = if is_migration { self.name_now(&name) } else { name.clone() };
            (!table.after_in || declared(&name)).then(|| meant.sql())
        })
        .map_err(|error| PlanError::unreadable(view, &error))
    }

    /// Asks the server whether the SELECT reads the tables that it should: versions are put in by
    /// tokens, and what a name means is the server's to say.
    fn check_references(&mut self, view: &View) -> Result<(), PlanError> {
        /// What a SELECT without FROM reads.
        const ONE: &str = "system.one";
        let database = &self.options.database;
        let mut named = BTreeSet::from([ONE.to_owned()]);
        rewrite_table_references(&view.select, |table| {
            let of = table.database.as_ref().unwrap_or(database);
            named.insert(QualifiedName::new(of, &table.name).to_string());
            None
        })
        .map_err(|error| PlanError::unreadable(view, &error))?;
        let tree = self.shadow.explain(view)?;
        if let Some(other) = tree.tables.iter().find(|table| !named.contains(*table)) {
            let message = format!(
                "the SELECT of view {} reads {other}, which teal does not find in its text",
                view.name
            );
            let instead = "write the table with its database, as in `FROM database.table`";
            let diagnostic = Diagnostic::at(&view.location, message).instead(instead);
            return Err(PlanError::References(Box::new(diagnostic)));
        }
        for table in view.select_tables.iter().filter_map(|table| self.schema.table(table)) {
            let name = table.qualified(database);
            if !tree.tables.contains(&name.to_string()) {
                self.plan.notes.push(format!(
                    "view {} lists {name} among the tables that it reads, and its SELECT does not read it",
                    view.name
                ));
            }
        }
        Ok(())
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

/// The table that a view reads, where it reads one.
pub(crate) fn source<'s>(schema: &'s Schema, view: &View) -> Option<&'s Table> {
    match view.select_tables.as_slice() {
        [blue] => schema.table(blue),
        _ => None,
    }
}
