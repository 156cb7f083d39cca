//! A program with many connections, which makes one call after the other on each.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::Instant;

/// One call, and what came of it.
#[derive(Debug)]
pub struct Call {
    pub id: u64,
    pub kind: Kind,
    pub took: Duration,
    pub ended: Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Get,
    Put,
    PostWithKey,
    /// One that must not be sent again once it may have been carried out.
    Post,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With the answer to this very request.
    Answered,
    /// With 502 and `Outbound-Error: upstream_lost`.
    Lost,
    Otherwise(String),
}

type Http = Client<HttpConnector, Full<Bytes>>;

pub async fn run(gateway: SocketAddr, connections: usize, duration: Duration) -> Vec<Call> {
    let http: Http = Client::builder(TokioExecutor::new()).build_http();
    let ids = AtomicU64::new(0);
    let end = now() + duration;
    let workers = (0..connections).map(|_| async {
        let mut calls = Vec::new();
        while now() < end {
            let id = ids.fetch_add(1, Ordering::Relaxed);
            calls.push(call(&http, gateway, id).await);
        }
        calls
    });
    join_all(workers).await.into_iter().flatten().collect()
}

async fn call(http: &Http, gateway: SocketAddr, id: u64) -> Call {
    let kind = MIX[id as usize % MIX.len()];
    let method = match kind {
        Kind::Get => "GET",
        Kind::Put => "PUT",
        Kind::PostWithKey | Kind::Post => "POST",
    };
    let uri = format!("http://{gateway}/things/{id}");
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header("x-id", id);
    if kind == Kind::PostWithKey {
        request = request.header("idempotency-key", id);
    }
    let body = if kind == Kind::Get {
        Bytes::new()
    } else {
        Bytes::from_static(&BODY)
    };
    let expected = [id.to_string().as_bytes(), &body].concat();
    let request = request.body(Full::new(body)).unwrap();
    let started = now();
    let ended = end(http, request, &expected).await;
    let ended = ended.unwrap_or_else(|error| Ended::Otherwise(error.to_string()));
    Call {
        id,
        kind,
        took: started.elapsed(),
        ended,
    }
}

async fn end(
    http: &Http,
    request: Request<Full<Bytes>>,
    expected: &[u8],
) -> Result<Ended, tower::BoxError> {
    let response = http.request(request).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    let error = head.headers.get("outbound-error");
    if head.status == 200 && body == expected {
        Ok(Ended::Answered)
    } else if head.status == 502 && error.is_some_and(|error| error == "upstream_lost") {
        Ok(Ended::Lost)
    } else {
        let body = String::from_utf8_lossy(&body);
        Ok(Ended::Otherwise(format!("{}: {body:.200}", head.status)))
    }
}

#[allow(clippy::disallowed_methods)] // a stopwatch, and the end of the run
fn now() -> Instant {
    Instant::now()
}

const MIX: [Kind; 5] = [
    Kind::Get,
    Kind::Put,
    Kind::PostWithKey,
    Kind::Post,
    Kind::Get,
];

const BODY: [u8; 1024] = [b'x'; 1024];
