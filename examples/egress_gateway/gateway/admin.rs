//! What is there for those who run a gateway, on a listener of its own: it shadows no path of an upstream.

use std::sync::Arc;

use axum::{Router, extract::State, http::header, response::IntoResponse, routing};
use http::{Method, StatusCode};
use metrics::{counter, describe_counter};
use metrics_exporter_prometheus::PrometheusHandle;

use super::forward::Shared;

/// `/healthz`, and `/metrics` as Prometheus reads them.
pub(crate) fn routes(shared: Arc<Shared>, page: PrometheusHandle) -> Router {
    describe_counter!(REQUESTS, "Requests of programs that were answered");
    Router::new()
        .route("/healthz", routing::get(|| async { "ok\n" }))
        .route("/metrics", routing::get(metrics))
        .with_state((shared, page))
}

async fn metrics(
    State((shared, page)): State<(Arc<Shared>, PrometheusHandle)>,
) -> impl IntoResponse {
    for upstream in &shared.upstreams {
        upstream.sample();
    }
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        page.render(),
    )
}

/// Counts an answer. The labels have a handful of values, whatever programs send.
pub(crate) fn count(upstream: Option<&str>, method: &Method, status: StatusCode) {
    let known = METHODS.into_iter().find(|known| method == known);
    let method = known.unwrap_or("other");
    let status = match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    let upstream = upstream.unwrap_or("none").to_owned();
    counter!(REQUESTS, "upstream" => upstream, "method" => method, "status" => status).increment(1);
}

const REQUESTS: &str = "egress_gateway_requests_total";

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
