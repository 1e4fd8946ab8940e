//! What migrations that have begun, or are over, say about the tables of the models.

use std::collections::BTreeSet;

use teal_schema::{
    Location, QualifiedName, Table, View, read_create, rewrite_table_references, shell_word,
};

use crate::history::PastMigration;
use crate::planner::{PlanError, Planner, source};
use crate::{Conflict, Cutover, Migration, Standing};

impl Planner<'_> {
    /// Whether a migration of the table is what says how it goes on.
    pub(crate) fn is_for_its_migration(
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
        self.refuse_change_of_old(table, name, &past)?;
        let note = match past.standing {
            Standing::UnderWay if past.in_place && is_blue => {
                self.resume_change(table, name, id, &past.green)?;
                return Ok(true);
            }
            Standing::Verified if past.in_place && is_blue => {
                self.migrating.push(name.clone());
                self.plan.later.push(format!(
                    "the new layout of {name} is verified; next: `teal cutover {}`",
                    shell_word(&past.green.name)
                ));
                return Ok(true);
            }
            Standing::CutOver(_) if past.in_place && is_blue => {
                format!(
                    "{name} has its new layout; next: `teal cleanup {}`",
                    shell_word(&past.green.name)
                )
            }
            Standing::Verified | Standing::CutOver(_) if *name == past.green => {
                let (is, next) = match past.standing {
                    Standing::Verified => ("verified", "cutover"),
                    _ => ("cut over", "cleanup"),
                };
                let green = shell_word(&past.green.name);
                self.plan.waiting.push(format!("{name} is {is}; next: `teal {next} {green}`"));
                return Ok(true);
            }
            Standing::UnderWay | Standing::Verified | Standing::CutOver(_) => return Ok(true),
            Standing::Cleaned(_) if past.in_place => return Ok(false),
            Standing::Cleaned(Cutover::Exchange) if is_blue => {
                format!("{name} has had the layout of {} since its migration {id}", past.green.name)
            }
            // It is an alias now, unless somebody has given the rows this name.
            Standing::Cleaned(Cutover::Exchange) => return Ok(self.is_exchanged(&past, name)),
            Standing::Cleaned(Cutover::App | Cutover::Alias) if is_blue => {
                let gone = match &past.parked {
                    Some(parked) => format!("put aside as {parked}"),
                    None => "dropped".to_owned(),
                };
                format!("{name} was {gone} at the end of the migration {id}; its model can go")
            }
            Standing::Cleaned(Cutover::App | Cutover::Alias) => return Ok(false),
        };
        self.plan.notes.push(note);
        Ok(true)
    }

    /// Migrations that have begun, and whose models are gone: `apply` cannot go on with them.
    pub(crate) fn note_undeclared(&mut self) {
        let database = &self.options.database;
        let views = self.schema.views.iter().map(|view| view.qualified(database));
        let views = views.collect::<BTreeSet<_>>();
        let left = self.history.migrations.iter().filter(|past| {
            past.standing == Standing::UnderWay
                && !past.in_place
                // Those of another database may be another project's.
                && past.green.database == *database
                && !views.contains(&past.view)
        });
        let notes = left.map(|past| {
            format!(
                "the migration of {} has begun, and no model declares its view any more: bring the models back, or `teal abort {}`",
                past.green, past.green.name
            )
        });
        self.plan.notes.extend(notes);
    }

    /// Refuses a migration from a table that readers and writers have left for another version: what they write there
    /// would not be in it.
    pub(crate) fn refuse_left(&mut self, view: &View, name: &QualifiedName) -> bool {
        let blue = source(self.schema, view, &self.options.database)
            .map(|it| it.qualified(&self.options.database));
        let left = blue.and_then(|blue| {
            let past = self.history.migrations.iter().rev();
            past.filter(|past| past.is_left && past.is_blue(&blue) && past.view != *name)
                .map(|past| (blue.clone(), past.green.clone()))
                .next()
        });
        let Some((blue, green)) = left else {
            return false;
        };
        self.plan.conflicts.push(Conflict {
            object: name.clone(),
            declared_at: view.location.clone(),
            differences: vec![format!(
                "it reads {blue}, and readers and writers have gone from there to {green}: what is written to {green} would not be in the new version"
            )],
            instead: format!("let it read {green}; or `teal rollback {}` first", green.name),
        });
        true
    }

    /// What a migration has brought, or needs still, may have been dropped by somebody. It must not be taken for done.
    fn refuse_gone(&mut self, table: &Table, name: &QualifiedName, past: &PastMigration) {
        let is_it = if past.in_place { &past.declared_blue } else { &past.green };
        if name != is_it {
            return;
        }
        let (green, live) = (shell_word(&past.green.name), past.live());
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
        let green = shell_word(&past.green.name);
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

    /// The same of the old table, which a plan leaves alone as long as the migration needs it.
    fn refuse_change_of_old(
        &mut self,
        table: &Table,
        name: &QualifiedName,
        past: &PastMigration,
    ) -> Result<(), PlanError> {
        if past.in_place || past.is_over() || *name != past.declared_blue {
            return Ok(());
        }
        let actual = if past.was_exchanged() { &past.green } else { &past.blue };
        // What somebody has altered in the table, the migration tells itself.
        let now = self.current.table(actual).map(|now| now.create_table_query.as_str());
        let then = past.blue_definition.as_deref();
        if now.zip(then).is_none_or(|(now, then)| !is_same_but_name(now, then)) {
            return Ok(());
        }
        let changes = self.changes_of(table, name, actual)?;
        if changes.is_empty() {
            return Ok(());
        }
        let green = shell_word(&past.green.name);
        self.plan.conflicts.push(Conflict {
            object: name.clone(),
            declared_at: table.location.clone(),
            differences: changes.iter().map(ToString::to_string).collect(),
            instead: match past.standing {
                Standing::CutOver(_) => format!(
                    "bring the model back until the migration is over: `teal cleanup {green}`"
                ),
                _ => format!(
                    "bring the model back until the migration is over (`teal cutover {green}`, `teal cleanup {green}`); or `teal abort {green}`, and change the table first"
                ),
            },
        });
        Ok(())
    }

    /// The same of the view of a migration. What its tables are called is another matter: an exchange changes it.
    pub(crate) fn refuse_other_select(
        &mut self,
        view: &View,
        past: &PastMigration,
        select: &str,
    ) -> Result<(), PlanError> {
        let without_names = |select: &str| {
            rewrite_table_references(select, |_| Some("t".to_owned()))
                .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
                .map_err(|error| PlanError::unreadable(view, &error))
        };
        let is_open = matches!(past.standing, Standing::Verified | Standing::CutOver(_));
        if !is_open || without_names(select)? == without_names(&past.begun.select)? {
            return Ok(());
        }
        let green = shell_word(&past.green.name);
        let back =
            format!("bring the model back until the migration is over (`teal cleanup {green}`)");
        self.plan.conflicts.push(Conflict {
            object: past.view.clone(),
            declared_at: view.location.clone(),
            differences: vec![
                format!("its SELECT has changed since its migration began: {}", past.id),
                format!("then: {}", past.begun.select),
                format!("now:  {select}"),
            ],
            instead: match past.standing {
                Standing::Verified => {
                    format!("{back}; or `teal abort {green}`, and begin again with this model")
                }
                _ => format!("{back}; rows that are to be other ones take a further version"),
            },
        });
        Ok(())
    }

    /// A migration that has begun goes on as it was declared then.
    pub(crate) fn refuse_other_models(
        &mut self,
        migration: &Migration,
        begun: Option<&String>,
        at: &Location,
    ) -> bool {
        let past = self.history.migrations.iter().find(|past| Some(&past.id) == begun);
        let Some(past) = past.filter(|past| !past.begun.is_declared_like(migration)) else {
            return false;
        };
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
                format!("now:  {}", said(migration)),
            ],
            instead: format!(
                "bring the models back until it is over; or `teal abort {}`, and begin again with these",
                shell_word(&migration.green.name)
            ),
        });
        true
    }
}

/// Whether two statements make the same, by whatever name.
fn is_same_but_name(one: &str, other: &str) -> bool {
    let rest = |sql: &'_ str| {
        let create = read_create(sql).ok()??;
        sql.get(create.name_range.end..).map(str::to_owned)
    };
    rest(one).is_some_and(|one| Some(one) == rest(other))
}
