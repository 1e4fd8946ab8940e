//! ClickHouse over HTTP.

mod address;
mod agent;
mod answer;
mod answered;
mod failure;
mod insert;
mod options;
mod repeat;
mod session;
mod transport;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use teal_schema::{quote_string, quoted_list};

pub use self::address::{Address, AddressError};
pub use self::options::HttpOptions;
use self::session::HttpSession;
use self::transport::{QUERY_ID_PREFIX, Transport, USERS_QUERY_ID_PREFIX};
use crate::neutral::settings_to_set_back;
use crate::session::{DROPS_OF_ANY_SIZE, LARGE_STATEMENTS, unreadable};
use crate::{ClientError, Format, Server, Session, Settings, TEAL_LOG_COMMENT, WriteGate};

/// The oldest release that has all that teal needs.
const OLDEST: (u32, u32) = (23, 8);

/// The first release in which a statement's settings can lift the limit on the size of what is dropped.
const DROPS_BY_SETTING: (u32, u32) = (23, 12);

/// So many come from the server in the time after which it counts as silent. Each is a header of the answer.
const SIGNS_OF_LIFE: u32 = 5;

/// A server reached by HTTP.
#[derive(Clone)]
pub struct HttpServer {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<Transport>,
    version: String,
    /// What the user's profile says that teal's sessions must not.
    set_back: OnceLock<Vec<(String, String)>>,
}

impl HttpServer {
    /// Connects, and checks that it is a ClickHouse that teal can work with.
    ///
    /// # Errors
    /// When nothing answers, what answers is no ClickHouse, the user is refused, or the release is
    /// too old.
    pub fn open(options: HttpOptions) -> Result<Self, ClientError> {
        let transport = Transport::new(options)?;
        let version = transport.ask_version()?;
        let inner = Inner { transport: Arc::new(transport), version, set_back: OnceLock::new() };
        let server = Self { inner: Arc::new(inner) };
        server.refuse_if_too_old()?;
        Ok(server)
    }

    /// The server's release, such as `26.7.3.1`.
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// Ends the statements of this process that are running on the server.
    ///
    /// # Errors
    /// When the server cannot be asked to.
    pub fn cancel_running(&self) -> Result<(), ClientError> {
        self.inner.transport.cancel_running()
    }

    /// With the user's own settings.
    fn plain_session(&self) -> HttpSession {
        HttpSession {
            transport: Arc::clone(&self.inner.transport),
            settings: Vec::new(),
            id_prefix: QUERY_ID_PREFIX,
        }
    }

    fn set_back(&self) -> Result<&[(String, String)], ClientError> {
        if let Some(known) = self.inner.set_back.get() {
            return Ok(known);
        }
        let found = settings_to_set_back(&mut self.plain_session())?;
        Ok(self.inner.set_back.get_or_init(|| found))
    }

    /// Sees that what the session and the address say arrives, and which server answers. A setting that the server
    /// does not know is an error here, not in the middle of the work.
    fn check(&self, session: &mut HttpSession) -> Result<(), ClientError> {
        const SERVER: &str = "serverUUID()";
        /// ClickHouse Cloud's own.
        const CLOUD: &str = "cloud_mode";
        let Transport { options, answered, .. } = &*self.inner.transport;
        let sent = options.address.settings.iter().chain(&session.settings);
        // What is said last counts.
        let sent = sent.cloned().collect::<BTreeMap<_, _>>();
        let names = quoted_list(sent.keys());
        // One row, whatever limits the answer.
        let ask = format!(
            "SELECT toJSONString(arrayPushBack(groupArray([name, value, toString(changed)]), \
                 ['{SERVER}', toString({SERVER}), ''])) \
             FROM system.settings WHERE name IN ({names}, '{CLOUD}')"
        );
        let answer = session.run(&ask, Format("RawBLOB".into()))?;
        let shown = match answer.body.as_slice() {
            // The profile leaves out rows, and was not set back.
            [] => Vec::new(),
            body => serde_json::from_slice::<Vec<[String; 3]>>(body)
                .map_err(|error| unreadable(&ask, &error.to_string()))?,
        };
        let shown = shown.into_iter().map(|[name, value, changed]| (name, (value, changed)));
        let shown = shown.collect::<BTreeMap<_, _>>();
        let is_lost = |name: &str, said: &str| {
            let is_own = session.settings.iter().any(|(own, _)| own == name);
            match shown.get(name) {
                Some((value, _)) if plain(value) == plain(said) => false,
                // teal says a value as the server shows it; users need not (`10G`).
                Some((_, changed)) => is_own || changed != "1",
                // Not all that stands in an address is a setting.
                None => is_own,
            }
        };
        let lost = sent.iter().filter(|(name, said)| is_lost(name, said)).map(|(name, _)| name);
        let lost = lost.map(String::as_str).collect::<Vec<_>>();
        if !lost.is_empty() {
            // A proxy may leave settings out, and a copy without them is another one.
            return Err(ClientError::SettingsLost {
                address: options.address.to_string(),
                settings: lost.join(", "),
            });
        }
        let value = |name| shown.get(name).map(|(value, _)| value.as_str()).unwrap_or_default();
        answered.by(answer.server, value(SERVER), plain(value(CLOUD)) == "1");
        Ok(())
    }

