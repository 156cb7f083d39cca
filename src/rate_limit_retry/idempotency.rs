//! Keys by which a server recognises a request that it has seen before.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use http::{HeaderName, HeaderValue, Method, Request};

/// How an `Idempotency-Key` is written: a UUID in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdempotencyKeys {
    /// In quotes, as the draft has it: a string of structured fields.
    Quoted,
    /// Without quotes, as most servers have it that knew such keys before there was a draft: Stripe,
    /// PayPal, Genesys Cloud.
    Bare,
}

/// Makes a key for each request that needs one.
///
/// 128 bits of a keyed hash over a counter: the key of the hash is the operating system's randomness,
/// so that neither two requests nor two processes come upon the same.
pub(crate) struct KeyMaker {
    form: IdempotencyKeys,
    hasher: RandomState,
    count: AtomicU64,
}

impl KeyMaker {
    pub(crate) fn new(form: IdempotencyKeys) -> Self {
        Self {
            form,
            hasher: RandomState::new(),
            count: AtomicU64::new(0),
        }
    }

    /// Adds a key to a request that may do twice what it shall do once, unless it has one.
    pub(crate) fn add<B>(&self, request: &mut Request<B>) {
        let is_unsafe = matches!(*request.method(), Method::POST | Method::PATCH);
        if is_unsafe && !request.headers().contains_key(IDEMPOTENCY_KEY) {
            request.headers_mut().insert(IDEMPOTENCY_KEY, self.next());
        }
    }

    #[allow(clippy::expect_used)]
    fn next(&self) -> HeaderValue {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let [high, low] = [0, 1].map(|half| self.hasher.hash_one((count, half)));
        let key = uuid(high, low);
        let key = match self.form {
            IdempotencyKeys::Quoted => format!("\"{key}\""),
            IdempotencyKeys::Bare => key,
        };
        HeaderValue::try_from(key).expect("digits, hyphens and quotation marks fit any header")
    }
}

/// 122 random bits as a UUID of version 4 ([RFC 9562](https://www.rfc-editor.org/rfc/rfc9562)).
fn uuid(high: u64, low: u64) -> String {
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48 & 0x3fff),
        low & 0xffff_ffff_ffff,
    )
}

impl fmt::Debug for KeyMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.form.fmt(f)
    }
}

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key(keys: &KeyMaker, method: Method) -> Option<String> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        keys.add(&mut request);
        let key = request.headers().get(IDEMPOTENCY_KEY)?;
        Some(key.to_str().unwrap().to_owned())
    }

    #[test]
    fn only_requests_that_are_not_idempotent_by_themselves_get_a_key() {
        let keys = KeyMaker::new(IdempotencyKeys::Quoted);
        for method in [Method::POST, Method::PATCH] {
            let key = key(&keys, method).unwrap();
            assert!(
                key.starts_with('"') && key.ends_with('"') && key.len() == 38,
                "{key}"
            );
        }
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::HEAD] {
            assert_eq!(key(&keys, method), None);
        }
    }

    #[test]
    fn no_two_requests_share_a_key_whichever_layer_made_them() {
        let layers = [IdempotencyKeys::Bare, IdempotencyKeys::Bare].map(KeyMaker::new);
        let keys = (0..20_000).filter_map(|count| key(&layers[count % 2], Method::POST));
        assert_eq!(keys.collect::<HashSet<_>>().len(), 20_000);
    }

    #[test]
    fn a_key_is_a_uuid() {
        assert_eq!(uuid(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(
            uuid(u64::MAX, u64::MAX),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
    }

    #[test]
    fn a_key_of_the_users_stays() {
        let mut request = Request::post("/").body(()).unwrap();
        request
            .headers_mut()
            .insert(IDEMPOTENCY_KEY, HeaderValue::from_static("\"mine\""));
        KeyMaker::new(IdempotencyKeys::Bare).add(&mut request);
        assert_eq!(request.headers()[IDEMPOTENCY_KEY], "\"mine\"");
    }
}
