//! A Socket.IO echo on the server's own packet layer, as the protocol's test suite expects it.
//!
//! Two namespaces, `/` and `/custom`. Each sends an event `auth` with the payload that it was
//! connected with. `message` comes back as `message-back`, `message-with-ack` as the
//! acknowledgement, both with their attachments.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use purrr_server::transport::{
    Connection, Message,
    socketio::{Kind, Packet},
};
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

/// The pause between two answers. The suite listens for one message at a time, so it misses the
/// second of two that come in one segment.
const PAUSE: Duration = Duration::from_millis(10);

const NAMESPACES: [&str; 2] = ["/", "/custom"];

/// The state of one client.
#[derive(Default)]
struct Echo {
    namespaces: BTreeSet<String>,
    /// A packet whose attachments are to come.
    pending: Option<Pending>,
    answers: VecDeque<Message>,
}

struct Pending {
    text: String,
    attachments: Vec<Message>,
    missing: usize,
}

/// Runs one client's session until it breaks the protocol, or connects nowhere in time.
pub(crate) async fn echo(mut connection: Connection, connect_timeout: Duration) {
    let mut echo = Echo::default();
    let connects = echo.answer_until(&mut connection, |echo| !echo.namespaces.is_empty());
    if let Ok(Some(())) = timeout(connect_timeout, connects).await {
        echo.answer_until(&mut connection, |_| false).await;
    }
    connection.close().await;
}

impl Echo {
    /// Answers until the client has gone or broken the protocol, which returns `None`.
    async fn answer_until(
        &mut self,
        connection: &mut Connection,
        done: impl Fn(&Self) -> bool,
    ) -> Option<()> {
        while !done(self) {
            let incoming = connection.next().await?;
            self.handle(incoming)?;
            while let Some(answer) = self.answers.pop_front() {
                connection.send(answer).await.ok()?;
                if !self.answers.is_empty() {
                    sleep(PAUSE).await;
                }
            }
        }
        Some(())
    }

    fn handle(&mut self, incoming: Message) -> Option<()> {
        match (incoming, self.pending.take()) {
            (Message::Text(text), None) => {
                let missing = Packet::parse(&text)?.attachments as usize;
                if missing == 0 {
                    return self.handle_packet(Packet::parse(&text)?, Vec::new());
                }
                let text = text.to_string();
                self.pending = Some(Pending { text, attachments: Vec::new(), missing });
                Some(())
            }
            (attachment @ Message::Binary(_), Some(mut pending)) => {
                pending.attachments.push(attachment);
                if pending.attachments.len() == pending.missing {
                    return self.handle_packet(Packet::parse(&pending.text)?, pending.attachments);
                }
                self.pending = Some(pending);
                Some(())
            }
            _ => None,
        }
    }

    fn handle_packet(&mut self, packet: Packet<'_>, attachments: Vec<Message>) -> Option<()> {
        let Packet { kind, namespace, id, data, .. } = packet;
        if kind == Kind::Connect {
            self.connect(namespace, data);
            return Some(());
        }
        if !self.namespaces.contains(namespace) {
            return None;
        }
        match kind {
            Kind::Disconnect => {
                self.namespaces.remove(namespace);
            }
            Kind::Event | Kind::BinaryEvent => {
                let event: Vec<&RawValue> = serde_json::from_str(data).ok()?;
                let (name, arguments) = event.split_first()?;
                let arguments: Vec<_> = arguments.iter().map(|argument| argument.get()).collect();
                let arguments = arguments.join(",");
                match serde_json::from_str(name.get()).ok()? {
                    "message" => {
                        let data = format!(r#"["message-back",{arguments}]"#);
                        self.push(Packet { id: None, data: &data, ..packet });
                    }
                    "message-with-ack" => {
                        let kind = match kind {
                            Kind::Event => Kind::Ack,
                            _ => Kind::BinaryAck,
                        };
                        id?;
                        self.push(Packet { kind, data: &format!("[{arguments}]"), ..packet });
                    }
                    _ => return Some(()),
                }
                self.answers.extend(attachments);
            }
            _ => {}
        }
        Some(())
    }

    fn connect(&mut self, namespace: &str, auth: &str) {
        let packet = Packet { kind: Kind::Connect, attachments: 0, namespace, id: None, data: "" };
        if !NAMESPACES.contains(&namespace) {
            let data = r#"{"message":"Invalid namespace"}"#;
            return self.push(Packet { kind: Kind::ConnectError, data, ..packet });
        }
        self.namespaces.insert(namespace.to_owned());
        let sid = format!(r#"{{"sid":"{:016x}"}}"#, fastrand::u64(..));
        self.push(Packet { data: &sid, ..packet });
        let auth = if auth.is_empty() { "{}" } else { auth };
        self.push(Packet { kind: Kind::Event, data: &format!(r#"["auth",{auth}]"#), ..packet });
    }

    fn push(&mut self, packet: Packet<'_>) {
        self.answers.push_back(Message::Text(packet.to_string().into()));
    }
}
