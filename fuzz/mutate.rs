//! Inputs close to the corpus. Random bytes alone get past no decoder.

use std::{fmt, fs, path::Path};

use fastrand::Rng;

/// Bytes that decoders stumble over.
const STUMBLES: &[u8] = b"\0\"\\{}[]:,-0.eEu/+=\x1e\x7f\x80\x81\x89\xff";

/// The inputs of one target, always in one order.
pub(crate) struct Corpus(Vec<Vec<u8>>);

/// What bolero prints when a target fails.
pub(crate) struct Input(pub(crate) Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

impl Corpus {
    pub(crate) fn read(target: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("__fuzz__").join(target);
        let files = fs::read_dir(folder.join("corpus"));
        // Bolero takes a folder that it does not find for an empty one.
        let files = files.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = files.map(|file| file.expect("a readable folder").path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{} has no corpus", folder.display());
        Self(paths.iter().map(|path| fs::read(path).expect("a readable file")).collect())
    }

    /// Returns an input close to the corpus, another one for each seed.
    pub(crate) fn mutated(&self, seed: u64) -> Input {
        Input(self.mutate(&mut Rng::with_seed(seed)))
    }

    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        let any = |rng: &mut Rng| &self.0[rng.usize(..self.0.len())];
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
}
