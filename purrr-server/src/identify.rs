//! Who a client is, as the app that nests the routes knows it: [`Identify`].

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use axum::{extract::Request, http::request::Parts, response::Response};
use bytestring::ByteString;
use purrr_core::Profile;

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
#[derive(Clone, Default)]
pub(crate) struct Identifier(Option<Arc<dyn DynIdentify>>);

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
    pub(crate) fn new(identify: impl Identify) -> Self {
        Self(Some(Arc::new(identify)))
    }

    /// Returns the profile that the app gives to the sender of a request. `None` without an app
    /// that does.
    ///
    pub(crate) async fn identify(
        &self,
        request: &mut Request,
    ) -> Result<Option<Identified>, Response> {
        let Some(identify) = &self.0 else { return Ok(None) };
        // The body is no `Sync`, so a future could not borrow the whole request.
        let (parts, body) = std::mem::take(request).into_parts();
        let profile = identify.identify(&parts).await;
        *request = Request::from_parts(parts, body);
        profile.map(|profile| Some(Identified(Box::new(profile))))
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
        f.write_str(if self.0.is_some() { "identified by the app" } else { "not identified" })
    }
}
