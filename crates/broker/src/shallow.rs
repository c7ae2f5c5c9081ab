//! Header tables that are nested too deeply, made shallow before they are parsed.
//!
//! lapin reads tables by recursion and without a limit, so that one message with a thousand tables in one another, which
//! any publisher may send, would end the process that receives it, and the next one. Guarantees that no table or array
//! lies deeper than [`DEPTH_MAX`] in the headers of what is read from a connection: one that does is passed on as an
//! opaque byte array of the same length. Refuses to judge anything else: what is malformed is left to the parser.
//!
//! Sources: AMQP 0-9-1 §4.2.3 (frames), §4.2.5.5 (tables), §4.2.6.1 (content headers); the types of values as in
//! RabbitMQ's "AMQP 0-9-1 Errata".

/// Tables and arrays in one another that are read. What the broker itself adds (`x-death`) is four deep.
const DEPTH_MAX: usize = 16;
/// The frame of a message's properties.
const CONTENT_HEADER: u8 = 2;
/// Class, weight and body size, before the flags.
const BEFORE_FLAGS: u32 = 12;
/// Flags of the properties that come up to the headers, and "more flags follow".
const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;
const MORE_FLAGS: u16 = 1;

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Type, channel and size of a frame.
    Frame,
    Flags,
    /// The length of a short text, of so many before the headers.
    Text(u8),
    /// The length of the headers.
    Headers,
    /// An entry of the innermost table or array, or its end.
    Entry,
    /// The length of an entry's name.
    Name,
    /// The type of a value.
    Type,
    /// The length of a value that is passed over.
    Long,
    /// The length of a table or array that is looked into.
    Nested {
        named: bool,
    },
}

/// A table or array that is being read.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    end: u32,
    named: bool,
}

/// Where in the stream of frames a connection is.
#[derive(Debug)]
pub(crate) struct Shallow {
    step: Step,
    /// Bytes of the number that is read, that are still to come; and those that came.
    missing: u8,
    number: u64,
    /// Bytes to pass over.
    skip: u32,
    /// Bytes of the frame's payload, and how many of them came.
    size: u32,
    read: u32,
    open: [Open; DEPTH_MAX],
    depth: usize,
}

impl Default for Shallow {
    fn default() -> Self {
        Self {
            step: Step::Frame,
            missing: 7,
            number: 0,
            skip: 0,
            size: 0,
            read: 0,
            open: [Open::default(); DEPTH_MAX],
            depth: 0,
        }
    }
}

impl Shallow {
    /// Looks at the next bytes of the stream, and makes them shallow.
    pub(crate) fn pass(&mut self, mut bytes: &mut [u8]) {
        loop {
            let passed = bytes.len().min(self.skip as usize);
            self.skip -= passed as u32;
            self.read = self.read.saturating_add(passed as u32);
            bytes = &mut bytes[passed..];
            if self.skip == 0 && self.step == Step::Entry {
                self.entry();
                continue;
            }
            let Some((byte, rest)) = bytes.split_first_mut() else {
                return;
            };
            self.read = self.read.saturating_add(1);
            self.number = self.number << 8 | u64::from(*byte);
            self.missing -= 1;
            if self.missing == 0 {
                let number = std::mem::take(&mut self.number);
                self.found(number, byte);
            }
            bytes = rest;
        }
    }

    /// The next number has so many bytes.
    fn expect(&mut self, step: Step, bytes: u8) {
        self.pass_over(0, step, bytes);
    }

    /// Passes over bytes of this frame, after which comes a number; over all of the frame when it has not that many.
    fn pass_over(&mut self, bytes: u32, next: Step, missing: u8) {
        if bytes.saturating_add(missing.into()) > self.size.saturating_sub(self.read) {
            return self.rest();
        }
        self.skip = bytes;
        (self.step, self.missing) = (next, missing);
    }

    /// Passes over the rest of this frame and the byte that ends it.
    fn rest(&mut self) {
        self.skip = self.size.saturating_sub(self.read).saturating_add(1);
        self.depth = 0;
        (self.step, self.missing) = (Step::Frame, 7);
    }

