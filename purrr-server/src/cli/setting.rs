//! What one setting is: [`Setting`], and [`setting!`], which makes it from a field of [`Settings`].

use super::log::Log;
use crate::config::ServerConfig;

/// What the program is set to.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// What the server does and allows.
    pub config: ServerConfig,
    pub(super) log: Log,
}

/// One setting. Flag, variable and key of the file are made from the field's name.
pub(super) struct Setting {
    /// The name of the field.
    pub(super) field: &'static str,
    /// The kind of value, as the help shows it.
    pub(super) value: &'static str,
    /// One line of at most 60 characters, without full stop.
    pub(super) help: &'static str,
    /// Whole sentences for `--help` and the documentation, or nothing.
    pub(super) details: &'static str,
    /// What is counted, for the documentation, if it is not the kind of value.
    pub(super) unit: &'static str,
    /// The most memory that the setting makes the server hold, or nothing.
    pub(super) memory: &'static str,
    /// Sets the field; the error completes "--name …".
    pub(super) set: fn(&mut Settings, &[&str]) -> Result<(), String>,
    /// Returns the field as the file has it.
    pub(super) get: fn(&Settings) -> toml::Value,
}

/// Makes a [`Setting`] of a field of the `server`, its `config`, `guards`, `limits`, `rates`, or of
/// the `log`.
macro_rules! setting {
    (@fields server.$field:ident, $settings:ident) => {
        $settings.config.$field
    };
    (@fields config.$field:ident, $settings:ident) => {
        $settings.config.routes.$field
    };
    (@fields guards.$field:ident, $settings:ident) => {
        $settings.config.guards.$field
    };
    (@fields limits.$field:ident, $settings:ident) => {
        $settings.config.limits.$field
    };
    (@fields rates.$field:ident, $settings:ident) => {
        $settings.config.limits.rates.get_or_insert_default().$field
    };
    (@fields $place:ident.$field:ident, $settings:ident) => {
        $settings.$place.$field
    };
    ($place:ident.$field:ident, $value:literal, $help:literal) => {
        Setting {
            field: stringify!($field),
            value: $value,
            help: $help,
            details: "",
            unit: "",
            memory: "",
            set: |settings, texts| {
                setting!(@fields $place.$field, settings) = SettingValue::read(texts)?;
                Ok(())
            },
            get: |settings| {
                let settings = &mut settings.clone();
                SettingValue::write(&setting!(@fields $place.$field, settings))
            },
        }
    };
}

pub(super) use setting;

impl Setting {
    /// Adds sentences to the help line.
    pub(super) const fn details(mut self, details: &'static str) -> Self {
        self.details = details;
        self
    }

    /// Adds what is counted.
    pub(super) const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// Adds the worst case.
    pub(super) const fn memory(mut self, memory: &'static str) -> Self {
        self.memory = memory;
        self
    }

    /// Returns the name of the flag without dashes, which is the key in the file.
    pub(super) fn name(&self) -> String {
        self.field.replace('_', "-")
    }

    /// Returns the name of the environment variable.
    pub(super) fn variable(&self) -> String {
        format!("PURRR_{}", self.field.to_uppercase())
    }
}
