//! Who may call: a program that means this gateway, and no page in a browser.

use http::{HeaderName, Request, header, uri::Authority};
use tower_outbound::origin::Origin;

use super::failure::Failure;

/// Knows the names under which this gateway is called.
#[derive(Debug)]
pub(crate) struct Guard {
    allowed_hosts: Vec<String>,
}

impl Guard {
    pub(crate) fn new(allowed_hosts: Vec<String>) -> Self {
        Self { allowed_hosts }
    }

    /// Refuses what a browser sends on behalf of a page, and what was meant for somebody else.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Failure> {
        let headers = request.headers();
        if headers.contains_key(header::ORIGIN) || is_from_a_page(request) {
            return Err(Failure::forbidden(
                "this gateway lends credentials to programs, not to pages in a browser",
            ));
        }
        // A page that has bound its name to this address (DNS rebinding) still sends that name; and an
        // absolute target names a host of its own.
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        let named = host.is_some_and(|host| self.knows(host)) && hosts.next().is_none();
        let targeted = request.uri().authority();
        let targeted = targeted.is_none_or(|target| self.knows(target.as_str()));
        if named && targeted {
            return Ok(());
        }
        Err(Failure::misdirected(
            "the request names a host that is not this gateway: call it by 127.0.0.1 or localhost, \
             or start it with `--allow-host`",
        ))
    }

    fn knows(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        let is_allowed = |name: &String| name.eq_ignore_ascii_case(authority.host());
        // Without a user before the host, which an origin does not have.
        let origin = format!("http://{host}").parse::<Origin>();
        origin.is_ok_and(|origin| origin.is_loopback() || self.allowed_hosts.iter().any(is_allowed))
    }
}

/// What a user types into the address bar is not a page's.
fn is_from_a_page<B>(request: &Request<B>) -> bool {
    let site = request.headers().get(SEC_FETCH_SITE);
    site.is_some_and(|site| site != "none")
}

/// Browsers send it with every request to loopback, those without an `Origin` among them.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
