//! What a test does with a target: the whole corpus, and then what is almost it, for some seconds.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// For so many seconds; each further one tries more inputs.
const VARIABLE: &str = "PURRR_FUZZ_SECONDS";

/// Bytes that decoders stumble over.
const STUMBLES: &[u8] = b"\0\"\\{}[]:,-0.eEu/+=\x1e\x7f\x80\x81\x89\xff";

pub(crate) fn run(target: &str, check: impl Fn(&[u8])) {
    let corpus = corpus(target);
    for input in &corpus {
        attempt(input, &check);
    }
    let seconds = std::env::var(VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(2));
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut tried = 0_u64;
    while Instant::now() < end {
        for _ in 0..100 {
            attempt(&mutated(&corpus, &mut rng), &check);
        }
        tried += 100;
    }
    eprintln!("{target}: {} inputs of the corpus, {tried} others, seed {seed}", corpus.len());
}

/// Tries an input, and says which one it was if it fails.
fn attempt(input: &[u8], check: impl Fn(&[u8])) {
    struct Tried<'a>(&'a [u8]);
    impl Drop for Tried<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the input was b\"{}\"", self.0.escape_ascii());
            }
        }
    }
    let _tried = Tried(input);
    check(input);
}

/// The inputs in `fuzz/corpus`, always in one order.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("a folder can be read").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.iter().map(|path| fs::read(path).expect("a file can be read")).collect()
}

fn mutated(corpus: &[Vec<u8>], rng: &mut fastrand::Rng) -> Vec<u8> {
    let any = |rng: &mut fastrand::Rng| &corpus[rng.usize(..corpus.len())];
    let mut bytes = any(rng).clone();
    for _ in 0..rng.usize(1..5) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(0..5) {
            0 => bytes.truncate(at),
            1 => {
                let other = any(rng);
                let from = rng.usize(..=other.len());
                let to = rng.usize(from..=other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            2 => {
                let to = rng.usize(at..=bytes.len());
                bytes.drain(at..to);
            }
            3 if at < bytes.len() => bytes[at] = rng.u8(..),
            _ => bytes.insert(at, STUMBLES[rng.usize(..STUMBLES.len())]),
        }
    }
    bytes
}
