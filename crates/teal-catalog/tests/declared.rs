//! What a server has, as a model would declare it, and created again: nothing may change on the way.
//! Clippy counts helpers as no tests, hence what is allowed here.
#![allow(clippy::unwrap_used)]

use teal_catalog::{Catalog, Declaration, reading_views};
use teal_client::Server as _;
use teal_schema::{LifeCycle, Location, QualifiedName, create_table};

#[path = "../../../tests/engine.rs"]
mod engine;
#[path = "../../../tests/every.rs"]
mod every;

use crate::engine::OwnEngine;

#[test]
fn views_of_a_table_with_an_odd_name_are_found() {
    let engine = OwnEngine::open();
    let mut session = engine.session(&[]).unwrap();
    session.command("CREATE DATABASE one").unwrap();
    for (number, name) in ["plain", "a`b", "a\\b", "it's", "日 本"].into_iter().enumerate() {
        let table = QualifiedName::new("one", name);
        for sql in [
            format!("CREATE TABLE {} (a UInt8) ENGINE = MergeTree ORDER BY a", table.sql()),
            format!("CREATE VIEW one.v{number} AS SELECT a FROM {}", table.sql()),
        ] {
            session.command(&sql).unwrap();
        }
        let found = reading_views(session.as_mut(), &table).unwrap();
        let found = found.iter().map(|view| view.name.to_string()).collect::<Vec<_>>();
        assert_eq!(found, [format!("one.v{number}")], "{name}");
    }
}

#[test]
fn what_is_created_again_from_its_declaration_is_the_same() {
    let engine = OwnEngine::open();
    let mut session = engine.session(every::SETTINGS).unwrap();
    for database in ["one", "other"] {
        session.command(&format!("CREATE DATABASE {database}")).unwrap();
    }
    let all = every::tables();
    for (i, rest) in all.iter().enumerate() {
        let made = session.command(&format!("CREATE TABLE one.t{i} {rest}"));
        assert!(made.is_ok(), "{rest}: {}", made.unwrap_err());
    }
    let one = Catalog::read(session.as_mut(), &["one"]).unwrap();
    for (i, rest) in all.iter().enumerate() {
        let name = format!("t{i}");
        let table = one.table(&QualifiedName::new("one", &name)).unwrap();
        let declared = table
            .declared(Declaration {
                name: name.clone(),
                version: None,
                database: None,
                life_cycle: LifeCycle::FullyManaged,
                cluster: None,
                location: Location {
                    file: String::new(),
                    line: 1,
                    column: None,
                    declaration: None,
                },
            })
            .unwrap();
        let sql = create_table(&declared, &QualifiedName::new("other", &name), &[]);
        let made = session.command(&sql);
        assert!(made.is_ok(), "{rest}\n{sql}\n{}", made.unwrap_err());
    }
    let other = Catalog::read(session.as_mut(), &["other"]).unwrap();
    for (i, rest) in all.iter().enumerate() {
        let name = format!("t{i}");
        let before = &one.table(&QualifiedName::new("one", &name)).unwrap().create_table_query;
        let after = &other.table(&QualifiedName::new("other", &name)).unwrap().create_table_query;
        assert_eq!(before.replace("one.t", "t"), after.replace("other.t", "t"), "{rest}");
    }
}
