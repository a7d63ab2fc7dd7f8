//! The decoder of the native dialect.

use purrr_core::{
    Command, Event,
    codec::{Parsed, parse},
};

/// Whatever comes is refused in words of our own, or understood. What is understood is understood
/// again when another client has written it, and what is relayed when we have.
pub(crate) fn check(data: &[u8]) {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let parsed = parse(&input.into());
    if let Err(problem) = &parsed {
        assert!(problem.message.len() < 200, "{problem}");
        return;
    }
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(input) {
        assert_eq!(parse(&value.to_string().into()), parsed, "written by another hand");
    }
    let command = match parsed {
        Ok(Parsed::Command(command)) => command,
        // Of a picture only the head comes here.
        Ok(Parsed::Image(head)) => {
            let size = usize::try_from(head.size).unwrap_or(usize::MAX).min(1_000);
            match head.complete(vec![0; size].into()) {
                Ok(command) => command,
                Err(_) => return,
            }
        }
        Err(_) => return,
    };
    if let Command::Recover(recover) = &command {
        let hello = recover.hello.clone().unwrap_or_default();
        let mut written = serde_json::json!({"type": "hello", "received": recover.received});
        for (name, value) in [
            ("name", hello.name.map(|name| name.to_string())),
            ("publicKey", hello.public_key.map(|key| key.to_string())),
            ("resume", recover.token.map(|token| token.to_string())),
            ("chat", recover.chat.map(|chat| chat.to_string())),
        ] {
            if let Some(value) = value {
                written[name] = value.into();
            }
        }
        let again = parse(&written.to_string().into());
        assert_eq!(again, Ok(Parsed::Command(command)), "a claim written by us");
        return;
    }
    if let Command::Send { frame, .. } = command {
        let written = serde_json::to_string(&Event::Received(frame.clone())).expect("it is JSON");
        let again = match parse(&written.into()) {
            Ok(Parsed::Command(Command::Send { frame, .. })) => frame,
            Ok(Parsed::Image(head)) => {
                let bytes = vec![0; head.size as usize].into();
                match head.complete(bytes) {
                    Ok(Command::Send { frame, .. }) => frame,
                    other => panic!("what was written is no picture: {other:?}"),
                }
            }
            other => panic!("what was written is not understood: {other:?}"),
        };
        assert_eq!(again, frame, "written by us");
    }
}
