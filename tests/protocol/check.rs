//! Runs the checker, and tells what it found.

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use crate::protocol::{Action, Protocol};

/// Explores all interleavings; panics with the shortest history that breaks a property.
#[track_caller]
pub(crate) fn holds(name: &str, protocol: Protocol) {
    let checker = protocol.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    eprintln!("{name}: {} states", checker.unique_state_count());
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        match property.expectation {
            stateright::Expectation::Sometimes => {
                assert!(found.is_some(), "{name}: it never comes to this: {}", property.name);
            }
            _ => {
                if let Some(path) = found {
                    let end = path.last_state().clone();
                    panic!(
                        "{name}: broken: {}\n{}\n{end:?}",
                        property.name,
                        history(&path.into_actions())
                    );
                }
            }
        }
    }
}

/// Asserts that the checker finds a history which breaks this property.
#[track_caller]
pub(crate) fn is_broken(name: &str, property: &'static str, protocol: Protocol) {
    let found = HasDiscoveries::AllOf(BTreeSet::from([property]));
    let checker = protocol.checker().finish_when(found).spawn_bfs().join();
    let broken = checker.discoveries();
    let path = broken.get(property).cloned();
    let states = checker.unique_state_count();
    match path {
        Some(path) => {
            eprintln!("{name}: {states} states\n{}", history(&path.into_actions()));
        }
        None => panic!(
            "{name}: {states} states, and nothing breaks “{property}”; found {:?}",
            broken.keys()
        ),
    }
}

fn history(actions: &[Action]) -> String {
    actions.iter().map(|action| format!("  {action:?}")).collect::<Vec<_>>().join("\n")
}
