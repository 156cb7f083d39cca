//! Bodies that can be sent again, and the copy of a request that is kept to do so.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower_outbound::replay::ReplayBody;
//!
//! let body = Full::new(Bytes::from_static(b"{}"));
//! assert!(body.try_replay().is_some());
//! ```

use bytes::{Buf, Bytes};
use http::Request;
use http_body_util::{Empty, Full};

/// A request body of which an equal one can be made before it is sent.
///
/// The layers take the copy up front: nothing can be got back from a body that has been sent.
/// Implemented for the bodies that hold their bytes. To send any other body (an upload, a request
/// that a server received), put a [`BufferBodyLayer`](crate::buffer_body::BufferBodyLayer) on top.
///
/// A copy should cost little: `Bytes` share their storage, `String` and `Vec<u8>` are copied.
pub trait ReplayBody: Sized {
    /// A body that sends the same bytes, or `None` if this one can be sent only once.
    ///
    /// A request whose body answers `None` is sent once, and its response is returned as it came.
    fn try_replay(&self) -> Option<Self>;
}

impl ReplayBody for () {
    fn try_replay(&self) -> Option<Self> {
        Some(())
    }
}

impl ReplayBody for Bytes {
    fn try_replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl ReplayBody for &'static str {
    fn try_replay(&self) -> Option<Self> {
        Some(self)
    }
}

impl ReplayBody for &'static [u8] {
    fn try_replay(&self) -> Option<Self> {
        Some(self)
    }
}

impl ReplayBody for String {
    fn try_replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl ReplayBody for Vec<u8> {
    fn try_replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<D: Buf + Clone> ReplayBody for Full<D> {
    fn try_replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<D> ReplayBody for Empty<D> {
    fn try_replay(&self) -> Option<Self> {
        Some(Empty::new())
    }
}

impl<B: ReplayBody> ReplayBody for Option<B> {
    fn try_replay(&self) -> Option<Self> {
        match self {
            Some(body) => body.try_replay().map(Some),
            None => Some(None),
        }
    }
}

/// A second request, equal to this one: method, URI, version, headers with their order and
/// sensitivity, extensions and body.
///
/// Taken before a layer adds anything, so that a replay cannot carry a stale credential or a
/// header twice.
pub(crate) fn copy<B: ReplayBody>(request: &Request<B>) -> Option<Request<B>> {
    let mut copy = Request::new(request.body().try_replay()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}
