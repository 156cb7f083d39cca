//! Tokens that need more than a header: something new on every request, and answers that ask for
//! another.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use tower::{BoxError, Layer, ServiceExt};
use tower_outbound::{
    mark::ResendCount,
    outcome::{Outcome, Stopped},
    replay::ReplayBody,
    token::{
        Answered, Attach, Cause, Grant, Refusal, Token, TokenCache, TokenError, TokenSource,
        source_fn,
    },
};

use crate::probe::{Probe, Sent, get, post, status, token_layer};

/// Counts what it attaches, and reads `again: yes`.
#[derive(Debug, Default)]
struct Counting {
    attached: AtomicUsize,
    answered: AtomicUsize,
}

impl Attach for Counting {
    fn scheme(&self) -> Option<&str> {
        Some("Counted")
    }

    fn attach(
        &self,
        token: &Token,
        method: &Method,
        uri: &Uri,
        headers: &mut HeaderMap,
    ) -> Result<(), TokenError> {
        let count = self.attached.fetch_add(1, Ordering::SeqCst) + 1;
        let proof = format!("{count} {} {method} {uri}", token.secret().expose());
        headers.insert("proof", proof.parse().unwrap());
        Ok(())
    }

    fn answered(&self, _: &Uri, _: StatusCode, headers: &HeaderMap) -> Answered {
        self.answered.fetch_add(1, Ordering::SeqCst);
        if headers.contains_key("again") {
            Answered::SendAgain
        } else {
            Answered::Settled
        }
    }
}

fn tokens(attach: &Arc<Counting>) -> TokenCache {
    let (minted, attach) = (AtomicUsize::new(0), Arc::clone(attach));
    TokenCache::new(source_fn(move |_| {
        let count = minted.fetch_add(1, Ordering::SeqCst) + 1;
        let attach: Arc<dyn Attach> = attach.clone();
        async move { Ok(Grant::new(format!("token-{count}")).attach(attach)) }
    }))
}

fn again() -> Response<Full<Bytes>> {
    let mut response = status(401);
    response
        .headers_mut()
        .insert("again", "yes".parse().unwrap());
    response
}

fn proofs(sent: &[Sent]) -> Vec<&str> {
    sent.iter()
        .map(|sent| sent.request.headers()["proof"].to_str().unwrap())
        .collect()
}

