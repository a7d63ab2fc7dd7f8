//! The target `config_file`: what an operator writes into the file of `--config`.

use std::path::Path;

use super::{error::CliError, file::File, setting::Settings, settings};

/// Checks that a file is refused with a message or gives settings that can be served.
///
/// The message is not much longer than the file. The settings are printed as a file that reads back
/// the same.
pub fn config_file(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let settings = match read(text) {
        Ok(settings) => settings,
        Err(error) => {
            let message = error.to_string();
            // A mistake in TOML is shown with its line.
            assert!(message.len() < 400 + 3 * text.len(), "{message}");
            return;
        }
    };
    let hub = settings.config.hub();
    assert_eq!(hub.limits().rates.is_some(), settings.config.routes.rate_limits);
    let printed = settings.print();
    let again = read(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
    assert_eq!(again.print(), printed);
}

fn read(text: &str) -> Result<Settings, CliError> {
    let file = File::parse(Path::new("file"), text.to_owned())?;
    let mut settings = Settings::default();
    for setting in settings::all() {
        let Some((place, texts)) = file.get(&setting.name()) else { continue };
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        (setting.set)(&mut settings, &texts)
            .map_err(|requirement| CliError::Invalid { place, requirement })?;
    }
    settings.config.validate()?;
    Ok(settings)
}
