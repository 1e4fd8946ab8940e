use std::fmt;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

/// Where a server is, and who asks.
#[derive(Debug, Clone)]
pub struct Address {
    /// Scheme, host, port and path: nothing secret.
    base: Url,
    pub user: Option<String>,
    pub password: Option<SecretString>,
    /// A JWT, in place of user and password.
    pub token: Option<SecretString>,
    pub database: String,
    /// Settings of every statement.
    pub settings: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error(
        "the address is no URL ({0}); write one such as https://user@host:8443/?database=name or clickhouse://user@host/name"
    )]
    NoUrl(url::ParseError),
    #[error(
        "an address cannot begin with {0}://; ClickHouse is reached by http://, https:// or clickhouse://"
    )]
    Scheme(String),
    #[error(
        "port {native} is that of ClickHouse's native protocol; teal speaks HTTP, which most servers have at port {http}"
    )]
    NativePort { native: u16, http: u16 },
    #[error("`{0}` in the address is what teal says itself of each statement: leave it out")]
    Reserved(String),
    #[error("`secure` in the address is true or false, and not {0}")]
    Secure(String),
    #[error("the address has a user, password or database that is no UTF-8")]
    NotUtf8,
    #[error(
        "the address has a # in it, or an @ behind its host; if they belong to a user or password, write / ? # @ there as %2F %3F %23 %40"
    )]
    Unescaped,
}

/// A parameter that is there twice counts once, and it is not said which.
const TEALS: [&str; 5] =
    ["query", "query_id", "default_format", "wait_end_of_query", "enable_http_compression"];

impl Address {
    /// Reads `http[s]://user:password@host:port/path?database=d&setting=value`, or
    /// `clickhouse://user:password@host:port/database?secure=true&setting=value`. User and password
    /// may also be parameters, as ClickHouse itself takes them; they are sent in headers all the same.
    ///
    /// # Errors
    /// When it is none of these. The message holds no secret.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let url = Url::parse(text).map_err(AddressError::NoUrl)?;
        let is_native = url.scheme() == "clickhouse";
        let mut secure = url.scheme() == "https";
        if !is_native && !matches!(url.scheme(), "http" | "https") {
            return Err(AddressError::Scheme(url.scheme().to_owned()));
        }
        // The URL of a password `12/x` has the host `user`, the port 12 and the path `/x@host`, which
        // would be in every message.
        let behind_host = [Some(url.path()), url.query()];
        if url.fragment().is_some() || behind_host.iter().flatten().any(|text| text.contains('@')) {
            return Err(AddressError::Unescaped);
        }
        let mut user = Some(decoded(url.username())?).filter(|user| !user.is_empty());
        let mut password = url.password().map(decoded).transpose()?;
        let mut database = None;
        let mut settings = Vec::new();
        for (name, value) in url.query_pairs() {
            match (name.as_ref(), value.as_ref()) {
                ("secure", value) if is_native => {
                    secure = match value.to_ascii_lowercase().as_str() {
                        "1" | "true" | "yes" | "on" | "" => true,
                        "0" | "false" | "no" | "off" => false,
                        _ => return Err(AddressError::Secure(value.to_owned())),
                    };
                }
                ("database", value) => database = Some(value.to_owned()),
                (name, _) if TEALS.contains(&name) => {
                    return Err(AddressError::Reserved(name.to_owned()));
                }
                ("user", value) => user = Some(value.to_owned()),
                ("password", value) => password = Some(value.to_owned()),
                (name, value) => settings.push((name.to_owned(), value.to_owned())),
            }
        }
        let path = match is_native {
            true => {
                let name = decoded(url.path().trim_matches('/'))?;
                database = Some(name).filter(|name| !name.is_empty()).or(database);
                "/".to_owned()
            }
            false => url.path().to_owned(),
        };
        let http_port = if secure { 8443 } else { 8123 };
        let port = match url.port() {
            Some(native @ (9000 | 9440)) if is_native => {
                return Err(AddressError::NativePort { native, http: http_port });
            }
            Some(port) => Some(port),
            // `http://host` means port 80, as everywhere.
            None => is_native.then_some(http_port),
        };
        // `http` and `https` are schemes with rules of their own for hosts, so the base is parsed
        // anew in place of having its scheme changed.
        let scheme = if secure { "https" } else { "http" };
        let host = url.host_str().unwrap_or_default();
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let base =
            Url::parse(&format!("{scheme}://{host}{port}{path}")).map_err(AddressError::NoUrl)?;
        Ok(Self {
            base,
            user,
            password: password.map(SecretString::from),
            token: None,
            database: database.unwrap_or_else(|| "default".to_owned()),
            settings,
        })
    }

    /// As an URL with the settings, and without what says who asks and of which database.
    pub fn url(&self) -> String {
        let mut url = self.base.clone();
        if self.settings.is_empty() {
            return self.to_string();
        }
        url.query_pairs_mut().extend_pairs(&self.settings);
        url.into()
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn is_loopback(&self) -> bool {
        match self.base.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        }
    }
}

