//! What Ctrl-C does, a service that is stopped, and a terminal that goes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use teal_client::HttpServer;
use teal_migrate::Interrupt;

use crate::failure::{Failure, INTERRUPTED};
use crate::{passing, show};

/// A signal ends the process.
static ENDING: AtomicBool = AtomicBool::new(false);

/// What was ended on the server for a signal's sake is an error to whoever waited for it, and none to the user.
pub(crate) fn stay_if_ending() {
    while ENDING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// From now on, an operator that heeds it ends at the next place from which it can go on, or after a while, or when
/// asked again; all else ends at once. A statement on a server goes on when its client is gone, so it is taken along.
pub(crate) fn take_over_signals(
    server: Option<HttpServer>,
    interrupt: Interrupt,
) -> Result<(), Failure> {
    const GRACE: Duration = Duration::from_secs(5);
    let end = move |again: bool| {
        ENDING.store(true, Ordering::SeqCst);
        if let Some(server) = &server {
            cancel_running(server);
        }
        if again {
            note_in_time(
                "ended in the middle; the same command sets that right, and goes on".to_owned(),
            );
        }
        passing::remove_held();
        teal_client::exit(INTERRUPTED);
    };
    let asked = move || {
        if !interrupt.ask() {
            end(interrupt.is_asked());
        }
        let end = end.clone();
        std::thread::spawn(move || {
            std::thread::sleep(GRACE);
            end(true);
        });
        note_in_time(format!(
            "ending at the next place to go on from, within {} s; once more ends it at once",
            GRACE.as_secs()
        ));
    };
    let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(heeded)
        .map_err(|error| Failure::failed(format!("cannot take over signals: {error}")))?;
    std::thread::spawn(move || {
        let mut last = None;
        for signal in signals.forever() {
            // Of a terminal that goes, its shell tells, the kernel tells it again, and the end of a session brings a
            // SIGTERM with it: nobody has asked once more.
            let is_same_end = signal == SIGHUP || last == Some(SIGHUP) && signal == SIGTERM;
            if last.is_none() || !is_same_end {
                asked();
            }
            last = Some(signal);
        }
    });
    Ok(())
}

/// Whoever started this process said that it goes on: `nohup`, or a shell that sent it to the background.
fn is_ignored(signal: i32) -> bool {
    let said = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = said.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (signal - 1) & 1 == 1
}

/// Ends what runs on the server, and does not wait for one that hangs.
fn cancel_running(server: &HttpServer) {
    const PATIENCE: Duration = Duration::from_secs(2);
    let (sender, receiver) = std::sync::mpsc::channel();
    let server = server.clone();
    std::thread::spawn(move || sender.send(server.cancel_running()));
    let reason = match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it has not answered within {} s", PATIENCE.as_secs()),
    };
    note_in_time(format!("cannot end what runs on the server: {reason}"));
}

/// Whoever waits for a reader of the standard error has its lock: that is not waited for.
fn note_in_time(text: String) {
    const PATIENCE: Duration = Duration::from_millis(200);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        show::note(&text);
        // Nobody may wait for it any more.
        let _ = sender.send(());
    });
    let _ = receiver.recv_timeout(PATIENCE);
}
