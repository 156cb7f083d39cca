//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers), and what came before.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, FieldType, Item, List, ListEntry, Parser};

use super::retry_after::{delay_or_until, server_time, whole_seconds};

/// What is left of one quota: a member of the field `RateLimit`
/// (draft-ietf-httpapi-ratelimit-headers-08 to -10, §4).
///
/// It is no promise: a request may be refused although something remains (§7).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// The name of the policy, which [`RateLimitPolicy::policy`] may describe.
    pub policy: String,
    /// `r`: the quota units that are left.
    pub remaining: u64,
    /// `t`: how long until the quota is full again, in whole seconds, if the server says.
    pub reset: Option<Duration>,
    /// `pk`: the part of the server's capacity that this quota is of, if the server says.
    pub partition_key: Option<Vec<u8>>,
}

impl RateLimit {
    /// What is left of a quota that a vendor tells of in fields of its own, for a
    /// [`Classify::limits`](crate::rate_limit_retry::classify::Classify::limits).
    ///
    /// ```
    /// use tower_outbound::header::RateLimit;
    ///
    /// // x-shopify-shop-api-call-limit: 32/40
    /// let limit = RateLimit::new("shop", 40 - 32);
    /// assert_eq!((limit.remaining, limit.reset), (8, None));
    /// ```
    pub fn new(policy: impl Into<String>, remaining: u64) -> Self {
        Self {
            policy: policy.into(),
            remaining,
            reset: None,
            partition_key: None,
        }
    }

    /// How long until the quota is full again.
    pub fn resets_in(mut self, reset: Duration) -> Self {
        self.reset = Some(reset);
        self
    }
}

/// A quota: a member of the field `RateLimit-Policy`
/// (draft-ietf-httpapi-ratelimit-headers-08 to -10, §3).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimitPolicy {
    /// The name of the policy.
    pub policy: String,
    /// `q`: how many quota units there are.
    pub quota: u64,
    /// `qu`: what is counted. Default by the draft: requests.
    pub unit: QuotaUnit,
    /// `w`: for which time the quota is, in whole seconds, if the server says.
    pub window: Option<Duration>,
    /// `pk`: the part of the server's capacity that this quota is of, if the server says.
    pub partition_key: Option<Vec<u8>>,
}

/// What a quota counts (draft-ietf-httpapi-ratelimit-headers-10, §3.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaUnit {
    /// Requests.
    #[default]
    Requests,
    /// Bytes of content.
    ContentBytes,
    /// Requests that are under way at the same time.
    ConcurrentRequests,
    /// A unit of the server's own.
    Other(String),
}

/// Limit fields that are older than the draft's, or a vendor's own.
///
/// Their meaning differs between vendors, so they are only read where they are asked for. The number
/// of seconds in a reset is a delay, or Unix time if as such it lies in the years 2020 to 2099.
///
/// A preset is data:
///
/// ```
/// use http::HeaderName;
/// use tower_outbound::header::{LegacyFields, ResetUnit};
///
/// const VENDOR: LegacyFields = LegacyFields::Custom {
///     remaining: HeaderName::from_static("x-vendor-calls-left"),
///     reset: HeaderName::from_static("x-vendor-calls-back-in"),
///     unit: ResetUnit::Seconds,
/// };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LegacyFields {
    /// One field, `RateLimit: limit=10, remaining=0, reset=7`
    /// (draft-ietf-httpapi-ratelimit-headers-07).
    Draft07,
    /// `RateLimit-Remaining` and `RateLimit-Reset` (the drafts up to -06), as Zendesk.
    Draft06,
    /// `X-RateLimit-Remaining` and `X-RateLimit-Reset`, as GitHub.
    XRateLimit,
    /// A field with what remains, and a field with when it resets.
    Custom {
        /// The field with the number of calls that are left.
        remaining: HeaderName,
        /// The field with the time at which there are more, or until then.
        reset: HeaderName,
        /// What `reset` counts.
        unit: ResetUnit,
    },
}

/// What the reset of [`LegacyFields::Custom`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetUnit {
    /// Seconds.
    #[default]
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// The limits that the field `RateLimit` speaks of.
///
/// A field that is no list of structured fields (RFC 9651 §3.1) is ignored whole, as the draft
/// demands (§7). A member without `r`, or with a parameter that is negative or of another type than
/// the draft's, is left out.
pub fn rate_limit(headers: &HeaderMap) -> Vec<RateLimit> {
    // Most responses have no such field, and every one is asked.
    if !headers.contains_key(&RATE_LIMIT) {
        return Vec::new();
    }
    let items = items(headers, &RATE_LIMIT);
    items.iter().filter_map(read_limit).collect()
}

/// The quotas that the field `RateLimit-Policy` speaks of. They are informative.
///
/// Malformed fields and members are treated as by [`rate_limit`]; here the required one is `q`.
pub fn rate_limit_policy(headers: &HeaderMap) -> Vec<RateLimitPolicy> {
    let items = items(headers, &RATE_LIMIT_POLICY);
    items.iter().filter_map(read_policy).collect()
}

/// How long to send nothing, since a limit has nothing left: the longest reset of those. `None` if
/// all have something left, or none says when it resets.
///
/// Reads `RateLimit`, and those of the older fields that are asked for. `now` is only needed for a
/// reset in Unix time, if the response has no readable `Date` to measure it against.
///
/// `Retry-After` takes precedence (draft-ietf-httpapi-ratelimit-headers-10, §7): this does not look
/// at it.
pub fn exhausted_for(
    headers: &HeaderMap,
    legacy: &[LegacyFields],
    now: SystemTime,
) -> Option<Duration> {
    let limits = rate_limit(headers).into_iter();
    let older = legacy
        .iter()
        .filter_map(|fields| fields.limit(headers, now));
    let resets = limits.chain(older).filter(|limit| limit.remaining == 0);
    let resets = resets.filter_map(|limit| limit.reset);
    resets.filter(|reset| !reset.is_zero()).max()
}

