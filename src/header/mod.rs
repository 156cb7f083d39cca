//! Pure readers of response headers: what a server says about waiting, limits and credentials.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use http::HeaderMap;
//! use tower_outbound::header::{challenges, exhausted_for, retry_after};
//!
//! let mut headers = HeaderMap::new();
//! headers.insert("retry-after", "2.5".parse()?);
//! headers.insert("ratelimit", r#""minute";r=0;t=30, "day";r=900;t=4000"#.parse()?);
//! headers.insert("www-authenticate", r#"Bearer realm="api", error="invalid_token""#.parse()?);
//!
//! let now = SystemTime::UNIX_EPOCH; // whoever calls has the clock
//! assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(3)));
//! assert_eq!(exhausted_for(&headers, &[], now), Some(Duration::from_secs(30)));
//!
//! let challenges = challenges(&headers);
//! assert!(challenges[0].is("bearer"));
//! assert_eq!(challenges[0].param("error"), Some("invalid_token"));
//! # Ok::<_, http::header::InvalidHeaderValue>(())
//! ```
//!
//! None of them asks a clock, fails or panics, whatever a server sends: what cannot be read counts
//! as not sent.

mod challenge;
mod link;
mod rate_limit;
mod retry_after;

pub use challenge::{Challenge, challenges};
pub use link::next_link;
pub use rate_limit::{
    LegacyFields, QuotaUnit, RateLimit, RateLimitPolicy, ResetUnit, exhausted_for, rate_limit,
    rate_limit_policy,
};
pub use retry_after::retry_after;
