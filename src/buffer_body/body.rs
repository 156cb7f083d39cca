use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use sync_wrapper::SyncWrapper;
use tower::BoxError;

use crate::replay::ReplayBody;

/// A request body after [`BufferBodyLayer`](super::BufferBodyLayer): bytes that can be sent again, or a
/// stream that is sent once.
pub struct BufferedBody(Kind);

enum Kind {
    /// All of it; `None` once it is sent.
    Buffered {
        data: Option<Bytes>,
        trailers: Option<http::HeaderMap>,
    },
    /// What had been read before the limit was met, and the rest.
    OneShot {
        start: Option<Bytes>,
        rest: SyncWrapper<UnsyncBoxBody<Bytes, BoxError>>,
    },
}

impl BufferedBody {
    pub(super) fn buffered(data: Bytes, trailers: Option<http::HeaderMap>) -> Self {
        Self(Kind::Buffered {
            data: Some(data).filter(|data| !data.is_empty()),
            trailers,
        })
    }

    pub(super) fn one_shot(start: Bytes, rest: UnsyncBoxBody<Bytes, BoxError>) -> Self {
        let start = Some(start).filter(|start| !start.is_empty());
        Self(Kind::OneShot {
            start,
            rest: SyncWrapper::new(rest),
        })
    }
}

impl From<Bytes> for BufferedBody {
    fn from(data: Bytes) -> Self {
        Self::buffered(data, None)
    }
}

impl ReplayBody for BufferedBody {
    fn try_replay(&self) -> Option<Self> {
        match &self.0 {
            Kind::Buffered { data, trailers } => Some(Self(Kind::Buffered {
                data: data.clone(),
                trailers: trailers.clone(),
            })),
            Kind::OneShot { .. } => None,
        }
    }
}

impl Body for BufferedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Buffered { data, trailers } => {
                let data = data.take().map(Frame::data);
                let frame = data.or_else(|| trailers.take().map(Frame::trailers));
                Poll::Ready(frame.map(Ok))
            }
            Kind::OneShot { start, rest } => match start.take() {
                Some(start) => Poll::Ready(Some(Ok(Frame::data(start)))),
                None => Pin::new(rest.get_mut()).poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Buffered { data, trailers } => data.is_none() && trailers.is_none(),
            Kind::OneShot { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Buffered { data, .. } => {
                SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64))
            }
            // How much is left is told by the `content-length` that came with it, if any.
            Kind::OneShot { .. } => SizeHint::default(),
        }
    }
}

impl fmt::Debug for BufferedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Buffered { data, .. } => {
                let len = data.as_ref().map_or(0, Bytes::len);
                f.debug_struct("Buffered")
                    .field("len", &len)
                    .finish_non_exhaustive()
            }
            Kind::OneShot { .. } => f.debug_struct("OneShot").finish_non_exhaustive(),
        }
    }
}

/// Boxes a body that is to be read in pieces, its data as [`Bytes`].
pub(super) fn boxed<B>(body: B) -> UnsyncBoxBody<Bytes, BoxError>
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_frame(|frame| frame.map_data(into_bytes))
        .map_err(Into::into)
        .boxed_unsync()
}

/// The bytes of a buffer; costs nothing if it is a [`Bytes`] already.
pub(super) fn into_bytes(mut data: impl bytes::Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}