    /// Year and number.
    fn release(&self) -> (u32, u32) {
        let mut numbers = self.version().split('.').map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    fn refuse_if_too_old(&self) -> Result<(), ClientError> {
        #[derive(Deserialize)]
        struct Row {
            lacking: String,
        }
        if self.release() >= OLDEST {
            return Ok(());
        }
        let needs = [
            ("additional_table_filters", "settings", "copies in chunks"),
            ("log_comment", "settings", "statements that can be told from the users' in the logs"),
            ("allow_experimental_analyzer", "settings", "EXPLAIN QUERY TREE"),
            ("assign_part_uuids", "merge_tree_settings", "publications that survive a crash"),
            ("queryID", "functions", "queryID()"),
            ("xxh3", "functions", "128-bit row hashes"),
            ("formatRow", "functions", "formatRow()"),
        ];
        let probes = needs.map(|(name, table, what)| {
            format!(
                "SELECT {} AS lacking, count() AS found FROM system.{table} WHERE name = '{name}'",
                quote_string(what)
            )
        });
        let query = format!("SELECT lacking FROM ({}) WHERE found = 0", probes.join(" UNION ALL "));
        let answer = self.plain_session().answer(&query, &Format::JSON_EACH_ROW, &[])?;
        let lacking = crate::read_rows::<Row>(&answer.body, &query)?;
        Err(ClientError::TooOld {
            address: self.inner.transport.options.address.to_string(),
            version: self.version().to_owned(),
            oldest: format!("{}.{}", OLDEST.0, OLDEST.1),
            lacks: lacking.into_iter().map(|row| row.lacking).collect::<Vec<_>>().join(", "),
        })
    }
}

impl Server for HttpServer {
    fn session(&self, settings: Settings<'_>) -> Result<Box<dyn Session>, ClientError> {
        let signs_of_life =
            (self.inner.transport.options.read_timeout / SIGNS_OF_LIFE).as_millis().to_string();
        let teals = [
            ("log_comment", TEAL_LOG_COMMENT),
            // Async inserts would leave teal's own rows in a buffer after the statement has ended.
            ("async_insert", "0"),
            // A user's profile may limit what runs for them, and the way numbers are written.
            ("output_format_json_quote_64bit_integers", "0"),
            ("send_progress_in_http_headers", "1"),
            ("http_headers_progress_interval_ms", &signs_of_life),
            // A read whose reader has gone is of no use.
            ("cancel_http_readonly_queries_on_client_close", "1"),
        ];
        let drops = match self.release() >= DROPS_BY_SETTING {
            true => DROPS_OF_ANY_SIZE.as_slice(),
            false => &[],
        };
        let settings = teals.iter().chain(&LARGE_STATEMENTS).chain(drops).chain(settings);
        let settings = settings.map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let settings = self.set_back()?.iter().cloned().chain(settings).collect();
        let mut session = HttpSession { settings, ..self.plain_session() };
        self.check(&mut session)?;
        Ok(Box::new(session))
    }

    fn user_session(&self, settings: Settings<'_>) -> Result<Box<dyn Session>, ClientError> {
        let settings = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let mut session = HttpSession { settings, ..self.plain_session() };
        // As in `check`; the rest is the users' own.
        session.run("SELECT serverUUID()", Format::NONE)?;
        Ok(Box::new(HttpSession { id_prefix: USERS_QUERY_ID_PREFIX, ..session }))
    }

    fn write_gate(&self) -> Option<&WriteGate> {
        None
    }

    fn describe(&self) -> String {
        format!("ClickHouse at {}", self.inner.transport.options.address)
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    fn refuse_several(&self) -> Result<(), ClientError> {
        let Transport { options, answered, .. } = &*self.inner.transport;
        if answered.is_to_be_asked() {
            // Asks who answers.
            self.session(&[])?;
        }
        match answered.several() {
            Some((first, other)) => {
                let address = options.address.to_string();
                Err(ClientError::SeveralServers { address, first, other })
            }
            None => Ok(()),
        }
    }
}

/// A setting's value, the one way of the two in which a `Bool` may be said.
fn plain(value: &str) -> &str {
    match value {
        "true" => "1",
        "false" => "0",
        other => other,
    }
}
