use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use serde_json::{Map, Value};
use tower::{BoxError, Service};

use super::{
    ClientAuth, TokenEndpoint,
    endpoint::shown,
    http_client::{HttpClient, Reply},
};
use crate::{
    origin::{PlainHttp, UrlError, parse_http_url},
    token::{TokenError, TokenErrorKind},
};

/// What an authorization server says about itself
/// ([RFC 8414](https://www.rfc-editor.org/rfc/rfc8414)).
///
/// ```
/// use tower_outbound::oauth2::{ClientAuth, Metadata, TokenEndpoint};
///
/// # async fn login<S>(http: S) -> Result<TokenEndpoint, Box<dyn std::error::Error>>
/// # where
/// #     S: tower::Service<http::Request<bytes::Bytes>, Response = http::Response<http_body_util::Full<bytes::Bytes>>>
/// #         + Clone + Send + 'static,
/// #     S::Future: Send,
/// #     S::Error: Into<tower::BoxError>,
/// # {
/// let server = Metadata::discover("https://login.example.com", http).await?;
/// let login = server.token_endpoint("id", ClientAuth::basic("secret"))?;
/// # Ok(login)
/// # }
/// ```
#[derive(Clone)]
pub struct Metadata {
    issuer: String,
    document: Map<String, Value>,
    http: HttpClient,
}

impl Metadata {
    /// Asks the server that goes by this issuer identifier.
    ///
    /// It is asked where RFC 8414 has the document (between host and path,
    /// [section 3.1](https://www.rfc-editor.org/rfc/rfc8414#section-3.1)) and, if it is not there,
    /// where OpenID Connect has it (behind the path). The HTTP client becomes that of the endpoints; what
    /// [`TokenEndpoint::new`] says of it holds here.
    ///
    /// # Errors
    /// If the issuer is no `https` URL, the server cannot be reached or has no such document, or
    /// the document names another issuer: then it is not that server's, and its endpoints are not to
    /// be given secrets ([section 3.3](https://www.rfc-editor.org/rfc/rfc8414#section-3.3)).
    pub async fn discover<S, B, R>(issuer: &str, http: S) -> Result<Self, TokenError>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        let http = HttpClient::new(http);
        let places = places(issuer).map_err(unusable)?;
        let mut last = None;
        for place in places {
            let reply = fetch(&http, &place).await?;
            if reply.status != StatusCode::OK {
                last = Some((place, reply.status));
                continue;
            }
            let document = read(issuer, &place, &reply)?;
            return Ok(Self {
                issuer: issuer.to_owned(),
                document,
                http,
            });
        }
        let (place, status) = last.map_or_else(Default::default, |(place, status)| {
            (shown(&place), status.as_u16())
        });
        let kind = if status >= 500 || status == 429 {
            TokenErrorKind::Transient
        } else {
            TokenErrorKind::Rejected
        };
        Err(TokenError::new(
            kind,
            format!("no metadata of {issuer:?}: {place} answered {status}; is that its issuer?"),
        ))
    }

    /// The issuer identifier, as the server and the user both have it.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The token endpoint, for this client.
    ///
    /// Assertions are addressed to the issuer. A client that proves itself by its TLS certificate is
    /// sent to the endpoints that the server has for that
    /// ([RFC 8705, section 5](https://www.rfc-editor.org/rfc/rfc8705#section-5)). The revocation
    /// endpoint is that of the document, if it has one.
    ///
    /// # Errors
    /// If the document has no token endpoint, or one that is not `https`.
    pub fn token_endpoint(
        &self,
        client_id: impl Into<String>,
        auth: ClientAuth,
    ) -> Result<TokenEndpoint, TokenError> {
        let by_tls = auth.is_tls();
        let url = self.endpoint("token_endpoint", by_tls).ok_or_else(|| {
            TokenError::rejected(format!(
                "the metadata of {:?} names no `token_endpoint`",
                self.issuer
            ))
        })?;
        let endpoint = TokenEndpoint::through(url, client_id, auth, self.http.clone())
            .map_err(unusable)?
            .issuer(&self.issuer);
        match self.endpoint("revocation_endpoint", by_tls) {
            Some(url) => endpoint.revocation_url(url).map_err(unusable),
            None => Ok(endpoint),
        }
    }

    /// The URL of the authorization endpoint, where a browser is sent.
    pub fn authorization_endpoint(&self) -> Option<&str> {
        self.endpoint("authorization_endpoint", false)
    }

    /// Whether the server names its issuer when it sends a browser back
    /// ([RFC 9207](https://www.rfc-editor.org/rfc/rfc9207)).
    pub fn names_issuer_in_callback(&self) -> bool {
        self.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true))
    }

    /// Anything else that the document says.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.document.get(name)
    }

    fn endpoint(&self, name: &str, by_tls: bool) -> Option<&str> {
        let aliases = self.get("mtls_endpoint_aliases").filter(|_| by_tls);
        let alias = aliases.and_then(|aliases| aliases.get(name));
        alias.or_else(|| self.get(name))?.as_str()
    }
}

