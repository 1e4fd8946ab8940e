//! An engine of a test's own. `cargo test` runs the tests of a binary in one process, which has one data directory
//! open at a time, and whose failpoints are all tests': so they take turns.

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

use teal_client::{EmbeddedEngine, EngineOptions};

static TURN: Mutex<()> = Mutex::new(());

// Dropped in this order.
pub(crate) struct OwnEngine {
    engine: EmbeddedEngine,
    _directory: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl OwnEngine {
    pub(crate) fn open() -> Self {
        // A test that failed has left nothing that the next one sees.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().unwrap();
        let engine = EmbeddedEngine::open(EngineOptions {
            library: teal_fetch::fetch_engine_library(&mut |_| ()).unwrap(),
            data: directory.path().join("data"),
            config_file: None,
        })
        .unwrap();
        Self { engine, _directory: directory, _turn: turn }
    }
}

impl Deref for OwnEngine {
    type Target = EmbeddedEngine;

    fn deref(&self) -> &EmbeddedEngine {
        &self.engine
    }
}
