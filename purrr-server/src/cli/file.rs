//! The file of `--config`: [`File`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::{Spanned, Value};

use super::{
    error::{CliError, unknown},
    settings,
};

/// A file whose keys are names of settings. Its values are not parsed yet.
#[derive(Debug, Default)]
pub(super) struct File {
    path: PathBuf,
    text: String,
    values: BTreeMap<String, Spanned<Value>>,
}

impl File {
    /// Reads a file and checks its keys.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| CliError::UnreadableFile { path: path.to_owned(), source })?;
        Self::parse(path, text)
    }

    /// Parses the text of a file and checks its keys.
    pub(super) fn parse(path: &Path, text: String) -> Result<Self, CliError> {
        let values: BTreeMap<String, Spanned<Value>> = toml::from_str(&text)
            .map_err(|source| CliError::BadFile { path: path.to_owned(), source: source.into() })?;
        let known = || settings::all().map(|setting| setting.name());
        match values.keys().find(|key| !known().any(|name| name == **key)) {
            Some(key) => Err(unknown(key, known())),
            None => Ok(Self { path: path.to_owned(), text, values }),
        }
    }

    /// Returns a setting's value as texts, and the file and line for an error.
    pub(super) fn get(&self, name: &str) -> Option<(String, Vec<String>)> {
        let value = self.values.get(name)?;
        let line = self.text[..value.span().start].matches('\n').count() + 1;
        Some((format!("{}, line {line}: {name}", self.path.display()), texts(value.get_ref())))
    }
}

/// Returns the texts that a flag would have been given.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}
