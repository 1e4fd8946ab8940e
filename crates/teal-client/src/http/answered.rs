//! Which servers answer at an address: of several, one does not know what was written to another.

use parking_lot::Mutex;
use ureq::http::HeaderMap;

/// In each answer: `display_name` of the server's configuration, by default the name of its host. What stands between
/// may leave it out, and a container that is made anew on the same data has another one.
const NAME_HEADER: &str = "x-clickhouse-server-display-name";

/// The `serverUUID()` of an engine that has none, which tells it from no other (26.7).
const NO_UUID: &str = "00000000-0000-0000-0000-000000000000";

#[derive(Default)]
pub(super) struct Answered {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Of the server that told it first.
    uuid: Option<String>,
    /// Another one, of a server that told it later.
    other: Option<String>,
    /// The names of all answers, as they came, and whether the server of that uuid has told it under the name.
    names: Vec<(String, bool)>,
    share_tables: bool,
}

impl Answered {
    /// An answer with these headers came; gives the name in them.
    pub(super) fn named(&self, headers: &HeaderMap) -> Option<String> {
        let name = String::from_utf8_lossy(headers.get(NAME_HEADER)?.as_bytes()).into_owned();
        let names = &mut self.known.lock().names;
        if !names.iter().any(|(known, _)| *known == name) {
            names.push((name.clone(), false));
        }
        Some(name)
    }

    /// The server of this uuid answered, under this name. `is_cloud`: it is one of ClickHouse Cloud's, which share their
    /// tables.
    pub(super) fn by(&self, name: Option<String>, uuid: &str, is_cloud: bool) {
        let Known { uuid: first, other, names, share_tables } = &mut *self.known.lock();
        *share_tables |= is_cloud;
        if first.get_or_insert_with(|| uuid.to_owned()) != uuid {
            other.get_or_insert_with(|| uuid.to_owned());
        } else if uuid != NO_UUID
            && let Some((_, is_known)) =
                names.iter_mut().find(|(known, _)| name.as_ref() == Some(known))
        {
            *is_known = true;
        }
    }

    /// Whether the answers came under several names, and a server has yet to tell its uuid under one of them.
    pub(super) fn is_to_be_asked(&self) -> bool {
        let known = self.known.lock();
        known.other.is_none() && known.several().is_some()
    }

    /// The server that answered first, and another one, of those that do not share their tables.
    pub(super) fn several(&self) -> Option<(String, String)> {
        self.known.lock().several()
    }
}

impl Known {
    fn several(&self) -> Option<(String, String)> {
        if self.share_tables {
            return None;
        }
        if let Some(uuids) = self.uuid.clone().zip(self.other.clone()) {
            return Some(uuids);
        }
        let ((first, is_known), later) = self.names.split_first()?;
        let unknown = later.iter().find(|(_, is_known)| !is_known);
        let (other, _) = unknown.or_else(|| later.first().filter(|_| !is_known))?;
        Some((first.clone(), other.clone()))
    }
}
