use std::time::{Duration, SystemTime};

use http::{HeaderName, StatusCode, response};

use super::{api::Api, error_json::error_json};
use crate::{
    header::{LegacyFields, RateLimit, exhausted_for, retry_after},
    mark::{LimitKey, RequestHead, Tenant},
    origin::{Origins, UrlError},
    pages::NextLink,
    rate_limit_retry::{
        RateLimitRetryLayer,
        classify::{Class, Classify, Standard},
    },
    token::TokenCache,
    token_refresh::TokenRefreshLayer,
};

/// GitHub: limits that answer 403, tokens that take a while to be known, pages by `Link`.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_outbound::{
///     buffer_body::BufferErrorBodyLayer, preset::Github, token::{Grant, TokenCache, source_fn},
/// };
///
/// # let http = ();
/// let github = Github::new();
/// // Stands for a `GithubApp` (feature `github`).
/// let tokens = TokenCache::new(source_fn(|_| async { Ok(Grant::new("ghs_…")) }));
///
/// let api = ServiceBuilder::new()
///     .layer(github.rate_limit_retry())
///     .layer(github.token_refresh(tokens))
///     .layer(BufferErrorBodyLayer::new()) // tells a limit's 403 from that of a permission
///     .service(http);
/// # drop(api);
/// ```
///
/// # Facts
///
/// - A limit answers 403 or 429. `Retry-After` goes first; else, if `x-ratelimit-remaining` is 0,
///   the next request may go at `x-ratelimit-reset`, in Unix time; else after a minute at least.
///   Who goes on all the same may be banned ([rate limits]).
/// - The window of the primary limit is an hour. `core`, `search`, `code_search` and `graphql` each
///   have one; `x-ratelimit-resource` names it ([endpoint]).
/// - Any other 403 is about a permission.
/// - A new installation token may be refused with 401 for some seconds: GitHub's own client tries
///   the same token again until it is five seconds old ([auth-app.js]).
/// - Requests without a `User-Agent` are answered with 403 ([user agent]); set yours on the client.
/// - The next page is in the `Link` header ([pagination]).
///
/// [rate limits]: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
/// [endpoint]: https://docs.github.com/en/rest/rate-limit/rate-limit
/// [auth-app.js]: https://github.com/octokit/auth-app.js/blob/main/src/hook.ts
/// [user agent]: https://docs.github.com/en/rest/using-the-rest-api/getting-started-with-the-rest-api#user-agent-required
/// [pagination]: https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api
#[derive(Clone, Debug)]
pub struct Github {
    api: Api,
}

impl Default for Github {
    fn default() -> Self {
        Self::new()
    }
}

impl Github {
    /// `https://api.github.com`.
    pub fn new() -> Self {
        let api = Api::at_origin(GITHUB).expect("it is the origin of a server");
        Self { api }
    }

    /// The API at this URL: a GitHub Enterprise Server, `https://github.example.com/api/v3`.
    ///
    /// # Errors
    /// If it is not the URL of a server: `https`, or `http` on loopback.
    pub fn at(api_url: &str) -> Result<Self, UrlError> {
        Ok(Self {
            api: Api::at(api_url)?,
        })
    }

    /// The base URL of the API, without a slash at its end.
    pub fn api_url(&self) -> &str {
        &self.api.url
    }

    /// Where the token may go: the API's origin.
    pub fn origins(&self) -> Origins {
        self.api.origins.clone()
    }

    /// The token layer for this API: a token that is younger than five seconds is tried again
    /// before a renewal is thought of.
    pub fn token_refresh(&self, tokens: TokenCache) -> TokenRefreshLayer {
        TokenRefreshLayer::new(tokens, self.origins()).fresh_token_lag(REPLICATION_LAG)
    }

