use std::{fmt, future::Future, pin::Pin, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderValue;

use super::parameters::Parameters;
use crate::token::{Secret, TokenError};

/// How a client proves to the authorization server who it is.
///
/// One method for every request, as
/// [RFC 6749, section 2.3](https://www.rfc-editor.org/rfc/rfc6749#section-2.3) asks. With the feature
/// `jwt` there are assertions too: `private_key_jwt` and `client_secret_jwt`.
#[derive(Clone, Debug)]
pub struct ClientAuth(Method);

#[derive(Clone, Debug)]
enum Method {
    Basic(Secret),
    RawBasic(Secret),
    Body(Secret),
    Assertion(Assertions),
    Tls,
    None,
}

/// Makes assertions of who a client is, one for each request.
#[derive(Clone)]
struct Assertions(Arc<Assert>);

type Assert = dyn Fn(&str, &str) -> Asserting + Send + Sync;
type Asserting = Pin<Box<dyn Future<Output = Result<Secret, TokenError>> + Send>>;

impl ClientAuth {
    /// HTTP Basic, with id and secret percent-encoded each
    /// ([RFC 6749, section 2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1)).
    ///
    /// A space becomes `%20`: servers that decode forms and servers that decode URLs both read that.
    pub fn basic(secret: impl Into<Secret>) -> Self {
        Self(Method::Basic(secret.into()))
    }

    /// HTTP Basic, with id and secret as they are: for servers that never decode them. It makes no
    /// difference where both hold only letters, digits, `-`, `.` and `_`.
    pub fn raw_basic(secret: impl Into<Secret>) -> Self {
        Self(Method::RawBasic(secret.into()))
    }

    /// `client_id` and `client_secret` in the form: for servers that take nothing else.
    pub fn body(secret: impl Into<Secret>) -> Self {
        Self(Method::Body(secret.into()))
    }

    /// The TLS certificate that the HTTP client shows, and `client_id` in the form
    /// ([RFC 8705, section 2](https://www.rfc-editor.org/rfc/rfc8705#section-2)).
    ///
    /// The certificate is the HTTP client's business. With [`Metadata`](super::Metadata), requests go to
    /// the endpoints that the server has for this purpose.
    pub fn tls() -> Self {
        Self(Method::Tls)
    }

    /// No proof, `client_id` in the form: a public client, such as a command-line tool
    /// ([RFC 6749, section 3.2.1](https://www.rfc-editor.org/rfc/rfc6749#section-3.2.1)).
    pub fn none() -> Self {
        Self(Method::None)
    }

    /// A JWT that says who the client is, signed by it
    /// ([RFC 7523, section 2.2](https://www.rfc-editor.org/rfc/rfc7523#section-2.2)), from whatever
    /// holds the key: a key service, an HSM, the platform.
    ///
    /// The closure is told the client's id and the audience, and asked for every request that is sent:
    /// servers take an assertion only once. For a key at hand, the feature `jwt` has
    /// `ClientAuth::private_key_jwt`.
    pub fn assertion<F, Fut>(make: F) -> Self
    where
        F: Fn(&str, &str) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Secret, TokenError>> + Send + 'static,
    {
        let make = move |id: &str, audience: &str| -> Asserting { Box::pin(make(id, audience)) };
        Self(Method::Assertion(Assertions(Arc::new(make))))
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.0, Method::Tls)
    }

    /// The `authorization` header of a request, if it has one.
    pub(crate) fn header(&self, id: &str) -> Result<Option<HeaderValue>, TokenError> {
        let (id, secret) = match &self.0 {
            Method::Basic(secret) => (encode(id), Secret::new(encode(secret.expose()))),
            Method::RawBasic(secret) => (id.to_owned(), secret.clone()),
            Method::Body(_) | Method::Assertion(_) | Method::Tls | Method::None => return Ok(None),
        };
        let joined = Secret::new(format!("{id}:{}", secret.expose()));
        let encoded = Secret::new(BASE64_STANDARD.encode(joined.expose()));
        let mut header = HeaderValue::try_from(format!("Basic {}", encoded.expose()))
            .map_err(|_| TokenError::rejected("the client's credentials fit no header"))?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    /// The client's part of the form.
    pub(crate) async fn parameters(
        &self,
        id: &str,
        audience: &str,
    ) -> Result<Parameters, TokenError> {
        let alone = Parameters::new();
        Ok(match &self.0 {
            Method::Basic(_) | Method::RawBasic(_) => alone,
            Method::Body(secret) => alone
                .with("client_id", id)
                .with("client_secret", secret.clone()),
            Method::Assertion(Assertions(make)) => alone
                .with("client_id", id)
                .with("client_assertion_type", JWT_BEARER)
                .with("client_assertion", make(id, audience).await?),
            Method::Tls | Method::None => alone.with("client_id", id),
        })
    }
}

impl fmt::Debug for Assertions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assertions")
    }
}

