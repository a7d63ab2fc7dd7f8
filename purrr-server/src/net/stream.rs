//! What is under a WebSocket: [`Wire`].

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::write_timeout::Patient;

/// A connection that was upgraded: the TCP stream itself where [`run`](crate::run) accepted it, without the layers that
/// HTTP needs around it. A session minds by itself who does not read.
#[derive(Debug)]
pub(crate) enum Wire {
    Tcp(TcpStream),
    /// TLS, or whatever else the program that nests the router serves on.
    Other(TokioIo<Upgraded>),
}

impl Wire {
    /// Takes the layers off, and returns what they had read ahead.
    pub(crate) fn new(upgraded: Upgraded) -> (Self, BytesMut) {
        match upgraded.downcast::<TokioIo<Patient<TcpStream>>>() {
            // Copied, for even an empty one holds on to all the room that a request was given.
            Ok(Parts { io, read_buf, .. }) => {
                (Self::Tcp(io.into_inner().into_inner()), BytesMut::from(&*read_buf))
            }
            Err(upgraded) => (Self::Other(TokioIo::new(upgraded)), BytesMut::new()),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Other(upgraded) => Pin::new(upgraded).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Other(upgraded) => Pin::new(upgraded).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Other(upgraded) => Pin::new(upgraded).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Other(upgraded) => Pin::new(upgraded).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Other(upgraded) => Pin::new(upgraded).poll_shutdown(cx),
        }
    }
}
