use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Stands between teal, the users and the server, at one address for all of the server's lives, and
/// cuts connections in the middle.
#[derive(Clone)]
pub(crate) struct Proxy {
    port: u16,
    upstream: Arc<AtomicU16>,
    /// Of a thousand connections, those that are cut.
    cut_per_mille: Arc<AtomicU32>,
    cuts: Arc<AtomicU32>,
    /// Writes that were answered, and the one whose answer is not passed on.
    writes: Arc<AtomicU32>,
    lost: Arc<AtomicU32>,
}

/// What a request has that changes something, in teal's words.
const WRITES: [&str; 8] = [
    "INSERT INTO",
    "CREATE TABLE",
    "CREATE MATERIALIZED",
    "ALTER TABLE",
    "DROP TABLE",
    "TRUNCATE TABLE",
    "EXCHANGE TABLES",
    "SYSTEM ST",
];

impl Proxy {
    /// It lives as long as the test's process.
    pub(crate) fn start(upstream: u16, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            upstream: Arc::new(AtomicU16::new(upstream)),
            cut_per_mille: Arc::default(),
            cuts: Arc::default(),
            writes: Arc::default(),
            lost: Arc::default(),
        };
        let serving = proxy.clone();
        thread::spawn(move || {
            let mut rng = StdRng::seed_from_u64(seed);
            for client in listener.incoming().flatten() {
                let is_cut =
                    rng.random_range(0..1000) < serving.cut_per_mille.load(Ordering::SeqCst);
                let cut_after = is_cut.then(|| Duration::from_millis(rng.random_range(0..50)));
                let serving = serving.clone();
                thread::spawn(move || serving.connect(client, cut_after));
            }
        });
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn lead_to(&self, port: u16) {
        self.upstream.store(port, Ordering::SeqCst);
    }

    pub(crate) fn cut(&self, per_mille: u32) {
        self.cut_per_mille.store(per_mille, Ordering::SeqCst);
    }

    /// How many connections it has cut so far.
    pub(crate) fn cuts(&self) -> u32 {
        self.cuts.load(Ordering::SeqCst)
    }

    /// The connection breaks when the server has done this one of the writes to come, counted from 1, before
    /// its answer is there. None, where it is 0.
    pub(crate) fn lose_answer(&self, number: u32) {
        self.writes.store(0, Ordering::SeqCst);
        self.lost.store(number, Ordering::SeqCst);
    }

    /// How many writes were answered since.
    pub(crate) fn writes(&self) -> u32 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Whether this is the answer that is lost.
    fn is_lost(&self, is_write: &AtomicBool) -> bool {
        is_write.swap(false, Ordering::SeqCst)
            && self.writes.fetch_add(1, Ordering::SeqCst) + 1 == self.lost.load(Ordering::SeqCst)
    }

    fn connect(&self, client: TcpStream, cut_after: Option<Duration>) {
        // A server that is down is to the client a connection that breaks.
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.upstream.load(Ordering::SeqCst)))
        else {
            return;
        };
        let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else {
            return;
        };
        if let Some(time) = cut_after {
            let (client, server, cuts) =
                (client.try_clone(), server.try_clone(), self.cuts.clone());
            thread::spawn(move || {
                thread::sleep(time);
                // A connection that has ended before is not cut any more.
                if client.is_ok_and(|it| it.shutdown(Shutdown::Both).is_ok()) {
                    cuts.fetch_add(1, Ordering::SeqCst);
                }
                let _ = server.map(|it| it.shutdown(Shutdown::Both));
            });
        }
        let is_write = Arc::new(AtomicBool::new(false));
        let asks = is_write.clone();
        let look = move |bytes: &[u8]| {
            if WRITES.iter().any(|it| bytes.windows(it.len()).any(|part| part == it.as_bytes())) {
                asks.store(true, Ordering::SeqCst);
            }
            true
        };
        let there = thread::spawn(move || pass_on(from_client, to_server, look));
        let _ = pass_on(server, client, |_| !self.is_lost(&is_write));
        let _ = there.join();
    }
}

/// Until either end is gone, or `may_pass` says no; then neither is there any more.
fn pass_on(
    mut from: TcpStream,
    mut to: TcpStream,
    may_pass: impl Fn(&[u8]) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let passed = loop {
        match from.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(length) if !may_pass(&buffer[..length]) => break Ok(()),
            Ok(length) => match to.write_all(&buffer[..length]) {
                Ok(()) => (),
                Err(error) => break Err(error),
            },
            Err(error) => break Err(error),
        }
    };
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
    passed
}
