//! A chat over plain lines, as with `nc 127.0.0.1 7007`: what one types the stranger reads; `/next` goes on.
//!
//! With an address as its argument it serves there until it is stopped. Without one it plays both ends itself.

use std::io;

use futures::{SinkExt, StreamExt};
use purrr_core::{Command, Event, Hub, Profile, Search};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Framed, LinesCodec};

const LONGEST_LINE: usize = 4_096;

async fn serve(hub: Hub, stream: TcpStream) {
    let lines = Framed::new(stream, LinesCodec::new_with_max_length(LONGEST_LINE));
    let transport = lines
        .take_while(|line| std::future::ready(line.is_ok()))
        .filter_map(async |line| line.ok())
        .map(|line| match line.trim() {
            "/find" => Command::Find(Search::default()),
            "/next" => Command::Next,
            "/leave" => Command::Leave,
            text => Command::say(text),
        })
        .with(async |event| {
            Ok::<String, tokio_util::codec::LinesCodecError>(match event {
                Event::Welcome { online, .. } => format!("* {online} online; /find, /next, /leave"),
                Event::Waiting { .. } => "* looking for a stranger".to_owned(),
                Event::Matched { .. } => "* a stranger is here".to_owned(),
                Event::Received(frame) => format!("> {}", frame.as_text().unwrap_or("(no text)")),
                Event::Left { reason } => format!("* over: {}", reason.as_str()),
                Event::Error(problem) => format!("! {problem}"),
                other => format!("* {}", serde_json::to_string(&other).unwrap_or_default()),
            })
        });
    hub.serve(transport, Profile::default()).await;
}

async fn accept(hub: Hub, listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(hub.clone(), stream));
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = Hub::memory();
    if let Some(address) = std::env::args().nth(1) {
        return Ok(accept(hub, TcpListener::bind(address).await?).await?);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(accept(hub, listener));
    play(address).await
}

/// Two visitors who find each other, greet and part.
async fn play(address: std::net::SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    let connect = async |name| {
        let stream = TcpStream::connect(address).await?;
        Ok::<_, io::Error>((name, Framed::new(stream, LinesCodec::new())))
    };
    let (mut ann, mut bob) = (connect("Ann").await?, connect("Bob").await?);
    ann.1.send("/find").await?;
    bob.1.send("/find").await?;
    read_until(&mut ann, "* a stranger is here").await?;
    read_until(&mut bob, "* a stranger is here").await?;
    ann.1.send("good evening").await?;
    read_until(&mut bob, "> good evening").await?;
    bob.1.send("/leave").await?;
    read_until(&mut ann, "* over: left").await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what happens")]
async fn read_until(
    (name, lines): &mut (&str, Framed<TcpStream, LinesCodec>),
    wanted: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    while let Some(line) = lines.next().await {
        let line = line?;
        println!("{name} reads: {line}");
        if line == wanted {
            return Ok(());
        }
    }
    Err(format!("{name} never read {wanted:?}").into())
}
