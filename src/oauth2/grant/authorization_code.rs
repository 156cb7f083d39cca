use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::Uri;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::GrantType;
use crate::{
    oauth2::{Parameters, TokenEndpoint},
    origin::{PlainHttp, UrlError, parse_http_url},
    token::{Secret, TokenError},
};

/// What a browser is sent to the authorization server with
/// ([RFC 6749, section 4.1.1](https://www.rfc-editor.org/rfc/rfc6749#section-4.1.1)), and what is
/// needed to take it up when it comes back.
///
/// The browser is yours to open, and so is the little server at the redirect URI.
///
/// ```
/// use tower_outbound::oauth2::AuthorizationRequest;
///
/// let login = AuthorizationRequest::new(
///     "https://login.example.com/oauth/authorize",
///     "client id",
///     "http://127.0.0.1:8080/callback",
/// )?
/// .scope("users:read offline_access");
/// println!("open {}", login.url());
///
/// // The browser comes back with a query.
/// # let state = login.url().split_once("state=").map(|(_, rest)| rest.split('&').next().unwrap_or("").to_owned()).unwrap_or_default();
/// let query = format!("code=42&state={state}");
/// let grant = login.finish(&query)?;
/// # drop(grant);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// It carries a `state` and a PKCE challenge ([RFC 7636](https://www.rfc-editor.org/rfc/rfc7636)) of
/// 256 random bits each: a code that was not asked for, or that somebody has seen, is of no use.
#[derive(Clone)]
pub struct AuthorizationRequest {
    authorization_url: String,
    redirect_uri: String,
    parameters: Parameters,
    issuer: Option<String>,
    state: Secret,
    verifier: Secret,
}

impl AuthorizationRequest {
    /// A request to the authorization endpoint at this URL, for this client, to be answered at this
    /// redirect URI, which the server must know.
    ///
    /// # Errors
    /// If the endpoint's URL is unusable: see [`UrlError`].
    pub fn new(
        authorization_url: &str,
        client_id: &str,
        redirect_uri: &str,
    ) -> Result<Self, UrlError> {
        let url: Uri = parse_http_url(authorization_url, PlainHttp::OnLoopback)?;
        let parameters = Parameters::new()
            .with("response_type", "code")
            .with("client_id", client_id)
            .with("redirect_uri", redirect_uri);
        Ok(Self {
            authorization_url: url.to_string(),
            redirect_uri: redirect_uri.to_owned(),
            parameters,
            issuer: None,
            state: random(),
            verifier: random(),
        })
    }

    /// The scopes to ask for, separated by spaces.
    pub fn scope(self, scope: &str) -> Self {
        self.parameter("scope", scope)
    }

    /// One more parameter, such as `resource`, `audience` or `prompt`. Can be repeated.
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.parameters = self.parameters.with(name.into(), value);
        self
    }

    /// The issuer whose answer this waits for. If it is set, an answer that names another, or none, is
    /// refused: that defends against a mix-up of several servers
    /// ([RFC 9207](https://www.rfc-editor.org/rfc/rfc9207)). Set it only for a server that says
    /// `authorization_response_iss_parameter_supported`.
    pub fn require_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Where to send the browser.
    pub fn url(&self) -> String {
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.expose()));
        let query = self
            .parameters
            .clone()
            .with("state", self.state.clone())
            .with("code_challenge", challenge)
            .with("code_challenge_method", "S256")
            .to_form();
        let url = &self.authorization_url;
        // A query that the endpoint has by itself is kept (RFC 6749, section 3.1).
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}{query}")
    }

    /// Takes up the browser's return: `query` is what stands after the question mark of the URL that it
    /// came back to.
    ///
    /// # Errors
    /// If the user or the server said no, if it answers another request than this, or has no code.
    pub fn finish(self, query: &str) -> Result<AuthorizationCode, CallbackError> {
        let find = |name: &str| {
            form_urlencoded::parse(query.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        // The state comes first: whatever else an answer says is nobody's word without it.
        if find("state").as_deref() != Some(self.state.expose()) {
            return Err(CallbackError::NotOurs);
        }
        if self.issuer.is_some() && find("iss") != self.issuer {
            return Err(CallbackError::OtherIssuer);
        }
        if let Some(error) = find("error") {
            let description = find("error_description").unwrap_or_default();
            return Err(CallbackError::Refused { error, description });
        }
        let code = find("code").ok_or(CallbackError::NoCode)?;
        Ok(AuthorizationCode {
            code: code.into(),
            redirect_uri: self.redirect_uri,
            verifier: Some(self.verifier),
        })
    }
}

impl fmt::Debug for AuthorizationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationRequest")
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

/// Why the return of a browser brings no code.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallbackError {
    /// Its `state` is not the one that was sent: it answers another request, or somebody made it up.
    #[error("the browser came back with the answer to another login; start again")]
    NotOurs,
    /// It does not come from the server that was asked.
    #[error("the browser came back from another authorization server; start again")]
    OtherIssuer,
    /// The user or the server said no.
    #[error("the login was refused: {error:?} {description:?}")]
    Refused {
        /// The `error` code of
        /// [RFC 6749, section 4.1.2.1](https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1).
        error: String,
        /// The `error_description`, or nothing.
        description: String,
    },
    /// It has no `code`.
    #[error("the browser came back without a code")]
    NoCode,
}

