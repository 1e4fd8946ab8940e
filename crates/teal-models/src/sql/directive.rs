//! What a comment in front of a statement says of it that SQL has no words for: `-- teal: …`.

use teal_catalog::Declaration;
use teal_schema::{Comment, Create, CreateKind, LifeCycle, Location, Statement, Version};

use super::failure;
use crate::ModelError;

/// `-- teal: table events version 0.1 lifecycle deletion_protected`, in front of a statement.
#[derive(Debug, Default)]
pub(super) struct Directive {
    table: Option<String>,
    version: Option<Version>,
    pub(super) life_cycle: LifeCycle,
    pub(super) renamed: Vec<Renamed>,
}

/// `-- teal: column city renamed_from town`.
#[derive(Debug)]
pub(super) struct Renamed {
    pub(super) column: String,
    pub(super) from: String,
}

impl Directive {
    pub(super) fn read(
        statement: &Statement<'_>,
        create: &Create<'_>,
        location: &Location,
    ) -> Result<Self, ModelError> {
        let mut directive = Self::default();
        let is_directive = |comment: &&Comment| comment.text.starts_with("teal:");
        if let Some(comment) = statement.later_comments.iter().find(is_directive) {
            let location = Location { line: comment.line, column: None, ..location.clone() };
            let message =
                format!("the directive stands within or behind the statement of {}", create.name);
            return Err(failure(
                location,
                message,
                "write it in front of the statement that it is about, on a line of its own",
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

    pub(super) fn declaration(self, create: &Create<'_>, location: Location) -> Declaration {
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
