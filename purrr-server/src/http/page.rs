//! The web client, embedded in the program.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::LazyLock,
};

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH,
            REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use include_dir::{Dir, include_dir};

use crate::{
    config::{BasePath, Config, Network, Origin},
    net::{
        authority::{Authority, forwarded_hosts},
        client_address::is_from_proxy,
    },
};

static WEB: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/web");

/// The content security policy: only files of this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' blob: data:; connect-src 'self'; font-src 'self'; \
                      manifest-src 'self'; base-uri 'self'; form-action 'none'; \
                      frame-ancestors ";

/// The path that a proxy has stripped.
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// The scheme by which the client asked a proxy.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The header that lets a service worker, which is an asset, control the page.
const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");

/// What the operator says on the page, as a part of its HTML.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    title: String,
    /// The contents of `<meta name="purrr-site">`.
    details: String,
    base_path: BasePath,
    trusted_proxies: Vec<Network>,
    policy: HeaderValue,
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
        Self {
            title: escape(&config.page_title),
            details: escape(&details.to_string()),
            base_path: config.base_path.clone(),
            trusted_proxies: config.trusted_proxy.clone(),
            policy: policy(&config.frame_ancestor),
        }
    }

    /// Returns the base of the page's links, for a request of the page at `path`.
    ///
    /// Relative, so that a proxy may strip a path, unless the path that browsers see is known.
    fn base(&self, path: &str, request: &Request) -> String {
        if !self.base_path.as_str().is_empty() {
            return self.base_path.to_string();
        }
        let forwarded = request.headers().get(X_FORWARDED_PREFIX);
        let forwarded = forwarded.filter(|_| is_from_proxy(request, &self.trusted_proxies));
        let forwarded = forwarded.and_then(|prefix| prefix.to_str().ok()?.parse::<BasePath>().ok());
        match (forwarded, path.rsplit('/').next()) {
            (Some(prefix), _) if !prefix.as_str().is_empty() => {
                let path = path.trim_matches('/');
                let slash = if path.is_empty() { "" } else { "/" };
                format!("{prefix}{path}{slash}")
            }
            (_, Some(last)) if !last.is_empty() => format!("./{last}/"),
            _ => "./".to_owned(),
        }
    }

    /// Returns the whole address of the page, or nothing without a valid `Host`.
    ///
    /// A site that shows a preview of a link takes the image of an absolute address only.
    fn address(&self, path: &str, base: &str, request: &Request) -> String {
        let headers = request.headers();
        let is_from_proxy = is_from_proxy(request, &self.trusted_proxies);
        let named = || match request.uri().authority() {
            Some(authority) => Authority::parse(authority.as_str()),
            None => Authority::parse(headers.get(HOST)?.to_str().ok()?),
        };
        let forwarded = is_from_proxy.then(|| forwarded_hosts(headers).next()).flatten();
        let Some(host) = forwarded.or_else(named) else { return String::new() };
        let proto = headers.get(X_FORWARDED_PROTO).filter(|_| is_from_proxy);
        let scheme = if proto.is_some_and(|proto| proto == "https") { "https" } else { "http" };
        let folder = path.rfind('/').map_or("/", |slash| &path[..=slash]);
        match base.strip_prefix("./") {
            Some(below) => format!("{scheme}://{host}{folder}{below}"),
            None => format!("{scheme}://{host}{base}"),
        }
    }
}

/// Returns the page as a browser sees it at `path`.
pub(crate) fn index(site: &Site, path: &str, request: &Request) -> Response {
    let headers = request.headers();
    let base = site.base(path, request);
    let address = site.address(path, &base, request);
    let Some(page) = WEB.get_file("index.html").and_then(|file| file.contents_utf8()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Site { title, details, policy, .. } = site;
    let tag = tag(&(digest("index.html"), &base, &address, title, details));
    let page = || {
        let (base, address) = (escape(&base), escape(&address));
        let page = page
            .replace("<base href=\"./\">", &format!("<base href=\"{base}\">"))
            .replace("<title>purrr</title>", &format!("<title>{title}</title>"))
            .replace("og:title\" content=\"purrr\"", &format!("og:title\" content=\"{title}\""))
            .replace("og:image\" content=\"", &format!("og:image\" content=\"{address}"))
            .replace("purrr-site\" content=\"{}\"", &format!("purrr-site\" content=\"{details}\""));
        Body::from(page)
    };
    with_headers("text/html; charset=utf-8", policy.clone(), tag, headers, page)
}

/// Returns the content security policy of a page that these sites may show in a frame.
fn policy(frame_ancestors: &[Origin]) -> HeaderValue {
    let sites: Vec<_> = frame_ancestors.iter().map(Origin::as_str).collect();
    let sites = if sites.is_empty() { "'none'".to_owned() } else { sites.join(" ") };
    HeaderValue::try_from(format!("{POLICY}{sites}")).expect("an origin is plain ASCII")
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
            let body = || Body::from(file.contents());
            with_headers(content_type, policy(&[]), tag(&digest(name)), headers, body)
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Returns the response with its headers, or 304 if the client has this version.
fn with_headers(
    content_type: &'static str,
    policy: HeaderValue,
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
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        // A page of files from two versions would break. Revalidation costs next to nothing.
        (CACHE_CONTROL, "no-cache"),
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
