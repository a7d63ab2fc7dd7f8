//! What a process and the whole machine have taken so far, as Linux accounts for it: [`Process`] and [`Machine`].

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

/// A process, this one or another.
#[derive(Debug)]
pub(crate) struct Process(PathBuf);

/// How long a tick of `/proc/PID/stat` is. User space is told hundredths of a second whatever the kernel counts in.
const TICK: Duration = Duration::from_millis(10);

impl Process {
    pub(crate) fn with_id(id: u32) -> Self {
        Self(format!("/proc/{id}").into())
    }

    pub(crate) fn own() -> Self {
        Self("/proc/self".into())
    }

    /// The time all its threads have been on a processor, in the program and in the kernel.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = self.read("stat")?;
        // The second field is the program's name in parentheses, which may hold anything.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let mut fields = fields.split(' ').skip(11).map(str::parse::<u32>);
        match (fields.next(), fields.next()) {
            (Some(Ok(user)), Some(Ok(kernel))) => Ok(TICK * (user + kernel)),
            _ => anyhow::bail!("{} is not as expected", self.0.join("stat").display()),
        }
    }

    /// Bytes of memory it holds.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let rollup = self.read("smaps_rollup")?;
        rollup
            .lines()
            .find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse().ok())
            .map(|kib: u64| kib * 1024)
            .with_context(|| format!("{} has no Rss", self.0.join("smaps_rollup").display()))
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        read(&self.0.join(file))
    }
}

/// Bytes of memory that are in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// In all: programs and kernel, without what only keeps copies of files.
    pub(crate) taken: u64,
    /// In the kernel's tables of small things, which is where sockets and descriptors are.
    pub(crate) slab: u64,
}

impl Machine {
    pub(crate) fn now() -> anyhow::Result<Self> {
        let path = Path::new("/proc/meminfo");
        let info = read(path)?;
        let bytes = |name: &str| {
            info.lines()
                .find_map(|line| {
                    line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix(" kB")
                })
                .and_then(|kib| kib.parse().ok())
                .map(|kib: u64| kib * 1024)
                .with_context(|| format!("{} has no {name}", path.display()))
        };
        let free = bytes("MemFree")? + bytes("Buffers")? + bytes("Cached")?;
        Ok(Self { taken: bytes("MemTotal")?.saturating_sub(free), slab: bytes("Slab")? })
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
