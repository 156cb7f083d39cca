use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, header};

use super::{Attach, Grant, Secret, TokenError, expiry::Expiry};
use crate::time::Moment;

/// An access token as it is sent: immutable, numbered, its header built once.
///
/// Clones share it.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    generation: u64,
    secret: Secret,
    header: HeaderValue,
    scope: Option<String>,
    attach: Option<Arc<dyn Attach>>,
    expiry: Expiry,
}

impl Token {
    pub(crate) fn new(generation: u64, grant: Grant, header: HeaderValue, expiry: Expiry) -> Self {
        Self(Arc::new(Inner {
            generation,
            secret: grant.access_token,
            header,
            scope: grant.scope,
            attach: grant.attach,
            expiry,
        }))
    }

    /// Its number in its cache: the first token is 1, and every renewal counts up.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// The access token itself.
    pub fn secret(&self) -> &Secret {
        &self.0.secret
    }

    /// The header value that carries it; marked sensitive.
    pub fn header_value(&self) -> &HeaderValue {
        &self.0.header
    }

    /// The granted scopes, if the server told them.
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// What its requests must have besides the header.
    pub(crate) fn attach(&self) -> Option<&Arc<dyn Attach>> {
        self.0.attach.as_ref()
    }

    pub(crate) fn expiry(&self) -> &Expiry {
        &self.0.expiry
    }

    pub(crate) fn left(&self, now: Moment) -> Option<Duration> {
        self.0.expiry.left(now)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("generation", &self.0.generation)
            .field("secret", &self.0.secret)
            .field("scope", &self.0.scope)
            .finish_non_exhaustive()
    }
}

/// The header that carries the token, and what stands before it.
///
/// ```
/// use http::HeaderName;
/// use tower_outbound::token::CredentialHeader;
///
/// let usual = CredentialHeader::default(); // authorization: Bearer <token>
/// let shopify = CredentialHeader::bare(HeaderName::from_static("x-shopify-access-token"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialHeader {
    name: HeaderName,
    scheme: Option<String>,
}

impl Default for CredentialHeader {
    /// `Authorization: Bearer <token>`
    /// ([RFC 6750, section 2.1](https://www.rfc-editor.org/rfc/rfc6750#section-2.1)).
    fn default() -> Self {
        Self::new(header::AUTHORIZATION, "Bearer")
    }
}

impl CredentialHeader {
    /// `<name>: <scheme> <token>`.
    pub fn new(name: HeaderName, scheme: impl Into<String>) -> Self {
        Self {
            name,
            scheme: Some(scheme.into()),
        }
    }

    /// `<name>: <token>`.
    pub fn bare(name: HeaderName) -> Self {
        Self { name, scheme: None }
    }

    /// The header's name.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The value with this token, and with another scheme than usual if there is one.
    pub(crate) fn value(
        &self,
        token: &Secret,
        scheme: Option<&str>,
    ) -> Result<HeaderValue, TokenError> {
        let text = Secret::new(match scheme.or(self.scheme.as_deref()) {
            Some(scheme) => format!("{scheme} {}", token.expose()),
            None => token.expose().to_owned(),
        });
        let mut value = HeaderValue::from_str(text.expose()).map_err(|_| {
            TokenError::rejected(format!(
                "the access token cannot be sent in the header `{}`: it holds characters that no \
                 header may hold",
                self.name
            ))
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}
