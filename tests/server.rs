//! teal against a server, where no embedded engine is installed.

use std::process::Command;

use crate::servers::Modern;
use crate::support::{Background, ITEMS_V00, Project, Run, until};

/// A project whose target is a server, on a machine without the engine.
struct OnServer {
    project: Project,
    _modern: Modern,
}

impl OnServer {
    fn new(files: &[(&str, &str)]) -> Self {
        let modern = Modern::start();
        let project = Project::new(files);
        project.write(
            "teal.toml",
            &format!(
                "[targets.default]\nkind = \"server\"\nurl = \"{}\"\nuser = \"ana\"\npassword = \"${{TEAL_TEST_PASSWORD}}\"\n",
                modern.url()
            ),
        );
        Self { project, _modern: modern }
    }

    fn teal(&self, arguments: &[&str]) -> Run {
        self.teal_with("secret", arguments)
    }

    fn teal_with(&self, password: &str, arguments: &[&str]) -> Run {
        Run::of(self.command(password, arguments).output().unwrap())
    }

    fn command(&self, password: &str, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        command.env("TEAL_LIBCHDB", "/nosuch/libchdb.so").env("TEAL_TEST_PASSWORD", password);
        command
    }

    fn must(&self, arguments: &[&str]) -> String {
        let run = self.teal(arguments);
        assert_eq!(run.code, Some(0), "teal {arguments:?}: {}", run.said());
        run.stdout.trim_end().to_owned()
    }
}

#[test]
fn a_project_is_planned_and_applied_without_the_engine() {
    let server = OnServer::new(&[("app/tables/items.ts", ITEMS_V00)]);
    assert_eq!(server.teal(&["plan", "--check"]).code, Some(4));
    assert_eq!(server.must(&["query", "SHOW TABLES"]), "", "a plan changes nothing");
    let databases = "SELECT count() FROM system.databases WHERE name LIKE '%teal%'";
    assert_eq!(server.must(&["query", databases]), "0");

    assert_eq!(server.must(&["apply"]), "created default.items_0_0");
    assert!(server.must(&["apply"]).contains("Nothing to do"));
    assert_eq!(server.teal(&["plan", "--check"]).code, Some(0));
    assert!(server.must(&["status"]).contains("No migration"));
    server.must(&["query", "INSERT INTO items_0_0 VALUES (1, 'a', '2026-01-01 00:00:00', NULL)"]);
    assert_eq!(server.must(&["query", "SELECT id, name FROM items_0_0"]), "1\ta");
}

#[test]
fn a_wrong_password_is_refused_and_shown_nowhere() {
    let server = OnServer::new(&[("app/tables/items.ts", ITEMS_V00)]);
    for command in ["plan", "apply", "status"] {
        let run = server.teal_with("hunter2", &[command]);
        run.failed(1, &["AUTHENTICATION_FAILED"]);
        assert!(!run.said().contains("hunter2"), "{}", run.said());
    }
    let mut without = server.project.command(&["plan"]);
    without.env_remove("TEAL_TEST_PASSWORD");
    Run::of(without.output().unwrap()).failed(2, &["TEAL_TEST_PASSWORD"]);
}

#[test]
fn an_address_on_the_command_line_needs_no_project() {
    let modern = Modern::start();
    let empty = Project::new(&[]);
    empty.remove("teal.toml");
    let run = empty.teal(&["--url", &modern.url(), "query", "SELECT 1 + 1"]);
    assert_eq!(run.stdout, "2\n", "{}", run.said());
    let of_engine = ["--engine-config", "x.xml", "--url", &modern.url(), "query", "SELECT 1"];
    empty.teal(&of_engine).failed(0, &["--engine-config", "of no account"]);
    empty
        .teal(&["--url", "http://${NOSUCH}", "query", "SELECT 1"])
        .failed(2, &["the target takes"]);
    empty.teal(&["--url", "mysql://host", "query", "SELECT 1"]).failed(2, &["mysql://"]);
}

/// As long as no part is rewritten, ClickHouse would not answer.
#[test]
fn an_alter_that_takes_longer_than_an_answer_may_is_waited_for() {
    const TABLE: &str =
        "CREATE TABLE events (id UInt64, town String) ENGINE = MergeTree ORDER BY id;\n";
    let server = OnServer::new(&[("app/events.sql", TABLE)]);
    server.must(&["apply"]);
    server.must(&["query", "INSERT INTO events SELECT number, 'x' FROM numbers(10)"]);
    let config = server.project.config();
    server.project.write("teal.toml", &format!("{config}read_timeout = 2\n"));
    let begun = |of: &str, seconds: u8| {
        server.must(&["query", "SYSTEM STOP MERGES events"]);
        server.project.write("app/events.sql", &TABLE.replace("town String", of));
        let apply = Background::start(server.command("secret", &["apply"]));
        let begun = format!(
            "SELECT count() FROM system.mutations WHERE NOT is_done AND create_time <= now() - {seconds}"
        );
        until("the mutation", || (server.must(&["query", &begun]) == "1").then_some(()));
        apply
    };
    let apply = begun("town LowCardinality(String)", 4);
    server.must(&["query", "SYSTEM START MERGES events"]);
    let run = apply.finish();
    assert_eq!(run.stdout, "changed default.events\n", "{}", run.said());
    assert!(run.stderr.contains("for the server to rewrite default.events"), "{}", run.said());
    assert_eq!(server.must(&["query", "SELECT countIf(is_done) FROM system.mutations"]), "1");

    // A change that somebody else makes meanwhile is none of the plan's.
    let apply = begun("town Nullable(String)", 1);
    server.must(&[
        "query",
        "ALTER TABLE events DELETE WHERE id = 3 SETTINGS alter_sync = 0, mutations_sync = 0",
    ]);
    let theirs = "command LIKE '%DELETE%' AND create_time <= now() - 1";
    let begun_too = format!("SELECT count() FROM system.mutations WHERE {theirs}");
    until("theirs", || (server.must(&["query", &begun_too]) == "1").then_some(()));
    server.must(&["query", &format!("KILL MUTATION WHERE {theirs} SYNC")]);
    server.must(&["query", "SYSTEM START MERGES events"]);
    let run = apply.finish();
    assert_eq!(run.stdout, "changed default.events\n", "{}", run.said());

    let apply = begun("town LowCardinality(Nullable(String))", 0);
    server.must(&["query", "KILL MUTATION WHERE NOT is_done SYNC"]);
    apply
        .finish()
        .failed(1, &["the change of default.events is not done", "has ended the mutation"]);
}
