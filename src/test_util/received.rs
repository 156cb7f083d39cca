//! A request that has been read, and the reading of it.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Uri, request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sha2::{Digest, Sha256};

use crate::test_util::{form::Form, log::Entry, shared::Shared};

/// What the handlers see.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// Not more than [`BODY_LIMIT`] bytes of it.
    pub(super) body: Bytes,
    pub(super) body_len: u64,
    pub(super) body_sha256: String,
    pub(super) too_large: bool,
}

impl Received {
    /// `None` if the client broke off in the middle.
    pub(super) async fn read(
        cloud: &Shared,
        entry: Entry,
        head: request::Parts,
        mut body: Incoming,
    ) -> Option<Self> {
        let mut kept = BytesMut::new();
        let mut hash = Sha256::new();
        let mut length = 0_u64;
        let mut cut_short = false;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.ok()?.into_data() else {
                continue;
            };
            hash.update(&data);
            length = length.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            let room = BODY_LIMIT - kept.len();
            kept.extend_from_slice(&data[..data.len().min(room)]);
            cloud.log().update(entry, |logged| logged.body_len = length);
            if length > READ_LIMIT {
                cut_short = true;
                break;
            }
        }
        let received = Self {
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            too_large: length > u64::try_from(kept.len()).unwrap_or(u64::MAX),
            body: kept.freeze(),
            body_len: length,
            body_sha256: hex(&hash.finalize()),
        };
        if cut_short {
            return Some(received);
        }
        cloud.log().update(entry, |logged| {
            logged.body_sha256 = Some(received.body_sha256.clone());
            logged.body = (received.body_len <= LOGGED_BODY_LIMIT).then(|| received.body.clone());
        });
        Some(received)
    }

    /// A request that is answered before its body is read.
    pub(super) fn unread(head: request::Parts) -> Self {
        Self {
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            body: Bytes::new(),
            body_len: 0,
            body_sha256: hex(&Sha256::digest([])),
            too_large: false,
        }
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    pub(super) fn query(&self) -> Form {
        Form::parse(self.uri.query().unwrap_or_default().as_bytes())
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

/// `request.bytes.max` of Genesys Cloud's published limits.
pub(super) const BODY_LIMIT: usize = 512_000;

/// What is read of a body so that 413 leaves the connection open. Of a longer one the rest is
/// left unread, and the log says that it was not complete.
const READ_LIMIT: u64 = 16 * 1024 * 1024;

const LOGGED_BODY_LIMIT: u64 = 64 * 1024;
