//! The opening handshake: [`upgrade`].

use std::future::Future;

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Version,
        header::{
            ALLOW, CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
            SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
        },
    },
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use tungstenite::handshake::derive_accept_key;

use super::socket::Socket;
use crate::limits::memory::Reservation;

/// Answers the handshake and runs `session` on the socket in a task of its own.
///
/// `protocol` is the subprotocol to agree to if the client offers it, `max_payload` the maximum
/// bytes of one message, and `reservation` what pays for large ones.
pub(crate) fn upgrade<F>(
    mut request: Request,
    protocol: Option<&'static str>,
    max_payload: usize,
    reservation: Reservation,
    session: impl FnOnce(Socket) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let accept = match accept_key(&request) {
        Ok(accept) => accept,
        Err(refusal) => return refusal.into_response(),
    };
    let agreed = protocol.filter(|wanted| offers(request.headers(), wanted));
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        // A task of its own: awaited here, each poll would go through one more future, which also
        // takes memory.
        tokio::spawn(session(Socket::new(upgraded, max_payload, reservation)));
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(agreed) = agreed {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(agreed));
    }
    response
}

/// A handshake that is refused, with the status and text of the answer.
struct Refusal(StatusCode, &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, why) = self;
        let mut response = (status, why).into_response();
        let (name, value) = match status {
            StatusCode::METHOD_NOT_ALLOWED => (ALLOW, "GET"),
            StatusCode::UPGRADE_REQUIRED => (SEC_WEBSOCKET_VERSION, "13"),
            // What follows on the connection may be a body, or frames.
            StatusCode::BAD_REQUEST => (CONNECTION, "close"),
            _ => return response,
        };
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        if status == StatusCode::UPGRADE_REQUIRED {
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        response
    }
}

fn accept_key(request: &Request) -> Result<HeaderValue, Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket begins with GET\n"));
    }
    if !lists(headers, &UPGRADE, "websocket") || request.version() != Version::HTTP_11 {
        return Err(Refusal(
            StatusCode::UPGRADE_REQUIRED,
            "this address speaks WebSocket: send `Upgrade: websocket` over HTTP/1.1\n",
        ));
    }
    if !lists(headers, &CONNECTION, "upgrade") {
        return Err(Refusal(StatusCode::BAD_REQUEST, "`Connection: Upgrade` is missing\n"));
    }
    // RFC 9110, section 7.8: a body comes before the upgrade. It must not be read as frames.
    if has_body(headers) {
        return Err(Refusal(StatusCode::BAD_REQUEST, "a WebSocket begins without a body\n"));
    }
    // RFC 6455, section 11.3.
    if [&SEC_WEBSOCKET_KEY, &SEC_WEBSOCKET_VERSION]
        .iter()
        .any(|name| headers.get_all(*name).iter().nth(1).is_some())
    {
        return Err(Refusal(
            StatusCode::BAD_REQUEST,
            "send `Sec-WebSocket-Key` and `Sec-WebSocket-Version` once each\n",
        ));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal(StatusCode::UPGRADE_REQUIRED, "this server speaks version 13\n"));
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .filter(|key| BASE64_STANDARD.decode(key).is_ok_and(|key| key.len() == 16))
        .ok_or(Refusal(
            StatusCode::BAD_REQUEST,
            "`Sec-WebSocket-Key` must be 16 bytes in base64\n",
        ))?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|_| Refusal(StatusCode::BAD_REQUEST, "`Sec-WebSocket-Key` cannot be answered\n"))
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

fn offers(headers: &HeaderMap, wanted: &str) -> bool {
    items(headers, &SEC_WEBSOCKET_PROTOCOL).any(|item| item == wanted)
}

fn lists(headers: &HeaderMap, name: &axum::http::HeaderName, wanted: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(wanted))
}

fn items<'a>(
    headers: &'a HeaderMap,
    name: &axum::http::HeaderName,
) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}
