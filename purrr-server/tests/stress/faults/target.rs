//! The server as a process, seen from outside: [`Target`].

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{io::AsyncBufReadExt, process::Child, task::JoinHandle, time::sleep};

use crate::{
    faults::{PATIENCE, bystanders::Bystanders, within},
    metrics,
    process::Process,
    support::program::{Running, signal},
};

pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    child: Child,
    pub(crate) process: Process,
    /// How many files it had open when no client was there.
    descriptors: usize,
    log: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
}

impl Target {
    pub(crate) async fn start(options: &[&str], files: Option<u32>) -> Self {
        let Running { child, mut log, address } = match files {
            Some(files) => Running::start_with_files(options, files).await,
            None => Running::start(options).await,
        };
        let lines = Arc::<Mutex<String>>::default();
        // Read all the while, or the pipe would fill and the server wait for it.
        let reading = tokio::spawn({
            let lines = Arc::clone(&lines);
            async move {
                let mut line = String::new();
                while log.read_line(&mut line).await.unwrap() > 0 {
                    lines.lock().unwrap().push_str(&std::mem::take(&mut line));
                }
            }
        });
        let process = Process::new(child.id().unwrap());
        let descriptors = Self::descriptors_at_rest(process, address).await;
        Self { address, child, process, descriptors, log: lines, reading }
    }

    /// Returns how many files it has open once it serves. Must not be read earlier: a server opens
    /// more of them after it has logged that it listens.
    async fn descriptors_at_rest(process: Process, address: SocketAddr) -> usize {
        within("the metrics", metrics(address)).await;
        // The socket of that request is closed a moment later.
        let (mut before, mut steady) = (process.descriptors(), 0);
        while steady < 5 {
            sleep(Duration::from_millis(50)).await;
            let now = process.descriptors();
            steady = if now == before { steady + 1 } else { 0 };
            before = now;
        }
        before
    }

    /// Waits until only the bystanders are there, and no socket but theirs.
    pub(crate) async fn is_as_it_was(&self, bystanders: &Bystanders) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let gauges = self.gauges().await;
            let descriptors = self.process.descriptors() - self.descriptors;
            if gauges == [2, 0, 1, 2] && descriptors == bystanders.sockets {
                return;
            }
            bystanders.assert_well();
            assert!(
                Instant::now() < deadline,
                "online, waiting, pairs, connections are {gauges:?}, and {descriptors} sockets are open"
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until it holds no more memory than this; how much that is.
    pub(crate) async fn is_as_small_as(&self, most: usize) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let resident = self.process.resident();
            if resident <= most {
                return resident;
            }
            assert!(Instant::now() < deadline, "{resident} bytes are held instead of {most}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// How many are online, wait, are paired, and are connected.
    pub(crate) async fn gauges(&self) -> [u64; 4] {
        let metrics = within("the metrics", metrics(self.address)).await;
        ["purrr_online", "purrr_waiting", "purrr_pairs", "purrr_connections"].map(|name| {
            let of_this = |line: &&str| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
            };
            let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
            metrics.lines().filter(of_this).map(value).sum()
        })
    }

    /// In how many lines of the log these words are.
    pub(crate) fn times_logged(&self, words: &str) -> usize {
        self.log.lock().unwrap().lines().filter(|line| line.contains(words)).count()
    }

    pub(crate) async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    /// Asks it to go, which it does by itself, and in good order.
    pub(crate) async fn ends(self) {
        self.signal("TERM").await;
        self.ended().await;
    }

    /// Waits for its end, which is a good one.
    pub(crate) async fn ended(mut self) {
        let status = within("the program's end", self.child.wait()).await.unwrap();
        self.reading.await.unwrap();
        let log = self.log.lock().unwrap();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}
