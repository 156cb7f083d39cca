use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderValue;

use crate::token::{Secret, TokenError};

/// How a client proves to the token endpoint who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuth {
    /// HTTP Basic, with id and secret percent-encoded each
    /// ([RFC 6749, section 2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1)).
    ///
    /// A space becomes `%20`: servers that decode forms and servers that decode URLs both read that.
    #[default]
    Basic,
    /// HTTP Basic, with id and secret as they are: for servers that never decode them. It makes no
    /// difference where both hold only letters, digits, `-`, `.` and `_`.
    RawBasic,
    /// `client_id` and `client_secret` in the form: for servers that take nothing else.
    Body,
}

/// A client's id and secret, and how it shows them.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: Secret,
    pub(crate) auth: ClientAuth,
}

impl Client {
    /// The `authorization` header of a token request, if it has one.
    pub(crate) fn header(&self) -> Result<Option<HeaderValue>, TokenError> {
        let (id, secret) = match self.auth {
            ClientAuth::Basic => (encode(&self.id), Secret::new(encode(self.secret.expose()))),
            ClientAuth::RawBasic => (self.id.clone(), self.secret.clone()),
            ClientAuth::Body => return Ok(None),
        };
        let joined = Secret::new(format!("{id}:{}", secret.expose()));
        let encoded = Secret::new(BASE64_STANDARD.encode(joined.expose()));
        let mut header = HeaderValue::try_from(format!("Basic {}", encoded.expose()))
            .map_err(|_| TokenError::rejected("the client's credentials fit no header"))?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    /// The client's part of the form.
    pub(crate) fn parameters(&self) -> Vec<(&str, &str)> {
        match self.auth {
            ClientAuth::Body => {
                vec![
                    ("client_id", &self.id),
                    ("client_secret", self.secret.expose()),
                ]
            }
            ClientAuth::Basic | ClientAuth::RawBasic => Vec::new(),
        }
    }
}

fn encode(text: &str) -> String {
    // The serializer writes a plus as `%2B`, so every `+` that it leaves stands for a space.
    form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(id: &str, secret: &str, auth: ClientAuth) -> String {
        let client = Client {
            id: id.into(),
            secret: secret.into(),
            auth,
        };
        let header = client.header().unwrap().unwrap();
        assert!(header.is_sensitive());
        let encoded = header
            .to_str()
            .unwrap()
            .strip_prefix("Basic ")
            .unwrap()
            .to_owned();
        String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
    }

    #[test]
    fn basic_credentials_are_percent_encoded_each() {
        assert_eq!(
            header("a:b c", ":%+ é", ClientAuth::Basic),
            "a%3Ab%20c:%3A%25%2B%20%C3%A9"
        );
    }

    #[test]
    fn raw_basic_credentials_are_sent_as_they_are() {
        assert_eq!(header("a", ":%+ é", ClientAuth::RawBasic), "a::%+ é");
    }

    #[test]
    fn credentials_in_the_body_leave_the_header_alone() {
        let client = Client {
            id: "a".into(),
            secret: "b".into(),
            auth: ClientAuth::Body,
        };
        assert_eq!(client.header().unwrap(), None);
        assert_eq!(
            client.parameters(),
            [("client_id", "a"), ("client_secret", "b")]
        );
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let client = Client {
            id: "a".into(),
            secret: "hunter2".into(),
            auth: ClientAuth::Basic,
        };
        let header = client.header().unwrap().unwrap();
        assert!(!format!("{client:?} {header:?}").contains("hunter2"));
        assert!(!format!("{header:?}").contains("Basic"));
    }
}
