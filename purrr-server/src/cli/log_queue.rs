//! The queue between the server and what reads its log: [`LogQueue`].
//!
//! The crate `tracing-appender` has such a queue, but bounds it in lines alone, and a line has no
//! maximum size. Here memory is bounded in bytes.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

use crate::limits::{lock, log_lines};

/// Maximum bytes that wait to be written. While they are written as many can wait again.
const CAPACITY: usize = 1 << 20;

/// How long the end of the program waits for the reader of the log.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Interval between attempts if standard error is a pipe that does not block.
const RETRY: Duration = Duration::from_millis(20);

/// A bounded queue of log lines, and a thread that writes them.
///
/// Lines that do not fit are dropped and counted, so a log that is not read never blocks the
/// server. Once lines are written again, a line says how many were dropped.
#[derive(Clone, Debug)]
pub(super) struct LogQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the thread when lines wait.
    waiting: Condvar,
    /// Wakes [`LogQueue::flush`] when all lines are written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    is_writing: bool,
    /// Lines dropped since the log last said so.
    dropped: u64,
}

impl LogQueue {
    /// Starts the thread, which writes to `output` as long as the program runs.
    pub(super) fn start(mut output: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Self { shared: Arc::default() };
        let Self { shared } = queue.clone();
        let write = move || {
            loop {
                let lines = shared.next();
                let outcome = write_all(&mut output, &lines);
                shared.finish(outcome.is_ok(), &lines);
            }
        };
        thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok(queue)
    }

    /// Appends a line, or drops it if the queue is full. Never blocks.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = lock(&self.shared.state);
        if state.lines.len() + line.len() > CAPACITY {
            state.dropped += 1;
            log_lines::count_dropped(1);
            return;
        }
        state.lines.extend_from_slice(line);
        self.shared.waiting.notify_one();
    }

    /// Waits until all lines are written, or for [`FLUSH_TIMEOUT`].
    pub(super) fn flush(&self) {
        let state = lock(&self.shared.state);
        let is_busy = |state: &mut State| state.is_writing || !state.lines.is_empty();
        drop(self.shared.written.wait_timeout_while(state, FLUSH_TIMEOUT, is_busy));
    }
}

impl Shared {
    /// Waits for lines and takes all of them.
    fn next(&self) -> Vec<u8> {
        let mut state = lock(&self.state);
        while state.lines.is_empty() {
            state = self.waiting.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        state.is_writing = true;
        std::mem::take(&mut state.lines)
    }

    /// Notes that lines are written or lost, and says how many were dropped before.
    fn finish(&self, is_written: bool, lines: &[u8]) {
        let dropped = {
            let mut state = lock(&self.state);
            state.is_writing = false;
            self.written.notify_all();
            // If nothing reads the log, a line about that would be lost as well, again and again.
            if is_written { std::mem::take(&mut state.dropped) } else { 0 }
        };
        if !is_written {
            log_lines::count_dropped(lines.iter().filter(|byte| **byte == b'\n').count() as u64);
        }
        if dropped > 0 {
            tracing::warn!(dropped, "log lines were dropped; what reads the log was too slow");
        }
    }
}

/// Writes all bytes, also to a pipe that does not block.
fn write_all(output: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Takes one line with each write, as the formatter of `tracing-subscriber` writes them.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Instant};

    use super::*;

    /// Takes what is written once the test lets it.
    struct Output {
        gate: mpsc::Receiver<()>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.gate.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.taken.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn full_log_queue_drops_lines_and_does_not_block() {
        let (open, gate) = mpsc::channel();
        let (taken, written) = mpsc::channel();
        let queue = LogQueue::start(Output { gate, taken }).unwrap();
        let before = log_lines::dropped();
        queue.push(b"first\n");
        while !lock(&queue.shared.state).is_writing {
            thread::yield_now();
        }
        let line = [b'x'; 1_024];
        let room = CAPACITY / line.len();
        for _ in 0..2 * room {
            queue.push(&line);
        }
        let (waiting, dropped) = {
            let state = lock(&queue.shared.state);
            (state.lines.len(), state.dropped)
        };
        assert_eq!((waiting, dropped), (CAPACITY, room as u64));
        assert!(log_lines::dropped() - before >= dropped);

        let began = Instant::now();
        queue.flush();
        assert!(began.elapsed() >= FLUSH_TIMEOUT, "nothing reads");
        for bytes in [6, CAPACITY] {
            open.send(()).unwrap();
            assert_eq!(written.recv().unwrap().len(), bytes);
        }
        queue.flush();
        assert_eq!(lock(&queue.shared.state).dropped, 0, "told");
    }
}