    /// A number has been read, of which `last` is the last byte.
    fn found(&mut self, number: u64, last: &mut u8) {
        let length = number as u32;
        match self.step {
            Step::Frame => {
                (self.size, self.read) = (length, 0);
                if (number >> 48) as u8 == CONTENT_HEADER {
                    self.pass_over(BEFORE_FLAGS, Step::Flags, 2);
                } else {
                    self.rest();
                }
            }
            Step::Flags => {
                let flags = number as u16;
                let texts = (flags & CONTENT_TYPE).count_ones() + (flags & CONTENT_ENCODING).count_ones();
                match texts as u8 {
                    _ if flags & HEADERS == 0 || flags & MORE_FLAGS != 0 => self.rest(),
                    0 => self.expect(Step::Headers, 4),
                    texts => self.expect(Step::Text(texts), 1),
                }
            }
            Step::Text(1) => self.pass_over(length, Step::Headers, 4),
            Step::Text(texts) => self.pass_over(length, Step::Text(texts - 1), 1),
            Step::Headers => self.enter(length, true),
            Step::Name => self.pass_over(length, Step::Type, 1),
            Step::Type => self.value(last),
            Step::Long => self.pass_over(length, Step::Entry, 0),
            Step::Nested { named } => self.enter(length, named),
            Step::Entry => {}
        }
    }

    fn enter(&mut self, length: u32, named: bool) {
        let end = self.read.saturating_add(length);
        if end > self.size || self.depth == DEPTH_MAX {
            return self.rest();
        }
        self.open[self.depth] = Open { end, named };
        self.depth += 1;
        self.expect(Step::Entry, 0);
    }

    /// What comes next in the innermost table or array, or after it.
    fn entry(&mut self) {
        let Some(open) = self.depth.checked_sub(1).map(|at| self.open[at]) else {
            return self.rest();
        };
        match self.read.cmp(&open.end) {
            std::cmp::Ordering::Less if open.named => self.expect(Step::Name, 1),
            std::cmp::Ordering::Less => self.expect(Step::Type, 1),
            std::cmp::Ordering::Equal => self.depth -= 1,
            std::cmp::Ordering::Greater => self.rest(),
        }
    }

