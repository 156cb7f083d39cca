//! Where a token may go: origins, that is scheme, host and port (RFC 6454 §4).
//!
//! ```
//! use http::Uri;
//! use tower_outbound::origin::{Origins, Verdict};
//!
//! let ours = Origins::only(["https://api.example.com", "http://localhost:8080"])?;
//!
//! let page = Uri::from_static("https://API.example.com:443/v2/users?page=2");
//! assert_eq!(ours.allows(&page), Verdict::Allowed);
//!
//! let trick = Uri::from_static("https://api.example.com@evil.test/");
//! assert_eq!(ours.allows(&trick), Verdict::Elsewhere);
//! # Ok::<_, tower_outbound::origin::UrlError>(())
//! ```
//!
//! Two origins are the same if their schemes, hosts and ports are: letter case does not matter, nor
//! whether a default port is written out, nor how an IPv6 address is abbreviated. A trailing dot
//! does (`api.example.com.`), and so does every subdomain. Names are compared, never looked up.
//!
//! # Plain HTTP
//! Whoever can see an `http` connection can take the token from it (RFC 6750 §5.3 demands TLS), so
//! [`Origins::only`] takes `http` for loopback alone, where nobody is in between. An internal
//! service is allowed by name:
//!
//! ```
//! # use tower_outbound::origin::Origins;
//! let ours = Origins::only(["https://api.example.com"])?
//!     .and_plain_http("http://billing.internal:8080")?;
//! # Ok::<_, tower_outbound::origin::UrlError>(())
//! ```

use std::{
    borrow::Cow,
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use http::Uri;

use crate::causes;

/// A scheme (`http` or `https`), a host and a port (RFC 6454 §4).
///
/// ```
/// use tower_outbound::origin::Origin;
///
/// let origin: Origin = "HTTPS://API.Example.com:443/".parse()?;
/// assert_eq!(origin.to_string(), "https://api.example.com");
/// # Ok::<_, tower_outbound::origin::UrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    parts: Parts<Box<str>>,
    /// Host and port as nearly every URI has them: in lower case, without the default port.
    authority: Box<str>,
}

/// The origins to which a token may be sent.
#[derive(Clone, Debug)]
pub struct Origins(Permitted);

#[derive(Clone, Debug)]
enum Permitted {
    Any,
    Only(Vec<Origin>),
}

/// What [`Origins::allows`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// One of the origins: the token may be sent.
    Allowed,
    /// Some other origin: the token must not be sent.
    Elsewhere,
    /// The URI has no origin ([`Origin::of`] says when), so nobody could say where the token goes.
    Unknown,
}

impl Origin {
    /// The origin that a request for this URI is sent to.
    ///
    /// `None` if that cannot be told: a URI without scheme or host (`/users`, or the authority form
    /// of `CONNECT`), a scheme that is neither `http` nor `https`, an address in brackets that is
    /// not IPv6, or a port that is none (`0`, `99999`).
    pub fn of(uri: &Uri) -> Option<Self> {
        Parts::of(uri).map(Self::from)
    }

    /// Whether a request for this URI is sent to this origin; the same as comparing with
    /// [`Origin::of`], without an allocation.
    pub fn is_of(&self, uri: &Uri) -> bool {
        Parts::of(uri).is_some_and(|parts| self.has(&parts))
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.parts.scheme.as_str()
    }

    /// The host in lower case; an IPv6 address in its canonical form (RFC 5952) in brackets.
    pub fn host(&self) -> Cow<'_, str> {
        match &self.parts.host {
            Host::Name(name) => Cow::Borrowed(name),
            Host::Ipv6(_) => Cow::Owned(self.parts.host.to_string()),
        }
    }

    /// The port, the scheme's default (443 or 80) if none was written.
    pub fn port(&self) -> u16 {
        self.parts.port
    }

    /// Whether requests go over TLS.
    pub fn is_https(&self) -> bool {
        self.parts.scheme == Scheme::Https
    }

    /// Whether requests stay on this machine: 127.0.0.0/8, `::1`, `localhost` and the names below it
    /// (RFC 6761 §6.3, which wants resolvers to keep them local).
    pub fn is_loopback(&self) -> bool {
        match &self.parts.host {
            Host::Ipv6(address) => address.is_loopback(),
            Host::Name(name) => is_loopback_name(name),
        }
    }

    /// Whether the URI has this origin letter for letter: no need to take it apart.
    fn is_written_in(&self, uri: &Uri) -> bool {
        uri.authority()
            .is_some_and(|authority| authority.as_str() == &*self.authority)
            && uri.scheme_str() == Some(self.scheme())
    }

    fn has(&self, parts: &Parts<&str>) -> bool {
        self.parts.scheme == parts.scheme
            && self.parts.port == parts.port
            && self.parts.host.is_same(&parts.host)
    }
}

