//! What RFC 9110 and RFC 9112 ask of every route: [`apply`].

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderValue, Method, StatusCode, Version,
        header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::net::authority::Authority;

/// Refuses requests that break the rules of HTTP, and completes the answers to all others.
///
/// - `OPTIONS` is answered with `Allow` where the route has no answer of its own.
/// - An answer that is no asset must not be stored: a cache would give two clients one session.
pub(super) async fn apply(request: Request, next: Next) -> Response {
    let is_options = *request.method() == Method::OPTIONS;
    let mut response = match check(&request) {
        Ok(()) => next.run(request).await,
        Err(wrong) => (StatusCode::BAD_REQUEST, [(CONNECTION, "close")], wrong).into_response(),
    };
    if is_options && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        answer_options(&mut response);
    }
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().entry(CACHE_CONTROL).or_insert(no_store);
    response
}

/// Checks the target and `Host`.
fn check(request: &Request) -> Result<(), &'static str> {
    let uri = request.uri();
    let is_http_1 = request.version() <= Version::HTTP_11;
    // Only CONNECT has a target such as `livez` or `example.com:443` (RFC 9112, section 3.2.3).
    if is_http_1 && uri.authority().is_some() && uri.scheme().is_none() {
        return Err("the target must begin with `/` or `http://`\n");
    }
    // The target's authority counts in place of `Host`, so it must be as valid.
    if uri.authority().is_some_and(|authority| Authority::parse(authority.as_str()).is_none()) {
        return Err("the target must name a host and maybe a port\n");
    }
    if uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err("the target must begin with `/` or `http://`\n");
    }
    // RFC 9112, section 3.2.
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_11 => Err("`Host` is missing\n"),
        (None, _) => Ok(()),
        (Some(host), None) if is_valid(host) => Ok(()),
        (Some(_), None) => Err("`Host` must be a host and maybe a port\n"),
        (Some(_), Some(_)) => Err("send `Host` once\n"),
    }
}

/// Returns true for a host with or without a port. An empty host is valid.
fn is_valid(host: &HeaderValue) -> bool {
    host.is_empty() || host.to_str().is_ok_and(|host| Authority::parse(host).is_some())
}

/// Turns the refusal of `OPTIONS` into an answer: load balancers check with `OPTIONS / HTTP/1.0`.
fn answer_options(response: &mut Response) {
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.body_mut() = Body::empty();
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    headers.remove(CONTENT_LENGTH);
    // axum adds `Allow` only after this. Its routes here are all for GET, and so for HEAD.
    let allowed = headers.get(ALLOW).and_then(|allowed| allowed.to_str().ok());
    let all = format!("{}, OPTIONS", allowed.unwrap_or("GET, HEAD"));
    headers.insert(ALLOW, HeaderValue::try_from(all).expect("methods are ASCII"));
}
