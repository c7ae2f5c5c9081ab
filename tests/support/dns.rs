//! A DNS server that changes its mind.
//!
//! Owns one UDP socket and the answers of a few names. Guarantees that each question of a kind about a name gets the
//! next of its answers, the last one for good; what is not listed does not exist. Refuses to know who asks.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

const HEADER_BYTES: usize = 12;
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
/// A response, recursion desired and available, authoritative.
const FOUND: u16 = 0x8580;
const NO_SUCH_NAME: u16 = FOUND | 3;

/// What a name is.
#[derive(Debug, Clone)]
pub enum Record {
    /// These addresses, of both families.
    Addresses(Vec<IpAddr>),
    /// Another name for these addresses.
    Alias(String, Vec<IpAddr>),
}

impl Record {
    /// These addresses, of both families.
    ///
    /// # Panics
    /// When one is none.
    #[must_use]
    pub fn of(addresses: &[&str]) -> Self {
        Self::Addresses(parsed(addresses))
    }

    /// Another name for these addresses.
    ///
    /// # Panics
    /// When one is none.
    #[must_use]
    pub fn alias(name: &str, addresses: &[&str]) -> Self {
        Self::Alias(name.to_owned(), parsed(addresses))
    }
}

fn parsed(addresses: &[&str]) -> Vec<IpAddr> {
    addresses
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

/// The server; stops when dropped.
#[derive(Debug)]
pub struct Dns {
    _stop: DropGuard,
}

impl Dns {
    /// Answers on this socket: for each name the answers in order.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub async fn start(address: SocketAddr, names: &[(&str, &[Record])]) -> Result<Self> {
        let socket = UdpSocket::bind(address)
            .await
            .with_context(|| format!("failed to bind {address}"))?;
        let zone = names
            .iter()
            .map(|(name, records)| ((*name).to_owned(), records.to_vec()))
            .collect();
        let zone = Zone {
            names: zone,
            asked: Arc::default(),
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        TaskTracker::new().spawn(async move { stopped.run_until_cancelled(zone.serve(socket)).await });
        Ok(Self {
            _stop: stop.drop_guard(),
        })
    }
}

struct Zone {
    names: HashMap<String, Vec<Record>>,
    asked: Arc<Mutex<HashMap<(String, u16), usize>>>,
}

impl Zone {
    async fn serve(self, socket: UdpSocket) {
        let mut packet = [0; 512];
        loop {
            // A datagram that cannot be read or answered is one that the resolver asks again.
            let Ok((length, from)) = socket.recv_from(&mut packet).await else {
                continue;
            };
            if let Some(answer) = self.answer(&packet[..length]) {
                drop(socket.send_to(&answer, from).await);
            }
        }
    }

    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let (name, question_end) = name_at(query, HEADER_BYTES)?;
        let question = query.get(HEADER_BYTES..question_end + 4)?;
        let kind = u16::from_be_bytes(query.get(question_end..question_end + 2)?.try_into().ok()?);
        let record = self.next(&name, kind);
        let mut answers = Vec::new();
        let mut count = 0_u16;
        let addresses = match &record {
            None => &[][..],
            Some(Record::Addresses(addresses)) => addresses,
            Some(Record::Alias(target, addresses)) => {
                write_record(&mut answers, &encoded(&name), CNAME, &encoded(target));
                count += 1;
                addresses
            }
        };
        let owner = match &record {
            Some(Record::Alias(target, _)) => encoded(target),
            _ => encoded(&name),
        };
        for address in addresses {
            let (of, bytes) = match address {
                IpAddr::V4(ip) => (A, ip.octets().to_vec()),
                IpAddr::V6(ip) => (AAAA, ip.octets().to_vec()),
            };
            if of == kind {
                write_record(&mut answers, &owner, of, &bytes);
                count += 1;
            }
        }
        let flags = if record.is_some() { FOUND } else { NO_SUCH_NAME };
        let mut reply = query.get(..2)?.to_vec();
        for number in [flags, 1, count, 0, 0] {
            reply.extend(number.to_be_bytes());
        }
        reply.extend(question);
        reply.extend(answers);
        Some(reply)
    }

    fn next(&self, name: &str, kind: u16) -> Option<Record> {
        let records = self.names.get(name)?;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let nth = asked.entry((name.to_owned(), kind)).or_default();
        let record = records.get(*nth).or(records.last()).cloned();
        *nth += 1;
        record
    }
}

/// The name that begins at `at`, and where it ends.
fn name_at(packet: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join(".").to_ascii_lowercase(), at));
        }
        labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).into_owned());
        at += length;
    }
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// One resource record, good for no time at all.
fn write_record(into: &mut Vec<u8>, owner: &[u8], kind: u16, data: &[u8]) {
    into.extend(owner);
    into.extend(kind.to_be_bytes());
    into.extend(1_u16.to_be_bytes());
    into.extend(0_u32.to_be_bytes());
    into.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
    into.extend(data);
}