impl Origins {
    /// These origins and no other: `https`, or `http` on loopback.
    ///
    /// # Errors
    /// If one is not an origin (`scheme://host` or `scheme://host:port`, without path, query,
    /// fragment or user), if it is `http` and not loopback (see
    /// [`and_plain_http`](Self::and_plain_http)), or if there is none at all.
    pub fn only<I>(origins: I) -> Result<Self, UrlError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        Self::list(origins, PlainHttp::OnLoopback)
    }

    /// These origins and no other, although they are `http`: for programs that call none but
    /// internal services. To add one to others there is [`and_plain_http`](Self::and_plain_http).
    ///
    /// # Errors
    /// If one is not an origin, or if there is none at all.
    pub fn only_plain_http<I>(origins: I) -> Result<Self, UrlError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        Self::list(origins, PlainHttp::Anywhere)
    }

    /// Every origin, and even URIs that have none. The token goes wherever a request goes: right
    /// where all URIs come from the program itself, wrong where any comes from a reply or a user.
    pub fn any() -> Self {
        Self(Permitted::Any)
    }

    /// One more origin, although it is `http`: everyone on the way to it can read the token. `https`
    /// is taken too, so that a setting can move to it.
    ///
    /// # Errors
    /// If it is not an origin.
    pub fn and_plain_http(self, origin: impl AsRef<str>) -> Result<Self, UrlError> {
        let origin = Origin::read(origin.as_ref(), PlainHttp::Anywhere)?;
        Ok(match self.0 {
            Permitted::Any => Self::any(),
            Permitted::Only(mut origins) => {
                origins.push(origin);
                Self(Permitted::Only(origins))
            }
        })
    }

    /// Whether a request for this URI may carry the token. Does not allocate.
    pub fn allows(&self, uri: &Uri) -> Verdict {
        let Permitted::Only(origins) = &self.0 else {
            return Verdict::Allowed;
        };
        if origins.iter().any(|origin| origin.is_written_in(uri)) {
            return Verdict::Allowed;
        }
        match Parts::of(uri) {
            None => Verdict::Unknown,
            Some(parts) if origins.iter().any(|origin| origin.has(&parts)) => Verdict::Allowed,
            Some(_) => Verdict::Elsewhere,
        }
    }

    fn list<I>(origins: I, plain_http: PlainHttp) -> Result<Self, UrlError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let read = |text: I::Item| Origin::read(text.as_ref(), plain_http);
        let origins = origins
            .into_iter()
            .map(read)
            .collect::<Result<Vec<_>, _>>()?;
        if origins.is_empty() {
            return Err(UrlError(Unusable::NoneGiven));
        }
        Ok(Self(Permitted::Only(origins)))
    }
}

impl FromStr for Origin {
    type Err = UrlError;

    /// Reads `scheme://host` or `scheme://host:port`; a lone `/` may follow. `http` is accepted
    /// wherever it goes: an origin says where something is, not what may be sent there.
    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::read(text, PlainHttp::Anywhere)
    }
}

impl TryFrom<&str> for Origin {
    type Error = UrlError;

    fn try_from(text: &str) -> Result<Self, UrlError> {
        text.parse()
    }
}

impl fmt::Display for Origin {
    /// `https://api.example.com:8443`, without the port where it is the scheme's default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority)
    }
}

// ===== the parts of an origin, owned or borrowed from a URI =====

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Parts<N> {
    scheme: Scheme,
    host: Host<N>,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    Http,
    Https,
}

/// A name, an IPv4 address (which has but one spelling) among them, or an IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host<N> {
    Name(N),
    Ipv6(Ipv6Addr),
}

impl<'a> Parts<&'a str> {
    /// Reads the authority itself: `Uri::port` cannot tell a port that is none from no port.
    fn of(uri: &'a Uri) -> Option<Self> {
        let scheme = Scheme::read(uri.scheme_str()?)?;
        let authority = uri.authority()?.as_str();
        let host_and_port = authority
            .rsplit_once('@')
            .map_or(authority, |(_, rest)| rest);
        let (host, port) = split_port(host_and_port)?;
        Some(Self {
            scheme,
            host: Host::read(host)?,
            port: scheme.port(port)?,
        })
    }
}

