use std::{
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, uri::Authority};
use http_body_util::Full;
use tokio::time::sleep;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_outbound::{
    mark::{Deadline, LimitKey, NoRetry},
    observe::{Event, Observer},
    origin::Origins,
    rate_limit_retry::RateLimitRetryLayer,
    test_util::{Listener, Reply},
    token::{Answered, Attach, Cause, Grant, Token, TokenCache, TokenError, source_fn},
    token_refresh::TokenRefreshLayer,
};

use super::world::{UnluckyLogin, World};

/// Notes one line for each event.
#[derive(Clone, Default)]
struct Story(Arc<Mutex<Vec<String>>>);

impl Story {
    fn so_far(&self) -> Vec<String> {
        mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Story {
    fn event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(line(event));
    }
}

fn line(event: &Event<'_>) -> String {
    match event {
        Event::Renewing {
            cause, generation, ..
        } => format!("renewing {generation}: {}", name(cause)),
        Event::Renewed { generation, .. } => format!("renewed: {generation}"),
        Event::RenewalFailed { cause, error, .. } => {
            format!("renewal failed: {}, {:?}", name(cause), error.kind())
        }
        Event::LoginEnded { .. } => "login ended".to_owned(),
        Event::StoreFailed { .. } => "store failed".to_owned(),
        Event::TokenLeftOut { authority, .. } => format!("no token for {}", shown(*authority)),
        Event::TokenRefused {
            authority,
            generation,
            ..
        } => format!("token {generation} refused by {}", shown(*authority)),
        Event::TokenReplay {
            authority,
            generation,
            attached_again,
            ..
        } => {
            let how = if *attached_again {
                "attached again"
            } else {
                "replay"
            };
            format!("{how} with {generation} to {}", shown(*authority))
        }
        Event::TokenNotReplayed {
            authority, reason, ..
        } => format!("not replayed to {}: {reason:?}", shown(*authority)),
        Event::Refused {
            key, retry_after, ..
        } => format!("refused by {}: {retry_after:?}", key.as_str()),
        Event::Overloaded {
            key, retry_after, ..
        } => format!("overloaded {}: {retry_after:?}", key.as_str()),
        Event::Held { key, .. } => format!("held by {}", key.as_str()),
        Event::Released { key, waited, .. } => {
            format!("released by {} after {} s", key.as_str(), waited.as_secs())
        }
        Event::TurnedAway { error, .. } => {
            format!(
                "turned away by {}: {:?}",
                error.key().as_str(),
                error.reason()
            )
        }
        Event::Retrying {
            key,
            resends,
            pause,
            ..
        } => {
            let by = if pause.is_some() {
                "by itself"
            } else {
                "in turn"
            };
            format!("again to {}, {resends}, {by}", key.as_str())
        }
        Event::NotRetried { key, reason, .. } => {
            format!("not again to {}: {reason:?}", key.as_str())
        }
        _ => panic!("this test does not know {event:?}"),
    }
}

fn name(cause: &Cause) -> String {
    let name = format!("{cause:?}");
    let end = name.find('(').unwrap_or(name.len());
    name[..end].to_owned()
}

fn shown(authority: Option<&Authority>) -> &str {
    authority.map_or("nobody", Authority::as_str)
}

/// A world whose token is there, and what it is called in events.
async fn world() -> (World, Story, String, String) {
    let story = Story::default();
    let world = World::new(story.clone());
    world.get().await;
    assert_eq!(story.so_far(), ["renewing 0: FirstUse", "renewed: 1"]);
    let origin = world.cloud.api_url().to_owned();
    let host = origin.trim_start_matches("http://").to_owned();
    (world, story, origin, host)
}

#[tokio::test(start_paused = true)]
async fn on_the_common_road_there_is_nothing_to_tell() {
    let (world, story, ..) = world().await;
    for method in ["GET", "POST"] {
        world.call(world.request(method)).await.unwrap();
    }
    assert!(story.so_far().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_token_is_told_from_the_refusal_to_the_replay() {
    let (world, story, _, host) = world().await;
    sleep(Duration::from_secs(2)).await;
    world.cloud.revoke_all();
    assert_eq!(world.get().await, 200);
    assert_eq!(
        story.so_far(),
        [
            format!("token 1 refused by {host}"),
            "renewing 1: Refused".to_owned(),
            "renewed: 2".to_owned(),
            format!("replay with 2 to {host}"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_told_and_what_becomes_of_the_request() {
    let (world, story, _, host) = world().await;
    sleep(Duration::from_secs(2)).await;
    world.cloud.revoke_all();
    let replies = [Reply::invalid_client()];
    world.cloud.script(Listener::Login, "*", replies);
    assert_eq!(world.get().await, 401);
    assert_eq!(
        story.so_far(),
        [
            format!("token 1 refused by {host}"),
            "renewing 1: Refused".to_owned(),
            "renewal failed: Refused, Rejected".to_owned(),
            format!("not replayed to {host}: RenewalFailed"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_second_refusal_is_told_with_its_server_though_no_copy_is_left() {
    let (world, story, _, host) = world().await;
    sleep(Duration::from_secs(2)).await;
    world.script([Reply::unauthorized(), Reply::unauthorized()]);
    assert_eq!(world.get().await, 401);
    assert_eq!(
        story.so_far()[3..],
        [
            format!("replay with 2 to {host}"),
            format!("token 2 refused by {host}"),
            format!("not replayed to {host}: RefusedAgain"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_that_stays_at_home_is_told() {
    let (world, story, ..) = world().await;
    let elsewhere = world.cloud.login_url();
    let request = Request::get(elsewhere).body(Full::default()).unwrap();
    world.call(request).await.unwrap();
    let host = elsewhere.trim_start_matches("http://");
    assert_eq!(story.so_far(), [format!("no token for {host}")]);
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_told_from_the_refusal_to_the_release() {
    let (world, story, origin, _) = world().await;
    world.script([Reply::too_many_requests(Some("3"))]);
    assert_eq!(world.get().await, 200);
    assert_eq!(
        story.so_far(),
        [
            format!("refused by {origin}: Some(3s)"),
            format!("again to {origin}, 1, in turn"),
            format!("held by {origin}"),
            format!("released by {origin} after 3 s"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_while_a_limit_is_closed_is_held_or_turned_away() {
    let (world, story, origin, _) = world().await;
    world.script([Reply::too_many_requests(Some("10"))]);
    let late = async {
        sleep(Duration::from_secs(4)).await;
        story.so_far();
        let mut hasty = world.request("GET");
        let deadline = Deadline::within(Duration::from_secs(1));
        hasty.extensions_mut().insert(deadline);
        assert!(world.call(hasty).await.is_err());
        let turned_away = format!("turned away by {origin}: Deadline");
        assert_eq!(story.so_far(), [turned_away]);
        world.get().await
    };
    tokio::join!(world.get(), late);
    let mut told = story.so_far();
    assert_eq!(told.remove(0), format!("held by {origin}"));
    told.sort();
    assert_eq!(
        told,
        [10, 6].map(|waited| format!("released by {origin} after {waited} s"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_with_why_it_was_the_last() {
    let (world, story, origin, _) = world().await;
    let unavailable = || Reply::service_unavailable(None);
    let cases = [
        ("POST", vec![unavailable()], "NotReplaySafe"),
        ("GET", vec![unavailable(); 4], "MaxRetries"),
        ("GET", vec![Reply::daily_limit()], "MaxWait"),
    ];
    for (method, replies, reason) in cases {
        let retries = replies.len() - 1;
        world.script(replies);
        world.call(world.request(method)).await.unwrap();
        let told = story.so_far();
        let expected = (1..=retries).map(|n| format!("again to {origin}, {n}, by itself"));
        for line in expected {
            assert!(told.contains(&line), "{line} not in {told:?}");
        }
        let last = told.last().unwrap();
        let start = format!("not again to {origin}: {reason}");
        assert!(last.starts_with(&start), "{last}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_forbidden_and_what_it_cannot_afford_is_told() {
    let (world, story, origin, _) = world().await;
    let mut marked = world.request("GET");
    marked.extensions_mut().insert(NoRetry);
    world.script([Reply::service_unavailable(None)]);
    world.call(marked).await.unwrap();
    let reason = format!("not again to {origin}: MarkedNoRetry");
    assert_eq!(story.so_far(), [reason]);

    // One a second for ten seconds is the reserve, and the share of the traffic.
    world
        .cloud
        .script_forever(Listener::Api, "*", Reply::service_unavailable(None));
    let spent = format!("not again to {origin}: Budget");
    for _ in 0..20 {
        world.get().await;
    }
    assert!(story.so_far().contains(&spent));
}

#[tokio::test(start_paused = true)]
async fn an_overload_is_told_apart_from_a_limit() {
    let (world, story, origin, _) = world().await;
    world.script([Reply::service_unavailable(Some("2"))]);
    assert_eq!(world.get().await, 200);
    assert_eq!(story.so_far()[0], format!("overloaded {origin}: 2s"));
}

#[tokio::test(start_paused = true)]
async fn a_key_of_its_own_is_told_as_it_is() {
    let (world, story, ..) = world().await;
    let mut request = world.request("GET");
    request.extensions_mut().insert(LimitKey::new("search"));
    world.script([Reply::too_many_requests(None)]);
    world.call(request).await.unwrap();
    assert_eq!(story.so_far()[0], "refused by search: None");
}

/// Asks for another proof whenever it can.
#[derive(Debug)]
struct Insatiable;

impl Attach for Insatiable {
    fn attach(&self, _: &Token, _: &Method, _: &Uri, _: &mut HeaderMap) -> Result<(), TokenError> {
        Ok(())
    }

    fn answered(&self, _: &Uri, _: StatusCode, _: &HeaderMap) -> Answered {
        Answered::SendAgain
    }
}

#[tokio::test]
async fn a_replay_with_another_proof_is_told_apart() {
    let story = Story::default();
    let tokens = TokenCache::builder()
        .observer(story.clone())
        .build(source_fn(|_| async {
            Ok(Grant::new("t").attach(Arc::new(Insatiable)))
        }));
    let layer = TokenRefreshLayer::new(tokens, Origins::only(["http://127.0.0.1:7"]).unwrap());
    let server = service_fn(|_: Request<Bytes>| async {
        Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
    });
    let request = Request::get("http://127.0.0.1:7/")
        .body(Bytes::new())
        .unwrap();
    layer.layer(server).oneshot(request).await.unwrap();
    assert_eq!(
        story.so_far()[2..],
        [
            "attached again with 1 to 127.0.0.1:7",
            "not replayed to 127.0.0.1:7: RefusedAgain"
        ]
    );
}

#[tokio::test]
async fn all_observers_are_told() {
    let (first, second) = (Story::default(), Story::default());
    let tokens = TokenCache::builder()
        .observer(first.clone())
        .observer(second.clone())
        .build(source_fn(|_| async { Ok(Grant::new("t")) }));
    tokens.token().await.unwrap();
    let told = first.so_far();
    assert_eq!(told.len(), 2);
    assert_eq!(told, second.so_far());
}

#[tokio::test(start_paused = true)]
async fn a_login_tells_that_its_store_fails_and_that_it_has_ended() {
    let story = Story::default();
    let login = UnluckyLogin::new(story.clone()).await;
    login.get_a_token_that_cannot_be_stored().await;
    assert_eq!(story.so_far(), ["store failed", "store failed"]);
    login.end().await;
    assert_eq!(story.so_far(), ["login ended"]);
}

#[tokio::test]
async fn a_closure_is_an_observer() {
    let count = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&count);
    let layer =
        RateLimitRetryLayer::new().observer(move |_: &Event<'_>| *counter.lock().unwrap() += 1);
    let failing = service_fn(|_: Request<Bytes>| async {
        let response = Response::builder().status(503);
        response.body(Full::<Bytes>::default())
    });
    let request = Request::post("http://127.0.0.1/")
        .body(Bytes::new())
        .unwrap();
    layer.layer(failing).oneshot(request).await.unwrap();
    assert_eq!(*count.lock().unwrap(), 1);
}
