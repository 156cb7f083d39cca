//! Parse: `"GET /api/v2/users/*"`, and what it matches.

use http::Method;

/// A method and a path, either of which may be open.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// `None` matches every method.
    method: Option<String>,
    /// `None` matches every path.
    path: Option<Vec<Segment>>,
}

#[derive(Clone, Debug)]
enum Segment {
    Any,
    Exactly(String),
}

impl Route {
    /// `"*"` is everything, `"/path"` every method on that path.
    pub(super) fn parse(pattern: &str) -> Self {
        let pattern = pattern.trim();
        let (method, path) = match pattern.split_once(' ') {
            Some((method, path)) => (method, path.trim_start()),
            None => ("*", pattern),
        };
        Self {
            method: (method != "*").then(|| method.to_ascii_uppercase()),
            path: (path != "*").then(|| path.split('/').map(Segment::parse).collect()),
        }
    }

    /// `path` comes without its query.
    pub(super) fn matches(&self, method: &Method, path: &str) -> bool {
        self.method
            .as_ref()
            .is_none_or(|wanted| wanted == method.as_str())
            && self.path.as_ref().is_none_or(|wanted| {
                let mut given = path.split('/');
                wanted
                    .iter()
                    .all(|segment| given.next().is_some_and(|part| segment.matches(part)))
                    && given.next().is_none()
            })
    }
}

impl Segment {
    fn parse(text: &str) -> Self {
        match text {
            "*" => Self::Any,
            exact => Self::Exactly(exact.to_owned()),
        }
    }

    fn matches(&self, part: &str) -> bool {
        match self {
            Self::Any => !part.is_empty(),
            Self::Exactly(text) => text == part,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_matches_what_it_names() {
        let table = [
            ("*", "GET", "/any/thing", true),
            ("GET /api/v2/users", "GET", "/api/v2/users", true),
            ("get /api/v2/users", "GET", "/api/v2/users", true),
            ("GET /api/v2/users", "POST", "/api/v2/users", false),
            ("GET /api/v2/users", "GET", "/api/v2/users/1", false),
            ("GET /api/v2/users/*", "GET", "/api/v2/users/1", true),
            ("GET /api/v2/users/*", "GET", "/api/v2/users", false),
            (
                "GET /api/v2/users/*",
                "GET",
                "/api/v2/users/1/queues",
                false,
            ),
            ("GET /api/*/users", "GET", "/api/v2/users", true),
            ("* /api/v2/users", "DELETE", "/api/v2/users", true),
            ("/api/v2/users", "DELETE", "/api/v2/users", true),
            ("PUT *", "PUT", "/echo", true),
            ("PUT *", "GET", "/echo", false),
            ("", "GET", "/", false),
        ];
        for (pattern, method, path, expected) in table {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let matched = Route::parse(pattern).matches(&method, path);
            assert_eq!(matched, expected, "{pattern:?} on {method} {path}");
        }
    }
}
