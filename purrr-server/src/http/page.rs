//! The web client, embedded in the program.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::LazyLock,
};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
            REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use include_dir::{Dir, include_dir};

use crate::config::Config;

static WEB: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/web");

/// The content security policy: only files of this server, and no framing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' blob: data:; connect-src 'self'; font-src 'self'; \
                      manifest-src 'self'; base-uri 'self'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The header that lets a service worker, which is an asset, control the page.
const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");

/// What the operator says on the page, as a part of its HTML.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    title: String,
    /// The contents of `<meta name="purrr-site">`.
    details: String,
}

impl Site {
    pub(crate) fn new(config: &Config) -> Self {
        let details = serde_json::json!({
            "title": config.page_title,
            "notice": config.page_notice,
            "termsUrl": config.terms_url.as_str(),
            "privacyUrl": config.privacy_url.as_str(),
            "contactUrl": config.contact_url.as_str(),
            "minimumAge": config.minimum_age,
        });
        Self { title: escape(&config.page_title), details: escape(&details.to_string()) }
    }
}

/// Returns the page for a server that is mounted at `prefix`, which ends in a slash.
pub(crate) fn index(site: &Site, prefix: &str, headers: &HeaderMap) -> Response {
    let Some(page) = WEB.get_file("index.html").and_then(|file| file.contents_utf8()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Site { title, details } = site;
    let tag = tag(&(digest("index.html"), prefix, title, details));
    let page = || {
        let prefix = escape(prefix);
        let page = page
            .replace("<base href=\"./\">", &format!("<base href=\"{prefix}\">"))
            .replace("<title>purrr</title>", &format!("<title>{title}</title>"))
            .replace("og:title\" content=\"purrr\"", &format!("og:title\" content=\"{title}\""))
            .replace("purrr-site\" content=\"{}\"", &format!("purrr-site\" content=\"{details}\""));
        Body::from(page)
    };
    with_headers("text/html; charset=utf-8", tag, headers, page)
}

/// Escapes a text for an attribute in double quotes, or between tags.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

/// Returns a file of the page, or 404.
pub(crate) fn asset(name: &str, headers: &HeaderMap) -> Response {
    let content_type = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        Some("webmanifest") => "application/manifest+json",
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    match WEB.get_file(name) {
        Some(file) => {
            with_headers(content_type, tag(&digest(name)), headers, || Body::from(file.contents()))
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Returns the response with its headers, or 304 if the client has this version.
fn with_headers(
    content_type: &'static str,
    tag: HeaderValue,
    headers: &HeaderMap,
    body: impl FnOnce() -> Body,
) -> Response {
    let mut response = if is_current(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(body());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    };
    response.headers_mut().insert(ETAG, tag);
    for (name, value) in [
        // A page of files from two versions would break. Revalidation costs next to nothing.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (SERVICE_WORKER_ALLOWED, "../"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Returns true if the client has this version, by RFC 9110, section 13.1.2.
fn is_current(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|found| found == "*" || found.strip_prefix("W/").unwrap_or(found) == tag)
}

/// Returns a digest of a file. Each file is hashed once.
fn digest(name: &str) -> Option<u64> {
    static DIGESTS: LazyLock<HashMap<&Path, u64>> = LazyLock::new(|| {
        let folders = WEB.dirs().flat_map(Dir::files);
        WEB.files().chain(folders).map(|file| (file.path(), hash(file.contents()))).collect()
    });
    DIGESTS.get(Path::new(name)).copied()
}

fn tag(version: &impl Hash) -> HeaderValue {
    HeaderValue::try_from(format!("\"{:016x}\"", hash(version))).expect("hex digits are ASCII")
}

/// Returns the same hash in all processes of one version, which may share an address.
fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
