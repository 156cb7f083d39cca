use std::{collections::BTreeMap, fmt::Debug};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_outbound::{
    origin::Origins,
    rate_limit_retry::{RateLimitRetry, RateLimitRetryLayer},
    token::TokenCache,
    token_refresh::{TokenRefresh, TokenRefreshLayer},
};

pub type Http = Client<HttpConnector, Full<Bytes>>;
pub type Api = RateLimitRetry<TokenRefresh<Http>>;

pub fn http() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Both layers over a client, as users stack them.
pub fn api(tokens: TokenCache, origin: &str) -> Api {
    ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(TokenRefreshLayer::new(
            tokens,
            Origins::only([origin]).unwrap(),
        ))
        .service(http())
}

/// The response to a GET.
pub async fn get<S, R>(service: S, uri: &str) -> Result<Response<Value>, BoxError>
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: Body<Error: Debug>,
{
    let request = Request::get(uri).body(Full::default())?;
    Ok(read(service.oneshot(request).await.map_err(Into::into)?).await)
}

/// Reads it to its end, so that its connection can be used again. What is not JSON becomes `null`.
pub async fn read<R>(response: Response<R>) -> Response<Value>
where
    R: Body<Error: Debug>,
{
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(head, serde_json::from_slice(&body).unwrap_or_default())
}

/// Follows redirects from here as a browser does, with cookies, until one leads to `end`: the query
/// that it arrives there with.
pub async fn browse(url: &str, end: &str) -> String {
    let (http, mut url) = (http(), url.parse::<Uri>().unwrap());
    let mut cookies = BTreeMap::new();
    for _ in 0..10 {
        let cookie: Vec<_> = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = Request::get(&url).header(header::COOKIE, cookie.join("; "));
        let response = http
            .request(request.body(Full::default()).unwrap())
            .await
            .unwrap();
        for line in response.headers().get_all(header::SET_COOKIE) {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        cookies.retain(|_, value| !value.is_empty());
        let status = response.status();
        assert!(status.is_redirection(), "{url}: {status}");
        let location = response.headers()[header::LOCATION].to_str().unwrap();
        if let Some((_, query)) = location.split_once('?').filter(|(at, _)| *at == end) {
            return query.to_owned();
        }
        url = match location.strip_prefix('/') {
            Some(_) => with_path(&url, location),
            None => location.parse().unwrap(),
        };
    }
    panic!("sent around in circles, at last to {url}")
}

fn with_path(url: &Uri, path: &str) -> Uri {
    let mut parts = url.clone().into_parts();
    parts.path_and_query = Some(path.parse().unwrap());
    Uri::from_parts(parts).unwrap()
}

/// Asserts that it was a success, and gives what it said.
pub fn granted(response: Result<Response<Value>, BoxError>) -> Value {
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{response:?}");
    response.into_body()
}
