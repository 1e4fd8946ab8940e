//! A reader of the standard output that goes away early, as `head` does.

use std::io::{BufRead as _, BufReader};

use crate::servers::Modern;
use crate::support::{Background, ITEMS_REWRITTEN, Project, filled_items, until};

/// It has no end of its own.
const ENDLESS: &str = "SELECT number FROM system.numbers";

/// Reads the first line, and no more.
fn head(project: &Project, arguments: &[&str]) {
    let mut query = Background::start(project.command(arguments));
    let mut line = String::new();
    let mut out = BufReader::new(query.child().stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "0\n");
    drop(out);
    until("the end of teal", || query.child().try_wait().unwrap());
    let run = query.finish();
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{}", run.said());
}

#[test]
fn a_query_ends_quietly_with_its_reader() {
    head(&Project::new(&[]), &["query", ENDLESS]);
}

#[test]
fn a_query_on_a_server_ends_there_too() {
    let (server, project) = (Modern::start(), Project::new(&[]));
    head(&project, &["--url", &server.url(), "query", ENDLESS]);
    let running = "SELECT count() FROM system.processes WHERE query LIKE '%system.numbers%' AND query NOT LIKE '%processes%'";
    until("the end of the query", || {
        let left = project.must(&["--url", &server.url(), "query", running]).stdout;
        (left == "0\n").then_some(())
    });
}

/// It has no end of its own either.
#[test]
fn a_watch_ends_with_its_reader() {
    let project = filled_items(ITEMS_REWRITTEN);
    project.must(&["apply"]);
    for arguments in [&["verify", "--watch", "--every", "1s"][..], &["status", "--watch"]] {
        let mut watch = Background::start(project.command(arguments));
        let mut line = String::new();
        let mut out = BufReader::new(watch.child().stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert!(line.contains("items"), "{line}");
        drop(out);
        if arguments[0] == "status" {
            // It says no more until something changes.
            project.must(&["cutover"]);
        }
        until("the end of teal", || watch.child().try_wait().unwrap());
        let run = watch.finish();
        assert_eq!(run.code, Some(0), "{}", run.said());
    }
}
