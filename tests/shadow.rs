//! The scratch databases of a plan that was killed.

use crate::servers::Modern;
use crate::support::{Background, Project, until};

/// So many that a plan takes a while.
fn models() -> String {
    let table = |n| format!("CREATE TABLE t{n} (id UInt64) ENGINE = MergeTree ORDER BY id;\n");
    (0..300).map(table).collect()
}

#[test]
fn the_next_plan_drops_what_a_killed_one_left_in_the_embedded_engine() {
    let project = Project::new(&[("app/t.sql", &models())]);
    let there = || {
        let metadata = std::fs::read_dir(project.data().join("metadata")).ok()?;
        let mut names = metadata.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.find(|name| name.starts_with("_teal_shadow_") && !name.ends_with(".sql"))
    };
    let planning = Background::start(project.command(&["plan"]));
    until("a scratch database", there);
    planning.kill();
    let shadows = "SELECT count() FROM system.databases WHERE name LIKE '\\_teal\\_shadow%'";
    assert_eq!(project.query(shadows), "1");
    project.must(&["plan"]);
    assert_eq!(project.query(shadows), "0");
}

/// There, another teal may be planning at the same time.
#[test]
fn on_a_server_only_what_is_too_old_to_be_in_use_is_dropped() {
    let (modern, project) = (Modern::start(), Project::new(&[("app/t.sql", &models())]));
    let url = modern.url();
    let query =
        |sql: &str| project.must(&["--url", &url, "query", sql]).stdout.trim_end().to_owned();
    let shadows =
        "SELECT name FROM system.databases WHERE name LIKE '\\_teal\\_shadow%' ORDER BY name";
    let planning = Background::start(project.command(&["--url", &url, "plan"]));
    let left =
        until("a scratch database", || Some(query(shadows)).filter(|names| !names.is_empty()));
    planning.kill();
    query("CREATE DATABASE _teal_shadow_1700000000_1_0_default");
    query(
        "CREATE TABLE _teal_shadow_1700000000_1_0_default.t (a UInt8) ENGINE = MergeTree ORDER BY a",
    );
    project.must(&["--url", &url, "plan"]);
    assert_eq!(query(shadows), left);
}