/// Never with a secret in it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

fn decoded(text: &str) -> Result<String, AddressError> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| AddressError::NotUtf8)?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn every_form_of_an_address() {
        // address; base; user; password; database; settings
        for (text, base, user, password, database, settings) in [
            ("http://localhost:8123", "http://localhost:8123", None, None, "default", vec![]),
            ("https://ch.example/", "https://ch.example", None, None, "default", vec![]),
            (
                "https://ana:p%40ss@ch.example:8443/proxy?database=web&max_threads=2",
                "https://ch.example:8443/proxy",
                Some("ana"),
                Some("p@ss"),
                "web",
                vec![("max_threads", "2")],
            ),
            ("clickhouse://ch", "http://ch:8123", None, None, "default", vec![]),
            ("clickhouse://ch/web", "http://ch:8123", None, None, "web", vec![]),
            (
                "clickhouse://ana:x@ch:18443/web?secure=true",
                "https://ch:18443",
                Some("ana"),
                Some("x"),
                "web",
                vec![],
            ),
            ("clickhouse://ch?secure=1", "https://ch:8443", None, None, "default", vec![]),
            ("clickhouse://ch?secure=True", "https://ch:8443", None, None, "default", vec![]),
            ("clickhouse://ch?secure=No", "http://ch:8123", None, None, "default", vec![]),
            ("http://[::1]:8123", "http://[::1]:8123", None, None, "default", vec![]),
            (
                "http://ch:8123/?user=ana&password=p%40ss&database=web",
                "http://ch:8123",
                Some("ana"),
                Some("p@ss"),
                "web",
                vec![],
            ),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), base, "{text}");
            assert_eq!(address.user.as_deref(), user, "{text}");
            let has = address.password.as_ref().map(|password| password.expose_secret());
            assert_eq!(has, password, "{text}");
            assert_eq!(address.database, database, "{text}");
            let has = address.settings.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            assert_eq!(has.collect::<Vec<_>>(), settings, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_says_what_one_is() {
        for (text, said) in [
            ("localhost:8123", "cannot begin with localhost://"),
            ("ch.example", "write one such as https://user@host:8443/?database=name"),
            ("http://ch:8123?query_id=mine", "`query_id`"),
            ("clickhouse://ch?secure=enabled", "true or false, and not enabled"),
            ("tcp://ch:9000", "cannot begin with tcp://"),
            ("clickhouse://ch:9000", "at port 8123"),
            ("clickhouse://ch:9440?secure=1", "at port 8443"),
            ("https://ana:%ff@ch", "no UTF-8"),
            ("https://ana:12/hunter2@ch", "%2F"),
            ("https://ana:12?hunter2@ch", "%3F"),
            ("https://ana:12#hunter2@ch", "%23"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_in_no_text_about_the_address() {
        for text in ["https://ana:hunter2@ch:8443", "https://ch:8443/?user=ana&password=hunter2"] {
            let address = Address::parse(text).unwrap();
            assert!(!format!("{address} {address:?}").contains("hunter2"));
        }
    }
}