async fn send(
    probe: &Probe,
    attach: &Arc<Counting>,
    request: Request<Bytes>,
) -> Response<Full<Bytes>> {
    let layer = token_layer(&tokens(attach));
    layer.layer(probe.clone()).oneshot(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_request_has_an_attachment_of_its_own_and_the_scheme_that_goes_with_it() {
    let (attach, probe) = (Arc::default(), Probe::statuses(&[]));
    let api = token_layer(&tokens(&attach)).layer(probe.clone());
    api.clone().oneshot(get("/a?b=c")).await.unwrap();
    api.oneshot(post("x")).await.unwrap();
    let sent = probe.take_sent();
    assert_eq!(
        proofs(&sent),
        [
            "1 token-1 GET https://api.example.com/a?b=c",
            "2 token-1 POST https://api.example.com/users",
        ]
    );
    assert_eq!(sent[0].token(), Some("Counted token-1"));
    assert!(sent[0].request.headers()[header::AUTHORIZATION].is_sensitive());
    assert_eq!(attach.answered.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_asks_for_it_is_followed_by_the_same_token_attached_anew() {
    let attach = Arc::default();
    let probe = Probe::new(|count, _| Ok(if count == 1 { again() } else { status(200) }));
    let response = send(&probe, &attach, post("body")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let sent = probe.take_sent();
    assert_eq!(
        proofs(&sent),
        [
            "1 token-1 POST https://api.example.com/users",
            "2 token-1 POST https://api.example.com/users",
        ]
    );
    assert_eq!(sent[1].request.body(), "body");
    assert_eq!(sent[1].request.extensions().get(), Some(&ResendCount(1)));
    let outcome = Outcome::of(&response);
    assert_eq!((outcome.resends, outcome.token_replays), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_always_asks_for_another_gets_two_and_costs_no_renewal() {
    let attach = Arc::default();
    let probe = Probe::new(|_, _| Ok(again()));
    let response = send(&probe, &attach, get("/")).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(Outcome::of(&response).stopped, Some(Stopped::RefusedAgain));
    assert_eq!(probe.take_sent().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_and_another_attachment_are_counted_apart_in_either_order() {
    for order in [["again", "refused"], ["refused", "again"]] {
        let attach = Arc::default();
        let probe = Probe::new(move |count, _| {
            Ok(match order.get(count - 1) {
                Some(&"again") => again(),
                Some(_) => status(401),
                None => status(200),
            })
        });
        let response = send(&probe, &attach, get("/")).await;
        assert_eq!(response.status(), StatusCode::OK, "{order:?}");
        let sent = probe.take_sent();
        let proofs = proofs(&sent);
        assert_eq!(proofs.len(), 3, "{order:?}");
        assert!(proofs[2].starts_with("3 token-2 "), "{proofs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_can_be_sent_once_is_sent_once_and_the_answer_is_still_read() {
    struct Once;
    impl ReplayBody for Once {
        fn try_replay(&self) -> Option<Self> {
            None
        }
    }
    let attach = Arc::<Counting>::default();
    let server = tower::service_fn(|_: Request<Once>| async { Ok::<_, BoxError>(again()) });
    let request = Request::post("https://api.example.com/")
        .body(Once)
        .unwrap();
    let layer = token_layer(&tokens(&attach));
    let response = layer.layer(server).oneshot(request).await.unwrap();
    let stopped = Outcome::of(&response).stopped;
    assert_eq!(stopped, Some(Stopped::BodyNotReplayable));
    assert_eq!(attach.answered.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nothing_can_be_attached_to_is_not_sent() {
    #[derive(Debug)]
    struct Broken;
    impl Attach for Broken {
        fn attach(
            &self,
            _: &Token,
            _: &Method,
            _: &Uri,
            _: &mut HeaderMap,
        ) -> Result<(), TokenError> {
            Err(TokenError::rejected("the key is gone"))
        }
    }
    let tokens = TokenCache::new(source_fn(|_| async {
        Ok(Grant::new("t").attach(Arc::new(Broken)))
    }));
    let probe = Probe::statuses(&[]);
    let api = token_layer(&tokens).layer(probe.clone());
    for _ in 0..2 {
        let error = api.clone().oneshot(get("/")).await.unwrap_err();
        assert_eq!(
            TokenError::find(&*error).unwrap().to_string(),
            "the key is gone"
        );
    }
    assert_eq!(probe.count(), 0);
    assert_eq!(probe.held(), (0, 0));
}

/// Says that it can answer step-up challenges, and keeps the causes that it was asked for.
struct SteppingUp {
    can: bool,
    causes: Arc<std::sync::Mutex<Vec<Cause>>>,
}

impl TokenSource for SteppingUp {
    async fn token(&self, cause: &Cause) -> Result<Grant, TokenError> {
        let mut causes = self.causes.lock().unwrap();
        causes.push(cause.clone());
        Ok(Grant::new(format!("token-{}", causes.len())))
    }

    fn answers(&self, refusal: &Refusal) -> bool {
        let challenges = refusal.challenges();
        let error = challenges
            .first()
            .and_then(|challenge| challenge.param("error"));
        self.can && error == Some("insufficient_user_authentication")
    }
}

#[tokio::test(start_paused = true)]
async fn a_demand_to_step_up_reaches_the_source_that_can_and_otherwise_the_caller() {
    for can in [true, false] {
        let causes = Arc::<std::sync::Mutex<Vec<Cause>>>::default();
        let tokens = TokenCache::new(SteppingUp {
            can,
            causes: Arc::clone(&causes),
        });
        let probe = Probe::new(|count, _| {
            let mut response = status(if count == 1 { 401 } else { 200 });
            if count == 1 {
                let challenge = r#"Bearer error="insufficient_user_authentication", max_age="5""#;
                let challenge = challenge.parse().unwrap();
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, challenge);
            }
            Ok(response)
        });
        let response = token_layer(&tokens)
            .layer(probe)
            .oneshot(get("/"))
            .await
            .unwrap();
        assert_eq!(response.status(), if can { 200 } else { 401 });
        let causes = causes.lock().unwrap();
        assert_eq!(causes.len(), if can { 2 } else { 1 });
        if let Some(cause) = causes.get(1) {
            let Cause::Refused(refusal) = cause else {
                panic!("{cause:?}")
            };
            assert_eq!(refusal.challenges()[0].param("max_age"), Some("5"));
        } else {
            assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
        }
    }
}
