//! What is logged and how: [`Log`].

use std::{
    fmt,
    io::{IsTerminal, stderr},
    panic,
    str::FromStr,
};

use anyhow::Context;
use tracing::subscriber::set_global_default;
use tracing_subscriber::EnvFilter;

use super::{
    log_queue::LogQueue,
    values::{SettingValue, single},
};

/// The settings of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) log: Filter,
    pub(super) log_format: LogFormat,
}

/// A filter that `EnvFilter` understands.
#[derive(Clone, Debug)]
pub(super) struct Filter(String);

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text for people.
    Pretty,
    /// One JSON object for each line.
    Json,
}

impl Log {
    /// Starts to log to standard error, through a queue.
    pub(super) fn start(&self) -> anyhow::Result<LogQueue> {
        let terminal = stderr().is_terminal();
        let queue = LogQueue::start(stderr()).context("cannot start the thread of the log")?;
        let lines = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(&self.log.0)?)
            .with_writer(queue.clone())
            .log_internal_errors(false);
        // Must not use `init`: it also takes in the crate `log`, and at `trace` the WebSocket
        // library logs whole messages there.
        match self.log_format {
            LogFormat::Pretty => set_global_default(lines.with_ansi(terminal).finish()),
            LogFormat::Auto if terminal => set_global_default(lines.finish()),
            _ => set_global_default(lines.json().finish()),
        }
        .context("a log is set up once")?;
        // The default hook writes to standard error itself, which may be a pipe that is full.
        panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        Ok(queue)
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl SettingValue for Filter {
    fn read(texts: &[&str]) -> Result<Self, String> {
        let text = single(texts)?;
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!(
                "must be a level such as `info`, or one for a part such as \
                 `purrr_server=debug`, not {text:?} ({error})"
            )),
        }
    }

    fn write(&self) -> toml::Value {
        self.0.clone().into()
    }
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Auto, Self::Pretty, Self::Json]
            .into_iter()
            .find(|format| format.to_string() == text)
            .ok_or(())
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Pretty => "pretty",
            Self::Json => "json",
        })
    }
}

impl SettingValue for LogFormat {
    fn read(texts: &[&str]) -> Result<Self, String> {
        let text = single(texts)?;
        text.parse().map_err(|()| format!("must be auto, pretty or json, not {text:?}"))
    }

    fn write(&self) -> toml::Value {
        self.to_string().into()
    }
}
