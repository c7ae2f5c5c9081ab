//! What was sent and what arrived, as files between processes.
//!
//! Owns the number that every event carries (`{"n":…}`) and files of three numbers a record: small enough to keep one
//! for each of a million deliveries. Refuses to know what is made of them.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

/// `[number, nanoseconds sent, nanoseconds confirmed]`, or `[number, lane, nanoseconds arrived]`.
pub(crate) type Record = [u64; 3];

/// How many events a stream may have: its index is the number divided by this.
pub(crate) const STREAM_SIZE: u64 = 1_000_000_000;

const RECORD_BYTES: usize = 24;

pub(crate) fn write(path: &Path, records: &[Record]) -> Result<()> {
    let mut bytes = Vec::with_capacity(records.len() * RECORD_BYTES);
    for number in records.iter().flatten() {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    fs::write(path, bytes).with_context(|| format!("failed to write {}", path.display()))
}

pub(crate) fn read(path: &Path) -> Result<Vec<Record>> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    ensure!(bytes.len() % RECORD_BYTES == 0, "{} is cut short", path.display());
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    Ok(bytes
        .chunks_exact(RECORD_BYTES)
        .map(|record| {
            [
                number(&record[..8]),
                number(&record[8..16]),
                number(&record[16..]),
            ]
        })
        .collect())
}

/// A payload of about `bytes` bytes that carries `number`. Its keys are in order, in case someone sorts them.
pub(crate) fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let head = format!(r#"{{"n":{number},"pad":""#);
    let pad = bytes.saturating_sub(head.len() + 2);
    let mut body = Vec::with_capacity(head.len() + pad + 2);
    body.extend_from_slice(head.as_bytes());
    body.resize(head.len() + pad, b'x');
    body.extend_from_slice(br#""}"#);
    body
}

/// The number that a payload carries.
pub(crate) fn number(body: &[u8]) -> Option<u64> {
    const KEY: &[u8] = br#""n":"#;
    let start = body
        .windows(KEY.len())
        .take(64)
        .position(|window| window == KEY)?
        + KEY.len();
    let digits = body[start..]
        .iter()
        .skip_while(|byte| **byte == b' ')
        .take_while(|byte| byte.is_ascii_digit());
    let mut found = None;
    for digit in digits {
        let so_far: u64 = found.unwrap_or(0);
        found = Some(so_far.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_carries_its_number_in_the_size_asked_for() {
        for bytes in [32, 200, 65_536] {
            let body = payload(3_000_000_017, bytes);
            assert_eq!((body.len(), number(&body)), (bytes, Some(3_000_000_017)));
            assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        }
        assert_eq!(number(br#"{ "n" : 5 }"#), None);
        assert_eq!(number(br#"{"pad":"","n":5}"#), Some(5));
    }

    #[test]
    fn records_survive_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let records = [[1, 2, u64::MAX], [4, 5, 6]];
        write(file.path(), &records).unwrap();
        assert_eq!(read(file.path()).unwrap(), records);
    }
}
