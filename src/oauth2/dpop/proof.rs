use std::time::SystemTime;

use http::{HeaderValue, Method, Uri};

use crate::{
    oauth2::jwt::{Claims, SigningKey, sha256, unique_id, unix_seconds},
    token::{Secret, TokenError},
};

/// What one proof proves (RFC 9449, section 4.2).
pub(super) struct Proof<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    /// At resources, and nowhere else.
    pub(super) token: Option<&'a Secret>,
    pub(super) nonce: Option<&'a str>,
}

impl Proof<'_> {
    /// The header that carries it. Each is for one request: its name, `jti`, is new each time.
    pub(super) fn signed(
        &self,
        key: &SigningKey,
        now: SystemTime,
    ) -> Result<HeaderValue, TokenError> {
        let mut claims = Claims::new();
        claims.insert("jti".to_owned(), unique_id()?.into());
        claims.insert("htm".to_owned(), self.method.as_str().into());
        claims.insert("htu".to_owned(), htu(self.uri)?.into());
        claims.insert("iat".to_owned(), unix_seconds(now).into());
        if let Some(token) = self.token {
            claims.insert("ath".to_owned(), ath(token).into());
        }
        if let Some(nonce) = self.nonce {
            claims.insert("nonce".to_owned(), nonce.into());
        }
        let mut header = Claims::new();
        header.insert("typ".to_owned(), "dpop+jwt".into());
        header.insert("jwk".to_owned(), key.public_jwk());
        let proof = key.sign(header, claims)?;
        let mut value = HeaderValue::from_str(proof.expose())
            .map_err(|_| TokenError::rejected("the DPoP proof fits no header"))?;
        // It opens doors as long as it lives; and as no two are alike, HTTP/2 should not index them.
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The URI without query and fragment, otherwise as written: what it is normalised to, the server
/// says (section 4.3). A user before the host is never sent (RFC 9110, section 4.2.4).
pub(super) fn htu(uri: &Uri) -> Result<String, TokenError> {
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(TokenError::rejected(format!(
            "a DPoP proof names the whole URI, and `{path}` names no host: use an absolute URI such \
             as https://api.example.com{path}",
            path = uri.path(),
        )));
    };
    let authority = authority.as_str();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    Ok(format!("{scheme}://{host}{}", uri.path()))
}

/// The hash that ties a proof to one access token.
pub(super) fn ath(token: &Secret) -> String {
    sha256(token.expose().as_bytes())
}
