//! The page and what belongs to it, embedded in the program.

use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use include_dir::{Dir, include_dir};

static WEB: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/web");

/// Only what this server itself sends is run or shown, and nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                      connect-src 'self'; font-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

/// The page, for a server that is mounted at `prefix`, which ends in a slash.
pub(crate) fn index(prefix: &str) -> Response {
    let Some(page) = WEB.get_file("index.html").and_then(|file| file.contents_utf8()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let prefix = prefix.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let page = page.replace("<base href=\"./\">", &format!("<base href=\"{prefix}\">"));
    guarded("text/html; charset=utf-8", Body::from(page))
}

/// A file of the page, or 404.
pub(crate) fn asset(name: &str) -> Response {
    let content_type = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("webmanifest") => "application/manifest+json",
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    match WEB.get_file(name) {
        Some(file) => guarded(content_type, Body::from(file.contents())),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn guarded(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        // The files change only with the program, and a stale half of the page is worse than a request.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
