//! A connection on which every message arrives once and in order: [`Link`].

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::sleep,
};

/// How long a message takes.
const LATENCY: Duration = Duration::from_millis(5);

/// How much later a message may come when it is disturbed, in milliseconds.
const LATE: u64 = 30;

/// The sending side. Clones share it.
#[derive(Debug)]
pub(super) struct Link<T> {
    shared: Arc<Shared>,
    sends: PhantomData<fn(T)>,
}

#[derive(Debug)]
struct Shared {
    next: Mutex<u64>,
    lines: UnboundedSender<String>,
    disturbed: AtomicBool,
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    number: u64,
    message: T,
}

impl<T: Serialize> Link<T> {
    /// Returns both directions of a connection. The receiver ends with it.
    pub(super) fn over<R>(stream: TcpStream) -> (Self, UnboundedReceiver<R>)
    where
        R: DeserializeOwned + Send + 'static,
    {
        stream.set_nodelay(true).expect("a socket");
        let (read, write) = stream.into_split();
        let (lines, written) = unbounded_channel();
        tokio::spawn(write_lines(write, written));
        let (deliver, received) = unbounded_channel();
        tokio::spawn(read_in_order(read, deliver));
        let (next, disturbed) = (Mutex::default(), AtomicBool::default());
        (Self { shared: Arc::new(Shared { next, lines, disturbed }), sends: PhantomData }, received)
    }

    pub(super) fn send(&self, message: T) {
        let number = {
            let mut next = self.shared.next.lock().expect("no panic under this lock");
            *next += 1;
            *next
        };
        let envelope = Envelope { number, message };
        let line = serde_json::to_string(&envelope).expect("a message") + "\n";
        if self.shared.disturbed.load(Ordering::Relaxed) {
            for _ in 0..2 {
                let late = Duration::from_millis(fastrand::u64(0..LATE));
                self.deliver(line.clone(), LATENCY + late);
            }
        } else {
            self.deliver(line, LATENCY);
        }
    }

    /// Delays and repeats what is sent from now on.
    pub(super) fn disturb(&self) {
        self.shared.disturbed.store(true, Ordering::Relaxed);
    }

    fn deliver(&self, line: String, after: Duration) {
        let lines = self.shared.lines.clone();
        tokio::spawn(async move {
            sleep(after).await;
            lines.send(line).ok();
        });
    }
}

impl<T> Clone for Link<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), sends: PhantomData }
    }
}

async fn write_lines(mut write: OwnedWriteHalf, mut lines: UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        if write.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_in_order<R: DeserializeOwned>(read: OwnedReadHalf, deliver: UnboundedSender<R>) {
    let mut lines = BufReader::new(read).lines();
    let (mut next, mut early) = (1, BTreeMap::new());
    while let Ok(Some(line)) = lines.next_line().await {
        let Envelope { number, message } = serde_json::from_str(&line).expect("a message");
        if number >= next {
            early.insert(number, message);
        }
        while let Some(message) = early.remove(&next) {
            next += 1;
            if deliver.send(message).is_err() {
                return;
            }
        }
    }
}
