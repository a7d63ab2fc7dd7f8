//! What a connection keeps of a picture that has passed through it. The memory measured is this
//! process's.

use crate::{
    ALONE,
    process::Process,
    support::{
        Server, png_of,
        wire::{BINARY, FIN, Wire, frame},
    },
};

const PICTURE: usize = 5_000_000;

const PAIRS: usize = 20;

#[tokio::test]
async fn connection_keeps_no_image_memory() {
    let _alone = ALONE.lock().await;
    let server = Server::start().await;
    let picture = frame(FIN | BINARY, &png_of(PICTURE));
    let head = format!(r#"{{"type":"image","id":1,"mime":"image/png","size":{PICTURE}}}"#);
    let mut pairs = Vec::new();
    let mut before = 0;
    for pair in 0..PAIRS {
        let (mut ann, mut bob) = (Wire::connect(&server).await, Wire::connect(&server).await);
        for wire in [&mut ann, &mut bob] {
            wire.say(r#"{"type":"find"}"#).await;
        }
        for wire in [&mut ann, &mut bob] {
            while !wire.message().await.0.starts_with(br#"{"type":"matched""#) {}
        }
        let sending = async {
            ann.say(&head).await;
            ann.send(&picture).await;
            assert!(ann.message().await.0.starts_with(br#"{"type":"delivered""#));
        };
        let receiving = async {
            assert_eq!(bob.message().await.0, head.as_bytes());
            assert_eq!(bob.message().await.0.len(), PICTURE);
        };
        tokio::join!(sending, receiving);
        // A picture without partner is discarded at once.
        ann.say(r#"{"type":"leave"}"#).await;
        assert!(ann.message().await.0.starts_with(br#"{"type":"idle""#));
        ann.say(&head).await;
        ann.send(&picture).await;
        assert!(ann.message().await.0.starts_with(br#"{"type":"error""#));
        pairs.push((ann, bob));
        // What the first picture made the allocator fetch is there for those that follow.
        if pair == 0 {
            before = Process::own().resident();
        }
    }
    let kept = Process::own().resident().saturating_sub(before) / (PAIRS - 1);
    assert!(kept < PICTURE / 5, "{kept} bytes are kept for each pair");
}
