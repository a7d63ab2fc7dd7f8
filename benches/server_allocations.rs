//! A text message takes the server no allocation, in the native dialect, if it is heard before the
//! next is said: counted over the whole server, from one client's bytes to the other's. Alone in
//! its program, since the allocator is the program's.

mod counting;

use std::{io, sync::atomic::Ordering};

use benches::client::{Client, DIALECTS};
use tokio::io::AsyncWriteExt;

/// So many pass first, while whatever is kept is made.
const WARM_UP: usize = 100;
const MESSAGES: usize = 1_000;

#[tokio::test]
async fn a_message_takes_the_server_no_allocation() -> io::Result<()> {
    let dialect = DIALECTS.iter().find(|dialect| dialect.name == "native");
    let dialect = dialect.expect("it is one of them");
    let [mut ann, mut bob] = Client::pair(dialect).await?;
    let said = (dialect.message)("a message of about sixty-four bytes, as people write them......");
    let mut before = 0;
    for number in 0..WARM_UP + MESSAGES {
        if number == WARM_UP {
            before = counting::CALLS.load(Ordering::Relaxed);
        }
        let (speaker, listener) =
            if number % 2 == 0 { (&mut ann, &mut bob) } else { (&mut bob, &mut ann) };
        speaker.pipe.write_all(&said).await?;
        listener.read().await?;
    }
    let calls = counting::CALLS.load(Ordering::Relaxed) - before;
    assert_eq!(calls, 0, "allocations for {MESSAGES} messages");
    Ok(())
}
