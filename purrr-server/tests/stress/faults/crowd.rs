//! Clients as the stories need them: [`pair`], [`dialogue`], and clients in another process:
//! [`Others`].

use std::{net::SocketAddr, process::Stdio};

use futures::{StreamExt, future::join_all};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    process::{Child, Command},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    faults::within,
    support::{
        Peer,
        program::signal,
        wire::{CLOSE, FIN, PONG, TEXT, Wire, frame},
    },
};

/// What a client is told whose partner has gone.
pub(crate) const LOST: &str = r#"{"type":"left","reason":"lost"}"#;

/// A client that sees every frame, in a chat with one whose every byte is the story's.
pub(crate) async fn pair(address: SocketAddr) -> (Peer, Wire) {
    let mut partner = Peer::connect(address, "the partner").await;
    partner.finds().await;
    let wire = last_to_come(address, TcpStream::connect(address).await.unwrap()).await;
    partner.gets_type("matched").await;
    (partner, wire)
}

/// Two whose every byte is the story's. The system of the second one takes little more than it is
/// asked to.
pub(crate) async fn pair_of_wires(address: SocketAddr) -> (Wire, Wire) {
    let mut first = Wire::connect(address).await;
    first.say(r#"{"type":"find"}"#).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let second = last_to_come(address, socket.connect(address).await.unwrap()).await;
    until_matched(&mut first).await;
    (first, second)
}

async fn last_to_come(address: SocketAddr, stream: TcpStream) -> Wire {
    let mut wire = Wire::shake_hands(address, stream).await;
    wire.say(r#"{"type":"find"}"#).await;
    until_matched(&mut wire).await;
    wire
}

async fn until_matched(wire: &mut Wire) {
    while !wire.message().await.0.starts_with(br#"{"type":"matched""#) {}
}

/// Returns the next text of a client, however long it takes.
///
/// To be polled beside what takes long on a slow machine: a client that is not polled answers no
/// ping, and the server closes it.
pub(crate) async fn hears(client: &mut Peer) -> String {
    loop {
        match client.socket.next().await.expect("the connection goes on").unwrap() {
            Message::Text(text) => return text.as_str().to_owned(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{}: a text was due, not {other:?}", client.name),
        }
    }
}

/// Sends all this to the end of the stream, as [`dialogue`] does. The partner is told of it.
pub(crate) async fn last_dialogue(partner: &mut Peer, wire: Wire, bytes: &[u8]) -> Vec<u8> {
    let told = within("the news", hears(partner));
    let (answers, told) = tokio::join!(dialogue(wire, bytes), told);
    assert_eq!(told, LOST);
    answers
}

/// Sends all this, however little of it is taken, while reading to the end of the stream. Returns
/// what came.
pub(crate) async fn dialogue(wire: Wire, bytes: &[u8]) -> Vec<u8> {
    dialogue_until(wire, bytes, |_| false).await
}

/// The same, or until enough has come.
pub(crate) async fn dialogue_until(
    mut wire: Wire,
    bytes: &[u8],
    mut enough: impl FnMut(&[u8]) -> bool,
) -> Vec<u8> {
    let (mut reader, mut writer) = wire.stream.split();
    let mut read = Vec::new();
    let reading = async {
        while !enough(&read) && reader.read_buf(&mut read).await.is_ok_and(|count| count > 0) {}
    };
    let writing = async {
        writer.write_all(bytes).await.ok();
        std::future::pending().await
    };
    within("the end of a dialogue", async {
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    })
    .await;
    read
}

/// The code of the close that these frames end with.
pub(crate) fn close_code(frames: &[u8]) -> Option<u16> {
    let mut rest = frames;
    loop {
        let (&[first, short], mut after) = rest.split_first_chunk()?;
        let wide = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mut length = usize::from(short);
        if wide > 0 {
            length = after[..wide].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            after = &after[wide..];
        }
        if first == FIN | CLOSE {
            return Some(u16::from_be_bytes([*after.first()?, *after.get(1)?]));
        }
        rest = after.get(length..)?;
    }
}

// ---- In another process -------------------------------------------------------------------------

/// Where the clients of another process connect to, and how many there are.
const OTHERS: &str = "PURRR_FAULTS_OTHERS";

/// Clients that can be stopped or killed from outside, each in a chat with a client here.
pub(crate) struct Others {
    child: Child,
    pub(crate) partners: Vec<Peer>,
}

impl Others {
    pub(crate) async fn meet(address: SocketAddr, count: usize) -> Self {
        let partners = (0..count).map(async |at| {
            let mut partner = Peer::connect(address, "a partner").await;
            partner.send(search(at)).await;
            partner.gets_type("waiting").await;
            partner
        });
        let mut partners = join_all(partners).await;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "faults::crowd::in_another_process"]);
        command.env(OTHERS, format!("{address} {count}")).kill_on_drop(true);
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        // All at once, for a waiting client answers pings meanwhile.
        let matched = partners.iter_mut().map(|partner| partner.gets_type("matched"));
        within("the others", join_all(matched)).await;
        Self { child, partners }
    }

    pub(crate) async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }
}

/// Looks for the one who looks for it.
pub(crate) fn search(at: usize) -> String {
    format!(r#"{{"type":"find","interests":["the {at}th"]}}"#)
}

#[tokio::test]
#[ignore = "the others are this, started by a story"]
async fn in_another_process() {
    let others = std::env::var(OTHERS).expect("a story starts the others");
    let (address, count) = others.split_once(' ').unwrap();
    let (address, count): (SocketAddr, usize) = (address.parse().unwrap(), count.parse().unwrap());
    join_all((0..count).map(async |at| {
        let mut wire = Wire::connect(address).await;
        wire.say(&search(at)).await;
        let Wire { mut stream } = wire;
        // Answers whatever may be a ping, and lives until it is killed.
        let mut buffer = [0; 1024];
        while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
            stream.write_all(&frame(FIN | PONG, b"")).await.ok();
        }
    }))
    .await;
}

/// What a client says to the partner.
pub(crate) fn text(words: &str) -> Vec<u8> {
    frame(FIN | TEXT, format!(r#"{{"type":"message","text":"{words}"}}"#).as_bytes())
}
