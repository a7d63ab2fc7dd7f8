//! The price of commands and frames: [`Cost`] and [`Kind`].

use crate::model::{
    command::Command,
    frame::{Body, Frame},
    limits::{Rate, Rates},
};

/// The tokens that a command or frame takes: one of its kind, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) kind: Kind,
    pub(crate) bytes: u32,
}

/// The token buckets of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Messages,
    Bytes,
    Typing,
    Signals,
    Finds,
    /// Refused requests, in units of 1/[`WHOLE`].
    Refusals,
}

/// The tokens that a refusal takes. A coalesced typing change takes 1.
pub(crate) const WHOLE: u32 = 16;

impl Rate {
    const fn times(self, factor: u32) -> Self {
        Self {
            per_second: self.per_second.saturating_mul(factor),
            burst: self.burst.saturating_mul(factor),
        }
    }
}

impl Rates {
    pub(crate) const fn of(&self, kind: Kind) -> Rate {
        match kind {
            Kind::Messages => self.message_rate,
            Kind::Bytes => self.byte_rate,
            Kind::Typing => self.typing_rate,
            Kind::Signals => self.signal_rate,
            Kind::Finds => self.find_rate,
            Kind::Refusals => self.refusal_rate.times(WHOLE),
        }
    }

    pub(crate) fn times(&self, factor: u32) -> Self {
        Self {
            message_rate: self.message_rate.times(factor),
            byte_rate: self.byte_rate.times(factor),
            typing_rate: self.typing_rate.times(factor),
            signal_rate: self.signal_rate.times(factor),
            find_rate: self.find_rate.times(factor),
            refusal_rate: self.refusal_rate.times(factor),
        }
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Messages, Self::Bytes, Self::Typing, Self::Signals, Self::Finds, Self::Refusals];

    /// Returns the chunk that a lease takes from an allowance: large enough to lock it seldom,
    /// small beside its bursts.
    pub(crate) const fn chunk(self) -> u32 {
        match self {
            Self::Messages | Self::Typing | Self::Signals => 32,
            Self::Bytes => 256 * 1024,
            Self::Finds | Self::Refusals => 1,
        }
    }
}

impl Cost {
    /// One search.
    pub(crate) const SEARCH: Self = Self { kind: Kind::Finds, bytes: 0 };

    pub(crate) fn of(command: &Command) -> Self {
        let kind = match command {
            Command::Send { frame, .. } => return Self::of_frame(frame),
            Command::Find(_) | Command::Next => Kind::Finds,
            // Must not share the limit of searches, or a peer could search but not introduce
            // itself.
            Command::Hello { .. }
            | Command::Recover(_)
            | Command::Ack { .. }
            | Command::Background
            | Command::Cancel
            | Command::Leave
            | Command::Block
            | Command::Unsupported { .. } => Kind::Messages,
        };
        Self { kind, bytes: 0 }
    }

    pub(crate) fn of_frame(frame: &Frame) -> Self {
        let kind = match frame.body {
            Body::Message(_) | Body::Read { .. } => Kind::Messages,
            Body::Typing(_) => Kind::Typing,
            Body::Signal(_) => Kind::Signals,
        };
        Self { kind, bytes: u32::try_from(frame.weight()).unwrap_or(u32::MAX) }
    }
}
