use teal_schema::QualifiedName;

use crate::Cutover;

/// What the target's journal tells of its migrations, as far as a plan needs to know.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub migrations: Vec<PastMigration>,
}

#[derive(Debug, Clone)]
pub struct PastMigration {
    pub id: String,
    pub blue: QualifiedName,
    pub green: QualifiedName,
    pub view: QualifiedName,
    /// Of a model that was changed without a new version.
    pub in_place: bool,
    pub standing: Standing,
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
    /// What to do before another change of that version.
    pub(crate) fn after_exchange(&self) -> String {
        let (known, own) = (self.blue.sql(), self.green.sql());
        match self.standing {
            Standing::Cleaned(_) => format!(
                "give the rows their version's name, in a moment without INSERTs: DROP TABLE IF EXISTS {own}; RENAME TABLE {known} TO {own}; where the name {known} is still used: CREATE TABLE {known} ENGINE = Alias({own}). Then plan again"
            ),
            _ => format!("`teal cleanup {}` first", self.green.name),
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.standing, Standing::Cleaned(_))
    }
}

impl History {
    /// The migration that made or used the table or view `name`.
    pub fn of(&self, name: &QualifiedName) -> Option<&PastMigration> {
        self.migrations.iter().rev().find(|m| [&m.blue, &m.green, &m.view].contains(&name))
    }

    /// Whether a migration into `green` has begun and is not over.
    pub fn is_on_its_way(&self, green: &QualifiedName) -> bool {
        self.of(green).is_some_and(|past| !past.is_over())
    }

    pub fn of_view(&self, name: &QualifiedName) -> Option<&PastMigration> {
        self.migrations.iter().rev().find(|migration| migration.view == *name)
    }
}
