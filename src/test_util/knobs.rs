use std::time::Duration;

use http::StatusCode;

/// What can be turned before the servers start and while they run.
///
/// Every request reads the knobs once, when it is handled, so a change counts for the next one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use tower_outbound::test_util::LoopbackCloud;
///
/// let cloud = LoopbackCloud::builder()
///     .configure(|knobs| knobs.token_lifetime = Duration::from_secs(5))
///     .start_in_memory();
/// cloud.configure(|knobs| knobs.quota = None);
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Knobs {
    /// How long an access token lives, unless its client says otherwise. Default: 24 hours, as
    /// Genesys Cloud's. The reply's `expires_in` is one second less, as the real one's is, but
    /// at least 1. Tokens that are already out keep their lifetime.
    pub token_lifetime: Duration,
    /// A token that is not used for so long is dead, whatever its `expires_in` said. Default: none.
    pub idle_timeout: Option<Duration>,
    /// Minting one more than so many live tokens of one client kills its oldest. Default: none.
    pub max_live_tokens_per_client: Option<usize>,
    /// A refresh token can be used once and the reply brings the next one. Default: true. When
    /// false the same refresh token is handed back each time.
    pub rotate_refresh: bool,
    /// For how long after its use a rotated refresh token is taken once more, as servers do for
    /// replies that got lost. Default: zero.
    pub refresh_grace: Duration,
    /// A refresh kills the access tokens that came from the same sign-in, as Zendesk's does.
    /// Default: false.
    pub refresh_kills_old_access: bool,
    /// How long a new token is answered 401 before the API server knows it. Default: zero.
    pub fresh_lag: Duration,
    /// How many API calls are let through. Default: 300 a minute for each token, Genesys Cloud's
    /// published limit. Only calls with a valid token count.
    pub quota: Option<Quota>,
    /// Every refused call moves the end of its window by a tenth of the window (at least a
    /// second), as Microsoft Graph's limits grow while they are hammered. Default: false.
    pub penalise: bool,
    /// Puts the `limit` object into the body of a 429. Default: false.
    pub limit_body: bool,
    /// Sends the `inin-ratelimit-*` headers that Genesys Cloud took away in 2021. Default: false.
    pub legacy_headers: bool,
    /// How many token requests are let through; its [`Scope`] is always the client. Default: none.
    pub token_quota: Option<Quota>,
    /// The status of a throttled token request. Default: 400, which is what the real one sends.
    pub throttle_status: StatusCode,
    /// Whether a throttled token request carries a `Retry-After`. Default: false.
    pub throttle_retry_after: bool,
    /// The status of `invalid_client`. Default: 400.
    pub invalid_client_status: StatusCode,
    /// Takes Basic credentials as they are, where RFC 6749 §2.3.1 says that id and secret arrive
    /// form-encoded. Default: false.
    pub raw_basic: bool,
    /// Whether the API asks for a token at all. Default: true. When false every call is let in
    /// and the quota counts all of them together.
    pub require_token: bool,
    /// How long an answer of the authorization server is on its way. The request is handled
    /// before the wait, not after it. Default: zero.
    pub login_latency: Duration,
    /// How long an answer of the API server is on its way, likewise. Default: zero.
    pub api_latency: Duration,
    /// Error bodies of either server are padded with blanks to at least so many bytes. Default: 0.
    pub error_padding: usize,
    /// How many times a job is reported as not done before it is. Default: 2, one `QUEUED` and one
    /// `PENDING`.
    pub job_polls: u32,
    /// Links to the next page carry scheme and host. Default: false.
    pub absolute_links: bool,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            token_lifetime: Duration::from_secs(86_400),
            idle_timeout: None,
            max_live_tokens_per_client: None,
            rotate_refresh: true,
            refresh_grace: Duration::ZERO,
            refresh_kills_old_access: false,
            fresh_lag: Duration::ZERO,
            quota: Some(Quota::per_minute(300)),
            penalise: false,
            limit_body: false,
            legacy_headers: false,
            token_quota: None,
            throttle_status: StatusCode::BAD_REQUEST,
            throttle_retry_after: false,
            invalid_client_status: StatusCode::BAD_REQUEST,
            raw_basic: false,
            require_token: true,
            login_latency: Duration::ZERO,
            api_latency: Duration::ZERO,
            error_padding: 0,
            job_polls: 2,
            absolute_links: false,
        }
    }
}

/// So many requests in each fixed window.
///
/// A window begins with the first call that it counts and ends `window` later; the next call
/// after that begins another. Two windows can so lie back to back, and twice `requests` calls
/// pass within a moment around their border, as with the real one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Calls that pass in one window.
    pub requests: u32,
    /// The length of a window.
    pub window: Duration,
    /// What each window belongs to.
    pub per: Scope,
}

impl Quota {
    /// `requests` a minute for each token.
    pub const fn per_minute(requests: u32) -> Self {
        Self {
            requests,
            window: Duration::from_secs(60),
            per: Scope::Token,
        }
    }
}

/// What a quota is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each access token has its own: it starts afresh at every renewal.
    Token,
    /// All tokens of a client share one: a renewal gains nothing.
    Client,
}
