//! A bridge over channels: commands in, events out, for an app that has its own protocol.

use purrr_core::{Command, Event, Hub, Profile, Search};

#[expect(clippy::print_stdout, reason = "an example shows what happens")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = Hub::memory();
    let (mut ann, mut to_ann, session) = hub.session(Profile::named("Ann"));
    tokio::spawn(session);
    let (mut bot, mut to_bot, session) = hub.session(Profile::named("Bot"));
    tokio::spawn(session);
    tokio::spawn(async move {
        bot.send(Command::Find(Search::default())).await.ok();
        while let Some(event) = to_bot.recv().await {
            if let Event::Received(frame) = event {
                let answer = format!("you said {:?}", frame.as_text().unwrap_or_default());
                bot.send(Command::say(answer)).await.ok();
                bot.send(Command::Leave).await.ok();
            }
        }
    });
    ann.send(Command::Find(Search::default())).await?;
    while let Some(event) = to_ann.recv().await {
        match event {
            Event::Matched { name, .. } => {
                println!("matched with {}", name.as_deref().unwrap_or("a stranger"));
                ann.send(Command::say("hello")).await?;
            }
            Event::Received(frame) => println!("{}", frame.as_text().unwrap_or("(no text)")),
            Event::Left { reason } => {
                println!("over: {}", reason.as_str());
                return Ok(());
            }
            _ => {}
        }
    }
    Err("the session ended".into())
}
