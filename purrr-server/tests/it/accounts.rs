//! An app with accounts: its layer finds the account, and `identify` names the person.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::{RawPathParams, Request},
    http::{StatusCode, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use purrr_core::{Profile, model::PersonId};
use purrr_server::{Guards, Identify, RouterBuilder, ServerConfig};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    nested::Polling,
    support::{Peer, Server, UPGRADE, raw, soon},
};

/// The account that the app's layer has found.
#[derive(Clone)]
struct Account(u64);

/// Finds the account in the path, as another app would in a cookie. Account 0 is not logged in.
async fn login(params: RawPathParams, mut request: Request, next: Next) -> Response {
    let account = params.iter().find(|(name, _)| *name == "account");
    if let Some(account @ 1..) = account.and_then(|(_, account)| account.parse().ok()) {
        request.extensions_mut().insert(Account(account));
    }
    next.run(request).await
}

async fn member(parts: &Parts) -> Result<Profile, Response> {
    let Some(Account(account)) = parts.extensions.get() else {
        return Err((StatusCode::UNAUTHORIZED, "log in first\n").into_response());
    };
    tokio::task::yield_now().await;
    let profile = Profile::named(&format!("member {account}"));
    let profile = profile.person(PersonId::from_bits(*account));
    // A block that a store of the app remembers.
    let blocked = (*account == 4).then_some(PersonId::from_bits(5));
    Ok(profile.blocking(blocked))
}

async fn serve(identify: impl Identify) -> Server {
    let mut config = ServerConfig::default();
    config.limits.recent_partners = 0;
    let builder = RouterBuilder::new(config.hub()).config(config.routes);
    let (chat, handle) = builder.identify(identify).build();
    let app = Router::new().nest("/as/{account}", chat.layer(middleware::from_fn(login)));
    Server::serve(app, handle, Guards::default()).await
}

/// The ways to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Front {
    Native,
    WebSocket,
    Polling,
}

const FRONTS: [Front; 3] = [Front::Native, Front::WebSocket, Front::Polling];

enum Client {
    Native(Peer),
    /// Socket.IO over a WebSocket.
    WebSocket(Peer),
    Polling(Polling),
}

impl Front {
    fn path(self, account: u64) -> String {
        let path = match self {
            Self::Native => "/ws",
            Self::WebSocket => "/socket.io/?EIO=4&transport=websocket",
            Self::Polling => "/socket.io/?EIO=4&transport=polling",
        };
        format!("/as/{account}{path}")
    }

