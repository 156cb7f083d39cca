//! Bounded reading of a response that nobody wants.
//!
//! An HTTP/1.1 connection can carry the next request only after the response before it has been
//! read to its end. So a discarded response is read, within bounds: an endless or slow one costs its
//! connection, never the caller's time.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

pin_project! {
    /// Reads a body until its end, [`MAX_BYTES`] or [`MAX_TIME`], whichever comes first.
    pub(crate) struct Drain<R> {
        #[pin]
        body: R,
        left: usize,
        // Made when the body first has to be waited for: most have arrived with their head.
        timer: Option<Pin<Box<Sleep>>>,
        ended: bool,
    }
}

impl<R: Body> Drain<R> {
    pub(crate) fn new(body: R) -> Self {
        Self {
            body,
            left: MAX_BYTES,
            timer: None,
            ended: false,
        }
    }

    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            match this.body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let read = frame.data_ref().map_or(0, Buf::remaining);
                    match this.left.checked_sub(read) {
                        Some(left) => *this.left = left,
                        None => return Poll::Ready(()),
                    }
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => {
                    let timer = this
                        .timer
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep(MAX_TIME)));
                    return timer.as_mut().poll(cx);
                }
            }
        }
    }
}

impl<R: Body> Future for Drain<R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.ended {
            ready!(self.as_mut().poll_end(cx));
            *self.project().ended = true;
            // A client puts a connection back into its pool from a task of its own. Give that task
            // its turn, or the replay opens a second connection beside the idle one.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

/// What hyper's client buffers of a response, about; an error page is far below it.
const MAX_BYTES: usize = 64 * 1024;

/// Longer than an error body needs that is already on its way, shorter than a new TLS connection
/// across an ocean.
const MAX_TIME: Duration = Duration::from_millis(100);
