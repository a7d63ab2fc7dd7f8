//! The target `payloads`: what a client that polls brings in one request, and what it finds.

use bytes::Bytes;

use super::{Broken, Incoming, Outgoing, PACKETS_MAX, SEPARATOR, join};
use crate::limits::memory::MemoryBudget;

/// What is understood is understood again as it was when it is written anew; and what two requests bring, one brings too.
pub fn payloads(data: &[u8]) {
    let Ok(packets) = split(Bytes::copy_from_slice(data)) else { return };
    assert!(packets.len() <= PACKETS_MAX);
    let written: Vec<_> = packets.iter().map(write).collect();
    let payload = join(&written.into());
    assert_eq!(split(payload.into()).as_ref(), Ok(&packets), "written anew");

    let Ok(data) = std::str::from_utf8(data) else { panic!("it was understood") };
    for (at, separator) in data.char_indices() {
        if separator != SEPARATOR {
            continue;
        }
        let halves = [&data[..at], &data[at + 1..]];
        let read = halves.map(|half| split(Bytes::copy_from_slice(half.as_bytes())));
        let read: Result<Vec<_>, Broken> = read.into_iter().collect();
        assert_eq!(read.map(|halves| halves.concat()).as_ref(), Ok(&packets), "cut at {at}");
    }
}

fn split(body: Bytes) -> Result<Vec<Incoming>, Broken> {
    super::split(body, &MemoryBudget::unlimited())
}

/// The packet as whoever sent it would write it.
fn write(packet: &Incoming) -> Outgoing {
    match packet {
        Incoming::Text(text) => Outgoing::Text(format!("4{text}").into()),
        Incoming::Binary(bytes) => Outgoing::Binary(bytes.clone()),
        Incoming::Pong => Outgoing::Text("3".into()),
        Incoming::Close => Outgoing::Text("1".into()),
        Incoming::Progress | Incoming::Silence | Incoming::SignOfLife | Incoming::Refused => {
            panic!("no packet is read as this")
        }
    }
}