/// Where the document of an issuer may be, the standard's place first.
fn places(issuer: &str) -> Result<Vec<Uri>, UrlError> {
    let url = parse_http_url(issuer, PlainHttp::OnLoopback)?;
    let path = url.path().trim_end_matches('/');
    let at = |path: String| {
        let mut parts = url.clone().into_parts();
        parts.path_and_query = path.parse().ok();
        Uri::from_parts(parts).ok()
    };
    let mut places = vec![
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("{path}/.well-known/openid-configuration")),
    ];
    places.dedup();
    Ok(places.into_iter().flatten().collect())
}

async fn fetch(http: &HttpClient, place: &Uri) -> Result<Reply, TokenError> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = place.clone();
    request
        .headers_mut()
        .insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    http.exchange(request).await.map_err(|error| {
        TokenError::transient(format!("no usable reply from {}", shown(place))).caused_by(error)
    })
}

fn read(issuer: &str, place: &Uri, reply: &Reply) -> Result<Map<String, Value>, TokenError> {
    let Ok(Value::Object(document)) = serde_json::from_slice(&reply.body) else {
        return Err(TokenError::transient(format!(
            "{} answered something that is not a JSON object, as a proxy's page is not",
            shown(place)
        )));
    };
    match document.get("issuer").and_then(Value::as_str) {
        Some(named) if named == issuer => Ok(document),
        named => Err(TokenError::rejected(format!(
            "{} is the metadata of {:?}, not of {issuer:?}; the two must be the same to the letter, a \
             slash at the end included",
            shown(place),
            named.unwrap_or_default(),
        ))),
    }
}

