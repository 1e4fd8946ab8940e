//! The lock of a server, where it is a lease.
//! Clippy counts helpers as no tests, hence what is allowed here.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/servers/mod.rs"]
#[allow(dead_code)]
mod servers;

use std::thread;
use std::time::{Duration, Instant};

use teal_client::Server;
use teal_migrate::{Lock, LockError};

const LONG: Duration = Duration::from_secs(60);

fn take(server: &dyn Server) -> Result<Lock, LockError> {
    Lock::take(server, LONG)
}

/// What a teal on another machine leaves when it is killed.
fn leave_lock(server: &dyn Server, generation: u32, until: &str) {
    let mut session = server.session(&[]).unwrap();
    session.command("CREATE DATABASE IF NOT EXISTS _teal").unwrap();
    let body = session
        .run(&format!("SELECT toUnixTimestamp64Milli(now64(3) {until})"), teal_client::Format::TSV)
        .unwrap()
        .body;
    let until = String::from_utf8(body).unwrap();
    session
        .command(&format!(
            "CREATE TABLE _teal.lock_{generation} (nothing UInt8) ENGINE = Memory COMMENT \
             '{{\"host\":\"elsewhere\",\"pid\":7,\"instance\":\"x\",\"released\":false,\"until\":{}}}'",
            until.trim()
        ))
        .unwrap();
}

#[test]
fn a_lock_is_held_by_one_and_free_when_it_is_released() {
    let modern = servers::Modern::start();
    let server = modern.open(|_| ());
    let lock = take(&server).unwrap();
    assert!(take(&server).is_err_and(|error| error.is_another_at_work()));
    lock.check().unwrap();
    drop(lock);
    take(&server).unwrap();
}

#[test]
fn the_lock_of_a_dead_owner_is_free_when_its_lease_has_run_out() {
    let modern = servers::Modern::start();
    let server = modern.open(|_| ());
    leave_lock(&server, 3, "+ INTERVAL 1 HOUR");
    let error = take(&server).err().unwrap();
    assert!(error.to_string().contains("process 7 on elsewhere"), "{error}");
    server.session(&[]).unwrap().command("DROP TABLE _teal.lock_3").unwrap();

    leave_lock(&server, 3, "- INTERVAL 1 SECOND");
    let _lock = take(&server).unwrap();
    let body = server
        .session(&[])
        .unwrap()
        .run("SHOW TABLES FROM _teal", teal_client::Format::TSV)
        .unwrap()
        .body;
    assert_eq!(body, b"lock_4\n");
}

/// The data directory of an embedded engine whose teal was killed, served since.
#[test]
fn the_lock_of_an_engine_that_has_ended_is_free_on_a_server() {
    let modern = servers::Modern::start();
    let server = modern.open(|_| ());
    let mut session = server.session(&[]).unwrap();
    session.command("CREATE DATABASE _teal").unwrap();
    session
        .command(
            "CREATE TABLE _teal.lock_3 (nothing UInt8) ENGINE = Memory COMMENT \
             '{\"host\":\"elsewhere\",\"pid\":7,\"instance\":\"x\",\"released\":false}'",
        )
        .unwrap();
    take(&server).unwrap();
}

/// Who waits for the end of a command waits for its error.
#[test]
fn a_server_that_is_silent_does_not_hold_up_who_gives_the_lock_back() {
    let modern = servers::Modern::start();
    let server = modern.open(|_| ());
    let lease = Duration::from_secs(1);
    let lock = Lock::take(&server, lease).unwrap();
    modern.freeze();
    let began = Instant::now();
    while lock.check().is_ok() {
        assert!(began.elapsed() < LONG, "it is not late");
        thread::sleep(Duration::from_millis(20));
    }
    drop(lock);
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
}

#[test]
fn a_lease_is_renewed_while_its_owner_lives() {
    let modern = servers::Modern::start();
    let server = modern.open(|_| ());
    let lease = Duration::from_secs(2);
    let lock = Lock::take(&server, lease).unwrap();
    let began = Instant::now();
    while began.elapsed() < 2 * lease {
        assert!(take(&server).is_err_and(|error| error.is_another_at_work()));
        lock.check().unwrap();
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_owner_whose_lock_was_taken_finds_out() {
    let modern = servers::Modern::start();
    let server = modern.open(|_| ());
    let lock = Lock::take(&server, Duration::from_secs(1)).unwrap();
    // As another does, to whom this one's lease seemed to have run out.
    leave_lock(&server, 2, "+ INTERVAL 1 HOUR");
    let began = Instant::now();
    while lock.check().is_ok() {
        assert!(began.elapsed() < LONG, "it never found out");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(matches!(lock.check(), Err(LockError::Lost { .. })));
    drop(lock);
    assert!(
        take(&server).is_err_and(|error| error.is_another_at_work()),
        "the other's lock stands"
    );
}

/// Long before its own lease could run out.
#[test]
fn an_owner_that_finds_the_lock_taken_stops_at_once() {
    let modern = servers::Modern::start();
    let server = modern.open(|_| ());
    let lease = LONG / 2;
    let lock = Lock::take(&server, lease).unwrap();
    leave_lock(&server, 2, "+ INTERVAL 1 HOUR");
    let silent = loop {
        match lock.check() {
            Err(LockError::Lost { silent, .. }) => break silent,
            other => other.unwrap(),
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert!(silent < lease / 2, "{silent:?}");
}
