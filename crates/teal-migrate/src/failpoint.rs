/// A place where a test may kill the process, by `FAILPOINTS="name=return"` in the environment
/// (`name=2*off->return` for the third time). Without the feature `failpoints` it is nothing.
///
/// The kill is a SIGKILL: no destructor runs, nothing is flushed.
///
/// `name=return(FILE)` holds it there in place of that: it makes the file, and goes on when the test has taken that
/// away.
pub(crate) fn reached(name: &str) {
    fail::fail_point!(name, |file: Option<String>| match file {
        Some(file) => hold(std::path::Path::new(&file)),
        None => kill(),
    });
    // Without the feature the macro leaves `name` unused.
    let _ = name;
}

/// A number that a test may make another, by `FAILPOINTS="name=return(7)"`.
pub(crate) fn number(name: &str, number: u64) -> u64 {
    fail::fail_point!(name, |given| given.and_then(|it| it.parse().ok()).unwrap_or(number));
    let _ = name;
    number
}

/// The place behind every statement that changes something on the target: the test that counts through
/// them kills teal at each.
pub(crate) fn written() {
    reached("write");
}

/// The place behind a statement that changes something for a target's first command only, and does nothing for
/// those after it.
pub(crate) fn made_if_missing() {
    reached("made-if-missing");
}

#[cfg(feature = "failpoints")]
fn kill() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The signal takes the process before this matters.
    std::thread::park();
}

#[cfg(feature = "failpoints")]
fn hold(file: &std::path::Path) {
    let wait = || std::thread::sleep(std::time::Duration::from_millis(2));
    loop {
        match std::fs::File::create_new(file) {
            Ok(_) => break,
            // Another thread is held.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => wait(),
            Err(_) => return kill(),
        }
    }
    // A test that was killed itself does not come back.
    let since = std::time::Instant::now();
    while file.exists() {
        if since.elapsed() > std::time::Duration::from_secs(600) {
            return kill();
        }
        wait();
    }
}
