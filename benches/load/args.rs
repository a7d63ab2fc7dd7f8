//! What a run is asked to do: [`Args`].

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use clap::{Parser, ValueEnum};

/// Pairs people through a real server, lets them talk, and says what that cost the server.
///
/// Ends with status 1 if anything was lost, altered, reordered or sent to another peer.
#[derive(Debug, Parser)]
#[command(name = "load", version = None)]
pub(crate) struct Args {
    /// What to measure.
    pub(crate) mode: Mode,
    /// What to speak.
    #[arg(long, value_enum, default_value_t = DialectName::Native)]
    pub(crate) dialect: DialectName,
    /// Where the server listens [default: 127.0.0.1:3007, or a free port if a COMMAND is given].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<SocketAddr>,
    /// The process whose CPU and memory are reported.
    #[arg(long, value_name = "PID", conflicts_with = "command")]
    pub(crate) server_pid: Option<u32>,
    /// How many pairs of people [default: 50; image 10; pair, crowd and resume 2500; idle 5000].
    #[arg(long, value_name = "COUNT", value_parser = positive)]
    pairs: Option<usize>,
    /// Messages under way in each pair at any time.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = positive)]
    pub(crate) under_way: usize,
    /// Bytes of a message, or of a picture [default: 64; image 1000000].
    #[arg(long, value_name = "COUNT")]
    bytes: Option<usize>,
    /// How long each round is measured; how long `crowd` talks, and `idle` lets things settle.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// How many rounds; medians are reported.
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = positive)]
    pub(crate) rounds: usize,
    /// How long to run before the first round.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) warm_up: Duration,
    /// Messages (`pair`: pairs) a second, evenly, instead of an answer for each message (`pair`:
    /// instead of all at once) [default: crowd 10000].
    #[arg(long, value_name = "COUNT")]
    pub(crate) rate: Option<f64>,
    /// Pair the people of `idle` too.
    #[arg(long)]
    pub(crate) paired: bool,
    /// Have the clients of `idle` search for an interest that no other client has, and wait. The
    /// server must not widen their search.
    #[arg(long, conflicts_with = "paired")]
    pub(crate) waiting: bool,
    /// Let native clients announce that they resume, and acknowledge the first of each 16 messages.
    #[arg(long)]
    pub(crate) resumable: bool,
    /// In `relay` and `image`, look for what comes again and again instead of sleeping, which takes
    /// a core: to wake this process costs the process that does so, and a server the more, the
    /// longer it leaves this process idle.
    #[arg(long)]
    pub(crate) awake: bool,
    /// Loopback addresses to connect from, in turn; each is good for some 28,000 connections
    /// [default: whatever the system takes; crowd as many as it needs].
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) from: Vec<IpAddr>,
    /// How long nothing at all may happen before what is still under way counts as lost.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) patience: Duration,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// A server to start and to stop; it is told its port in the variable PORT.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Everyone talks: CPU of the server for each message, and latency.
    Relay,
    /// Every client searches: pairs a second, and time from `find` to `matched`.
    Pair,
    /// All clients are silent: memory for each connection.
    Idle,
    /// Everyone sends pictures: megabytes for each second of the server's CPU.
    Image,
    /// Very many connect, are paired, and talk now and then: memory of everything, and latency.
    Crowd,
    /// All connections are lost and return: CPU of the server for each fresh client, loss and resume.
    Resume,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DialectName {
    /// WebSocket and JSON, at `/ws`.
    Native,
    /// Socket.IO over WebSocket, at `/socket.io/`.
    PurrrChat,
    /// No framing at all: the first two connections are a pair, and so on.
    Raw,
}

impl Args {
    /// Whether the clients announce that they resume.
    pub(crate) fn resumable(&self) -> bool {
        self.resumable || self.mode == Mode::Resume
    }

    pub(crate) fn pairs(&self) -> usize {
        self.pairs.unwrap_or(match self.mode {
            Mode::Relay => 50,
            Mode::Image => 10,
            Mode::Pair | Mode::Crowd | Mode::Resume => 2_500,
            Mode::Idle => 5_000,
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.unwrap_or(if self.mode == Mode::Image { 1_000_000 } else { 64 })
    }
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "must be at least 1".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "must be a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
