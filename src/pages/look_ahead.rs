use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{Request, Response};
use http_body::Body;
use tokio::task::JoinSet;
use tower::{BoxError, Service};

use super::{Page, PageError, Pages, Paging, stream::Walk};

impl<S, P> Pages<S, P> {
    /// The pages, with the next one got while the present one is being worked on.
    ///
    /// One page ahead, and no more: two are in memory. The work is done in a tokio task, which ends when
    /// the stream is dropped; a stream of [`stream`](Self::stream) would not move while it is not
    /// polled, and could hold others up who wait for the same limit.
    pub fn look_ahead<B, R>(self) -> impl Stream<Item = Result<Page, PageError>>
    where
        S: Service<Request<B>, Response = Response<R>> + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        P: Paging + Send + Sync + 'static,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        let state = State::NotBegun(Box::new(Walk::new(self)));
        stream::unfold(state, |state| async {
            let mut work = match state {
                State::NotBegun(walk) => begun(*walk),
                State::Working(work) => work,
            };
            let (walk, page) = match work.join_next().await? {
                Ok(done) => done,
                // A panic of the service is the caller's, as it would be without a task.
                Err(error) => std::panic::resume_unwind(error.try_into_panic().ok()?),
            };
            let page = page?;
            work.spawn(stepped(walk));
            Some((page, State::Working(work)))
        })
    }
}

enum State<S, P> {
    NotBegun(Box<Walk<S, P>>),
    /// One task at most; it is aborted when this is dropped.
    Working(JoinSet<Stepped<S, P>>),
}

type Stepped<S, P> = (Walk<S, P>, Option<Result<Page, PageError>>);

fn begun<S, P, B, R>(walk: Walk<S, P>) -> JoinSet<Stepped<S, P>>
where
    S: Service<Request<B>, Response = Response<R>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    P: Paging + Send + Sync + 'static,
    B: From<Bytes> + Send + 'static,
    R: Body + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    let mut work = JoinSet::new();
    work.spawn(stepped(walk));
    work
}

async fn stepped<S, P, B, R>(mut walk: Walk<S, P>) -> Stepped<S, P>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    P: Paging,
    B: From<Bytes>,
    R: Body,
    R::Error: Into<BoxError>,
{
    let page = walk.step().await;
    (walk, page)
}
