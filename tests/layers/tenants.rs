//! One stack for many tenants.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Request, StatusCode, header};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};
use tower_outbound::{
    mark::{NoToken, Tenant},
    origin::Origins,
    token::{Grant, KeyedTokenCache, TokenCache, TokenError, source_fn},
    token_refresh::TokenRefreshLayer,
};

use crate::probe::{Probe, get, now, status};

/// Tokens `<tenant>-1`, `<tenant>-2`…, 30 ms each; `slow` takes a minute, `wrong` gets none.
fn tokens(minted: &Arc<AtomicUsize>) -> KeyedTokenCache {
    let minted = Arc::clone(minted);
    KeyedTokenCache::new(move |tenant: &Tenant| {
        let (name, minted) = (tenant.as_str().to_owned(), Arc::clone(&minted));
        let count = AtomicUsize::new(0);
        TokenCache::builder()
            .renewal_timeout(Duration::from_secs(120))
            .build(source_fn(move |_| {
                minted.fetch_add(1, Ordering::SeqCst);
                let (name, count) = (name.clone(), count.fetch_add(1, Ordering::SeqCst) + 1);
                async move {
                    sleep(Duration::from_millis(if name == "slow" {
                        60_000
                    } else {
                        30
                    }))
                    .await;
                    match name.as_str() {
                        "wrong" => Err(TokenError::rejected("wrong secret")),
                        _ => Ok(Grant::new(format!("{name}-{count}"))),
                    }
                }
            }))
    })
}

fn layer(minted: &Arc<AtomicUsize>) -> TokenRefreshLayer {
    let origins = Origins::only(["https://api.example.com"]).unwrap();
    TokenRefreshLayer::keyed(tokens(minted), origins)
}

fn of(tenant: &str) -> Request<Bytes> {
    let mut request = get("/");
    request.extensions_mut().insert(Tenant::new(tenant));
    request
}

#[tokio::test(start_paused = true)]
async fn each_request_carries_its_tenants_token_and_each_tenant_renews_its_own() {
    // The first token of everybody is refused.
    let probe = Probe::new(|_, request| {
        let token = request.headers()[header::AUTHORIZATION].to_str().unwrap();
        Ok(status(if token.ends_with("-1") { 401 } else { 200 }))
    });
    let minted = Arc::default();
    let api = layer(&minted).layer(probe.clone());
    let calls = (0..100).map(|call| api.clone().oneshot(of(["a", "b"][call % 2])));
    for response in join_all(calls).await {
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(minted.load(Ordering::SeqCst), 4);
    for sent in probe.take_sent() {
        let tenant: &Tenant = sent.request.extensions().get().unwrap();
        let expected = format!("Bearer {}-", tenant.as_str());
        assert!(sent.token().unwrap().starts_with(&expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_a_slow_server_or_a_wrong_secret_holds_up_nobody_else() {
    let minted = Arc::default();
    let api = layer(&minted).layer(Probe::statuses(&[]));
    let started = now();
    let elapsed = |_| Instant::duration_since(&now(), started);
    let (slow, wrong, fine) = tokio::join!(
        async { api.clone().oneshot(of("slow")).await.map(|_| elapsed(())) },
        async { api.clone().oneshot(of("wrong")).await.map(|_| elapsed(())) },
        async { api.clone().oneshot(of("fine")).await.map(|_| elapsed(())) },
    );
    assert!(slow.unwrap() >= Duration::from_secs(60));
    assert!(
        TokenError::find(&*wrong.unwrap_err())
            .unwrap()
            .is_rejected()
    );
    assert!(fine.unwrap() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_request_of_nobody_is_not_sent_unless_it_needs_no_token() {
    let minted = Arc::default();
    let probe = Probe::statuses(&[]);
    let api = layer(&minted).layer(probe.clone());
    for _ in 0..2 {
        let error = api.clone().oneshot(get("/")).await.unwrap_err();
        let error = TokenError::find(&*error).unwrap();
        assert!(error.to_string().contains("names no tenant"), "{error}");
    }
    assert_eq!(probe.count(), 0);

    let mut bare = get("/");
    bare.extensions_mut().insert(NoToken);
    let mut own = get("/");
    own.headers_mut()
        .insert(header::AUTHORIZATION, HeaderValue::from_static("Basic x"));
    let elsewhere = Request::get("https://elsewhere.test/")
        .body(Bytes::new())
        .unwrap();
    for request in [bare, own, elsewhere] {
        api.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(probe.count(), 3);
    assert_eq!(minted.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn the_tenant_may_be_told_by_anything_in_the_head() {
    let minted = Arc::default();
    let probe = Probe::statuses(&[]);
    let api = layer(&minted)
        .tenant(|head| Some(Tenant::new(head.uri.path().split('/').nth(1)?)))
        .layer(probe.clone());
    for path in ["/acme/users", "/other/users"] {
        api.clone().oneshot(get(path)).await.unwrap();
    }
    let sent = probe.take_sent();
    let tokens: Vec<_> = sent.iter().filter_map(|sent| sent.token()).collect();
    assert_eq!(tokens, ["Bearer acme-1", "Bearer other-1"]);
}