fn unusable(error: UrlError) -> TokenError {
    TokenError::rejected("an unusable URL").caused_by(error)
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::Full;
    use serde_json::json;
    use tower::service_fn;

    use super::*;

    /// A server that has documents at some paths, and the paths that it was asked for.
    async fn discover(
        issuer: &str,
        documents: &[(&str, Value)],
    ) -> (Result<Metadata, TokenError>, Vec<String>) {
        let documents: Vec<_> = documents
            .iter()
            .map(|(path, document)| ((*path).to_owned(), document.to_string()))
            .collect();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let http = service_fn(move |request: Request<Bytes>| {
            let path = request.uri().path().to_owned();
            let found = documents.iter().find(|(at, _)| *at == path);
            let mut response = Response::new(Full::<Bytes>::from(
                found.map_or(String::new(), |(_, document)| document.clone()),
            ));
            if found.is_none() {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            log.lock().unwrap().push(path);
            async { Ok::<_, BoxError>(response) }
        });
        let metadata = Metadata::discover(issuer, http).await;
        let asked = asked.lock().unwrap().clone();
        (metadata, asked)
    }

    const RFC_8414: &str = "/.well-known/oauth-authorization-server";

    #[tokio::test]
    async fn the_document_is_where_the_standard_puts_it() {
        for (issuer, path) in [
            ("https://login.test", RFC_8414.to_owned()),
            ("https://login.test/", RFC_8414.to_owned()),
            ("https://login.test/a/b", format!("{RFC_8414}/a/b")),
            ("https://login.test/a/", format!("{RFC_8414}/a")),
        ] {
            let (metadata, asked) = discover(issuer, &[(&path, json!({"issuer": issuer}))]).await;
            assert_eq!(metadata.unwrap().issuer(), issuer);
            assert_eq!(asked, [path]);
        }
    }

    #[tokio::test]
    async fn otherwise_it_is_where_openid_connect_puts_it() {
        let issuer = "https://login.test/a";
        let document = json!({"issuer": issuer, "token_endpoint": "https://login.test/token"});
        let path = "/a/.well-known/openid-configuration";
        let (metadata, asked) = discover(issuer, &[(path, document)]).await;
        let endpoint = metadata
            .unwrap()
            .token_endpoint("id", ClientAuth::none())
            .unwrap();
        assert_eq!(endpoint.audience(), issuer);
        assert_eq!(asked, [&format!("{RFC_8414}/a"), path]);
    }

    #[tokio::test]
    async fn a_document_of_another_issuer_is_refused() {
        for named in [
            json!("https://evil.test"),
            json!("https://login.test/"),
            json!(null),
        ] {
            let documents = [(RFC_8414, json!({"issuer": named}))];
            let error = discover("https://login.test", &documents)
                .await
                .0
                .unwrap_err();
            assert!(error.is_rejected());
            assert!(error.to_string().contains("is the metadata of"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_without_a_document_is_an_error_that_names_the_last_place() {
        let (metadata, asked) = discover("https://login.test", &[]).await;
        let error = metadata.unwrap_err();
        assert!(error.is_rejected());
        assert!(
            error
                .to_string()
                .contains("openid-configuration answered 404"),
            "{error}"
        );
        assert_eq!(asked.len(), 2);
    }

    #[tokio::test]
    async fn an_issuer_without_encryption_is_not_asked() {
        let (metadata, asked) = discover("http://login.test", &[]).await;
        assert!(metadata.unwrap_err().is_rejected());
        assert!(asked.is_empty());
    }

    #[tokio::test]
    async fn a_client_with_a_certificate_goes_where_certificates_are_asked_for() {
        let document = json!({
            "issuer": "https://login.test",
            "token_endpoint": "https://login.test/token",
            "revocation_endpoint": "https://login.test/revoke",
            "mtls_endpoint_aliases": {"token_endpoint": "https://mtls.login.test/token"},
        });
        let (metadata, _) = discover("https://login.test", &[(RFC_8414, document)]).await;
        let metadata = metadata.unwrap();
        for (auth, expected) in [
            (ClientAuth::tls(), "https://mtls.login.test/token"),
            (ClientAuth::none(), "https://login.test/token"),
        ] {
            let endpoint = metadata.token_endpoint("id", auth).unwrap();
            assert!(format!("{endpoint:?}").contains(expected), "{endpoint:?}");
            // There is no alias for this one.
            assert_eq!(endpoint.revocation().unwrap(), "https://login.test/revoke");
        }
    }

    #[tokio::test]
    async fn a_document_without_a_usable_token_endpoint_is_an_error() {
        for url in [
            json!(null),
            json!(7),
            json!("/token"),
            json!("http://login.test/token"),
        ] {
            let document = json!({"issuer": "https://login.test", "token_endpoint": url});
            let (metadata, _) = discover("https://login.test", &[(RFC_8414, document)]).await;
            let error = metadata
                .unwrap()
                .token_endpoint("id", ClientAuth::none())
                .unwrap_err();
            assert!(error.is_rejected(), "{url}");
        }
    }
}
