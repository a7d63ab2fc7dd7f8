//! One target of several for libFuzzer, chosen by `FUZZ_TARGET`. See `fuzz/run`.
#![no_main]

mod native;
mod session;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use purrr_server::fuzzing;

fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        match name.as_str() {
            "native" => native::check,
            "session" => session::check,
            "frames" => fuzzing::frames,
            "payloads" => fuzzing::payloads,
            "events" => fuzzing::events,
            _ => panic!("FUZZ_TARGET must be native, session, frames, payloads or events"),
        }
    })(data);
});