impl From<Parts<&str>> for Origin {
    fn from(parts: Parts<&str>) -> Self {
        let Parts { scheme, host, port } = parts;
        let host = match host {
            Host::Name(name) => Host::Name(name.to_ascii_lowercase().into()),
            Host::Ipv6(address) => Host::Ipv6(address),
        };
        let authority = match port == scheme.default_port() {
            true => host.to_string(),
            false => format!("{host}:{port}"),
        };
        Self {
            parts: Parts { scheme, host, port },
            authority: authority.into(),
        }
    }
}

impl Scheme {
    fn read(text: &str) -> Option<Self> {
        [Self::Http, Self::Https]
            .into_iter()
            .find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// RFC 9110 §4.2.
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The port as written after the host, which may be empty (RFC 3986 §3.2.3).
    fn port(self, written: &str) -> Option<u16> {
        if written.is_empty() {
            return Some(self.default_port());
        }
        // `parse` alone would take a sign.
        let is_number = written.bytes().all(|byte| byte.is_ascii_digit());
        let port = is_number.then(|| written.parse().ok())?;
        port.filter(|&port| port != 0)
    }
}

impl<'a> Host<&'a str> {
    fn read(text: &'a str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[') {
            let address = address.strip_suffix(']')?;
            return address.parse().ok().map(Self::Ipv6);
        }
        let is_name = !text.is_empty() && !text.contains(['[', ']', '%']);
        is_name.then_some(Self::Name(text))
    }
}

impl Host<Box<str>> {
    fn is_same(&self, other: &Host<&str>) -> bool {
        match (self, other) {
            (Self::Name(one), Host::Name(other)) => one.eq_ignore_ascii_case(other),
            (Self::Ipv6(one), Host::Ipv6(other)) => one == other,
            _ => false,
        }
    }
}

impl<N: fmt::Display> fmt::Display for Host<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Ipv6(address) => write!(f, "[{address}]"),
        }
    }
}

/// The host, and the port without its colon.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let end = match text.find(']') {
        Some(bracket) => bracket + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(end);
    if port.is_empty() {
        return Some((host, port));
    }
    Some((host, port.strip_prefix(':')?))
}

fn is_loopback_name(name: &str) -> bool {
    let address = name.parse::<Ipv4Addr>();
    address.is_ok_and(|address| address.is_loopback())
        || name == "localhost"
        || name.ends_with(".localhost")
}

// ===== reading configuration =====

/// Where `http` is accepted in a URL of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlainHttp {
    /// Only where requests stay on this machine.
    OnLoopback,
    /// Wherever the user says so by name.
    Anywhere,
}

/// Reads the URL of an endpoint: absolute, `https` or as far as allowed `http`, without a user and
/// without a fragment (RFC 6749 §3.2); a query is kept.
///
/// `http::Uri` alone would take `login.example.com` for a host and drop a fragment in silence.
pub(crate) fn parse_http_url(text: &str, plain_http: PlainHttp) -> Result<Uri, UrlError> {
    let unusable = |problem| UrlError::unusable(text, problem);
    let (_, origin) = read_url(text).map_err(unusable)?;
    if !plain_http.permits(&origin) {
        return Err(unusable(Problem::PlainUrl));
    }
    text.parse().map_err(|_| unusable(Problem::Unsendable))
}

impl PlainHttp {
    fn permits(self, origin: &Origin) -> bool {
        self == Self::Anywhere || origin.is_https() || origin.is_loopback()
    }
}

impl Origin {
    fn read(text: &str, plain_http: PlainHttp) -> Result<Self, UrlError> {
        let unusable = |problem| UrlError::unusable(text, problem);
        let (url, origin) = read_url(text).map_err(unusable)?;
        if url.has_query() || !matches!(url.path().as_str(), "" | "/") {
            return Err(unusable(Problem::MoreThanOrigin));
        }
        if !plain_http.permits(&origin) {
            return Err(unusable(Problem::PlainOrigin));
        }
        Ok(origin)
    }
}

fn read_url(text: &str) -> Result<(fluent_uri::Uri<&str>, Origin), Problem> {
    // By RFC 3986 alone `localhost:8080` is a URL, of the scheme `localhost`.
    if !text.contains("://") {
        return Err(Problem::NoScheme);
    }
    let url = fluent_uri::Uri::parse(text).map_err(Problem::Malformed)?;
    if url.has_fragment() {
        return Err(Problem::Fragment);
    }
    let origin = read_origin(&url)?;
    Ok((url, origin))
}

