use teal_schema::QualifiedName;

use crate::{Cutover, Migration};

/// What the target's journal tells of its migrations, as far as a plan needs to know.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub migrations: Vec<PastMigration>,
}

#[derive(Debug, Clone)]
pub struct PastMigration {
    pub id: String,
    pub blue: QualifiedName,
    /// Blue's name by its model, where an exchange before has given its rows another.
    pub declared_blue: QualifiedName,
    pub green: QualifiedName,
    pub view: QualifiedName,
    /// Of a model that was changed without a new version.
    pub in_place: bool,
    pub standing: Standing,
    /// A cutover has begun, in which the view is not there for a while.
    pub is_moving: bool,
    /// Readers and writers have left blue, and no view keeps it current.
    pub is_left: bool,
    /// As it was planned when it began.
    pub begun: Migration,
    /// The statement that makes blue, as the server had it then.
    pub blue_definition: Option<String>,
    /// The old table, where its cleanup has put it aside.
    pub parked: Option<QualifiedName>,
}

/// How far a migration has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not yet verified: `apply` goes on with it.
    UnderWay,
    /// Blue and green both live, held in step by the view.
    Verified,
    /// The readers and writers are on green; blue is still there.
    CutOver(Cutover),
    /// Blue is gone. After an exchange, its name means the new layout.
    Cleaned(Cutover),
}

impl PastMigration {
    pub(crate) fn was_exchanged(&self) -> bool {
        matches!(
            self.standing,
            Standing::CutOver(Cutover::Exchange) | Standing::Cleaned(Cutover::Exchange)
        )
    }

    pub(crate) fn is_blue(&self, name: &QualifiedName) -> bool {
        [&self.blue, &self.declared_blue].contains(&name)
    }

    /// The table that readers and writers are on, once they have moved.
    pub(crate) fn live(&self) -> &QualifiedName {
        if self.was_exchanged() { &self.blue } else { &self.green }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.standing, Standing::Cleaned(_))
    }

    /// Whether this is its new table or its view.
    pub fn has_made(&self, name: &QualifiedName) -> bool {
        [&self.green, &self.view].contains(&name)
    }
}

impl History {
    /// The last migration that made or used the table or view `name`.
    pub fn of(&self, name: &QualifiedName) -> Option<&PastMigration> {
        self.migrations
            .iter()
            .rev()
            .find(|m| m.is_blue(name) || [&m.green, &m.view].contains(&name))
    }

    /// Whether the model of this table is compared with the table of another name, which has its rows or is to have
    /// them.
    pub(crate) fn is_compared(&self, name: &QualifiedName) -> bool {
        let is_compared =
            |past: &PastMigration| !past.is_over() || (past.was_exchanged() && !past.in_place);
        self.of(name).is_some_and(is_compared)
    }

    /// Whether the table was put aside by a cleanup, which drops it when its time is over.
    pub fn has_parked(&self, table: &QualifiedName) -> bool {
        self.migrations.iter().any(|past| past.parked.as_ref() == Some(table))
    }

    /// Whether a migration into `green` has begun and is not over.
    pub fn is_on_its_way(&self, green: &QualifiedName) -> bool {
        self.migrations.iter().any(|past| past.green == *green && !past.is_over())
    }

    /// Whether this is blue or green of a migration that is not over.
    pub(crate) fn is_used(&self, table: &QualifiedName) -> bool {
        let is_it = |past: &PastMigration| [&past.blue, &past.green].contains(&table);
        self.migrations.iter().any(|past| !past.is_over() && is_it(past))
    }

    pub fn of_view(&self, name: &QualifiedName) -> Option<&PastMigration> {
        self.migrations.iter().rev().find(|migration| migration.view == *name)
    }
}
