use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Diagnostic, Location, Table, TableRef, TokenError, View, rewrite_table_references};

/// All that the models of one project declare.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    pub tables: Vec<Table>,
    #[serde(default)]
    pub views: Vec<View>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error(
        "OlapTable with name {name} and version {version} already exists: declared at {first} and again at {second}"
    )]
    Duplicate { name: String, version: String, first: Box<Location>, second: Box<Location> },
    #[error(
        "two models have the physical name {physical}: {first_table} at {first} and {second_table} at {second}; give one of them another name or version"
    )]
    Collision {
        physical: String,
        first_table: String,
        second_table: String,
        first: Box<Location>,
        second: Box<Location>,
    },
    #[error("view {view} at {location}: its {role} {table} is declared in no model")]
    UnknownTable {
        view: String,
        role: &'static str,
        table: String,
        /// The tables that are declared by this name in other databases.
        elsewhere: Vec<String>,
        location: Box<Location>,
    },
}

impl SchemaError {
    /// With the places apart from the words.
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Duplicate { name, version, first, second } => Diagnostic::at(
                second,
                format!("OlapTable with name {name} and version {version} already exists"),
            )
            .also(first, "it is declared here first")
            .instead("give one of them another version"),
            Self::Collision { physical, first_table, second_table, first, second } => {
                Diagnostic::at(
                    second,
                    format!("{first_table} and {second_table} have one physical name: {physical}"),
                )
                .also(first, format!("{first_table} is declared here"))
                .instead("give one of them another name or version")
            }
            Self::UnknownTable { view, role, table, elsewhere, location } => Diagnostic::at(
                location,
                format!("view {view}: its {role} {table} is declared in no model"),
            )
            .instead(match elsewhere.as_slice() {
                [] => "declare it".to_owned(),
                others => format!("declare it, or name another: {}", others.join(", ")),
            }),
        }
    }
}

impl Schema {
    /// The table that a view means. A reference without a version means an unversioned table; one
    /// without a database that of the project's own database, else the only one of its name.
    pub fn table(&self, reference: &TableRef) -> Option<&Table> {
        let mut named = self.named(reference);
        match named.clone().find(|table| table.database == reference.database) {
            None if reference.database.is_none() => named.next().filter(|_| named.next().is_none()),
            found => found,
        }
    }

    /// The tables of this name and version, in whatever database.
    fn named(&self, reference: &TableRef) -> impl Iterator<Item = &Table> + Clone {
        let is_named =
            |table: &&Table| table.name == reference.name && table.version == reference.version;
        self.tables.iter().filter(is_named)
    }

    /// The target of a materialized view.
    pub fn target(&self, view: &View) -> Option<&Table> {
        self.table(view.target.as_ref()?)
    }

    /// Puts every view behind the views that it reads; otherwise the order stays.
    ///
    /// # Errors
    /// When a SELECT cannot be read as tokens.
    pub fn sort_views(&mut self) -> Result<(), TokenError> {
        let mut waiting = Vec::new();
        for view in std::mem::take(&mut self.views) {
            let mut reads = BTreeSet::new();
            rewrite_table_references(&view.select, |table| {
                reads.insert(table.name.clone());
                None
            })?;
            waiting.push((view, reads));
        }
        while !waiting.is_empty() {
            let is_ready = |(view, reads): &(View, BTreeSet<String>)| {
                waiting
                    .iter()
                    .all(|(other, _)| other.name == view.name || !reads.contains(&other.name))
            };
            // In a circle the first one goes; the server will say what is wrong with it.
            let next = waiting.iter().position(is_ready).unwrap_or(0);
            self.views.push(waiting.remove(next).0);
        }
        Ok(())
    }

    /// Checks what no single declaration can: names that collide, references that lead nowhere.
    ///
    /// # Errors
    /// The first collision or dangling reference, in the order of declaration.
    pub fn check(&self) -> Result<(), SchemaError> {
        self.check_names()?;
        self.views.iter().try_for_each(|view| self.check_view(view))
    }

