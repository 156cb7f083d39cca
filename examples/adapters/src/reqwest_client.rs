//! reqwest: its client below the layers, its builders above them.
//!
//! A call site changes in one word, `send_through` for `send`:
//!
//! ```no_run
//! # use adapters::reqwest_client::{Api, SendThrough};
//! # async fn call(client: reqwest::Client, api: Api) -> Result<(), tower::BoxError> {
//! let request = client.get("https://api.example.com/users").query(&[("page", "1")]);
//! let response = request.send_through(&api).await?.error_for_status()?;
//! # drop(response);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/reqwest_client.rs` has the whole of it. A mark (`ReplaySafe`, `Deadline`) needs the
//! request that `build` makes, as an [`http::Request`]: reqwest's builder takes none. What stays
//! reqwest's: proxies, TLS, default headers, cookies, and timeouts, each of which is for one
//! attempt.
//!
//! Build the client with `redirect(Policy::none())`. reqwest would follow redirects below the
//! layers: from the token endpoint with the client's secret, and from the API with a token in a
//! header of its own (`x-api-key`). To follow those of an API, put tower-http's
//! `FollowRedirectLayer` on top.

use http::{Request, Response};
use reqwest::{Body, Client, RequestBuilder, ResponseBuilderExt};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};

/// A stack of layers over reqwest's client, for a field or a handler's state.
pub type Api = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// reqwest's client as a service of `http`'s types: what a token endpoint asks through, and what
/// stands at the bottom of a stack.
pub fn http_service(
    client: Client,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    ServiceBuilder::new()
        .map_response(with_url)
        .filter(|request: Request<Body>| reqwest::Request::try_from(request))
        .service(client)
}

/// reqwest leaves the URL behind, which `Response::url` and the error of `error_for_status` tell.
fn with_url(response: reqwest::Response) -> Response<Body> {
    let url = http::response::Builder::new().url(response.url().clone());
    let mut response = Response::from(response);
    if let Some(url) = url.extensions_ref() {
        response.extensions_mut().extend(url.clone());
    }
    response
}

/// The end of a chain of reqwest's builder methods.
pub trait SendThrough {
    /// Sends the request through the layers, as `send` does without them.
    fn send_through(
        self,
        api: &Api,
    ) -> impl Future<Output = Result<reqwest::Response, BoxError>> + Send;
}

impl SendThrough for RequestBuilder {
    async fn send_through(self, api: &Api) -> Result<reqwest::Response, BoxError> {
        let request: Request<Body> = self.build()?.try_into()?;
        Ok(api.clone().oneshot(request).await?.into())
    }
}
