//! The bodies of polling requests: [`Inbound`].

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::collections::VecDeque;

use bytes::Bytes;
use bytestring::ByteString;
use purrr_core::codec::__private::worth_sharing;

use super::packet::Packet;
use crate::{limits::memory::MemoryBudget, transport::message::Message};

/// Packets in one request: more than the client library sends, and few enough to cost nothing.
const MAX_PACKETS: usize = 16_384;

/// Separates packets in a body.
pub(super) const SEPARATOR: char = '\u{1e}';

/// The request broke the protocol, which ends its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidRequest;

/// The packets of one request, which are slices of its body.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    packets: VecDeque<Packet>,
    body_bytes: usize,
}

impl Inbound {
    /// Splits the body of a request into its packets.
    pub(super) fn parse(body: Bytes, budget: &MemoryBudget) -> Result<Self, InvalidRequest> {
        let body_bytes = body.len();
        Ok(Self { packets: split(body, budget)?.into(), body_bytes })
    }

    /// Returns what stands for a body that was discarded.
    pub(super) fn refused() -> Self {
        Self { packets: [Packet::Refused].into(), body_bytes: 0 }
    }

    /// Returns the number of packets.
    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Returns the next packet.
    ///
    /// Copied if a slice would keep much more of the body than itself: what is not taken yet pays
    /// for the body, what is taken would not. Refused if the budget has no room for the copy.
    pub(super) fn next(&mut self, budget: &MemoryBudget) -> Option<Packet> {
        Some(match self.packets.pop_front()? {
            Packet::Message(Message::Text(text)) if !worth_sharing(text.len(), self.body_bytes) => {
                match budget.reserve(text.len()) {
                    Some(room) => Packet::Message(Message::Text(room.hold_text(text.to_string()))),
                    None => Packet::Refused,
                }
            }
            packet => packet,
        })
    }
}

/// Splits the body of a request into its packets.
///
/// A binary packet that the budget has no room for is refused.
fn split(body: Bytes, budget: &MemoryBudget) -> Result<Vec<Packet>, InvalidRequest> {
    let body = ByteString::try_from(body).map_err(|_| InvalidRequest)?;
    let mut packets = Vec::new();
    for packet in body.split(SEPARATOR) {
        if packets.len() == MAX_PACKETS {
            return Err(InvalidRequest);
        }
        packets.push(Packet::parse(body.slice_ref(packet), budget).ok_or(InvalidRequest)?);
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> MemoryBudget {
        MemoryBudget::unlimited()
    }

    #[test]
    fn payload_is_split_at_separators() {
        let packets =
            split(Bytes::from_static("4héllo\u{1e}3\u{1e}6\u{1e}bAQI=".as_bytes()), &budget())
                .unwrap();
        assert_eq!(
            packets,
            [
                Packet::Message(Message::Text("héllo".into())),
                Packet::Pong,
                Packet::Noop,
                Packet::Message(Message::Binary(Bytes::from_static(&[1, 2])))
            ]
        );
        for wrong in ["", "abc", "b!", "4a\u{1e}\u{1e}4b", "9", "0{}", "bAQI"] {
            assert_eq!(
                split(Bytes::from_static(wrong.as_bytes()), &budget()),
                Err(InvalidRequest),
                "{wrong}"
            );
        }
        assert_eq!(split(Bytes::from_static(&[b'4', 0xff]), &budget()), Err(InvalidRequest));
        assert_eq!(split("4\u{1e}".repeat(50_000).into(), &budget()), Err(InvalidRequest));
    }

    #[test]
    fn taken_packet_does_not_keep_body() {
        let budget = budget();
        let body = budget.hold(format!("4hi\u{1e}4{}", "x".repeat(100_000)).into_bytes());
        let length = body.len();
        let mut inbound = Inbound::parse(body, &budget).unwrap();
        let little = inbound.next(&budget).unwrap();
        assert_eq!((little, budget.held()), (Packet::Message(Message::Text("hi".into())), length));
        let much = inbound.next(&budget).unwrap();
        assert_eq!(budget.held(), length, "most of a body is a slice of it");
        drop(much);
        assert_eq!((inbound.next(&budget), budget.held()), (None, 0));
    }
}
