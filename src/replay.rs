//! Bodies that can be sent again, and what is kept of a request to do so.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower_outbound::replay::ReplayBody;
//!
//! let body = Full::new(Bytes::from_static(b"{}"));
//! assert!(body.try_replay().is_some());
//! ```

use std::mem;

use bytes::{Buf, Bytes};
use http::{Extensions, HeaderName, HeaderValue, Method, Request, Uri, Version};
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

/// What a layer sends next: the request that it was given, and after that a spare of it.
#[derive(Default)]
pub(crate) enum Outgoing<B> {
    Whole(Request<B>),
    Spare(Spare<B>),
    #[default]
    Nothing,
}

impl<B: ReplayBody> Outgoing<B> {
    /// A spare of this request, or nothing if its body can be sent only once.
    pub(crate) fn spare(request: &Request<B>) -> Self {
        let Some(body) = request.body().try_replay() else {
            return Self::Nothing;
        };
        let mut headers = Vec::with_capacity(request.headers().len());
        for (name, value) in request.headers() {
            headers.push((name.clone(), value.clone()));
        }
        Self::Spare(Spare {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers,
            extensions: request.extensions().clone(),
            body,
        })
    }
}

impl<B> Outgoing<B> {
    /// Takes the request out to send it. What a state leaves for the next one is put in its place, so
    /// only a future that has ended has nothing here.
    pub(crate) fn take(&mut self) -> Request<B> {
        match mem::take(self) {
            Self::Whole(request) => request,
            Self::Spare(spare) => spare.into_request(),
            Self::Nothing => panic!("`ResponseFuture` polled after completion"),
        }
    }

    /// The request, to look at it and to mark it.
    pub(crate) fn request(&mut self) -> Option<&mut Request<B>> {
        if let Self::Spare(_) = self {
            *self = Self::Whole(self.take());
        }
        match self {
            Self::Whole(request) => Some(request),
            Self::Spare(_) | Self::Nothing => None,
        }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

/// What makes a second request, equal to the first: method, URI, version, headers with their order
/// and sensitivity, extensions and body.
///
/// Taken before a layer adds anything, so that a replay cannot carry a stale credential or a
/// header twice. Nearly all spares are dropped unused, so the headers are a list, which costs less to make
/// and to drop than a map.
pub(crate) struct Spare<B> {
    method: Method,
    uri: Uri,
    version: Version,
    headers: Vec<(HeaderName, HeaderValue)>,
    extensions: Extensions,
    body: B,
}

impl<B> Spare<B> {
    fn into_request(self) -> Request<B> {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        // Not collected: where many values share a name, a map cannot have a place for each.
        for (name, value) in self.headers {
            request.headers_mut().append(name, value);
        }
        *request.extensions_mut() = self.extensions;
        request
    }
}
