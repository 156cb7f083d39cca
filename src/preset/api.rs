//! Where a vendor's API is.

use http::Uri;

use crate::origin::{Origin, Origins, UrlError};

/// The base URL of an API, and where tokens for it may go.
#[derive(Clone, Debug)]
pub(super) struct Api {
    /// Without a slash at its end.
    pub(super) url: String,
    pub(super) origins: Origins,
}

impl Api {
    /// The API at this URL, which may have a path.
    pub(super) fn at(url: &str) -> Result<Self, UrlError> {
        let origin = url.parse::<Uri>().ok().and_then(|uri| Origin::of(&uri));
        let origins = match origin {
            Some(origin) => Origins::only([origin.to_string()])?,
            // It is none; this says what is wrong with it.
            None => Origins::only([url])?,
        };
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            origins,
        })
    }

    /// The API at this origin, of which a part is a user's text: if that brings a path, a port or a
    /// user, the origin is not the vendor's any more, and it is an error.
    pub(super) fn at_origin(origin: &str) -> Result<Self, UrlError> {
        Ok(Self {
            url: origin.to_owned(),
            origins: Origins::only([origin])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_more_than_a_name_leads_nowhere_else() {
        for name in [
            "evil.test/",
            "evil.test:443",
            "evil.test#",
            "evil.test?",
            "u:p@evil",
            "a b",
        ] {
            let origin = format!("https://{name}.example.com");
            assert!(Api::at_origin(&origin).is_err(), "{origin}");
        }
        let api = Api::at_origin("https://acme.example.com").unwrap();
        assert_eq!(api.url, "https://acme.example.com");
    }

    #[test]
    fn a_path_is_kept_for_requests_and_has_no_say_in_where_tokens_go() {
        let api = Api::at("https://gw.test:8443/vendor/").unwrap();
        assert_eq!(api.url, "https://gw.test:8443/vendor");
        assert_eq!(
            format!("{:?}", api.origins),
            format!("{:?}", Origins::only(["https://gw.test:8443"]).unwrap())
        );
        assert!(Api::at("gw.test").is_err());
        assert!(Api::at("http://gw.test").is_err(), "it is not encrypted");
    }
}
