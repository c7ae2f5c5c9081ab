//! The bytes under a signature: `id.timestamp.body`, as four slices and no copy of the body.

use std::io::Write;

/// Longest decimal text of an `i64`: a sign and nineteen digits.
const DIGITS_MAX: usize = 20;

/// A timestamp in the decimal form that is signed and sent, kept on the stack.
#[derive(Clone, Copy)]
pub(crate) struct Timestamp {
    digits: [u8; DIGITS_MAX],
    length: usize,
}

impl Timestamp {
    pub(crate) fn new(seconds: i64) -> Self {
        let mut digits = [0; DIGITS_MAX];
        let mut rest: &mut [u8] = &mut digits;
        write!(rest, "{seconds}").expect("twenty bytes hold any i64");
        let length = DIGITS_MAX - rest.len();
        Self { digits, length }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.length]
    }
}

/// The parts of the signed content in order.
pub(crate) fn parts<'a>(message_id: &'a str, timestamp: &'a [u8], body: &'a [u8]) -> [&'a [u8]; 5] {
    [message_id.as_bytes(), b".", timestamp, b".", body]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_read_as_the_standard_library_writes_them() {
        for seconds in [0, 7, 1_614_265_330, -1, i64::MAX, i64::MIN] {
            assert_eq!(Timestamp::new(seconds).as_bytes(), seconds.to_string().as_bytes());
        }
    }
}