    /// The rate-limit layer: it knows a limit's 403, keeps the resources' limits apart, and waits
    /// until a primary limit resets, which may take an hour. Who has no such time marks the request
    /// with a [`Deadline`](crate::mark::Deadline).
    ///
    /// A secondary limit that comes with 403 and without `Retry-After` is known by its body only:
    /// put a [`BufferErrorBodyLayer`](crate::buffer_body::BufferErrorBodyLayer) below.
    pub fn rate_limit_retry(&self) -> RateLimitRetryLayer {
        RateLimitRetryLayer::new()
            .classify(Rules(Standard::new().legacy_fields(FIELDS)))
            .limit_key(limit_key)
            .max_wait(LONGEST_RESET)
    }

    /// How a page leads to the next.
    pub fn paging(&self) -> NextLink {
        NextLink::header()
    }
}

struct Rules(Standard);

impl Classify for Rules {
    fn response(&self, parts: &response::Parts, now: SystemTime) -> Class {
        let is_throttled = parts.status == StatusCode::TOO_MANY_REQUESTS;
        if !is_throttled && parts.status != StatusCode::FORBIDDEN {
            return self.0.response(parts, now);
        }
        let headers = &parts.headers;
        let told = retry_after(headers, now).or_else(|| exhausted_for(headers, &FIELDS, now));
        match told {
            Some(_) => Class::Refused { wait: told },
            None if is_throttled || speaks_of_a_limit(parts) => Class::Refused {
                wait: Some(UNTOLD_WAIT),
            },
            None => Class::Done,
        }
    }

    fn limits(&self, parts: &response::Parts, now: SystemTime) -> Vec<RateLimit> {
        // Of a resource that has no key of its own, what is left says nothing about the others.
        let is_known = |name| RESOURCES.iter().any(|known| name == known);
        if parts.headers.get(RESOURCE).is_none_or(is_known) {
            self.0.limits(parts, now)
        } else {
            Vec::new()
        }
    }
}

/// "API rate limit exceeded for …", or "You have exceeded a secondary rate limit …".
fn speaks_of_a_limit(parts: &response::Parts) -> bool {
    let body = error_json(parts).unwrap_or_default();
    let message = body["message"].as_str().unwrap_or_default();
    message.to_ascii_lowercase().contains("rate limit")
}

/// One limit for each resource, and as ever for each server and tenant.
fn limit_key(request: &RequestHead<'_>) -> LimitKey {
    let uri = request.uri;
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let tenant = request.extensions.get::<Tenant>();
    let tenant = tenant.map_or("", |tenant| tenant.as_str());
    LimitKey::new(format!("{host} {} {tenant}", resource(uri.path())))
}

fn resource(path: &str) -> &'static str {
    // A GitHub Enterprise Server has its API at a path.
    let path = path.strip_prefix("/api").unwrap_or(path);
    let path = path.strip_prefix("/v3").unwrap_or(path);
    if path.starts_with("/search/code") {
        CODE_SEARCH
    } else if path.starts_with("/search/") {
        SEARCH
    } else if path == "/graphql" {
        GRAPHQL
    } else {
        CORE
    }
}

const GITHUB: &str = "https://api.github.com";
const RESOURCE: HeaderName = HeaderName::from_static("x-ratelimit-resource");
const FIELDS: [LegacyFields; 1] = [LegacyFields::XRateLimit];

const CORE: &str = "core";
const SEARCH: &str = "search";
const CODE_SEARCH: &str = "code_search";
const GRAPHQL: &str = "graphql";
const RESOURCES: [&str; 4] = [CORE, SEARCH, CODE_SEARCH, GRAPHQL];

/// What the documentation asks for where the response does not.
const UNTOLD_WAIT: Duration = Duration::from_secs(60);

/// The window of the primary limit, and a minute for a server whose clocks differ.
const LONGEST_RESET: Duration = Duration::from_secs(61 * 60);

/// GitHub's own client takes a refusal for good from this age on.
const REPLICATION_LAG: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_has_a_limit_of_its_own() {
        for (path, expected) in [
            ("/users", CORE),
            ("/searches", CORE),
            ("/search/issues", SEARCH),
            ("/search/code", CODE_SEARCH),
            ("/graphql", GRAPHQL),
            ("/api/v3/search/issues", SEARCH),
            ("/api/graphql", GRAPHQL),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }
}
