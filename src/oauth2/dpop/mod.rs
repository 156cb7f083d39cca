//! DPoP: tokens that are worth nothing without the key that they are bound to
//! ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)).
//!
//! ```
//! use tower_outbound::{
//!     oauth2::{ClientAuth, ClientCredentials, TokenEndpoint, dpop::Dpop, jwt::SigningKey},
//!     token::TokenCache,
//! };
//!
//! // A key that lives as long as the program; `SigningKey::from_pem` reads one that is kept.
//! let dpop = Dpop::new(SigningKey::generate_es256()?);
//! println!("tokens are bound to the key {}", dpop.thumbprint());
//!
//! # let http = tower::service_fn(|_: http::Request<bytes::Bytes>| async {
//! #     Ok::<_, tower::BoxError>(http::Response::new(http_body_util::Empty::<bytes::Bytes>::new()))
//! # });
//! let auth = ClientAuth::none();
//! let login = TokenEndpoint::new("https://login.example.com/token", "id", auth, http)?.dpop(dpop);
//! let tokens = TokenCache::new(login.grant(ClientCredentials));
//! # drop(tokens);
//! # Ok::<_, tower::BoxError>(())
//! ```
//!
//! The token request carries a proof that this program has the key, and the server binds the token
//! to it. Every request to a resource then carries `Authorization: DPoP <token>` and a proof of its
//! own, which names its method and its URI, and which no server takes twice: each replay gets
//! another.
//!
//! A server may ask for a nonce of its choice in the proofs (sections 8 and 9). The first request to
//! such a server is refused, and sent once more with the nonce; from then on each response may bring
//! the next. With a nonce the server need not look at the time in a proof, so it also
//! repairs a clock that is wrong (section 11.1). Without one, this machine's clock has to be right
//! to within what the server tolerates, which is seconds to a few minutes.
//!
//! # Defaults
//!
//! | | | why |
//! |---|---|---|
//! | random bits in a `jti` | 128 | section 4.2 asks for 96 at least |
//! | nonces kept | of 1,024 servers in each role | beyond, the one heard the longest ago is asked for anew |
//! | longest nonce | 1 KiB | it goes into every proof, and servers take about 8 KiB of headers |
//!
//! # Clone
//!
//! Clones share the key and the nonces. A token knows the `Dpop` that it was asked for with.
//!
//! # Errors
//!
//! A proof names the whole URI, so a request with a relative one is not sent: it ends in a
//! [`TokenError`] that [is rejected](TokenError::is_rejected).

mod nonces;
mod proof;

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use self::{
    nonces::{Nonces, nonce},
    proof::Proof,
};
use super::{TokenEndpoint, endpoint::Prove, jwt::SigningKey};
use crate::{
    header::challenges,
    origin::Origin,
    time,
    token::{Answered, Attach, Secret, Token, TokenError},
};

/// A key with which requests prove that the token is theirs; see the [module](self).
#[derive(Clone)]
pub struct Dpop(Arc<Inner>);

struct Inner {
    key: SigningKey,
    endpoint_nonces: Nonces,
    resource_nonces: Nonces,
}

impl Dpop {
    /// Proofs signed with this key.
    pub fn new(key: SigningKey) -> Self {
        Self(Arc::new(Inner {
            key,
            endpoint_nonces: Nonces::default(),
            resource_nonces: Nonces::default(),
        }))
    }

    /// The key's thumbprint (RFC 7638): the `jkt` in tokens that are bound to it (section 6.1), and the
    /// `dpop_jkt` of an authorization request (section 10).
    pub fn thumbprint(&self) -> &str {
        self.0.key.thumbprint()
    }

    /// The `dpop` header of a request to an authorization server.
    pub(crate) fn proof_for_endpoint(
        &self,
        method: &Method,
        uri: &Uri,
    ) -> Result<HeaderValue, TokenError> {
        self.proof(&self.0.endpoint_nonces, method, uri, None)
    }

