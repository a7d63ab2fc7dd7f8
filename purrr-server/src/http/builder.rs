//! What an app can change of the routes: [`RouterBuilder`].

use std::{sync::Arc, time::Duration};

use axum::Router;
use purrr_core::{Hub, HubBuilder, Observer};

use super::{
    metrics::Metrics,
    origin::Origins,
    router::{Part, Routes, operations},
};
use crate::{
    config::Config,
    identify::{Identifier, Identify},
    limits::{connections::ConnectionLimiter, open::OpenConnections},
};

/// Returns all routes of the server, to serve at the root or to nest in any axum app.
///
/// Shorthand for a [`RouterBuilder`] of which only the configuration is set.
///
/// ```
/// use purrr_core::Hub;
/// use purrr_server::{Config, router};
///
/// let chat = router(Hub::memory(), Config::default());
/// let app: axum::Router = axum::Router::new().nest_service("/chat", chat);
/// # let _ = app;
/// ```
pub fn router<S>(hub: Hub, config: Config) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    RouterBuilder::new(hub).config(config).build().0
}

/// Builds the routes of the server, to serve at the root or to nest in any axum app.
///
/// It is made from a [`HubBuilder`], or from a [`Hub`] that the app uses elsewhere as well.
///
/// # Nesting
///
/// - [`Router::nest_service`] answers below a path and at the path itself, with and without a slash
///   at its end. [`Router::nest`] answers the same but for the path with the slash, for which axum
///   has no route: `/chat/` is 404 after `nest("/chat", …)`.
/// - The path may have parameters, as in `/rooms/{room}`. All of them share one hub.
/// - Limits per address need [`ConnectInfo`](axum::extract::ConnectInfo), so serve the app with
///   [`run`](crate::run), or with `into_make_service_with_connect_info::<SocketAddr>()`. Otherwise
///   only [`Config::max_connections`] holds.
/// - Over HTTP/2 the routes answer all but WebSockets, which begin with HTTP/1.1. Socket.IO clients
///   poll then.
///
/// # Examples
///
/// ```
/// use axum::{http::{StatusCode, request::Parts}, response::{IntoResponse, Response}};
/// use purrr_core::{Hub, Profile, model::PersonId};
/// use purrr_server::{Part, RouterBuilder};
///
/// /// The account that a layer of the app has found.
/// #[derive(Clone)]
/// struct Account(u64);
///
/// let (chat, handle) = RouterBuilder::new(Hub::builder())
///     .identify(async |parts: &Parts| {
///         let Some(Account(id)) = parts.extensions.get() else {
///             return Err(StatusCode::UNAUTHORIZED.into_response());
///         };
///         Ok(Profile::named("a member").person(PersonId::from_bits(*id)))
///     })
///     .without(Part::Operations)
///     .build();
/// let app: axum::Router = axum::Router::new().nest_service("/chat", chat);
/// assert_eq!(handle.hub().online(), 0);
/// # let _ = app;
/// ```
#[derive(Debug)]
pub struct RouterBuilder<H = HubBuilder> {
    hub: H,
    config: Config,
    identifier: Identifier,
    left_out: Vec<Part>,
}

/// What an app keeps of the routes that it nests. Clones are handles of the same routes.
#[derive(Clone, Debug)]
pub struct Handle {
    hub: Hub,
    limiter: Arc<ConnectionLimiter>,
    metrics: Metrics,
}

/// What a [`RouterBuilder`] is made from: a [`Hub`] or its [`HubBuilder`].
pub trait IntoHub {
    /// Returns the hub.
    fn into_hub(self) -> Hub;
}

impl IntoHub for Hub {
    fn into_hub(self) -> Hub {
        self
    }
}

impl IntoHub for HubBuilder {
    fn into_hub(self) -> Hub {
        self.build()
    }
}

impl RouterBuilder {
    /// Adds an observer to the hub, which hears what happens there. Several may be added.
    #[must_use]
    pub fn observe(mut self, observer: impl Observer) -> Self {
        self.hub = self.hub.observe(observer);
        self
    }
}

impl<H: IntoHub> RouterBuilder<H> {
    /// Creates the builder of all routes, with the default configuration.
    pub fn new(hub: H) -> Self {
        let (config, identifier) = (Config::default(), Identifier::default());
        Self { hub, config, identifier, left_out: Vec::new() }
    }

    /// Sets what the routes do and allow.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets who names the person behind a client, or refuses the client. See [`Identify`].
    #[must_use]
    pub fn identify(mut self, identify: impl Identify) -> Self {
        self.identifier.set_app(identify);
        self
    }

    /// Sets how long [`identify`](Self::identify) may take. Default: 10 s.
    ///
    /// A client that is not identified in time is answered 503, and may try again.
    #[must_use]
    pub fn identify_timeout(mut self, timeout: Duration) -> Self {
        self.identifier.set_timeout(timeout);
        self
    }

    /// Leaves a part of the routes out. Its paths are those of the app then.
    #[must_use]
    pub fn without(mut self, part: Part) -> Self {
        self.left_out.push(part);
        self
    }

    /// Builds the routes, and what the app keeps of them.
    pub fn build<S>(self) -> (Router<S>, Handle)
    where
        S: Clone + Send + Sync + 'static,
    {
        let Self { hub, config, identifier, left_out } = self;
        let hub = hub.into_hub();
        let limiter = Arc::new(ConnectionLimiter::new(&config, hub.limits().rates.clone()));
        let connections = OpenConnections::default();
        let origins = Arc::new(Origins::new(&config));
        let metrics = Metrics::new(
            hub.clone(),
            connections.clone(),
            Arc::clone(&limiter),
            Arc::clone(&origins),
        );
        let handle = Handle { hub, limiter, metrics };
        let Handle { hub, limiter, metrics } = handle.clone();
        let routes =
            Routes { hub, limiter, metrics, config, identifier, connections, origins, left_out };
        (routes.build(), handle)
    }
}

impl Handle {
    /// Returns the hub, for example to drain it.
    #[must_use]
    pub const fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Returns the metrics, to collect them in a registry of the app.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns the routes of [`Part::Operations`] alone, to serve them elsewhere.
    pub fn operations<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        operations(&self.hub, &self.limiter, &self.metrics)
    }

    pub(crate) const fn limiter(&self) -> &Arc<ConnectionLimiter> {
        &self.limiter
    }
}