    /// Connects as an account, and says another name than the account has.
    async fn connect(self, address: SocketAddr, account: u64) -> Client {
        let path = self.path(account);
        match self {
            Self::Native => {
                let (mut peer, _) = Peer::connect_at(address, &path, "native", None).await;
                peer.gets_type("welcome").await;
                peer.send(r#"{"type":"hello","name":"Eve"}"#).await;
                Client::Native(peer)
            }
            Self::WebSocket => {
                let (mut peer, _) = Peer::connect_at(address, &path, "socket", None).await;
                assert!(peer.text().await.starts_with("0{"));
                peer.send("40").await;
                assert!(peer.text().await.starts_with("40{"));
                peer.send(r#"42["init_user",{"name":"Eve"}]"#).await;
                Client::WebSocket(peer)
            }
            Self::Polling => {
                let polling = Polling::connect(address, &format!("/as/{account}")).await;
                polling.send(r#"42["init_user",{"name":"Eve"}]"#).await;
                Client::Polling(polling)
            }
        }
    }
}

impl Client {
    async fn finds(&mut self) {
        match self {
            Self::Native(peer) => peer.finds().await,
            Self::WebSocket(peer) => {
                peer.send(r#"42["find_partner"]"#).await;
                peer.gets(r#"42["waiting"]"#).await;
            }
            Self::Polling(polling) => {
                polling.send(r#"42["find_partner"]"#).await;
                polling.gets(&[r#"42["waiting"]"#]).await;
            }
        }
    }

    async fn is_matched_with(&mut self, account: u64) {
        let packet =
            format!(r#"42["matched",{{"partnerName":"member {account}","partnerPk":""}}]"#);
        match self {
            Self::Native(peer) => {
                peer.gets_matched(&format!(r#"{{"name":"member {account}"}}"#), "[]").await;
            }
            Self::WebSocket(peer) => peer.gets(packet).await,
            Self::Polling(polling) => polling.gets(&[&packet]).await,
        }
    }

    /// Leaves the server as a client does that closes its window.
    async fn leaves(self) {
        match self {
            Self::Native(mut peer) | Self::WebSocket(mut peer) => {
                peer.feed(Message::Close(None)).await;
            }
            Self::Polling(polling) => polling.send("1").await,
        }
    }
}

async fn until_online(server: &Server, online: u64) {
    let change = async {
        while server.hub.online() != online {
            tokio::task::yield_now().await;
        }
    };
    soon("the clients to come and go", change).await;
}

#[tokio::test]
async fn block_of_account_holds_across_reconnects_and_dialects() {
    let server = serve(member).await;
    let (Client::Native(mut ann), Client::Native(mut bob)) = (
        Front::Native.connect(server.address, 1).await,
        Front::Native.connect(server.address, 2).await,
    ) else {
        unreachable!("both are native");
    };
    ann.finds().await;
    bob.finds().await;
    ann.gets_matched(r#"{"name":"member 2"}"#, "[]").await;
    bob.gets_matched(r#"{"name":"member 1"}"#, "[]").await;
    ann.send(r#"{"type":"block"}"#).await;
    ann.gets(r#"{"type":"idle"}"#).await;
    Client::Native(ann).leaves().await;
    Client::Native(bob).leaves().await;
    until_online(&server, 0).await;

    for (first, second) in FRONTS.into_iter().flat_map(|front| FRONTS.map(|other| (front, other))) {
        let mut ann = first.connect(server.address, 1).await;
        let mut bob = second.connect(server.address, 2).await;
        ann.finds().await;
        bob.finds().await;
        let waiting = server.hub.census().await.unwrap().waiting;
        assert_eq!(waiting, 2, "{first:?}, {second:?}: a blocked account was met again");
        // Another account is met, so the two did search.
        let mut cid = second.connect(server.address, 3).await;
        cid.finds().await;
        ann.is_matched_with(3).await;
        cid.is_matched_with(1).await;
        for client in [ann, bob, cid] {
            client.leaves().await;
        }
        until_online(&server, 0).await;
    }
}

#[tokio::test]
async fn account_meets_neither_itself_nor_whom_the_app_has_stored_as_blocked() {
    let server = serve(member).await;
    let fronts = [(Front::Native, Front::Polling), (Front::WebSocket, Front::Native)];
    for ((first, second), (one, two)) in
        fronts.into_iter().flat_map(|fronts| [(1, 1), (4, 5), (5, 4)].map(|two| (fronts, two)))
    {
        let mut ann = first.connect(server.address, one).await;
        let mut other = second.connect(server.address, two).await;
        ann.finds().await;
        other.finds().await;
        let waiting = server.hub.census().await.unwrap().waiting;
        assert_eq!(waiting, 2, "{one} by {first:?}, {two} by {second:?}");
        ann.leaves().await;
        other.leaves().await;
        until_online(&server, 0).await;
    }
}

#[tokio::test]
async fn refused_login_gets_the_apps_answer_on_every_front() {
    let server = serve(member).await;
    for front in FRONTS {
        let path = front.path(0);
        let lines = if front == Front::Polling { String::new() } else { UPGRADE.join("\r\n") };
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n");
        let answer = raw(server.address, request).await;
        assert_eq!((answer.status, &*answer.body), (401, "log in first\n"), "{front:?}");
    }
    assert_eq!(server.hub.stats().arrivals, 0);
    // The page needs no login.
    let page = raw(server.address, "GET /as/0 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(page.status, 200);
}

/// A login that hangs holds a connection for as long as the app says, and no longer.
#[tokio::test]
async fn identify_timeout_frees_connection_on_every_front() {
    let builder = RouterBuilder::new(ServerConfig::default().hub());
    let builder = builder.identify_timeout(Duration::from_millis(20));
    let (chat, handle) = builder.identify(async |_: &Parts| std::future::pending().await).build();
    let app = Router::new().nest("/as/{account}", chat);
    let server = Server::serve(app, handle, Guards::default()).await;
    for front in FRONTS {
        let path = front.path(0);
        let lines = if front == Front::Polling { String::new() } else { UPGRADE.join("\r\n") };
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n");
        let answer = soon("the answer", raw(server.address, request)).await;
        assert_eq!(answer.status, 503, "{front:?}");
    }
}

#[tokio::test]
async fn closure_and_type_can_identify() {
    struct Everyone(&'static str);
    impl Identify for Everyone {
        async fn identify(&self, _: &Parts) -> Result<Profile, Response> {
            Ok(Profile::named(self.0))
        }
    }
    let by_type = serve(Everyone("member 7")).await;
    let by_closure = serve(async |_: &Parts| Ok(Profile::named("member 7"))).await;
    for server in [by_type, by_closure] {
        let mut ann = Front::Native.connect(server.address, 1).await;
        let mut bob = Front::WebSocket.connect(server.address, 2).await;
        ann.finds().await;
        bob.finds().await;
        ann.is_matched_with(7).await;
        bob.is_matched_with(7).await;
    }
}
