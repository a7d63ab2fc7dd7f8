//! Probes of readiness and health.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use purrr_core::Hub;
use serde_json::json;

/// Returns 200 while the server takes clients: `/readyz`.
pub(crate) async fn ready(State(hub): State<Hub>) -> (StatusCode, &'static str) {
    if hub.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match hub.census().await {
        Ok(_) => (StatusCode::OK, "ready\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the lobby cannot be reached\n"),
    }
}

/// Returns how many peers are online, waiting and in chats: `/healthz`.
pub(crate) async fn health(State(hub): State<Hub>) -> Response {
    let Ok(census) = hub.census().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "unavailable"})))
            .into_response();
    };
    let status = if hub.is_draining() { "draining" } else { "ok" };
    Json(json!({
        "status": status,
        "online": hub.online(),
        "waiting": census.waiting,
        "pairs": census.pairs,
    }))
    .into_response()
}
