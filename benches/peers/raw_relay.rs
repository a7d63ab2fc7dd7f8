//! A peer to compare with: pairs TCP connections as they come and copies bytes between the two, with no framing at all.
//!
//! What it costs is what the kernel costs, and the floor for any server that relays.

use std::{cell::RefCell, future::poll_fn, io, net::Ipv4Addr, pin::Pin, task::ready};

use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

thread_local! {
    /// Shared by all connections of a thread, so that an idle one holds no buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 128 * 1024]);
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port = std::env::var("PORT").map_or(Ok(3007), |port| port.parse())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let [ann, bob] = [accept(&listener).await?, accept(&listener).await?];
        let (from_ann, to_ann) = ann.into_split();
        let (from_bob, to_bob) = bob.into_split();
        tokio::spawn(copy(from_ann, to_bob));
        tokio::spawn(copy(from_bob, to_ann));
    }
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Copies until one side is gone.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    loop {
        let unwritten = poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut from).poll_read(cx, &mut buffer))?;
                let read = buffer.filled();
                if read.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into()).into();
                }
                let written = match to.try_write(read) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    written => written?,
                };
                Ok::<_, io::Error>(read[written..].to_vec()).into()
            })
        });
        let unwritten = unwritten.await?;
        to.write_all(&unwritten).await?;
    }
}