    fn check_names(&self) -> Result<(), SchemaError> {
        // What has a physical name: (database, name) → (what it is called in the models, where).
        let mut taken: BTreeMap<(Option<&str>, String), (String, &Location)> = BTreeMap::new();
        for table in &self.tables {
            let version = table.version.as_ref().map_or("none", |version| version.as_str());
            let called = format!("table {} (version {version})", table.name);
            let key = (table.database.as_deref(), table.physical_name());
            match taken.get(&key) {
                Some((first_table, first)) if *first_table == called => {
                    return Err(SchemaError::Duplicate {
                        name: table.name.clone(),
                        version: version.to_owned(),
                        first: Box::new((*first).clone()),
                        second: Box::new(table.location.clone()),
                    });
                }
                Some((first_table, first)) => {
                    return Err(SchemaError::Collision {
                        physical: key.1,
                        first_table: first_table.clone(),
                        second_table: called,
                        first: Box::new((*first).clone()),
                        second: Box::new(table.location.clone()),
                    });
                }
                None => taken.insert(key, (called, &table.location)),
            };
        }
        for view in &self.views {
            let key = (view.database.as_deref(), view.name.clone());
            let called = format!("view {}", view.name);
            match taken.get(&key) {
                Some((first_table, first)) => {
                    return Err(SchemaError::Collision {
                        physical: view.name.clone(),
                        first_table: first_table.clone(),
                        second_table: called,
                        first: Box::new((*first).clone()),
                        second: Box::new(view.location.clone()),
                    });
                }
                None => taken.insert(key, (called, &view.location)),
            };
        }
        Ok(())
    }

    fn check_view(&self, view: &View) -> Result<(), SchemaError> {
        let unknown = |role: &'static str, table: &TableRef| SchemaError::UnknownTable {
            view: view.name.clone(),
            role,
            table: table.called(),
            elsewhere: self.named(table).map(|other| other.reference().called()).collect(),
            location: Box::new(view.location.clone()),
        };
        if let Some(table) = view.select_tables.iter().find(|table| self.table(table).is_none()) {
            return Err(unknown("source table", table));
        }
        match &view.target {
            Some(target) if self.table(target).is_none() => Err(unknown("target table", target)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Version};

    fn table(name: &str, version: Option<&str>, line: u32) -> Table {
        serde_json::from_value(serde_json::json!({
            "name": name,
            "version": version,
            "columns": [{ "name": "id", "type": "String" }],
            "location": { "file": "app/t.ts", "line": line, "declaration": name },
        }))
        .unwrap()
    }

    fn schema(tables: Vec<Table>) -> Schema {
        Schema { tables, views: Vec::new() }
    }

    #[test]
    fn a_table_without_an_engine_is_a_merge_tree() {
        assert_eq!(table("events", None, 1).engine, Engine::merge_tree());
    }

    #[test]
    fn two_spellings_of_one_version_collide() {
        let error = schema(vec![table("events", Some("1.0"), 3), table("events", Some("1_0"), 9)])
            .check()
            .unwrap_err();
        assert!(error.to_string().contains("physical name events_1_0"), "{error}");
    }

    #[test]
    fn a_versioned_and_an_unversioned_table_can_collide() {
        let error =
            schema(vec![table("events", Some("2024"), 3), table("events_2024", None, 9)]).check();
        assert!(matches!(error, Err(SchemaError::Collision { .. })), "{error:?}");
    }

    #[test]
    fn the_same_table_twice_is_a_duplicate_that_names_both_places() {
        let error = schema(vec![table("events", Some("1.0"), 3), table("events", Some("1.0"), 9)])
            .check()
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "OlapTable with name events and version 1.0 already exists: declared at app/t.ts:3 (events) and again at app/t.ts:9 (events)"
        );
    }

    #[test]
    fn a_reference_means_the_table_of_its_database() {
        let located = |database: Option<&str>, line| Table {
            database: database.map(str::to_owned),
            ..table("events", None, line)
        };
        let means = |schema: &Schema, database: Option<&str>| {
            let reference = located(database, 0).reference();
            schema.table(&reference).map(|table| table.location.line)
        };
        let both = schema(vec![located(Some("x"), 1), located(None, 2)]);
        assert_eq!(means(&both, Some("x")), Some(1));
        assert_eq!(means(&both, None), Some(2));
        assert_eq!(means(&both, Some("y")), None);
        let only = schema(vec![located(Some("x"), 1)]);
        assert_eq!(means(&only, None), Some(1));
        let neither = schema(vec![located(Some("x"), 1), located(Some("y"), 2)]);
        assert_eq!(means(&neither, None), None);
    }

    #[test]
    fn a_view_into_a_table_that_no_model_declares_is_refused() {
        let mut schema = schema(vec![table("events", Some("0.0"), 1)]);
        schema.views.push(View {
            name: "mv".to_owned(),
            database: None,
            select: "SELECT 1".to_owned(),
            select_tables: vec![schema.tables[0].reference()],
            target: Some(TableRef {
                name: "events".to_owned(),
                version: Some(Version::parse("0.1").unwrap()),
                database: None,
            }),
            life_cycle: Default::default(),
            location: schema.tables[0].location.clone(),
        });
        let error = schema.check().unwrap_err();
        assert!(error.to_string().contains("target table events_0_1"), "{error}");
    }
}
