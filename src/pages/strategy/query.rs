//! One parameter of a URL's query, the others left as they are written.

use bytes::Bytes;
use http::{Request, Uri, uri::PathAndQuery};

use crate::pages::PageProblem;

/// The value of the first parameter of this name.
pub(super) fn get(uri: &Uri, name: &str) -> Option<String> {
    let query = uri.query()?;
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// The number that a parameter has; `default` if it is not there.
pub(super) fn number(uri: &Uri, name: &str, default: u64) -> Result<u64, PageProblem> {
    match get(uri, name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| {
            PageProblem::Nonsense(format!("the parameter `{name}` is {text:?}, not a number"))
        }),
    }
}

/// This request with the parameter set.
pub(super) fn set(
    request: &Request<Bytes>,
    name: &str,
    value: &str,
) -> Result<Request<Bytes>, PageProblem> {
    let uri = request.uri();
    let is_other = |pair: &&str| {
        let mut read = form_urlencoded::parse(pair.as_bytes());
        read.next().is_none_or(|(key, _)| key != name)
    };
    let others = uri.query().unwrap_or_default().split('&');
    let mut query: Vec<_> = others
        .filter(|pair| !pair.is_empty())
        .filter(is_other)
        .map(str::to_owned)
        .collect();
    let mut own = form_urlencoded::Serializer::new(String::new());
    query.push(own.append_pair(name, value).finish());
    let text = format!("{}?{}", uri.path(), query.join("&"));

    let mut parts = uri.clone().into_parts();
    let path: PathAndQuery = text
        .parse()
        .map_err(|_| PageProblem::Nonsense(format!("{name}={value:?} fits no URL")))?;
    parts.path_and_query = Some(path);
    let mut next = request.clone();
    *next.uri_mut() =
        Uri::from_parts(parts).map_err(|error| PageProblem::Nonsense(error.to_string()))?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_in(uri: &str, name: &str, value: &str) -> String {
        let request = Request::get(uri).body(Bytes::new()).unwrap();
        set(&request, name, value).unwrap().uri().to_string()
    }

    #[test]
    fn one_parameter_is_set_and_the_others_stay_as_they_are_written() {
        for (uri, expected) in [
            ("https://a.test/x", "https://a.test/x?c=1+2%26"),
            ("https://a.test", "https://a.test/?c=1+2%26"),
            ("https://a.test/x?", "https://a.test/x?c=1+2%26"),
            (
                "https://a.test/x?b=%7e+%20&c=0",
                "https://a.test/x?b=%7e+%20&c=1+2%26",
            ),
            ("https://a.test/x?c=0&b&c=9", "https://a.test/x?b&c=1+2%26"),
            ("https://a.test/x?%63=0", "https://a.test/x?c=1+2%26"),
            ("/x?cc=0", "/x?cc=0&c=1+2%26"),
        ] {
            assert_eq!(set_in(uri, "c", "1 2&"), expected, "{uri}");
        }
    }

    #[test]
    fn a_number_that_is_none_is_an_error_and_a_missing_one_the_default() {
        let uri = "https://a.test/?page=3&other=x".parse().unwrap();
        assert_eq!(number(&uri, "page", 1).unwrap(), 3);
        assert_eq!(number(&uri, "none", 1).unwrap(), 1);
        assert!(number(&uri, "other", 1).is_err());
    }
}
