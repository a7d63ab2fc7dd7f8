//! purrr for more people than one table of descriptors holds: one hub, and several threads that each have a table, a
//! listener on the same port, and a runtime of their own.
//!
//! It takes the options of `purrr-server`, which serves just as many wherever `ulimit -n` lets it; for other ends than
//! measuring where it does not, raise that.

use std::{future::pending, io, net::SocketAddr, thread};

use anyhow::Context;
use benches::descriptors::{connections_per_table, own_table};
use purrr_core::Hub;
use purrr_server::{RouterBuilder, ServerConfig, cli::Cli};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};

/// Connections that wait to be accepted by one thread, at most.
const BACKLOG: i32 = 1024;

fn main() -> anyhow::Result<()> {
    let config = Cli::parse()?.settings.config;
    let tables = tables(config.routes.max_connections.get(), connections_per_table()?);
    // A runtime is woken by the others through a descriptor, so every table must have those of all.
    // They are opened before the first table is copied.
    let runtimes: Vec<_> = (0..tables).map(|_| runtime()).collect::<Result<_, _>>()?;
    let hub = config.hub();
    let threads: Vec<_> = runtimes
        .into_iter()
        .map(|runtime| {
            let (hub, config) = (hub.clone(), config.clone());
            thread::spawn(move || serve(&runtime, hub, config))
        })
        .collect();
    threads.into_iter().try_for_each(|thread| thread.join().expect("a server does not panic"))
}

fn serve(runtime: &Runtime, hub: Hub, config: ServerConfig) -> anyhow::Result<()> {
    own_table()?;
    runtime.block_on(async {
        let listener =
            listen(config.listen).with_context(|| format!("cannot listen on {}", config.listen))?;
        let (app, handle) = RouterBuilder::new(hub).config(config.routes).build();
        purrr_server::run(listener, app, handle, config.guards, pending()).await;
        Ok(())
    })
}

/// How many tables have room for everyone, though the system deals connections out to the listeners by chance.
fn tables(people: usize, room: usize) -> usize {
    // The share of one differs from the mean by more than six times its root once in hundreds of millions.
    let mean = room - 6 * room.isqrt().min(room / 12);
    people.div_ceil(mean)
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into())?)
}
