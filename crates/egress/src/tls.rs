//! What TLS trusts: the operating system's roots, and on request the certificates of one more file.
//!
//! Guarantees that the cryptography is ring's, chosen here and not by whichever library came first in the process.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::client::EgressError;

/// Sessions kept for resumption: endpoints that are talked to often skip half of the handshake.
const RESUMED_SESSIONS: usize = 1_024;

/// The client's TLS configuration, and how many roots it trusts.
pub(crate) fn client_config(extra_roots: Option<&Path>) -> Result<(ClientConfig, usize), EgressError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = extra_roots {
        add_file(&mut roots, path)?;
    }
    let trusted = roots.len();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(EgressError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(RESUMED_SESSIONS);
    Ok((config, trusted))
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), EgressError> {
    let load = |source| EgressError::LoadRoots {
        path: path.to_owned(),
        source,
    };
    let mut added = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(load)? {
        roots.add(certificate.map_err(load)?).map_err(EgressError::Tls)?;
        added += 1;
    }
    if added == 0 {
        Err(EgressError::NoRoots {
            path: path.to_owned(),
        })
    } else {
        Ok(())
    }
}
