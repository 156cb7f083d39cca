use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderMap, HeaderName};

use crate::origin::Origin;

/// The nonce that each server gave last (RFC 9449, section 8).
///
/// One of these is for one role: what a host gives out as authorization server is not for what it
/// serves as resource server (section 9).
#[derive(Default)]
pub(super) struct Nonces(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    by_origin: HashMap<Origin, Nonce>,
    /// Counts up with every nonce that is heard.
    moment: u64,
}

struct Nonce {
    value: Arc<str>,
    heard_at: u64,
}

impl Nonces {
    /// The nonce for the next proof to this server.
    pub(super) fn of(&self, origin: &Origin) -> Option<Arc<str>> {
        let nonce = |heard: &mut Heard| Some(Arc::clone(&heard.by_origin.get(origin)?.value));
        self.with(nonce)
    }

    /// From now on this one, whatever was before.
    pub(super) fn keep(&self, origin: Origin, nonce: &str) {
        let value = Arc::from(nonce);
        self.with(|heard| {
            heard.moment += 1;
            let heard_at = heard.moment;
            let is_new = !heard.by_origin.contains_key(&origin);
            if is_new && heard.by_origin.len() >= MAX_ORIGINS {
                heard.forget_oldest();
            }
            heard.by_origin.insert(origin, Nonce { value, heard_at });
        });
    }

    fn with<T>(&self, read: impl FnOnce(&mut Heard) -> T) -> T {
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Heard {
    fn forget_oldest(&mut self) {
        let oldest = self
            .by_origin
            .iter()
            .min_by_key(|(_, nonce)| nonce.heard_at);
        if let Some(origin) = oldest.map(|(origin, _)| origin.clone()) {
            self.by_origin.remove(&origin);
        }
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.with(|heard| heard.by_origin.len());
        write!(f, "Nonces({count})")
    }
}

/// The nonce that a response brings, if it brings one that can be sent back.
///
/// Not one that has characters other than `NQCHAR` (section 8.1), nor one of absurd length, nor one of
/// several: nobody could say which is meant. Copies of one, which proxies make, are one.
pub(super) fn nonce(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(DPOP_NONCE).into_iter();
    let nonce = lines.next()?;
    if lines.any(|line| line != nonce) {
        return None;
    }
    let is_sound = (1..=LONGEST_NONCE).contains(&nonce.len())
        && nonce.as_bytes().iter().all(|&byte| is_nqchar(byte));
    nonce.to_str().ok().filter(|_| is_sound)
}

/// RFC 6749, appendix A.
fn is_nqchar(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Servers send tens of characters, or a few hundred that they have encrypted. It goes into every proof,
/// and servers commonly take 8 KiB of headers.
pub(super) const LONGEST_NONCE: usize = 1024;

/// A program calls a handful of servers; a crawler many. Beyond this, the nonce that was heard the
/// longest ago is forgotten, which costs a request to that server one more round trip.
pub(super) const MAX_ORIGINS: usize = 1024;
