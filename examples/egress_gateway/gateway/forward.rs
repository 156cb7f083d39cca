//! One request on its way to an upstream, and the answer on its way back.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use tower_outbound::{mark::Deadline, token::TokenError};

use super::{
    admin, failure::Failure, guard::Guard, headers, marks, route::route, upstream::Upstream,
};

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) guard: Guard,
    pub(crate) upstreams: Vec<Upstream>,
}

pub(crate) async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let method = request.method().clone();
    let (upstream, answer) = match shared.admit(request) {
        Ok((upstream, request)) => (Some(upstream.label()), call(upstream, request).await),
        Err(failure) => (None, Err(failure)),
    };
    let response = answer.unwrap_or_else(Failure::into_response);
    admin::count(upstream, &method, response.status());
    response
}

impl Shared {
    /// The upstream that a request is for, and the request as it is sent there.
    fn admit(&self, mut request: Request) -> Result<(&Upstream, Request), Failure> {
        self.guard.check(&request)?;
        marks::read(&mut request)?;
        let (upstream, target) = route(&self.upstreams, request.uri())?;
        let uri = upstream.uri(target);
        *request.uri_mut() = uri.map_err(|error| Failure::bad_request(error.to_string()))?;
        headers::prepare_request(request.headers_mut());
        Ok((upstream, request))
    }
}

async fn call(upstream: &Upstream, request: Request) -> Result<Response, Failure> {
    let deadline = request.extensions().get().copied();
    let call = upstream.call(request);
    let response = match deadline.map(Deadline::instant) {
        // The layers heed it before they wait; this ends what is under way.
        Some(deadline) => tokio::time::timeout_at(deadline, call)
            .await
            .map_err(|_| Failure::deadline())?,
        None => call.await,
    };
    let response = response.map_err(|error| Failure::of(&error))?;
    // The program has no credentials of its own: a 401 would tell it nothing.
    if let Some(error) = TokenError::of(&response) {
        return Err(Failure::no_token(error));
    }
    let mut response = response.map(Body::new);
    headers::end_here(response.headers_mut());
    Ok(response)
}
