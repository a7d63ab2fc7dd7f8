//! What Linux knows of a process: [`Process`].
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{fs, time::Duration};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) const fn new(id: u32) -> Self {
        Self(id)
    }

    /// This one.
    pub(crate) fn own() -> Self {
        Self(std::process::id())
    }

    /// Bytes that it holds in memory.
    pub(crate) fn resident(self) -> usize {
        self.status("VmRSS:")
    }

    /// The most that it has held since [`forget_peak`](Self::forget_peak).
    pub(crate) fn peak(self) -> usize {
        self.status("VmHWM:")
    }

    pub(crate) fn forget_peak(self) {
        fs::write(self.file("clear_refs"), "5").unwrap();
    }

    /// The processor time that it has taken, in steps of 10 ms.
    pub(crate) fn cpu(self) -> Duration {
        let stat = fs::read_to_string(self.file("stat")).unwrap();
        // The name before it may hold spaces.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// How many files and sockets it has open.
    pub(crate) fn descriptors(self) -> usize {
        fs::read_dir(self.file("fd")).unwrap().count()
    }

    fn status(self, name: &str) -> usize {
        let status = fs::read_to_string(self.file("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    fn file(self, name: &str) -> String {
        format!("/proc/{}/{name}", self.0)
    }
}
