//! Which servers answer at an address: of several, one does not know what was written to another.

use parking_lot::Mutex;
use ureq::http::HeaderMap;

/// In each answer: `display_name` of the server's configuration, by default the name of its host. What stands between
/// may leave it out.
const NAME_HEADER: &str = "x-clickhouse-server-display-name";

#[derive(Default)]
pub(super) struct Answered {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Of the server that answered first.
    name: Option<String>,
    uuid: Option<String>,
    /// What the first one is called, and another one that answered later.
    several: Option<(String, String)>,
    share_tables: bool,
}

impl Answered {
    /// An answer with these headers came.
    pub(super) fn named(&self, headers: &HeaderMap) {
        let Some(name) = headers.get(NAME_HEADER) else { return };
        let Known { name: first, several, .. } = &mut *self.known.lock();
        note(first, &String::from_utf8_lossy(name.as_bytes()), several);
    }

    /// The server of this uuid answered. `is_cloud`: it is one of ClickHouse Cloud's, which share their tables.
    pub(super) fn by(&self, uuid: &str, is_cloud: bool) {
        let Known { uuid: first, several, share_tables, .. } = &mut *self.known.lock();
        *share_tables |= is_cloud;
        note(first, uuid, several);
    }

    /// The server that answered first, and another one, of those that do not share their tables.
    pub(super) fn several(&self) -> Option<(String, String)> {
        let known = self.known.lock();
        known.several.clone().filter(|_| !known.share_tables)
    }
}

fn note(first: &mut Option<String>, said: &str, several: &mut Option<(String, String)>) {
    let first = first.get_or_insert_with(|| said.to_owned());
    if first != said && several.is_none() {
        *several = Some((first.clone(), said.to_owned()));
    }
}
