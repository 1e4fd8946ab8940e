//! The examples, as they stand in the repository.

use std::path::Path;

use crate::support::Project;

/// A copy of an example, so that nothing is written into the repository.
fn example(name: &str) -> Project {
    let project = Project::new(&[]);
    let from = Path::new(env!("TEAL_CHECKOUT")).join("examples").join(name);
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(format!("{}/.", from.display()))
        .arg(project.path())
        .status()
        .unwrap();
    assert!(copied.success());
    let _ = std::fs::remove_dir_all(project.path().join(".teal"));
    project
}

fn has_events_and_a_live_view(name: &str, insert: &str) {
    let project = example(name);
    let run = project.must(&["apply"]);
    assert!(run.stdout.contains("created default.events_0_0"), "{}", run.said());
    assert_eq!(project.query("SHOW TABLES"), "events_0_0\nevents_0_1\nmv_events_to_0_1");
    project.query(insert);
    assert_eq!(project.query("SELECT id, name FROM events_0_1"), "1\tfirst");
    let keys =
        "SELECT name, sorting_key FROM system.tables WHERE name LIKE 'events_%' ORDER BY name";
    assert!(project.query(keys).starts_with("events_0_0\tid\nevents_0_1\tid, created"));
    let second = project.must(&["apply"]);
    assert!(second.stdout.contains("Nothing to do"), "{}", second.said());
}

#[test]
fn events_in_typescript_load_unchanged_and_migrate() {
    has_events_and_a_live_view(
        "events-ts",
        "INSERT INTO events_0_0 VALUES ('1', 'first', '2026-01-01 00:00:00')",
    );
}

#[test]
fn events_in_sql_migrate() {
    has_events_and_a_live_view(
        "events-sql",
        "INSERT INTO events_0_0 VALUES ('1', 'first', '2026-01-01 00:00:00')",
    );
}

#[test]
fn a_project_may_be_named_by_a_relative_path() {
    let project = example("events-sql");
    let mut apply = std::process::Command::new(env!("CARGO_BIN_EXE_teal"));
    apply.args(["-C", project.path().file_name().unwrap().to_str().unwrap(), "apply"]);
    let output = apply.current_dir(project.path().parent().unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_type_that_is_not_exported_is_a_warning() {
    let run = example("events-ts").must(&["plan"]);
    assert!(run.stderr.contains("EventV1") && run.stderr.contains("export"), "{}", run.said());
}

#[test]
fn events_in_python_load_unchanged_and_migrate() {
    has_events_and_a_live_view(
        "events-py",
        "INSERT INTO events_0_0 VALUES ('1', 'first', '2026-01-01')",
    );
}

#[test]
fn flights_plan_a_rewrite() {
    let run = example("flights").must(&["plan"]);
    assert!(run.stdout.contains("migrate flights 0.0 → 0.1"), "{}", run.said());
    assert!(run.stdout.contains("origin, destination, date"), "{}", run.said());
}
