//! A Genesys Cloud on this machine: an authorization server and an API server to test against.
//!
//! ```
//! use http::Request;
//! use http_body_util::{BodyExt, Full};
//! use tower_outbound::test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, Reply};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let cloud = LoopbackCloud::builder().start().await?;
//! let http = cloud.client::<Full<bytes::Bytes>>();
//!
//! // The next call to this route is refused, whatever its token.
//! cloud.script(Listener::Api, "GET /api/v2/users", [Reply::too_many_requests(Some("1"))]);
//!
//! let form = format!("grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}");
//! let request = Request::post(cloud.token_url())
//!     .header("content-type", "application/x-www-form-urlencoded")
//!     .body(Full::from(form))?;
//! let reply = http.request(request).await?.into_body().collect().await?.to_bytes();
//! let reply: serde_json::Value = serde_json::from_slice(&reply)?;
//! let token = reply["access_token"].as_str().ok_or("no token")?;
//!
//! for status in [429, 200] {
//!     let request = Request::get(format!("{}/api/v2/users", cloud.api_url()))
//!         .header("authorization", format!("Bearer {token}"))
//!         .body(Full::default())?;
//!     assert_eq!(http.request(request).await?.status(), status);
//! }
//!
//! assert_eq!(cloud.mints(), 1);
//! assert_eq!(cloud.api_calls_to("GET /api/v2/users"), 2);
//! assert_eq!(cloud.log()[1].header("authorization"), Some(format!("Bearer {token}").as_str()));
//! # Ok(())
//! # }
//! ```
//!
//! It speaks HTTP/1.1 and behaves as the real service is documented and observed to: which error
//! comes with which body, what a throttled token endpoint says, how pages are linked. What the
//! real one does where nobody knows is a knob; see [`Knobs`].
//!
//! # Sockets or memory
//!
//! [`start`](LoopbackCloudBuilder::start) listens on two ports of 127.0.0.1 and any client can
//! talk to it. [`start_in_memory`](LoopbackCloudBuilder::start_in_memory) runs the same servers
//! over pipes, for tests under tokio's paused clock, which would jump while a socket is idle. Then
//! only [`LoopbackCloud::client`], or a client with [`LoopbackCloud::connector`], reaches them:
//!
//! ```
//! # use std::time::Duration;
//! # use http_body_util::Empty;
//! # use tower_outbound::test_util::LoopbackCloud;
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let cloud = LoopbackCloud::builder()
//!     .configure(|knobs| knobs.api_latency = Duration::from_secs(3600))
//!     .start_in_memory();
//! let http = cloud.client::<Empty<bytes::Bytes>>();
//! let reply = http.get(format!("{}/api/v2/users", cloud.api_url()).parse()?).await?;
//! assert_eq!(reply.status(), 401); // an hour later
//! # Ok(())
//! # }
//! ```
//!
//! # Order
//!
//! A request is logged when its head is there; then its body is read; then it waits at
//! [gates](LoopbackCloud::gate); then the oldest [scripted](LoopbackCloud::script) reply for it is
//! taken, or else the server makes up its own mind. The API asks for the token (401), the
//! permission (403), the quota (429) and the size (413), in this order, and then goes to the
//! route. All effects have happened now. Then come the latency, the reply's delay and the
//! [gates for answers](LoopbackCloud::gate_answers).
//!
//! # Routes
//!
//! | authorization server | |
//! |---|---|
//! | `POST /oauth/token` | grants `client_credentials`, `authorization_code`, `refresh_token`, SAML 2 bearer |
//! | `GET /.well-known/oauth-authorization-server` | metadata |
//!
//! | API server | |
//! |---|---|
//! | `GET HEAD DELETE /api/v2/tokens/me` | the token's client; `DELETE` revokes |
//! | `GET POST /api/v2/users`, `GET PATCH DELETE /api/v2/users/{id}`, `GET /api/v2/users/me` | numbered pages; `PATCH` needs the `version` |
//! | `GET /api/v2/routing/queues` | numbered pages |
//! | `GET /api/v2/analytics/botflows/{id}/divisions/reportingturns` | pages linked by `nextUri` |
//! | `POST /api/v2/analytics/conversations/details/query` | paging in the body |
//! | `GET /api/v2/analytics/conversations/{id}/details` | one conversation |
//! | `POST /api/v2/analytics/conversations/details/jobs`, `GET DELETE …/{id}`, `GET …/{id}/results` | asynchronous query, pages by `cursor` |
//! | `GET /api/v2/scim/v2/users` | SCIM paging; more than 25 whole users cost too much |
//! | `GET /api/v2/organizations/limits/namespaces/platform.api` | the limits |
//! | `POST /api/v2/quality/conversations/{id}/evaluations` | honours `Idempotency-Key` |
//! | `PUT /echo` | what arrived: method, target, headers, digest of the body |
//!
//! # Clone
//!
//! Clones of a [`LoopbackCloud`] are handles to the same servers. When the last one is dropped the
//! servers stop and every connection is closed. Connectors, clients and gates do not count.
//!
//! # Cancellation
//!
//! A request whose client goes away before it was handled has no effect but its log entry.

mod answer;
mod api;
mod builder;
mod cloud;
mod connector;
mod data;
mod form;
mod gate;
mod knobs;
mod log;
mod login;
mod quota;
mod received;
mod route;
mod script;
mod serve;
mod shared;
mod tokens;

pub use builder::LoopbackCloudBuilder;
pub use cloud::{Listener, LoopbackCloud};
pub use connector::{LoopbackConnector, LoopbackIo};
pub use data::User;
pub use gate::Gate;
pub use knobs::{Knobs, Quota, Scope};
pub use log::LoggedRequest;
pub use script::Reply;
pub use tokens::Client;

/// The id of the client that is known from the start.
pub const CLIENT_ID: &str = "7e9f3c1a-52d4-4b8e-9a06-d1c5e8f7b203";

/// The secret of [`CLIENT_ID`].
pub const CLIENT_SECRET: &str = "pL0oPb4cK_s3cR3t-0nLy-F0r-t3sTs_x9Qz7WvUt5S";
