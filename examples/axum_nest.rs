//! Random chat added to an axum application of one's own, under a prefix.
//!
//! With an address as its argument it serves there until it is stopped. Without one it asks itself for its two pages.

use std::error::Error;

use axum::{Router, routing::get};
use purrr_core::Hub;
use purrr_server::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

fn app() -> Router {
    Router::new()
        .route("/", get(|| async { "An app of one's own. The chat is at /chat." }))
        .nest("/chat", purrr_server::router(Hub::memory(), Config::default()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(address) = std::env::args().nth(1) {
        return Ok(axum::serve(TcpListener::bind(address).await?, app()).await?);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app()).await });
    for (path, wanted) in [("/", "An app of one's own"), ("/chat", "<base href=\"/chat/\">")] {
        show(address, path, wanted).await?;
    }
    Ok(())
}

/// Fetches a page and tells whether it holds what it should.
#[expect(clippy::print_stdout, reason = "an example shows what happens")]
async fn show(
    address: std::net::SocketAddr,
    path: &str,
    wanted: &str,
) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    if !page.contains(wanted) {
        return Err(format!("{path} has no {wanted:?}:\n{page}").into());
    }
    println!("GET {path}: {}", page.lines().next().unwrap_or_default());
    Ok(())
}
