//! Messages to one other node, each once and in order, over a channel that loses, delays and
//! repeats: [`Link`].
//!
//! # Contract of use
//!
//! | call | when |
//! |---|---|
//! | [`send`](Link::send) | there is a message for the other node |
//! | [`handle_packet`](Link::handle_packet) | a packet of the other node arrives |
//! | [`poll_transmit`](Link::poll_transmit) | after each, at [`poll_timeout`](Link::poll_timeout) |
//!
//! Both ends begin at number 1. A node's id is never used again, so a link lives as long as both
//! nodes do, and there is nothing to agree upon. Publishing reaches the nodes that listen just
//! then, and does not tell which: hence the numbers, the acknowledgements and the repetition here.
//!
//! What is not acknowledged is kept. Its bound is the owner's: each chat has a window, and a node
//! whose lease has ended drops its links.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::message::NodeId;

/// How long an acknowledgement may wait for a message to go along with.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(20);

/// How long a message stays without an acknowledgement before it is sent again, at first and at
/// most.
const REPEAT_AFTER: Duration = Duration::from_millis(300);
const REPEAT_AFTER_MOST: Duration = Duration::from_millis(1_200);

/// The bytes of messages in one packet. One larger message goes alone.
const PACKET_BYTES: usize = 64 * 1024;

/// The packets that arrived early are kept up to here. Others are sent again.
const EARLY: usize = 1_024;

/// The first byte of a packet. A packet of another version is left out.
const VERSION: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Packet {
    pub(crate) from: NodeId,
    /// All messages of the receiver with lower numbers have arrived.
    pub(crate) expects: u64,
    /// The number of the first message.
    pub(crate) first: u64,
    pub(crate) messages: Vec<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Link {
    /// The number of the first message in `kept`.
    oldest: u64,
    /// What the other node has not acknowledged.
    kept: VecDeque<Bytes>,
    /// The number of the next message to transmit.
    unsent: u64,
    repeat_at: Option<Duration>,
    repeat_after: Duration,
    /// The number of the next message to deliver.
    expects: u64,
    /// Messages that arrived before one with a lower number.
    early: BTreeMap<u64, Bytes>,
    acknowledge_at: Option<Duration>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            oldest: 1,
            kept: VecDeque::new(),
            unsent: 1,
            repeat_at: None,
            repeat_after: REPEAT_AFTER,
            expects: 1,
            early: BTreeMap::new(),
            acknowledge_at: None,
        }
    }
}

impl Link {
    pub(crate) fn send(&mut self, message: Bytes) {
        self.kept.push_back(message);
    }

    /// Returns the messages that are next, in order.
    pub(crate) fn handle_packet(&mut self, now: Duration, packet: Packet) -> Vec<Bytes> {
        let acknowledged = packet.expects.saturating_sub(self.oldest);
        // A packet may tell of no message that was never sent.
        if acknowledged > 0 && acknowledged <= self.kept.len() as u64 {
            self.kept.drain(..acknowledged as usize);
            self.oldest += acknowledged;
            self.unsent = self.unsent.max(self.oldest);
            self.repeat_after = REPEAT_AFTER;
            self.repeat_at = (self.oldest < self.unsent).then(|| now + REPEAT_AFTER);
        }
        if !packet.messages.is_empty() {
            self.acknowledge_at.get_or_insert(now + ACKNOWLEDGE_AFTER);
        }
        if packet.first.checked_add(packet.messages.len() as u64).is_none() {
            return Vec::new();
        }
        for (number, message) in (packet.first..).zip(packet.messages) {
            if number == self.expects || (number > self.expects && self.early.len() < EARLY) {
                self.early.insert(number, message);
            }
        }
        let mut next = Vec::new();
        while let Some(message) = self.early.remove(&self.expects) {
            self.expects += 1;
            next.push(message);
        }
        next
    }

    /// Returns what is to be transmitted now, until it returns `None`.
    pub(crate) fn poll_transmit(&mut self, now: Duration, from: NodeId) -> Option<Packet> {
        if self.repeat_at.is_some_and(|due| due <= now) {
            // The first packet alone: its acknowledgement tells how much of the rest has arrived.
            self.repeat_after = (2 * self.repeat_after).min(REPEAT_AFTER_MOST);
            self.repeat_at = Some(now + self.repeat_after);
            let repeated = self.take_from(self.oldest, self.unsent);
            return Some(self.packet(from, self.oldest, repeated));
        }
        let first = self.unsent;
        let messages = self.take_from(first, u64::MAX);
        if !messages.is_empty() {
            self.unsent += messages.len() as u64;
            self.repeat_at.get_or_insert(now + self.repeat_after);
        } else if self.acknowledge_at.is_none_or(|due| due > now) {
            return None;
        }
        Some(self.packet(from, first, messages))
    }

