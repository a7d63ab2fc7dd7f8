//! The native decoder, given what is almost right: good messages that were cut, joined and overwritten at random.

use std::time::{Duration, Instant};

use purrr_core::protocol::{Command, Event, Parsed, parse};

/// Good messages, and pieces that decoders stumble over.
const CORPUS: [&str; 12] = [
    r#"{"type":"hello","name":"Ann","publicKey":"AAAA","resume":"0123456789abcdef0123456789abcdef"}"#,
    r#"{"type":"find","interests":["cats","b\u00fccher"],"languages":["en","pt-BR"]}"#,
    r#"{"type":"message","id":1,"text":"he\"llo 🐈","reply":0,"chat":"0123456789abcdef0123456789abcdef"}"#,
    r#"{"type":"image","id":2,"mime":"image/png","size":70,"encrypted":false}"#,
    r#"{"type":"typing","on":true}"#,
    r#"{"type":"read","id":9007199254740991}"#,
    r#"{"type":"signal","kind":"candidate","data":"{}"}"#,
    r#"{"type":"report","reason":"spam","note":null}"#,
    r#"{"type":"next"}"#,
    r#"{"x":[[[{"y":1e999}]]],"type":"cancel"}"#,
    r#""\ud83d\ude00\ud800","text":"#,
    r"18446744073709551616,-1,1.5,null,true,[],{},",
];

/// For so long, in seconds; each further one tries more inputs.
const VARIABLE: &str = "PURRR_FUZZ_SECONDS";

fn mutated(rng: &mut fastrand::Rng) -> String {
    let mut bytes = CORPUS[rng.usize(..CORPUS.len())].as_bytes().to_vec();
    for _ in 0..rng.usize(0..4) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(0..4) {
            0 => bytes.truncate(at),
            1 => {
                let other = CORPUS[rng.usize(..CORPUS.len())].as_bytes();
                let from = rng.usize(..other.len());
                let to = rng.usize(from..=other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            2 if at < bytes.len() => bytes[at] = rng.u8(..),
            _ => bytes.insert(at, b"\"\\{}[]:,0e-u"[rng.usize(..12)]),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whatever comes is refused in words of our own, or understood; and what is understood and relayed reads the same again.
fn check(input: &str) {
    match parse(&input.into()) {
        Ok(Parsed::Command(Command::Send { frame, .. })) => {
            let written = serde_json::to_string(&Event::Received(frame.clone()))
                .unwrap_or_else(|error| panic!("{error}, of {input:?}"));
            let Ok(Parsed::Command(Command::Send { frame: again, .. })) = parse(&written.into())
            else {
                panic!("what was written is not understood: {input:?}");
            };
            assert_eq!(again, frame, "{input:?}");
        }
        Ok(_) => {}
        Err(problem) => assert!(problem.message.len() < 200, "{problem} of {input:?}"),
    }
}

#[test]
fn whatever_comes_is_refused_or_understood() {
    let seconds = std::env::var(VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(2));
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut tried = 0_u64;
    while Instant::now() < end {
        for _ in 0..1_000 {
            check(&mutated(&mut rng));
        }
        tried += 1_000;
    }
    eprintln!("{tried} inputs were tried");
}
