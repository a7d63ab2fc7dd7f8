//! One connection that never blocks: [`Link`].

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context, bail};
use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

/// A connection, what it has yet to write, and the beginning of what it has not read to the end.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    /// Holds something only between the parts of a message that came in several; `filled` says how much of it.
    input: Vec<u8>,
    filled: usize,
    /// How many bytes the next message takes in all, as far as that is known.
    wanted: usize,
}

/// What a reader made of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<T> {
    /// There is something at the front, and this many bytes long.
    Took(usize, T),
    /// Nothing whole is there; it takes at least so many bytes.
    Needs(usize),
}

impl Link {
    /// Begins to connect, from an address that is given or from any; its port may be 0 for any, too.
    pub(crate) fn connect(to: SocketAddr, from: Option<SocketAddr>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        // A client that leaves is gone at once, and its port can be used again for the next round.
        socket.set_linger(Some(Duration::ZERO))?;
        if let Some(from) = from {
            socket.bind(&from.into())?;
        }
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
            Err(error) => return Err(error),
        }
        let stream = TcpStream::from_std(socket.into());
        Ok(Self { stream, out: Vec::new(), written: 0, input: Vec::new(), filled: 0, wanted: 0 })
    }

    /// Whether the connection is there by now.
    pub(crate) fn connected(&self) -> anyhow::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error).context("cannot connect");
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error).context("cannot connect"),
        }
    }

    /// Where to put what is to be written with the next [`flush`](Self::flush).
    pub(crate) const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Writes what there is to write, as far as the system takes it.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot write"),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Gives the memory of its buffers back, for a connection that will be idle.
    pub(crate) fn rest(&mut self) {
        if self.filled == 0 {
            self.input = Vec::new();
        }
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }

    /// Reads all that has come and hands it to `take`, which is given all that is unread and where to put answers.
    ///
    /// `scratch` is where most messages are read to and never leave, so that a connection holds no memory for them.
    pub(crate) fn read(
        &mut self,
        scratch: &mut [u8],
        mut take: impl FnMut(&[u8], &mut Vec<u8>) -> anyhow::Result<Step<()>>,
    ) -> anyhow::Result<()> {
        loop {
            let partial = self.filled > 0;
            if partial && self.input.len() < self.wanted.max(self.filled + 1) {
                self.input.resize(self.wanted.max(2 * self.filled), 0);
            }
            let room = if partial { &mut self.input[self.filled..] } else { &mut *scratch };
            let room_len = room.len();
            let read = match self.stream.read(room) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("cannot read"),
            };
            let unread = if partial { &self.input[..self.filled + read] } else { &scratch[..read] };
            let mut used = 0;
            while used < unread.len() {
                match take(&unread[used..], &mut self.out)? {
                    Step::Took(bytes, ()) => used += bytes,
                    Step::Needs(bytes) => {
                        self.wanted = bytes;
                        break;
                    }
                }
            }
            let left = unread.len() - used;
            if partial {
                self.input.copy_within(used..used + left, 0);
            } else if left > 0 {
                if self.input.len() < left {
                    self.input.resize(left.max(self.wanted), 0);
                }
                self.input[..left].copy_from_slice(&scratch[used..used + left]);
            }
            self.filled = left;
            // A read that left room has emptied the socket, and what comes later is told anew.
            if read < room_len {
                return Ok(());
            }
        }
    }
}

/// `EINPROGRESS`: a connection that does not block is being made.
const IN_PROGRESS: i32 = 115;
