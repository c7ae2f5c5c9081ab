//! Which acknowledgements to send for what was settled: as few frames as order allows.
//!
//! Owns the arithmetic of delivery tags on one channel. Guarantees that every settled tag is answered exactly once, as
//! it was settled, and that an acknowledgement of many never covers a tag that is not settled.
//! Refuses to know channels and tasks: it is a pure structure, and tags are numbers from 1 without gaps.

use std::collections::VecDeque;

const WORD: u64 = 64;

/// How a delivery was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Done with: it may be forgotten.
    Ack(u64),
    /// Not done with: it returns to its queue.
    Requeue(u64),
}

/// A frame to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Acknowledge this tag alone.
    Ack(u64),
    /// Acknowledge this tag and every one before it that was not answered yet.
    AckThrough(u64),
    /// Return this tag to its queue.
    Requeue(u64),
}

/// The delivery tags of one channel, settled in any order.
#[derive(Debug, Clone, Default)]
pub struct AckWindow {
    /// How many tags from 1 on are settled without a gap.
    prefix: u64,
    /// One bit a tag for those after the prefix; the first word begins at tag `base + 1`.
    settled: VecDeque<u64>,
    base: u64,
    acked: Vec<u64>,
}

impl AckWindow {
    /// A window for a new channel.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many tags from 1 on are settled without a gap.
    #[must_use]
    pub fn prefix(&self) -> u64 {
        self.prefix
    }

    /// Takes in what was settled and appends the frames to send, in order, to `frames`.
    pub fn settle(&mut self, batch: &[Settled], frames: &mut Vec<Command>) {
        let mut acked = std::mem::take(&mut self.acked);
        for settled in batch {
            match *settled {
                Settled::Ack(tag) if self.mark(tag) => acked.push(tag),
                // Before any acknowledgement of many, which would cover it.
                Settled::Requeue(tag) if self.mark(tag) => frames.push(Command::Requeue(tag)),
                Settled::Ack(_) | Settled::Requeue(_) => {}
            }
        }
        self.advance();
        // The broker knows an acknowledgement of many only by a tag that it still waits for.
        let mut through = None;
        let mut covered = 0;
        for tag in acked.drain(..) {
            if tag <= self.prefix {
                covered += 1;
                through = through.max(Some(tag));
            } else {
                frames.push(Command::Ack(tag));
            }
        }
        match through {
            Some(tag) if covered > 1 => frames.push(Command::AckThrough(tag)),
            Some(tag) => frames.push(Command::Ack(tag)),
            None => {}
        }
        self.acked = acked;
    }

    /// Notes a tag; false if it was settled before.
    fn mark(&mut self, tag: u64) -> bool {
        if tag <= self.prefix {
            return false;
        }
        let bit = tag - self.base - 1;
        let Ok(word) = usize::try_from(bit / WORD) else {
            return false;
        };
        if word >= self.settled.len() {
            self.settled.resize(word + 1, 0);
        }
        let mask = 1 << (bit % WORD);
        let fresh = self.settled[word] & mask == 0;
        self.settled[word] |= mask;
        fresh
    }