fn read_origin(url: &fluent_uri::Uri<&str>) -> Result<Origin, Problem> {
    let scheme = Scheme::read(url.scheme().as_str()).ok_or(Problem::Scheme)?;
    let authority = url.authority().ok_or(Problem::NoHost)?;
    if authority.has_userinfo() {
        return Err(Problem::User);
    }
    if authority.host().is_empty() {
        return Err(Problem::NoHost);
    }
    let host = Host::read(authority.host()).ok_or(Problem::Host)?;
    let port = authority.port().map_or("", |port| port.as_str());
    let port = scheme.port(port).ok_or(Problem::Port)?;
    Ok(Parts { scheme, host, port }.into())
}

// ===== errors =====

/// A request says neither scheme nor host, so nobody could say where its token would go.
///
/// Build requests with absolute URIs, or allow every origin with
/// [`Origins::any`] where the inner service talks to one server only.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the request URI `{path}` names no origin, so no token was attached and nothing was sent: use an \
     absolute URI such as https://api.example.com{path}, or Origins::any()"
)]
pub struct MissingOrigin {
    path: String,
}

impl MissingOrigin {
    pub(crate) fn new(uri: &Uri) -> Self {
        Self {
            path: uri.path().to_owned(),
        }
    }

    /// Finds this error in an error or among its causes.
    pub fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a MissingOrigin> {
        causes::find(error)
    }
}

/// An origin or URL of the configuration that cannot be used.
///
/// The message names the value and says what to write instead. What could be secret in a value is
/// left out: user, password, query and fragment.
#[derive(Clone, thiserror::Error)]
#[error(transparent)]
pub struct UrlError(Unusable);

#[derive(Clone, Debug, thiserror::Error)]
enum Unusable {
    #[error("no origin given: name those that may receive the token, or use `Origins::any()`")]
    NoneGiven,
    #[error("{shown:?} {problem}")]
    Value { shown: String, problem: Problem },
}

#[derive(Clone, Debug, thiserror::Error)]
enum Problem {
    #[error("has no scheme: write \"https://…\"")]
    NoScheme,
    #[error("is not a URL: {0}")]
    Malformed(fluent_uri::ParseError),
    #[error("has a scheme other than http and https: write \"https://…\"")]
    Scheme,
    #[error("has no host: write \"https://host\"")]
    NoHost,
    #[error("has a host that is neither a plain name nor an IP address: write it as in DNS")]
    Host,
    #[error("has a port that is not one of 1 to 65535")]
    Port,
    #[error("contains a user or password: pass credentials by themselves")]
    User,
    #[error("contains a fragment, which is never sent: leave out \"#…\"")]
    Fragment,
    #[error("is more than an origin: write scheme, host and port only")]
    MoreThanOrigin,
    #[error("is not encrypted: write \"https://…\", or allow it with `Origins::and_plain_http`")]
    PlainOrigin,
    #[error("is not encrypted: write \"https://…\", or allow plain http for it")]
    PlainUrl,
    #[error("is a URL that `http::Uri` cannot hold")]
    Unsendable,
}

/// The message: it is what a `main` that returns an error prints.
impl fmt::Debug for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UrlError({self})")
    }
}

impl UrlError {
    fn unusable(text: &str, problem: Problem) -> Self {
        let shown = without_secrets(text);
        Self(Unusable::Value { shown, problem })
    }
}

/// The value as far as it may be printed. It may be no URL at all, so this goes by characters: what
/// stands before an `@` may be a password, and what comes after `?` or `#` may be a token.
fn without_secrets(text: &str) -> String {
    let start = text.find("://").map_or(0, |colon| colon + "://".len());
    let (scheme, rest) = text.split_at(start);
    let query = rest.find(['?', '#']);
    match (rest.rfind('@'), query) {
        (None, None) => text.to_owned(),
        (None, Some(query)) => format!("{scheme}{}…", &rest[..=query]),
        (Some(user), None) => format!("{scheme}…{}", &rest[user..]),
        (Some(user), Some(query)) if user < query => format!("{scheme}…{}…", &rest[user..=query]),
        // A password with a `?` in it, or a query with an `@`: nobody can tell.
        (Some(_), Some(_)) => format!("{scheme}…"),
    }
}

#[cfg(test)]
mod tests;
