use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PemItem, RootCerts, TlsConfig, parse_pem};

use super::HttpOptions;
use crate::ClientError;

/// The HTTP client, with what is trusted and shown over TLS.
///
/// # Errors
/// When a PEM file cannot be read.
pub(super) fn agent(options: &HttpOptions) -> Result<Agent, ClientError> {
    let mut tls = TlsConfig::builder().root_certs(match &options.ca {
        Some(path) => RootCerts::new_with_certs(&certificates(path)?),
        None => RootCerts::PlatformVerifier,
    });
    if let Some(path) = &options.certificate {
        let key = options.key.as_ref().unwrap_or(path);
        let private = pem_items(key)?.into_iter().find_map(|item| match item {
            PemItem::PrivateKey(key) => Some(key),
            _ => None,
        });
        let private = private.ok_or_else(|| bad_pem(key, "it holds no private key"))?;
        tls = tls.client_cert(Some(ClientCert::new_with_certs(&certificates(path)?, private)));
    }
    Ok(Agent::config_builder()
        .tls_config(tls.build())
        // ClickHouse says what is wrong in the body of such an answer.
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_connect(Some(options.connect_timeout))
        .timeout_resolve(Some(options.connect_timeout))
        .timeout_per_read(Some(options.read_timeout))
        .timeout_per_write(Some(options.read_timeout))
        // The signs of life of two hours.
        .max_response_header_size(256 << 10)
        // Shorter than a server keeps an idle connection (3 s in old releases), so that none is
        // used that the server is just closing.
        .max_idle_age(Duration::from_secs(2))
        .user_agent(concat!("teal/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent())
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, ClientError> {
    let certificates = pem_items(path)?.into_iter().filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    let certificates = certificates.collect::<Vec<_>>();
    match certificates.is_empty() {
        true => Err(bad_pem(path, "it holds no certificate")),
        false => Ok(certificates),
    }
}

fn pem_items(path: &Path) -> Result<Vec<PemItem<'static>>, ClientError> {
    let text = std::fs::read(path).map_err(|error| bad_pem(path, &error.to_string()))?;
    parse_pem(&text).collect::<Result<_, _>>().map_err(|error| bad_pem(path, &error.to_string()))
}

fn bad_pem(path: &Path, reason: &str) -> ClientError {
    ClientError::Pem { path: path.to_owned(), reason: reason.to_owned() }
}
