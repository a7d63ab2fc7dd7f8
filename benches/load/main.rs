//! The load generator: pairs people through a real server, lets them talk, and says what that cost the server.
//!
//! One thread, one epoll, framing by hand: it must cost less than what it measures, and prints what
//! it cost itself. Every message is checked byte for byte and in order, so a run that ends well has
//! lost, altered and reordered nothing.

mod args;
mod crowd;
mod dialect;
mod link;
mod mode;
mod process;
mod report;
mod script;
mod server;
mod talk;

use std::{io::Write, process::ExitCode};

use args::{Args, DialectName};
use clap::Parser;
use dialect::{Native, PurrrChat, Raw};
use report::Report;
use server::Server;

fn main() -> ExitCode {
    let args = Args::parse();
    let mut report = Report::default();
    let text = |report: Report| if args.json { report.json() } else { report.text() };
    let shown = match run(&args, &mut report) {
        Ok(()) => std::io::stdout().write_all(text(report).as_bytes()).map_err(Into::into),
        Err(error) => {
            eprint!("{}", report.text());
            Err(error)
        }
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let server = Server::find(args)?;
    match args.dialect {
        DialectName::Native => mode::run::<Native>(args, &server, report),
        DialectName::PurrrChat => mode::run::<PurrrChat>(args, &server, report),
        DialectName::Raw => mode::run::<Raw>(args, &server, report),
    }
}
