//! A peer to compare with: a pairing server as one would write it on axum's `ws`, with its defaults.
//!
//! It speaks as much of the native dialect as the load generator needs: `find`, `matched`, `left`, and anything else is
//! passed on to the partner.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Router,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    routing::any,
    serve::ListenerExt,
};
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

/// How to reach one person; closed when that person is gone.
type Mailbox = UnboundedSender<News>;

type Waiting = Arc<Mutex<Option<Mailbox>>>;

enum News {
    Matched(Mailbox),
    Said(Message),
    Left,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Command {
    Find,
    Leave,
    #[serde(other)]
    Other,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port = std::env::var("PORT").map_or(Ok(3007), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?.tap_io(|stream| {
        stream.set_nodelay(true).ok();
    });
    let upgrade = async |State(waiting): State<Waiting>, upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(|socket| async { drop(chat(waiting, socket).await) })
    };
    let app = Router::new().route("/ws", any(upgrade)).with_state(Waiting::default());
    Ok(axum::serve(listener, app).await?)
}

async fn chat(waiting: Waiting, mut socket: WebSocket) -> anyhow::Result<()> {
    let (mailbox, mut news) = unbounded_channel();
    let mut partner: Option<Mailbox> = None;
    loop {
        tokio::select! {
            Some(news) = news.recv() => match news {
                News::Matched(found) => {
                    partner = Some(found);
                    socket.send(Message::text(r#"{"type":"matched"}"#)).await?;
                }
                News::Said(message) => socket.send(message).await?,
                News::Left => {
                    partner = None;
                    socket.send(Message::text(r#"{"type":"left"}"#)).await?;
                }
            },
            message = socket.recv() => {
                let Some(message) = message else { break };
                let message = message?;
                let command = match &message {
                    Message::Text(text) => serde_json::from_str(text)?,
                    Message::Binary(_) => Command::Other,
                    _ => continue,
                };
                match (command, &partner) {
                    (Command::Find, None) => find(&waiting, &mailbox),
                    (Command::Leave, Some(_)) => {
                        for side in [partner.take().as_ref(), Some(&mailbox)].into_iter().flatten() {
                            side.send(News::Left).ok();
                        }
                    }
                    (Command::Other, Some(partner)) => {
                        partner.send(News::Said(message)).ok();
                    }
                    _ => {}
                }
            }
        }
    }
    if let Some(partner) = partner {
        partner.send(News::Left).ok();
    }
    Ok(())
}

/// Pairs with the waiting client, or waits.
fn find(waiting: &Waiting, own: &Mailbox) {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    match waiting.take() {
        Some(other) if !other.is_closed() && !other.same_channel(own) => {
            own.send(News::Matched(other.clone())).ok();
            other.send(News::Matched(own.clone())).ok();
        }
        _ => *waiting = Some(own.clone()),
    }
}
