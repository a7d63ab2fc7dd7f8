//! Fuzz targets: what reads the bytes of clients, proxies and operators, and the session machine.
//!
//! `cargo test -p fuzz` gives each target its corpus, and then inputs close to it: 10,000, or
//! `BOLERO_RANDOM_ITERATIONS`. `fuzz/run` builds the same tests with coverage instrumentation and
//! libFuzzer. Inputs that once failed belong in `__fuzz__/TARGET/crashes`, where libFuzzer writes
//! them; they are tried first.
#![cfg(test)]

mod mutate;
mod native;
mod session;

use mutate::{Corpus, Input};
use purrr_server::fuzzing;

/// A test for each target, by which bolero, libFuzzer and the corpus call it.
macro_rules! targets {
    ($($name:ident => $check:path;)*) => {$(
        #[test]
        fn $name() {
            if !is_wanted(stringify!($name)) {
                return;
            }
            let corpus = Corpus::read(stringify!($name));
            // Under libFuzzer this does not return.
            let replay = bolero::check!(name = stringify!($name)).with_iterations(0);
            replay.for_each(|input: &[u8]| $check(input));
            let others = bolero::check!(name = concat!(stringify!($name), "_mutated"));
            let others = others.with_type::<u64>().map(|seed| corpus.mutated(seed));
            others.with_iterations(MUTATED).for_each(|Input(input)| $check(input));
        }
    )*};
}

/// Returns true if this target is to run: all of them, or that of `FUZZ_TARGET`.
///
/// Must be a variable and no filter of the test harness: libFuzzer starts the program again without
/// arguments.
fn is_wanted(target: &str) -> bool {
    std::env::var("FUZZ_TARGET").map_or(true, |wanted| wanted == target)
}

/// How many inputs close to the corpus are tried, unless `BOLERO_RANDOM_ITERATIONS` says otherwise.
const MUTATED: usize = 10_000;

targets! {
    client_address => fuzzing::client_address;
    config_file => fuzzing::config_file;
    events => fuzzing::events;
    frames => fuzzing::frames;
    image_header => fuzzing::image_header;
    native => native::check;
    payloads => fuzzing::payloads;
    recovery => fuzzing::recovery;
    session => session::check;
}