fn encode(text: &str) -> String {
    // The serializer writes a plus as `%2B`, so every `+` that it leaves stands for a space.
    form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// [RFC 7523, section 2.2](https://www.rfc-editor.org/rfc/rfc7523#section-2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const AUDIENCE: &str = "https://login.example.com";

    fn credentials(id: &str, auth: &ClientAuth) -> String {
        let header = auth.header(id).unwrap().unwrap();
        assert!(header.is_sensitive());
        let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
        String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
    }

    async fn form(auth: &ClientAuth) -> String {
        auth.parameters("a", AUDIENCE).await.unwrap().to_form()
    }

    #[tokio::test]
    async fn basic_credentials_are_percent_encoded_each() {
        assert_eq!(
            credentials("a:b c", &ClientAuth::basic(":%+ é")),
            "a%3Ab%20c:%3A%25%2B%20%C3%A9"
        );
        assert_eq!(form(&ClientAuth::basic("b")).await, "");
    }

    #[tokio::test]
    async fn raw_basic_credentials_are_sent_as_they_are() {
        assert_eq!(credentials("a", &ClientAuth::raw_basic(":%+ é")), "a::%+ é");
    }

    #[tokio::test]
    async fn credentials_in_the_body_leave_the_header_alone() {
        let auth = ClientAuth::body("b");
        assert_eq!(auth.header("a").unwrap(), None);
        assert_eq!(form(&auth).await, "client_id=a&client_secret=b");
    }

    #[tokio::test]
    async fn who_proves_nothing_here_names_itself() {
        for auth in [ClientAuth::tls(), ClientAuth::none()] {
            assert_eq!(auth.header("a").unwrap(), None);
            assert_eq!(form(&auth).await, "client_id=a");
        }
    }

    #[tokio::test]
    async fn every_request_has_an_assertion_of_its_own() {
        let count = AtomicUsize::new(0);
        let auth = ClientAuth::assertion(move |id, audience| {
            let count = count.fetch_add(1, Ordering::Relaxed);
            let assertion = format!("{id} {audience} {count}");
            async move { Ok(assertion.into()) }
        });
        assert_eq!(auth.header("a").unwrap(), None);
        for count in 0..2 {
            assert_eq!(
                form(&auth).await,
                format!(
                    "client_id=a&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A\
                     client-assertion-type%3Ajwt-bearer\
                     &client_assertion=a+https%3A%2F%2Flogin.example.com+{count}"
                )
            );
        }
    }

    #[tokio::test]
    async fn debug_output_holds_no_secret() {
        for auth in [
            ClientAuth::basic("hunter2"),
            ClientAuth::raw_basic("hunter2"),
            ClientAuth::body("hunter2"),
        ] {
            let header = auth.header("a").unwrap();
            let parameters = auth.parameters("a", AUDIENCE).await.unwrap();
            let printed = format!("{auth:?} {header:?} {parameters:?}");
            assert!(!printed.contains("hunter2"), "{printed}");
        }
    }
}
