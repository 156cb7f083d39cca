//! One request on its way to an upstream, and the answer on its way back.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use tower_outbound::{mark::Deadline, token::TokenError};

use super::{failure::Failure, guard::Guard, headers, marks, route::route, upstream::Upstream};

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) guard: Guard,
    pub(crate) upstreams: Vec<Upstream>,
}

pub(crate) async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match try_forward(&shared, request).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn try_forward(shared: &Shared, mut request: Request) -> Result<Response, Failure> {
    shared.guard.check(&request)?;
    marks::read(&mut request)?;
    let (upstream, target) = route(&shared.upstreams, request.uri())?;
    let uri = upstream.uri(target);
    *request.uri_mut() = uri.map_err(|error| Failure::bad_request(error.to_string()))?;
    headers::prepare_request(request.headers_mut());

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
