//! What an operator has to put right: [`ConfigError`].

use std::path::PathBuf;

/// Something an operator has to put right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}; name another file with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {message}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
    /// There is no such option.
    #[error("there is no option `{name}`{}", hint(nearest))]
    Unknown {
        /// What was given, as it was spelled.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// An option has a value it cannot have.
    #[error("{option} {message}")]
    Bad {
        /// The option.
        option: &'static str,
        /// What it must be.
        message: String,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