    fn advance(&mut self) {
        while let Some(word) = self.settled.front() {
            let ones = u64::from(word.trailing_ones());
            self.prefix = self.base + ones;
            if ones < WORD {
                return;
            }
            self.settled.pop_front();
            self.base += WORD;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(window: &mut AckWindow, batch: &[Settled]) -> Vec<Command> {
        let mut frames = Vec::new();
        window.settle(batch, &mut frames);
        frames
    }

    #[test]
    fn what_completes_in_order_is_acknowledged_with_one_frame() {
        let mut window = AckWindow::new();
        let batch: Vec<_> = (1..=200).map(Settled::Ack).collect();
        assert_eq!(frames(&mut window, &batch), [Command::AckThrough(200)]);
        assert_eq!(frames(&mut window, &[Settled::Ack(201)]), [Command::Ack(201)]);
    }

    #[test]
    fn what_overtakes_is_acknowledged_alone_and_never_again() {
        let mut window = AckWindow::new();
        let overtaking = [Settled::Ack(3), Settled::Ack(2)];
        assert_eq!(
            frames(&mut window, &overtaking),
            [Command::Ack(3), Command::Ack(2)]
        );
        // 3 is answered already: the frame must name a tag that the broker waits for.
        assert_eq!(frames(&mut window, &[Settled::Ack(1)]), [Command::Ack(1)]);
        assert_eq!(window.prefix(), 3);
    }

    #[test]
    fn what_returns_to_its_queue_is_not_covered_by_an_acknowledgement_of_many() {
        let mut window = AckWindow::new();
        let batch = [
            Settled::Ack(1),
            Settled::Requeue(2),
            Settled::Ack(3),
            Settled::Ack(4),
        ];
        assert_eq!(
            frames(&mut window, &batch),
            [Command::Requeue(2), Command::AckThrough(4)]
        );
    }

    /// What a broker does with the frames, with its rule that a named tag must be unanswered.
    fn answer(unanswered: &mut std::collections::BTreeSet<u64>, frames: &[Command]) -> (Vec<u64>, Vec<u64>) {
        let (mut acked, mut requeued) = (Vec::new(), Vec::new());
        for frame in frames {
            match *frame {
                Command::Ack(tag) => {
                    assert!(unanswered.remove(&tag), "unknown tag {tag}");
                    acked.push(tag);
                }
                Command::Requeue(tag) => {
                    assert!(unanswered.remove(&tag), "unknown tag {tag}");
                    requeued.push(tag);
                }
                Command::AckThrough(tag) => {
                    assert!(unanswered.contains(&tag), "unknown tag {tag}");
                    let rest = unanswered.split_off(&(tag + 1));
                    acked.extend(std::mem::replace(unanswered, rest));
                }
            }
        }
        (acked, requeued)
    }

    proptest! {
        #[test]
        fn every_tag_is_answered_once_and_as_it_was_settled(
            order in Just((1..=300_u64).collect::<Vec<_>>()).prop_shuffle(),
            kept in proptest::collection::vec(proptest::bool::weighted(0.9), 300),
            cuts in proptest::collection::vec(1..40_usize, 1..60),
            locality in 1..300_usize,
        ) {
            // Mostly in order, within a locality: as senders complete.
            let mut order = order;
            order.sort_by_key(|tag| usize::try_from(*tag).unwrap() / locality);
            let settled: Vec<_> = order
                .iter()
                .map(|&tag| {
                    if kept[usize::try_from(tag).unwrap() - 1] { Settled::Ack(tag) } else { Settled::Requeue(tag) }
                })
                .collect();
            let mut window = AckWindow::new();
            let mut unanswered = (1..=300).collect();
            let (mut acked, mut requeued) = (Vec::new(), Vec::new());
            let mut rest = settled.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (batch, after) = rest.split_at((*cut).min(rest.len()));
                rest = after;
                let sent = frames(&mut window, batch);
                prop_assert!(sent.len() <= batch.len());
                let (a, r) = answer(&mut unanswered, &sent);
                let mut now: Vec<_> = a.iter().copied().map(Settled::Ack)
                    .chain(r.iter().copied().map(Settled::Requeue)).collect();
                let mut wanted = batch.to_vec();
                let tag = |settled: &Settled| match *settled { Settled::Ack(tag) | Settled::Requeue(tag) => tag };
                now.sort_by_key(tag);
                wanted.sort_by_key(tag);
                prop_assert_eq!(now, wanted, "each flush answers what it was given, no more and no less");
                acked.extend(a);
                requeued.extend(r);
            }
            prop_assert!(unanswered.is_empty());
            prop_assert_eq!(acked.len() + requeued.len(), 300);
            prop_assert_eq!(window.prefix(), 300);
        }

        #[test]
        fn settling_a_tag_twice_changes_nothing(tags in proptest::collection::vec(1..100_u64, 1..200)) {
            let mut window = AckWindow::new();
            let mut unanswered = (1..=100).collect();
            let mut answered = 0;
            for tag in &tags {
                let (acked, _) = answer(&mut unanswered, &frames(&mut window, &[Settled::Ack(*tag)]));
                answered += acked.len();
            }
            let distinct: std::collections::BTreeSet<_> = tags.iter().collect();
            prop_assert_eq!(answered, distinct.len());
        }
    }
}
