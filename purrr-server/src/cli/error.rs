//! What an operator has to put right: [`CliError`].

use std::path::PathBuf;

use crate::config::ConfigError;

/// A mistake in the command line, the environment or the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The file could not be read.
    #[error("cannot read {}; name another file with --config", path.display())]
    UnreadableFile {
        /// The file.
        path: PathBuf,
        /// Why it could not be read.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}: {source}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        source: Box<toml::de::Error>,
    },
    /// The setting does not exist.
    #[error("there is no option `{name}`{}", hint(nearest))]
    Unknown {
        /// The name as it was given.
        name: String,
        /// What was probably meant, between backticks.
        nearest: Option<String>,
    },
    /// The setting cannot have this value.
    #[error("{place} {requirement}")]
    Invalid {
        /// The flag, variable or line of the file.
        place: String,
        /// What the value must be.
        requirement: String,
    },
    /// The values do not go together.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// Returns the error for a name that is none of the known ones.
pub(super) fn unknown(name: &str, known: impl Iterator<Item = String>) -> CliError {
    // The prefix of all variables would make any two of them alike.
    let bare = |name: &str| name.strip_prefix("PURRR_").unwrap_or(name).to_owned();
    let wrong = bare(name);
    let nearest = known
        .map(|known| (strsim::damerau_levenshtein(&wrong, &bare(&known)), known))
        .min()
        .filter(|(distance, known)| *distance <= bare(known).len().min(wrong.len()).div_ceil(3))
        .map(|(_, known)| format!("`{known}`"));
    CliError::Unknown { name: name.to_owned(), nearest }
}
