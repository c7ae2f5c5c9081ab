//! What a failed request met, in the domain's words.
//!
//! Owns the reading of other libraries' error chains. Guarantees an answer for every error, with the cause that the
//! owner of an endpoint can act on; refuses to decide what follows from it.

use std::error::Error;
use std::io;

use nuncio_domain::{Outcome, Phase, Reason};
use rustls::CertificateError;

use crate::address::Refused;
use crate::peer::OwnAddressRefused;

/// Characters of another library's words that are kept.
const DETAIL_CHARS_MAX: usize = 200;

/// Reads the error of a request or of its response's body.
pub(crate) fn outcome(error: &reqwest::Error, proxied: bool) -> Outcome {
    if let Some(reason) = causes(error).find_map(decisive) {
        return Outcome::Unreachable(reason);
    }
    if error.is_timeout() {
        return Outcome::TimedOut(if error.is_connect() {
            Phase::Connect
        } else {
            Phase::Response
        });
    }
    if error.is_builder() {
        return Outcome::Unreachable(Reason::InvalidRequest);
    }
    if proxied && error.is_connect() {
        return Outcome::Unreachable(Reason::Proxy);
    }
    if error.is_dns() {
        return Outcome::Unreachable(Reason::Dns);
    }
    let reason = causes(error)
        .find_map(transport)
        .unwrap_or_else(|| Reason::Other(innermost(error)));
    Outcome::Unreachable(reason)
}

/// The error and all its sources; an I/O error's inner error stands in the chain too, which `source` leaves out.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

/// Causes that say it all, whatever else the chain says.
fn decisive(cause: &(dyn Error + 'static)) -> Option<Reason> {
    if let Some(refused) = cause.downcast_ref::<Refused>() {
        return Some(Reason::AddressRefused(Some(refused.address)));
    }
    if cause.is::<OwnAddressRefused>() {
        return Some(Reason::AddressRefused(None));
    }
    cause
        .downcast_ref::<rustls::Error>()
        .map(|error| Reason::Tls(tls_detail(error)))
}

fn transport(cause: &(dyn Error + 'static)) -> Option<Reason> {
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        return http1(error);
    }
    if let Some(error) = cause.downcast_ref::<h2::Error>() {
        return Some(
            if error.is_io() || error.is_go_away() || error.is_reset() && error.is_remote() {
                Reason::ConnectionReset
            } else {
                Reason::Protocol
            },
        );
    }
    cause
        .downcast_ref::<io::Error>()
        .and_then(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(Reason::ConnectionRefused),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Some(Reason::ConnectionReset),
            io::ErrorKind::HostUnreachable => Some(Reason::Other("the host is unreachable".to_owned())),
            io::ErrorKind::NetworkUnreachable => Some(Reason::Other("the network is unreachable".to_owned())),
            _ => None,
        })
}

fn http1(error: &hyper::Error) -> Option<Reason> {
    if error.is_parse() {
        Some(Reason::Protocol)
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        Some(Reason::ConnectionReset)
    } else {
        None
    }
}

fn tls_detail(error: &rustls::Error) -> String {
    let detail = match error {
        rustls::Error::InvalidCertificate(certificate) => return certificate_detail(certificate),
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS",
        rustls::Error::PeerIncompatible(_) => "the server has no TLS version or cipher in common with us",
        rustls::Error::AlertReceived(alert) => {
            return format!("the server broke off with the alert {alert:?}");
        }
        rustls::Error::NoCertificatesPresented => "the server has no certificate",
        other => return clipped(&other.to_string()),
    };
    detail.to_owned()
}

fn certificate_detail(error: &CertificateError) -> String {
    let detail = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another host name"
        }
        CertificateError::UnknownIssuer => {
            "the certificate's issuer is unknown (self-signed, or an incomplete chain)"
        }
        CertificateError::Revoked => "the certificate was revoked",
        CertificateError::BadSignature => "the certificate's signature is wrong",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not meant for servers"
        }
        other => return clipped(&format!("the certificate is invalid: {other}")),
    };
    detail.to_owned()
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .last()
        .map(|cause| clipped(&cause.to_string()))
        .unwrap_or_default()
}

fn clipped(text: &str) -> String {
    text.chars()
        .filter(|char| !char.is_control())
        .take(DETAIL_CHARS_MAX)
        .collect()
}
