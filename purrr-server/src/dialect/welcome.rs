//! What `welcome` says for the page, beside the limits: [`page_fields`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use sha1::{Digest, Sha1};

use crate::config::{Calls, Config, IceServer};

/// How long the credentials of a TURN server are valid.
const CREDENTIALS_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The block size of SHA-1, in bytes.
const BLOCK: usize = 64;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageFields<'a> {
    calls: &'static str,
    ice_servers: Vec<Server<'a>>,
    search: Widening,
}

#[derive(Serialize)]
struct Server<'a> {
    urls: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Widening {
    language_after_ms: u64,
    anyone_after_ms: u64,
}

/// Adds the page's fields to a `welcome`, which is one JSON object.
pub(super) fn add_page_fields(welcome: &str, config: &Config, now: SystemTime) -> String {
    let fields = PageFields {
        calls: config.calls.as_str(),
        ice_servers: ice_servers(config, now),
        search: Widening {
            language_after_ms: milliseconds(config.language_after),
            anyone_after_ms: milliseconds(config.anyone_after),
        },
    };
    let fields = serde_json::to_string(&fields).expect("the fields have only strings for keys");
    match welcome.strip_suffix('}') {
        Some(welcome) => format!("{welcome},{}", &fields[1..]),
        None => welcome.to_owned(),
    }
}

fn ice_servers(config: &Config, now: SystemTime) -> Vec<Server<'_>> {
    if config.calls == Calls::Off {
        return Vec::new();
    }
    let credentials = |server: &IceServer| {
        let secret = config.ice_secret.reveal();
        (server.is_turn() && !secret.is_empty()).then(|| credentials(secret, now))
    };
    let servers = config.ice_server.iter().map(|server| {
        let (username, credential) = credentials(server).unzip();
        Server { urls: server.as_str(), username, credential }
    });
    servers.collect()
}

/// Returns a name and a password that a TURN server with this shared secret accepts.
///
/// The name is when they expire, and the password is a code of it: the scheme of coturn's
/// `use-auth-secret`.
fn credentials(secret: &str, now: SystemTime) -> (String, String) {
    let expires = now.duration_since(UNIX_EPOCH).unwrap_or_default() + CREDENTIALS_FOR;
    let username = expires.as_secs().to_string();
    let credential = STANDARD.encode(hmac_sha1(secret.as_bytes(), username.as_bytes()));
    (username, credential)
}

/// RFC 2104 with SHA-1.
fn hmac_sha1(key: &[u8], message: &[u8]) -> [u8; 20] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..20].copy_from_slice(&Sha1::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha1::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message);
    let outer = Sha1::new().chain_update(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn hmac_sha1_of_rfc_2202() {
        let jefe = hmac_sha1(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&jefe), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(hex(&hmac_sha1(&[0xaa; 80], long)), "aa4ae5e15272d00e95705637ce8a3b55ed402112");
    }

    #[test]
    fn welcome_tells_calls_and_credentials() {
        let config = Config {
            ice_server: ["stun:s.example", "turn:t.example:3478"]
                .map(|url| url.parse().unwrap())
                .to_vec(),
            ice_secret: "north".to_owned().into(),
            ..Config::default()
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let welcome = add_page_fields(r#"{"type":"welcome"}"#, &config, now);
        let credential = STANDARD.encode(hmac_sha1(b"north", b"87400"));
        assert_eq!(
            welcome,
            format!(
                r#"{{"type":"welcome","calls":"video","iceServers":[{{"urls":"stun:s.example"}},{{"urls":"turn:t.example:3478","username":"87400","credential":"{credential}"}}],"search":{{"languageAfterMs":5000,"anyoneAfterMs":20000}}}}"#
            )
        );
        let off = Config { calls: Calls::Off, ..config };
        let welcome = add_page_fields("{}", &off, now);
        assert!(welcome.contains(r#""calls":"off","iceServers":[],"#), "{welcome}");
    }
}
