//! The target `payloads`: the bodies of polling requests and responses.

use bytes::Bytes;

use super::{InvalidRequest, MAX_PACKETS, Packet, SEPARATOR};
use crate::{
    limits::memory::MemoryBudget,
    transport::{
        engineio::{answer::join, packet::Outgoing},
        message::Message,
    },
};

/// Checks that packets survive being written and parsed again, and that two bodies joined by a
/// separator have the packets of both.
pub fn payloads(data: &[u8]) {
    let Ok(packets) = split(Bytes::copy_from_slice(data)) else { return };
    assert!(packets.len() <= MAX_PACKETS);
    let written: Vec<_> = packets.iter().map(write).collect();
    let payload = join(written.into());
    assert_eq!(split(payload.into()).as_ref(), Ok(&packets), "written anew");

    let Ok(data) = std::str::from_utf8(data) else { panic!("it was understood") };
    for (at, separator) in data.char_indices() {
        if separator != SEPARATOR {
            continue;
        }
        let halves = [&data[..at], &data[at + 1..]];
        let read = halves.map(|half| split(Bytes::copy_from_slice(half.as_bytes())));
        let read: Result<Vec<_>, InvalidRequest> = read.into_iter().collect();
        assert_eq!(read.map(|halves| halves.concat()).as_ref(), Ok(&packets), "cut at {at}");
    }
}

fn split(body: Bytes) -> Result<Vec<Packet>, InvalidRequest> {
    super::split(body, &MemoryBudget::unlimited())
}

/// Returns the packet as its sender writes it.
fn write(packet: &Packet) -> Outgoing {
    match packet {
        Packet::Message(Message::Text(text)) => Outgoing::Text(format!("4{text}").into()),
        Packet::Message(Message::Binary(bytes)) => Outgoing::Binary(bytes.clone()),
        Packet::Pong => Outgoing::Text("3".into()),
        Packet::Noop => Outgoing::Text("6".into()),
        Packet::Close => Outgoing::Text("1".into()),
        Packet::Refused => panic!("no packet is parsed as this"),
    }
}