    /// Returns when to poll again, if nothing happens before.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        [self.repeat_at, self.acknowledge_at].into_iter().flatten().min()
    }

    /// Returns true if everything was acknowledged.
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.kept.is_empty() && self.early.is_empty()
    }

    fn packet(&mut self, from: NodeId, first: u64, messages: Vec<Bytes>) -> Packet {
        self.acknowledge_at = None;
        Packet { from, expects: self.expects, first, messages }
    }

    /// Returns what fits into one packet of the messages `from..to`.
    fn take_from(&self, from: u64, to: u64) -> Vec<Bytes> {
        let skipped = usize::try_from(from - self.oldest).unwrap_or(usize::MAX);
        let many = usize::try_from(to - from).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let fits = |message: &&Bytes| {
            let is_first = bytes == 0;
            bytes += message.len().max(1);
            is_first || bytes <= PACKET_BYTES
        };
        self.kept.iter().skip(skipped).take(many).take_while(fits).cloned().collect()
    }
}

impl Packet {
    pub(crate) fn encode(&self) -> Bytes {
        let size = self.messages.iter().map(|message| 4 + message.len()).sum::<usize>();
        let mut bytes = BytesMut::with_capacity(25 + size);
        bytes.put_u8(VERSION);
        for number in [self.from.0, self.expects, self.first] {
            bytes.put_u64(number);
        }
        for message in &self.messages {
            bytes.put_u32(u32::try_from(message.len()).expect("a message of less than 4 GB"));
            bytes.put_slice(message);
        }
        bytes.freeze()
    }

    /// Returns `None` for anything else than a packet of this version.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let mut number = || bytes.try_get_u64().ok();
        let (from, expects, first) = (NodeId(number()?), number()?, number()?);
        let mut messages = Vec::new();
        while bytes.has_remaining() {
            let length = bytes.try_get_u32().ok()? as usize;
            if bytes.len() < length {
                return None;
            }
            messages.push(bytes.split_to(length));
        }
        Some(Self { from, expects, first, messages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: [NodeId; 2] = [NodeId(1), NodeId(2)];

    /// Two ends, and a channel that loses, repeats and reorders as the seed says.
    struct World {
        links: [Link; 2],
        random: fastrand::Rng,
        on_the_way: Vec<(usize, Bytes)>,
        now: Duration,
        sent: [u64; 2],
        heard: [u64; 2],
    }

    impl World {
        fn new(seed: u64) -> Self {
            Self {
                links: [Link::default(), Link::default()],
                random: fastrand::Rng::with_seed(seed),
                on_the_way: Vec::new(),
                now: Duration::ZERO,
                sent: [0; 2],
                heard: [0; 2],
            }
        }

        fn step(&mut self, faults: bool) {
            let end = self.random.usize(0..2);
            match self.random.u8(0..4) {
                0 if faults => {
                    self.sent[end] += 1;
                    self.links[end].send(Bytes::from(self.sent[end].to_string()));
                }
                1 => self.now += Duration::from_millis(self.random.u64(0..100)),
                _ => {
                    if !self.on_the_way.is_empty() {
                        let next = self.random.usize(0..self.on_the_way.len());
                        let (to, packet) = self.on_the_way.swap_remove(next);
                        self.hear(to, packet);
                    }
                }
            }
            for (end, id) in ENDS.into_iter().enumerate() {
                while let Some(packet) = self.links[end].poll_transmit(self.now, id) {
                    let copies = if faults { self.random.usize(0..3) } else { 1 };
                    for _ in 0..copies {
                        self.on_the_way.push((1 - end, packet.encode()));
                    }
                }
            }
        }

        fn hear(&mut self, to: usize, packet: Bytes) {
            let packet = Packet::decode(packet).expect("what was encoded");
            assert_eq!(packet.from, ENDS[1 - to]);
            for message in self.links[to].handle_packet(self.now, packet) {
                self.heard[to] += 1;
                assert_eq!(message, self.heard[to].to_string(), "out of order, lost or repeated");
            }
        }
    }

    #[test]
    fn messages_arrive_once_and_in_order_over_a_lossy_channel() {
        for seed in 0..300 {
            let mut world = World::new(seed);
            for _ in 0..300 {
                world.step(true);
            }
            // Once the channel is sound, everything arrives and is acknowledged.
            for _ in 0..10_000 {
                if world.links.iter().all(Link::is_idle) {
                    break;
                }
                world.step(false);
            }
            assert!(world.links.iter().all(Link::is_idle), "seed {seed}");
            assert_eq!(world.heard, [world.sent[1], world.sent[0]], "seed {seed}");
        }
    }

    #[test]
    fn packet_of_anything_else_is_left_out() {
        let packet = Packet { from: ENDS[0], expects: 1, first: 2, messages: vec!["hello".into()] };
        let bytes = packet.encode();
        assert_eq!(Packet::decode(bytes.clone()), Some(packet));
        for end in 0..bytes.len() {
            // A packet that ends before its message acknowledges, and carries nothing.
            let cut = Packet::decode(bytes.slice(..end));
            assert!(cut.is_none_or(|packet| end == 25 && packet.messages.is_empty()), "{end}");
        }
        let mut later = bytes.to_vec();
        later[0] = VERSION + 1;
        assert_eq!(Packet::decode(later.into()), None);
    }

    #[test]
    fn numbers_that_cannot_be_are_ignored() {
        let mut link = Link::default();
        for (expects, first) in [(u64::MAX, 0), (9, u64::MAX), (0, 0)] {
            let messages = vec![Bytes::from_static(b"hello")];
            let packet = Packet { from: ENDS[0], expects, first, messages };
            assert!(link.handle_packet(Duration::ZERO, packet).is_empty());
        }
        assert!(link.is_idle());
    }
}
