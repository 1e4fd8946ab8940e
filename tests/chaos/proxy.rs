use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
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
}

impl Proxy {
    /// It lives as long as the test's process.
    pub(crate) fn start(upstream: u16, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            upstream: Arc::new(AtomicU16::new(upstream)),
            cut_per_mille: Arc::default(),
            cuts: Arc::default(),
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
        let there = thread::spawn(move || pass_on(from_client, to_server));
        let _ = pass_on(server, client);
        let _ = there.join();
    }
}

/// Until either end is gone; then neither is there any more.
fn pass_on(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let passed = loop {
        match from.read(&mut buffer) {
            Ok(0) => break Ok(()),
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
