//! What an option can be set to, and how that is written: [`Span`], [`Tempo`], [`Switch`], [`LogFormat`] and [`Backend`].

use std::{fmt, str::FromStr, time::Duration};

use clap::ValueEnum;
use purrr_core::model::Rate;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::ConfigError;

/// Where people wait and frames flow, written as a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// In this process, written as `memory:`.
    #[default]
    Memory,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// A length of time, written as `20s`, `500ms` or `1m 30s`; a number alone is in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// So much a second and so much at once, written as `100+4000`; a number alone is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tempo(pub Rate);

/// A text that is no [`Tempo`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must be so much a second and so much at once, such as 100+4000")]
#[non_exhaustive]
pub struct TempoError;

impl FromStr for Backend {
    type Err = ConfigError;

    fn from_str(url: &str) -> Result<Self, ConfigError> {
        if url == "memory:" {
            return Ok(Self::Memory);
        }
        // The rest of a URL may hold a password.
        let scheme =
            url.split_once(':').map_or_else(String::new, |(scheme, _)| format!("{scheme}:"));
        let message = match scheme.as_str() {
            "" | "memory:" => "must be `memory:`".to_owned(),
            other => format!("must be `memory:`; this program has no backend for `{other}`"),
        };
        Err(ConfigError::Bad { option: "--backend", message })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory:",
        })
    }
}

impl FromStr for Span {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(milliseconds) => Ok(Self(Duration::from_millis(milliseconds))),
            Err(_) => humantime::parse_duration(text).map(Self),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a length of time such as \"20s\", or a number of milliseconds"
        )]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(milliseconds) => Ok(Self(Duration::from_millis(milliseconds))),
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl From<Duration> for Span {
    fn from(time: Duration) -> Self {
        Self(time)
    }
}

impl From<Switch> for bool {
    fn from(switch: Switch) -> Self {
        switch == Switch::On
    }
}

impl From<bool> for Switch {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

impl FromStr for Tempo {
    type Err = TempoError;

    fn from_str(text: &str) -> Result<Self, TempoError> {
        let (per_second, burst) = text.split_once('+').unwrap_or((text, text));
        let number = |digits: &str| digits.parse().map_err(|_| TempoError);
        Ok(Self(Rate::new(number(per_second)?, number(burst)?)))
    }
}

impl fmt::Display for Tempo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rate { per_second, burst } = self.0;
        write!(f, "{per_second}+{burst}")
    }
}

impl<'de> Deserialize<'de> for Tempo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Tempo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<Tempo> for Rate {
    fn from(tempo: Tempo) -> Self {
        tempo.0
    }
}

impl From<Rate> for Tempo {
    fn from(rate: Rate) -> Self {
        Self(rate)
    }
}
