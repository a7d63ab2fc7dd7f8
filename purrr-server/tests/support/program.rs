//! The program itself, as a process of its own.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{net::SocketAddr, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr, Command},
};

use super::soon;

/// The program, without what this process's environment would tell it.
pub(crate) fn program(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_purrr-server"));
    for (name, _) in std::env::vars_os() {
        if matches!(name.to_str(), Some("PORT" | "HOST_URL"))
            || name.to_string_lossy().starts_with("PURRR_")
        {
            command.env_remove(name);
        }
    }
    command.args(arguments).envs(variables.iter().copied()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A program behind a script of `sh`, in which `"$0"` and `"$@"` are the program and its arguments.
pub(crate) fn in_shell(script: &str, program: &Command) -> Command {
    let program = program.as_std();
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    shell
}

const SERVING: [&str; 4] = ["--listen", "127.0.0.1:0", "--log-format", "json"];

/// The program, serving.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) log: BufReader<ChildStderr>,
    pub(crate) address: SocketAddr,
}

impl Running {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::spawn(program(&[&SERVING[..], arguments].concat(), &[])).await
    }

    /// The same, with no more files open at once than `files`.
    pub(crate) async fn start_with_files(arguments: &[&str], files: u32) -> Self {
        let program = program(&[&SERVING[..], arguments].concat(), &[]);
        let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        Self::spawn(in_shell(&limited, &program)).await
    }

    async fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            soon("the log", log.read_line(&mut line)).await.unwrap();
            assert!(!line.is_empty(), "the program ended instead of listening");
            let record = serde_json::from_str(&line);
            let record: serde_json::Value = record.unwrap_or_else(|_| panic!("{line}"));
            if record["fields"]["message"] == "listening" {
                assert_eq!(record["level"], "INFO");
                break record["fields"]["address"].as_str().unwrap().parse().unwrap();
            }
        };
        Self { child, log, address }
    }

    pub(crate) async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    /// Waits for its end; returns the exit status and the rest of the log.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        soon("the end of the log", self.log.read_to_string(&mut log)).await.unwrap();
        let status = soon("the program's end", self.child.wait()).await.unwrap();
        (status.code(), log)
    }
}

pub(crate) async fn signal(child: &Child, name: &str) {
    let pid = child.id().expect("it runs");
    let kill = format!("kill -{name} {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
}