impl LegacyFields {
    /// What these fields say is left, if they say when there is more.
    ///
    /// Where a server has several limits in one field, the one with the least left counts, and the
    /// longest reset.
    pub fn limit(&self, headers: &HeaderMap, now: SystemTime) -> Option<RateLimit> {
        let (remaining, reset, unit) = match self {
            Self::Draft07 => return draft_07_limit(headers),
            Self::Draft06 => (&REMAINING, &RESET, ResetUnit::Seconds),
            Self::XRateLimit => (&X_REMAINING, &X_RESET, ResetUnit::Seconds),
            Self::Custom {
                remaining,
                reset,
                unit,
            } => (remaining, reset, *unit),
        };
        let left = members(headers, remaining).filter_map(whole_number).min()?;
        let server_now = server_time(headers, now);
        let delays = members(headers, reset).filter_map(|number| unit.delay(number));
        let reset = delays
            .map(|delay| delay_or_until(delay, server_now))
            .max()?;
        Some(RateLimit {
            policy: remaining.as_str().to_owned(),
            remaining: left,
            reset: Some(reset),
            partition_key: None,
        })
    }
}

impl ResetUnit {
    fn delay(self, number: &str) -> Option<Duration> {
        let units = whole_seconds(number)?;
        Some(match self {
            Self::Seconds => units,
            Self::Milliseconds => units / 1000,
        })
    }
}

impl From<&str> for QuotaUnit {
    fn from(unit: &str) -> Self {
        match unit {
            "requests" => Self::Requests,
            "content-bytes" => Self::ContentBytes,
            "concurrent-requests" => Self::ConcurrentRequests,
            other => Self::Other(other.to_owned()),
        }
    }
}

// ===== structured fields =====

fn read_limit(item: &Item) -> Option<RateLimit> {
    Some(RateLimit {
        policy: string(&item.bare_item)?.to_owned(),
        remaining: required(item, "r", count)?,
        reset: optional(item, "t", seconds)?,
        partition_key: optional(item, "pk", bytes)?,
    })
}

fn read_policy(item: &Item) -> Option<RateLimitPolicy> {
    let unit = optional(item, "qu", |value| string(value).map(QuotaUnit::from))?;
    Some(RateLimitPolicy {
        policy: string(&item.bare_item)?.to_owned(),
        quota: required(item, "q", count)?,
        unit: unit.unwrap_or_default(),
        window: optional(item, "w", seconds)?,
        partition_key: optional(item, "pk", bytes)?,
    })
}

fn draft_07_limit(headers: &HeaderMap) -> Option<RateLimit> {
    let field: Dictionary = structured(headers, &RATE_LIMIT)?;
    let value = |key| match field.get(key) {
        Some(ListEntry::Item(item)) => Some(&item.bare_item),
        _ => None,
    };
    Some(RateLimit {
        policy: "ratelimit".to_owned(),
        remaining: count(value("remaining")?)?,
        reset: Some(seconds(value("reset")?)?),
        partition_key: None,
    })
}

fn items(headers: &HeaderMap, name: &HeaderName) -> Vec<Item> {
    let members: List = structured(headers, name).unwrap_or_default();
    let items = members.into_iter().filter_map(|member| match member {
        ListEntry::Item(item) => Some(item),
        ListEntry::InnerList(_) => None,
    });
    items.collect()
}

/// All lines of a field as one, as RFC 9651 §4.2 has it.
fn structured<T: FieldType>(headers: &HeaderMap, name: &HeaderName) -> Option<T> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|v| v.as_bytes()).collect();
    Parser::new(&lines.join(&b", "[..])).parse().ok()
}

/// `None` if the parameter is missing or not what it should be.
fn required<'a, T>(
    item: &'a Item,
    key: &str,
    read: impl FnOnce(&'a BareItem) -> Option<T>,
) -> Option<T> {
    item.params.get(key).and_then(read)
}

/// `None` if the parameter is there and not what it should be; `Some(None)` if it is not there.
fn optional<'a, T>(
    item: &'a Item,
    key: &str,
    read: impl FnOnce(&'a BareItem) -> Option<T>,
) -> Option<Option<T>> {
    match item.params.get(key) {
        Some(value) => read(value).map(Some),
        None => Some(None),
    }
}

fn string(value: &BareItem) -> Option<&str> {
    Some(value.as_string()?.as_str())
}

fn count(value: &BareItem) -> Option<u64> {
    u64::try_from(i64::from(value.as_integer()?)).ok()
}

fn seconds(value: &BareItem) -> Option<Duration> {
    count(value).map(Duration::from_secs)
}

fn bytes(value: &BareItem) -> Option<Vec<u8>> {
    value.as_byte_sequence().map(<[u8]>::to_vec)
}

// ===== fields from before =====

/// The members of all lines of a field, without parameters: Docker Hub writes `76;w=21600`.
fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    let members = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    members.filter_map(|member| member.split(';').next())
}

/// How many calls are left: what is left of one, where a vendor counts in decimals, is none.
fn whole_number(number: &str) -> Option<u64> {
    let (whole, fraction) = number.trim().split_once('.').unwrap_or((number.trim(), ""));
    if whole.is_empty()
        || !whole
            .bytes()
            .chain(fraction.bytes())
            .all(|b| b.is_ascii_digit())
    {
        return None;
    }
    // Nothing but digits: it can only fail by being too large.
    Some(whole.parse().unwrap_or(u64::MAX))
}

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
static X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

#[cfg(test)]
mod tests;