    fn value(&mut self, kind: &mut u8) {
        let nested = matches!(kind, b'A' | b'F');
        if nested && self.depth == DEPTH_MAX {
            *kind = b'x';
        }
        match *kind {
            b'V' => self.pass_over(0, Step::Entry, 0),
            b't' | b'b' | b'B' => self.pass_over(1, Step::Entry, 0),
            b's' | b'U' | b'u' => self.pass_over(2, Step::Entry, 0),
            b'I' | b'i' | b'f' => self.pass_over(4, Step::Entry, 0),
            b'D' => self.pass_over(5, Step::Entry, 0),
            b'l' | b'L' | b'd' | b'T' => self.pass_over(8, Step::Entry, 0),
            b'S' | b'x' => self.expect(Step::Long, 4),
            b'A' => self.expect(Step::Nested { named: false }, 4),
            b'F' => self.expect(Step::Nested { named: true }, 4),
            _ => self.rest(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn short(text: &str) -> Vec<u8> {
        [&[text.len() as u8], text.as_bytes()].concat()
    }

    fn long(kind: u8, bytes: &[u8]) -> Vec<u8> {
        [&[kind][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    /// A value in so many arrays or tables.
    fn nested(kind: u8, depth: usize) -> Vec<u8> {
        (0..depth).fold(vec![b'V'], |inner, _| match kind {
            b'F' => long(b'F', &[short("a"), inner].concat()),
            _ => long(b'A', &inner),
        })
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = (payload.len() as u32).to_be_bytes();
        [&[kind, 0, 1][..], &size, payload, &[0xce]].concat()
    }

    /// A message's properties with these headers, and what comes before and after them.
    fn properties(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let table: Vec<u8> = entries
            .iter()
            .flat_map(|(name, value)| [short(name), value.clone()].concat())
            .collect();
        let length = (table.len() as u32).to_be_bytes();
        let flags = (CONTENT_TYPE | CONTENT_ENCODING | HEADERS | 1 << 12).to_be_bytes();
        let texts = [short("application/json"), short("")].concat();
        let payload = [
            &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2][..],
            &flags,
            &texts,
            &length,
            &table,
            &[2],
        ];
        frame(CONTENT_HEADER, &payload.concat())
    }

    fn passed(stream: &[u8], piece: usize) -> Vec<u8> {
        let mut stream = stream.to_vec();
        let mut shallow = Shallow::default();
        for piece in stream.chunks_mut(piece) {
            shallow.pass(piece);
        }
        stream
    }

    fn others() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("text", long(b'S', b"AFAF")),
            ("numbers", [&b"l"[..], &[b'A'; 8]].concat()),
            ("decimal", [&b"D"[..], &[b'F'; 5]].concat()),
            ("empty", long(b'A', b"")),
            ("nothing", vec![b'V']),
            (
                "death",
                long(b'A', &long(b'F', &[short("n"), vec![b't', 1]].concat())),
            ),
        ]
    }

    #[test]
    fn what_is_nested_no_deeper_than_that_passes_as_it_is() {
        for kind in [b'A', b'F'] {
            let mut entries = others();
            // The headers are a table themselves.
            entries.push(("x", nested(kind, DEPTH_MAX - 1)));
            entries.extend(others());
            let frames = [
                frame(1, b"AF"),
                properties(&entries),
                frame(3, b"{}"),
                properties(&others()),
            ];
            let stream = frames.concat();
            for piece in [1, 2, 7, 64, stream.len()] {
                assert_eq!(passed(&stream, piece), stream);
            }
        }
    }

    #[test]
    fn what_is_nested_deeper_is_bytes_and_everything_else_is_as_it_was() {
        for kind in [b'A', b'F'] {
            let deep = properties(&[("x", nested(kind, 5_000)), ("y", vec![b't', 1])]);
            let stream = [deep.clone(), frame(3, b"{}"), deep.clone()].concat();
            for piece in [1, 5, 100, stream.len()] {
                let made = passed(&stream, piece);
                let changed: Vec<_> = (0..stream.len()).filter(|at| made[*at] != stream[*at]).collect();
                assert_eq!(changed.len(), 2, "one in each message");
                for at in changed {
                    assert_eq!((stream[at], made[at]), (kind, b'x'));
                }
            }
        }
    }

    #[test]
    fn lengths_that_lie_do_not_reach_into_the_next_frame() {
        let deep = properties(&[("x", nested(b'A', DEPTH_MAX))]);
        let lie = frame(
            CONTENT_HEADER,
            &[&[0; 12][..], &HEADERS.to_be_bytes(), &[0xff; 8]].concat(),
        );
        let short = frame(CONTENT_HEADER, &[0, 60]);
        for stream in [[lie, deep.clone()].concat(), [short, deep.clone()].concat()] {
            let made = passed(&stream, 3);
            assert_eq!(
                made.iter().zip(&stream).filter(|(made, was)| made != was).count(),
                1
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_passed_alike(bytes in proptest::collection::vec(any::<u8>(), 0..400), piece in 1_usize..50) {
            let payload = [&[0; 12][..], &HEADERS.to_be_bytes(), &(bytes.len() as u32).to_be_bytes(), &bytes].concat();
            let stream = [frame(CONTENT_HEADER, &payload), properties(&[("x", nested(b'A', DEPTH_MAX))])].concat();
            let whole = passed(&stream, stream.len());
            prop_assert_eq!(&whole, &passed(&stream, piece));
            let last = properties(&[("x", nested(b'A', DEPTH_MAX))]).len();
            prop_assert_ne!(&whole[stream.len() - last..], &stream[stream.len() - last..], "the next frame is found");
        }
    }
}
