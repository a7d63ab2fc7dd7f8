//! Two nodes with one lobby: they meet through Redis, say something, and one leaves.
//!
//! Each would be a process of its own: what they share is the Redis whose URL is given.

use std::env;

use purrr_core::{Hub, Profile};

#[expect(clippy::print_stdout, reason = "an example shows what happens")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1/".to_owned());
    let hub = Hub::builder().backend(purrr_redis::connect(&url).await?).build();
    let echo = Hub::builder().backend(purrr_redis::connect(&url).await?).build();
    let echo = tokio::spawn(async move {
        let mut chat = echo.pair(Profile::named("Echo")).await.ok()?;
        while let Ok(frame) = chat.recv().await {
            chat.send(frame).await.ok()?;
        }
        Some(chat.id()) // dropping the chat would have told the partner
    });

    let mut chat = hub.pair(Profile::named("Ann")).await?;
    println!("Ann meets {}", chat.partner().name.as_deref().unwrap_or("a stranger"));
    for text in ["hello?", "is there an echo?", "goodbye"] {
        chat.say(text).await?;
        let answer =
            chat.recv().await.map_err(|reason| format!("the echo has {}", reason.as_str()))?;
        println!("Ann: {text}\nEcho: {}", answer.as_text().unwrap_or("(no text)"));
    }
    chat.leave();
    println!("Echo noticed that Ann left: {}", echo.await?.is_some());
    Ok(())
}
