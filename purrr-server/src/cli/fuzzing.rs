//! A target for the fuzzer: the file of `--config`.

use std::path::Path;

use super::{
    file::File,
    settings::{self, Settings},
};

/// Reads bytes as a file. If it is accepted, the printed settings must be read back the same.
pub fn config_file(bytes: &[u8]) {
    let text = str::from_utf8(bytes).map(str::to_owned);
    let Some(settings) = text.ok().and_then(read) else { return };
    settings.config.validate().ok();
    let printed = settings.print();
    let again = read(printed.clone()).expect("printed settings are a file");
    assert_eq!(again.print(), printed);
}

fn read(text: String) -> Option<Settings> {
    let file = File::parse(Path::new("file"), text).ok()?;
    let mut settings = Settings::default();
    for setting in settings::all() {
        let Some((_, texts)) = file.get(&setting.name()) else { continue };
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        (setting.set)(&mut settings, &texts).ok()?;
    }
    Some(settings)
}
