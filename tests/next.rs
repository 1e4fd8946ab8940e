//! What a person is told to do next, and what to mind before.

use crate::server_migration::{CLONED, Stage};
use crate::servers::Modern;
use crate::support::Project;

const EVENTS: &str =
    "CREATE TABLE events (id UInt64, name String) ENGINE = MergeTree ORDER BY id;\n";
const RENAMED: &str = "-- teal: table events version 1\n\
     CREATE TABLE events_1 (id UInt64, label String) ENGINE = MergeTree ORDER BY (label, id);\n\
     CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT id, name AS label FROM events;\n";

fn filled() -> Project {
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["apply"]);
    project.query("INSERT INTO events SELECT number, toString(number) FROM numbers(1000)");
    project.write("app/events.sql", &format!("{EVENTS}{RENAMED}"));
    project
}

#[test]
fn a_cutover_that_was_taken_back_is_made_in_the_same_way_again() {
    let project = filled();
    project.must(&["apply"]);
    for command in ["plan", "apply"] {
        let said = project.must(&[command]).stdout;
        assert!(said.contains("events_1 is verified; next: `teal cutover events_1`"), "{said}");
    }
    project.must(&["cutover", "--by", "exchange"]);
    let said = project.must(&["rollback"]).stdout;
    assert!(said.contains("`teal cutover --by exchange` again"), "{said}");
    project.must(&["cutover"]);
    let status = project.must(&["status", "events"]).stdout;
    assert!(status.contains("done, by exchange"), "{status}");
    assert_eq!(project.query("SELECT label FROM events WHERE id = 7"), "7");
    project.teal(&["cutover", "--by", "app"]).failed(3, &["was cut over by exchange"]);
    project.teal(&["status", "nosuch"]).failed(2, &["there is no migration nosuch"]);
}

#[test]
fn a_cutover_by_app_says_who_moves_then() {
    let project = filled();
    project.must(&["apply"]);
    let said = project.must(&["cutover"]).stdout;
    assert!(said.contains("let your code use default.events_1 now"), "{said}");
    assert!(said.contains("When nobody writes to default.events any more"), "{said}");
}

#[test]
fn statements_that_an_exchange_would_break_are_told_and_an_apply_tells_what_a_plan_does() {
    let project = filled();
    let config = project.config();
    project.write("teal.toml", &format!("{config}\n[migrate]\ncutover = \"exchange\"\n"));
    let mind = "statements by that name fail that use name, and INSERTs without a list of columns";
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains(mind), "{plan}");
    let applied = project.must(&["apply"]).stderr;
    assert!(applied.contains(mind), "{applied}");
}

#[test]
fn a_cleanup_on_a_server_without_a_log_says_that_nobody_was_looked_for() {
    let log = "<clickhouse><part_log><database>system</database><table>part_log</table></part_log></clickhouse>";
    let stage = Stage::new(Modern::start_with(log), CLONED);
    stage.must(&["apply"]);
    stage.must(&["cutover"]);
    let run = stage.teal(&["cleanup"]);
    assert_eq!(run.code, Some(0), "{}", run.said());
    assert!(run.stderr.contains("not known who still reads default.events"), "{}", run.said());
}
