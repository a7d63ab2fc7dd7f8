//! Who a client is, as the app that nests the routes knows it: [`Identify`].

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::{
    extract::Request,
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytestring::ByteString;
use purrr_core::Profile;
use tokio::time::timeout;

/// Names the person behind a client, or refuses the client.
///
/// # Who implements it, who calls it
///
/// The app implements it, or passes an `async fn` or an `async` closure that captures nothing. The
/// routes call it once for each connection, on every front: before a WebSocket is upgraded, and
/// before a session of Socket.IO is opened. Later requests of a polling session are known by the
/// session's id, which cannot be guessed, and are not asked about again.
///
/// The head of the request has the extensions that the app's layers have set, such as the user of
/// a login.
///
/// # What is returned
///
/// - A [`Profile`]. [`Profile::person`] names the account: its blocks hold across reconnects and
///   dialects, and it is not matched with itself. A name in [`Profile::hello`] is the one that
///   partners read, whatever name the client says.
/// - An error is the answer to the client's request. No connection is opened then.
///
/// The gate of the profile is replaced. The allowance and the address are those of the client,
/// unless the profile has others.
///
/// # Limits
///
/// A call is made only for a client that was admitted, and holds its place among
/// [`Config::max_connections`](crate::Config::max_connections). So the rates of its address bound
/// how often a login is looked up. There is no timeout: the app bounds how long a call takes. A
/// call is dropped when its client goes.
///
/// # Examples
///
/// ```
/// use axum::{http::request::Parts, response::Response};
/// use purrr_core::{Profile, model::PersonId};
/// use purrr_server::Identify;
///
/// struct Accounts;
///
/// impl Identify for Accounts {
///     async fn identify(&self, parts: &Parts) -> Result<Profile, Response> {
///         let mut profile = Profile::default();
///         profile.person = parts.extensions.get::<u64>().map(|user| PersonId::from_bits(*user));
///         Ok(profile)
///     }
/// }
/// ```
pub trait Identify: Send + Sync + 'static {
    /// Returns what the app knows of the client that sent a request, or the app's refusal.
    fn identify(&self, parts: &Parts) -> impl Future<Output = Result<Profile, Response>> + Send;
}

/// An async function of a request's head.
///
/// The bound `AsyncFn` cannot say that the future may move to another thread.
#[doc(hidden)]
pub trait IdentifyFn<'a> {
    /// What the function returns.
    type Answer: Future<Output = Result<Profile, Response>> + Send + 'a;

    /// Calls the function.
    fn call(&self, parts: &'a Parts) -> Self::Answer;
}

/// The app's [`Identify`], or none.
#[derive(Clone)]
pub(crate) struct Identifier {
    app: Option<Arc<dyn DynIdentify>>,
    timeout: Duration,
}

/// How long a call may take.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// When a client that was not identified in time may try again, in seconds.
const RETRY_SECONDS: &str = "5";

/// What is known of a client when its session begins.
///
/// Sessions are generic over it, so that one without an app that knows it takes no memory for it.
pub(crate) trait Known: Send + 'static {
    /// Returns the name that the client has, whatever it says. `None` if it may say its own.
    fn name(&self) -> Option<ByteString>;

    /// Returns what the app knows of the client.
    fn into_profile(self) -> Profile;
}

/// A client of whom the app knows nothing.
#[derive(Debug)]
pub(crate) struct Anonymous;

/// A client whose profile the app gave. Boxed, since its session holds it until it ends.
#[derive(Debug)]
pub(crate) struct Identified(Box<Profile>);

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Profile, Response>> + Send + 'a>>;

trait DynIdentify: Send + Sync {
    fn identify<'a>(&'a self, parts: &'a Parts) -> Answer<'a>;
}

impl<'a, F, A> IdentifyFn<'a> for F
where
    F: Fn(&'a Parts) -> A,
    A: Future<Output = Result<Profile, Response>> + Send + 'a,
{
    type Answer = A;

    fn call(&self, parts: &'a Parts) -> A {
        self(parts)
    }
}

impl<F> Identify for F
where
    F: for<'a> IdentifyFn<'a> + Send + Sync + 'static,
{
    fn identify(&self, parts: &Parts) -> impl Future<Output = Result<Profile, Response>> + Send {
        self.call(parts)
    }
}

impl<I: Identify> DynIdentify for I {
    fn identify<'a>(&'a self, parts: &'a Parts) -> Answer<'a> {
        Box::pin(Identify::identify(self, parts))
    }
}

impl Identifier {
    pub(crate) fn set_app(&mut self, identify: impl Identify) {
        self.app = Some(Arc::new(identify));
    }

    pub(crate) const fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Returns the profile that the app gives to the sender of a request. `None` without an app
    /// that does.
    pub(crate) async fn identify(
        &self,
        request: &mut Request,
    ) -> Result<Option<Identified>, Response> {
        let Some(app) = &self.app else { return Ok(None) };
        // The body is no `Sync`, so a future could not borrow the whole request.
        let (parts, body) = std::mem::take(request).into_parts();
        let identified = timeout(self.timeout, app.identify(&parts)).await;
        *request = Request::from_parts(parts, body);
        let profile = identified.unwrap_or_else(|_| {
            tracing::warn!(after = ?self.timeout, "the app did not identify a client in time");
            let headers = [(header::RETRY_AFTER, RETRY_SECONDS)];
            let text = "the login takes too long; try again later\n";
            Err((StatusCode::SERVICE_UNAVAILABLE, headers, text).into_response())
        });
        profile.map(|profile| Some(Identified(Box::new(profile))))
    }
}

impl Default for Identifier {
    fn default() -> Self {
        Self { app: None, timeout: DEFAULT_TIMEOUT }
    }
}

impl Known for Anonymous {
    fn name(&self) -> Option<ByteString> {
        None
    }

    fn into_profile(self) -> Profile {
        Profile::default()
    }
}

impl Known for Identified {
    fn name(&self) -> Option<ByteString> {
        self.0.hello.name.clone()
    }

    fn into_profile(self) -> Profile {
        *self.0
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.app.is_some() { "identified by the app" } else { "not identified" })
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn identify_timeout_is_answered_503() {
        let mut identifier = Identifier::default();
        identifier.set_app(async |_: &Parts| pending().await);
        for seconds in [DEFAULT_TIMEOUT.as_secs(), 2] {
            identifier.set_timeout(Duration::from_secs(seconds));
            let began = tokio::time::Instant::now();
            let answer = identifier.identify(&mut Request::default()).await.err();
            let answer = answer.expect("an answer in the app's stead");
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.headers()[header::RETRY_AFTER], RETRY_SECONDS);
            assert_eq!(began.elapsed().as_secs(), seconds);
        }
    }
}
