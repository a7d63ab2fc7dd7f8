//! The vocabularies a run can speak: [`Dialect`].

mod native;
mod purrr_chat;
mod raw;
mod websocket;

use std::net::SocketAddr;

use crate::{
    link::Step,
    script::{Line, Script},
};

pub(crate) use native::Native;
pub(crate) use purrr_chat::PurrrChat;
pub(crate) use raw::Raw;

/// One connection's state in a dialect.
pub(crate) trait Dialect: Default {
    /// Whether it has a lobby, with `find` and `matched`.
    const HAS_LOBBY: bool;

    /// Writes what opens a connection. `true` if nothing needs to be heard before one can look for a partner.
    fn open(&mut self, shared: &Shared, out: &mut Vec<u8>) -> bool;

    /// Reads the first piece of news in `input`; `out` is for what the protocol itself must answer.
    fn read<'a>(
        &'a mut self,
        shared: &mut Shared,
        input: &'a [u8],
        out: &mut Vec<u8>,
    ) -> anyhow::Result<Step<News<'a>>>;

    /// Asks for a partner.
    fn find(out: &mut Vec<u8>);

    /// Searches for a partner that does not exist, so that the client waits.
    fn find_nobody(_member: usize, _out: &mut Vec<u8>) -> anyhow::Result<()> {
        anyhow::bail!("this dialect has no interests, so no client can be made to wait in it");
    }

    /// Writes what introduces a client that resumes as one that does.
    fn announce(_out: &mut Vec<u8>) -> anyhow::Result<()> {
        anyhow::bail!("clients of this dialect do not acknowledge");
    }

    /// Returns what resumes the chat of this connection over another one.
    fn claim(&self) -> Option<String> {
        None
    }

    /// Resumes a chat by the claim of the connection that it was on.
    fn resume(_claim: &str, _out: &mut Vec<u8>) {}

    /// Says a line to the partner.
    fn say(shared: &Shared, line: Line, out: &mut Vec<u8>);
}

/// What a connection heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News<'a> {
    /// The connection is open and may look for a partner.
    Ready,
    /// There is a partner.
    Matched,
    /// There is the same partner again.
    Resumed,
    /// What the partner said, to be checked against the script.
    Line(&'a [u8]),
    /// There is no partner any more.
    Parted,
    /// Nothing that matters here.
    Other,
}

/// What all connections of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) server: SocketAddr,
    pub(crate) script: Script,
    /// Whether lines are pictures.
    pub(crate) pictures: bool,
    /// Whether clients acknowledge what they receive.
    pub(crate) resumable: bool,
    /// What the server puts around a line, as the first one showed.
    envelope: Option<[Vec<u8>; 2]>,
}

impl Shared {
    pub(crate) const fn new(
        server: SocketAddr,
        script: Script,
        pictures: bool,
        resumable: bool,
    ) -> Self {
        Self { server, script, pictures, resumable, envelope: None }
    }
}
