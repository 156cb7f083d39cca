//! What the command line says.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use clap::Args;
use tower_outbound::origin::Origin;

/// Where requests go, and on which terms.
#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    /// Where requests go: with a name those to /NAME/…, without one all; can be repeated with names
    #[arg(long = "upstream", value_name = "[NAME=]ORIGIN")]
    pub(crate) upstreams: Vec<Named<Origin>>,

    /// Where the tokens for an upstream come from; every upstream needs one
    #[arg(long = "token-url", value_name = "[NAME=]URL")]
    pub(crate) token_urls: Vec<Named<String>>,

    /// The scopes to ask for, separated by spaces
    #[arg(long = "scope", value_name = "[NAME=]SCOPES")]
    pub(crate) scopes: Vec<Named<String>>,

    /// Where programs call this one. Whoever can reach it can use the credentials
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// Where /healthz and /metrics are: nowhere, if this is not given
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<SocketAddr>,

    /// A name by which programs may call this one, beside those of the loopback address
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allowed_hosts: Vec<String>,

    /// The largest request body that is held so that it can be sent again; larger ones are sent once
    #[arg(long, value_name = "BYTES", default_value = "2097152")]
    pub(crate) replay_limit: usize,

    /// How long an upstream may take until it begins to answer, the upload included
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "300")]
    pub(crate) timeout: Duration,
}

/// A value for one upstream: `genesys=https://api.mypurecloud.com`, or without a name for the only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named<T> {
    pub(crate) name: Option<String>,
    pub(crate) value: T,
}

impl<T> FromStr for Named<T>
where
    T: FromStr,
    T::Err: ToString,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A URL may have a `=` of its own, but not behind what could be a name.
        let (name, value) = match text.split_once('=') {
            Some((name, value)) if is_name(name) => (Some(name.to_owned()), value),
            _ => (None, text),
        };
        let value = value.parse().map_err(|error: T::Err| error.to_string())?;
        Ok(Self { name, value })
    }
}

/// The value for the upstream of this name.
pub(crate) fn value_of<'a, T>(values: &'a [Named<T>], name: Option<&str>) -> Option<&'a T> {
    let mut named = values.iter().filter(|one| one.name.as_deref() == name);
    named.next().map(|one| &one.value)
}

/// Lower case only, so that no two names share the environment variables of their credentials.
fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_plain)
}

/// Durations as people write them, `0.5` among them.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| MORE_THAN_ZERO.to_owned())?;
    let duration = Duration::try_from_secs_f64(seconds).ok();
    let duration = duration.filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| MORE_THAN_ZERO.to_owned())
}

const MORE_THAN_ZERO: &str = "give seconds, more than 0";
