//! Random chat in an axum application, whose login decides who a person is.
//!
//! With an address as its argument it serves there until it is stopped. Without one it asks itself
//! for its pages, and opens a chat with a login and without.

use std::{error::Error, net::SocketAddr};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header::COOKIE, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use purrr_core::{Hub, Profile, model::PersonId};
use purrr_server::RouterBuilder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The account that the login of the application has found.
#[derive(Clone)]
struct Account {
    id: u64,
    name: &'static str,
}

/// The login of the application: a layer. Another one looks the cookie up in its sessions.
async fn login(mut request: Request, next: Next) -> Response {
    if request.headers().get(COOKIE).is_some_and(|cookie| cookie == "session=of-ann") {
        request.extensions_mut().insert(Account { id: 1, name: "Ann" });
    }
    next.run(request).await
}

/// Names the person behind a client of the chat. What a person blocks stays blocked.
async fn member(parts: &Parts) -> Result<Profile, Response> {
    let Some(Account { id, name }) = parts.extensions.get() else {
        return Err((StatusCode::UNAUTHORIZED, "log in first\n").into_response());
    };
    Ok(Profile::named(name).person(PersonId::from_bits(*id)))
}

fn app() -> Router {
    let (chat, _handle) = RouterBuilder::new(Hub::builder()).identify(member).build();
    Router::new()
        .route("/", get(|| async { "An app of one's own. The chat is at /chat/." }))
        .nest_service("/chat", chat)
        .layer(middleware::from_fn(login))
}

async fn serve(listener: TcpListener) -> std::io::Result<()> {
    // With the addresses of the clients, for the limits per address.
    axum::serve(listener, app().into_make_service_with_connect_info::<SocketAddr>()).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(address) = std::env::args().nth(1) {
        return Ok(serve(TcpListener::bind(address).await?).await?);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener));
    let (chat, ann) = ("/chat/socket.io/?EIO=4&transport=polling", "session=of-ann");
    for (path, cookie, wanted) in [
        ("/", "none=", "An app of one's own"),
        ("/chat", "none=", "<base href=\"./chat/\">"),
        ("/chat/", "none=", "<base href=\"./\">"),
        (chat, "none=", "401 Unauthorized"),
        (chat, ann, "\"sid\""),
    ] {
        show(address, path, cookie, wanted).await?;
    }
    Ok(())
}

/// Sends a request and checks the answer.
#[expect(clippy::print_stdout, reason = "an example shows what happens")]
async fn show(
    address: SocketAddr,
    path: &str,
    cookie: &str,
    wanted: &str,
) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if !answer.contains(wanted) {
        return Err(format!("{path} has no {wanted:?}:\n{answer}").into());
    }
    println!("GET {path} ({cookie}): {}", answer.lines().next().unwrap_or_default());
    Ok(())
}