/// The authorization code grant
/// ([RFC 6749, section 4.1.3](https://www.rfc-editor.org/rfc/rfc6749#section-4.1.3)): a code, once, for
/// a token, and in most cases a refresh token to go on with.
///
/// A code can be spent only once, so this is not for a [`TokenCache`](crate::token::TokenCache) but for
/// the start of a session: [`Login::log_in`](crate::oauth2::Login::log_in).
#[derive(Clone, Debug)]
pub struct AuthorizationCode {
    code: Secret,
    redirect_uri: String,
    verifier: Option<Secret>,
}

impl AuthorizationCode {
    /// A code that was not got by an [`AuthorizationRequest`], with the redirect URI that it was got
    /// for.
    pub fn new(code: impl Into<Secret>, redirect_uri: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            redirect_uri: redirect_uri.into(),
            verifier: None,
        }
    }

    /// The secret behind the PKCE challenge that the code was asked for with.
    pub fn code_verifier(mut self, verifier: impl Into<Secret>) -> Self {
        self.verifier = Some(verifier.into());
        self
    }
}

impl GrantType for AuthorizationCode {
    async fn parameters(&self, _: &TokenEndpoint) -> Result<Parameters, TokenError> {
        let parameters = Parameters::of("authorization_code")
            .with("code", self.code.clone())
            .with("redirect_uri", self.redirect_uri.clone());
        Ok(match &self.verifier {
            Some(verifier) => parameters.with("code_verifier", verifier.clone()),
            None => parameters,
        })
    }
}

/// 256 bits in 43 characters that no encoding touches
/// ([RFC 7636, section 4.1](https://www.rfc-editor.org/rfc/rfc7636#section-4.1)).
#[allow(clippy::expect_used)]
fn random() -> Secret {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("a system without randomness can keep no secret");
    BASE64_URL_SAFE_NO_PAD.encode(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> AuthorizationRequest {
        AuthorizationRequest::new(
            "https://login.test/authorize?tenant=1",
            "id",
            "http://127.0.0.1:1/back?x=1",
        )
        .unwrap()
        .scope("a b")
    }

    fn callback(request: &AuthorizationRequest, rest: &str) -> String {
        format!("state={}&{rest}", request.state.expose())
    }

    #[test]
    fn the_url_has_all_that_the_server_must_know() {
        let request = request();
        let url = request.url();
        let (start, rest) = url.split_once("&state=").unwrap();
        assert_eq!(
            start,
            "https://login.test/authorize?tenant=1&response_type=code&client_id=id\
             &redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fback%3Fx%3D1&scope=a+b"
        );
        assert!(rest.ends_with("&code_challenge_method=S256"), "{rest}");
        assert!(!url.contains(request.verifier.expose()), "{url}");
    }

    #[test]
    fn the_challenge_is_that_of_the_standards_example() {
        let mut request = request();
        request.verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into();
        assert!(
            request
                .url()
                .contains("code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&")
        );
    }

    #[test]
    fn two_requests_share_no_secret() {
        let (one, other) = (request(), request());
        assert_ne!(one.state.expose(), other.state.expose());
        assert_ne!(one.verifier.expose(), other.verifier.expose());
        assert_ne!(one.state.expose(), one.verifier.expose());
        assert_eq!(one.verifier.expose().len(), 43);
    }

    #[test]
    fn a_return_that_is_not_an_answer_to_this_is_refused_before_it_is_read() {
        for query in [
            "",
            "code=1",
            "state=&code=1",
            "state=guess&code=1",
            "state=guess&error=x",
        ] {
            assert_eq!(
                request().finish(query).unwrap_err(),
                CallbackError::NotOurs,
                "{query}"
            );
        }
    }

    #[test]
    fn a_return_says_why_there_is_no_code() {
        let asked = request();
        let query = callback(&asked, "error=access_denied&error_description=no+way");
        let error = asked.finish(&query).unwrap_err();
        assert!(error.to_string().contains("no way"), "{error}");

        let asked = request();
        let query = callback(&asked, "cod=1");
        assert_eq!(asked.finish(&query).unwrap_err(), CallbackError::NoCode);
    }

    #[test]
    fn an_answer_of_another_issuer_is_refused_where_one_is_required() {
        for (iss, is_fine) in [
            ("&iss=https%3A%2F%2Flogin.test", true),
            ("&iss=https%3A%2F%2Fevil.test", false),
            ("", false),
        ] {
            let asked = request().require_issuer("https://login.test");
            let query = callback(&asked, &format!("code=1{iss}"));
            assert_eq!(asked.finish(&query).is_ok(), is_fine, "{iss}");
        }
    }

    #[test]
    fn nothing_secret_prints() {
        let asked = request();
        let query = callback(&asked, "code=hunter2");
        let (state, verifier) = (asked.state.clone(), asked.verifier.clone());
        let printed = format!("{asked:?} {:?}", asked.clone().finish(&query).unwrap());
        for secret in [state.expose(), verifier.expose(), "hunter2"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