    /// Looks at every response to such a request: 400 with `use_dpop_nonce` and a nonce is worth
    /// another try (section 8), one. Some servers say 401.
    pub(crate) fn endpoint_answered(
        &self,
        uri: &Uri,
        status: StatusCode,
        headers: &HeaderMap,
        oauth_error: Option<&str>,
    ) -> Answered {
        let brought = learn(&self.0.endpoint_nonces, uri, headers);
        let is_refusal = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
        again_if(brought && is_refusal && oauth_error == Some(USE_DPOP_NONCE))
    }

    fn proof(
        &self,
        nonces: &Nonces,
        method: &Method,
        uri: &Uri,
        token: Option<&Secret>,
    ) -> Result<HeaderValue, TokenError> {
        let nonce = Origin::of(uri).and_then(|origin| nonces.of(&origin));
        let proof = Proof {
            method,
            uri,
            token,
            nonce: nonce.as_deref(),
        };
        proof.signed(&self.0.key, time::wall())
    }
}

impl Attach for Dpop {
    fn scheme(&self) -> Option<&str> {
        Some("DPoP")
    }

    /// `DPoP: <proof>`, beside `Authorization: DPoP <token>` (section 7.1).
    fn attach(
        &self,
        token: &Token,
        method: &Method,
        uri: &Uri,
        headers: &mut HeaderMap,
    ) -> Result<(), TokenError> {
        let proof = self.proof(&self.0.resource_nonces, method, uri, Some(token.secret()))?;
        headers.insert(DPOP, proof);
        Ok(())
    }

    /// Keeps the nonce that a response brings, and says whether it was refused for the lack of it
    /// (section 9).
    fn answered(&self, uri: &Uri, status: StatusCode, headers: &HeaderMap) -> Answered {
        let brought = learn(&self.0.resource_nonces, uri, headers);
        again_if(brought && status == StatusCode::UNAUTHORIZED && asks_for_nonce(headers))
    }

    fn bound_to(&self) -> Option<&str> {
        Some(self.thumbprint())
    }
}

impl Prove for Dpop {
    fn prove(&self, method: &Method, uri: &Uri, headers: &mut HeaderMap) -> Result<(), TokenError> {
        headers.insert(DPOP, self.proof_for_endpoint(method, uri)?);
        Ok(())
    }

    fn heard(
        &self,
        uri: &Uri,
        status: StatusCode,
        headers: &HeaderMap,
        error: Option<&str>,
    ) -> Answered {
        self.endpoint_answered(uri, status, headers, error)
    }

    fn attachment(&self) -> Arc<dyn Attach> {
        Arc::new(self.clone())
    }
}

impl TokenEndpoint {
    /// Asks for tokens that are bound to this key ([DPoP](self)), and proves with each request that it
    /// is at hand: token requests, and through the token layer every request that carries one of
    /// these tokens.
    ///
    /// A server that grants a plain bearer token all the same is refused: whoever finds that can
    /// use it (RFC 9449, section 5).
    pub fn dpop(mut self, dpop: Dpop) -> Self {
        self.proof = Some(Arc::new(dpop));
        self
    }
}

impl fmt::Debug for Dpop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dpop")
            .field("thumbprint", &self.thumbprint())
            .finish_non_exhaustive()
    }
}

/// Keeps the nonce that a response brings, whatever its status: the latest is the one to use
/// (section 8.2). Says whether it brought one.
fn learn(nonces: &Nonces, uri: &Uri, headers: &HeaderMap) -> bool {
    let (Some(nonce), Some(origin)) = (nonce(headers), Origin::of(uri)) else {
        return false;
    };
    nonces.keep(origin, nonce);
    true
}

fn asks_for_nonce(headers: &HeaderMap) -> bool {
    let asks = |error| error == Some(USE_DPOP_NONCE);
    challenges(headers)
        .iter()
        .any(|challenge| challenge.is("DPoP") && asks(challenge.param("error")))
}

fn again_if(worth_it: bool) -> Answered {
    if worth_it {
        Answered::SendAgain
    } else {
        Answered::Settled
    }
}

const DPOP: HeaderName = HeaderName::from_static("dpop");
const USE_DPOP_NONCE: &str = "use_dpop_nonce";

#[cfg(test)]
mod tests;
