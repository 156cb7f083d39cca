//! One token for everybody, one renewal when it is lost.

use futures_util::future::{join, join_all};
use tower_outbound::{
    outcome::Outcome,
    test_util::{Listener, LoopbackCloud},
};

use crate::stack::{Stack, api_log, bearer, statuses};

const USERS: &str = "/api/v2/users";
const QUEUES: &str = "/api/v2/routing/queues";

// S1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_cold_callers_share_one_token_request() {
    let stack = Stack::on_sockets(LoopbackCloud::builder()).await;

    let answers = stack.crowd(100, USERS).join_all().await;

    assert_eq!(statuses(answers), [200; 100]);
    assert_eq!((stack.cloud.token_requests(), stack.cloud.mints()), (1, 1));
    let log = api_log(&stack.cloud);
    assert_eq!(log.len(), 100);
    let token = &stack.cloud.issued_tokens()[0];
    assert!(log.iter().all(|call| bearer(call) == token));
}

// S2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_callers_whose_token_is_revoked_in_flight_share_one_renewal() {
    let stack = Stack::on_sockets(LoopbackCloud::builder()).await;
    let stack = stack.warmed_up().await;

    let gate = stack.cloud.gate(Listener::Api, "GET /api/v2/users");
    let crowd = stack.crowd(100, USERS);
    gate.arrived(100).await;
    stack.cloud.revoke_all();
    gate.release();

    assert_eq!(statuses(crowd.join_all().await), [200; 100]);
    assert_eq!((stack.cloud.token_requests(), stack.cloud.mints()), (1, 1));
    assert_eq!(stack.cloud.api_calls(), 200);
    let log = api_log(&stack.cloud);
    let (first, replays) = log.split_at(100);
    let issued = stack.cloud.issued_tokens();
    assert!(first.iter().all(|call| bearer(call) == issued[0]));
    assert!(first.iter().all(|call| call.status == Some(401)));
    assert!(replays.iter().all(|call| bearer(call) == issued[1]));
}

// S2, for those who come while the renewal runs.
#[tokio::test(start_paused = true)]
async fn requests_made_during_a_renewal_wait_for_it_rather_than_send_the_refused_token() {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    let renewal = stack
        .cloud
        .gate_answers(Listener::Login, "POST /oauth/token");
    stack.cloud.revoke_all();

    let during = async {
        renewal.arrived(1).await;
        let late = join_all((0..20).map(|_| stack.get(QUEUES)));
        let release = async { renewal.release() };
        join(late, release).await.0
    };
    let (refused, late) = join(stack.get(USERS), during).await;

    assert_eq!(refused.status(), 200);
    assert!(late.iter().all(|answer| answer.status() == 200));
    assert!(late.iter().all(|answer| Outcome::of(answer).resends == 0));
    assert_eq!((stack.cloud.mints(), stack.cloud.api_calls()), (1, 22));
    let issued = stack.cloud.issued_tokens();
    let log = api_log(&stack.cloud);
    assert_eq!(bearer(&log[0]), issued[0]);
    assert!(log[1..].iter().all(|call| bearer(call) == issued[1]));
}

// S3
#[tokio::test]
async fn a_late_refusal_of_a_token_that_was_replaced_meanwhile_costs_a_replay_and_no_renewal() {
    let stack = Stack::on_sockets(LoopbackCloud::builder()).await;
    let stack = stack.warmed_up().await;

    let gate = stack.cloud.gate(Listener::Api, "GET /api/v2/users");
    let others_renew = async {
        gate.arrived(1).await;
        stack.cloud.revoke_all();
        assert_eq!(stack.get(QUEUES).await.status(), 200);
        assert_eq!((stack.cloud.mints(), stack.cloud.api_calls()), (1, 3));
        gate.release();
    };
    let (late, ()) = join(stack.get(USERS), others_renew).await;

    assert_eq!(late.status(), 200);
    assert_eq!(Outcome::of(&late).token_replays, 1);
    assert_eq!((stack.cloud.token_requests(), stack.cloud.mints()), (1, 1));
    assert_eq!(stack.tokens.peek().map(|token| token.generation()), Some(2));
    let issued = stack.cloud.issued_tokens();
    let log = api_log(&stack.cloud);
    let late: Vec<_> = log.iter().filter(|call| call.path() == USERS).collect();
    assert_eq!(late.len(), 2);
    assert_eq!([bearer(late[0]), bearer(late[1])], [&issued[0], &issued[1]]);
}

// S8
#[tokio::test]
async fn whoever_began_the_renewal_may_leave_and_the_others_get_its_token() {
    let stack = Stack::on_sockets(LoopbackCloud::builder()).await;
    let gate = stack.cloud.gate(Listener::Login, "POST /oauth/token");
    let mut leader = Box::pin(stack.get(USERS));
    tokio::select! {
        _ = &mut leader => panic!("the gate was open"),
        () = gate.arrived(1) => {}
    }

    let followers = join_all((0..20).map(|_| stack.get(USERS)));
    // Polled after the followers have come to wait.
    let leave = async {
        drop(leader);
        gate.release();
    };
    let (answers, ()) = join(followers, leave).await;

    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!((stack.cloud.token_requests(), stack.cloud.mints()), (1, 1));
    assert_eq!(stack.cloud.api_calls(), 20);
}

// S16: a server that rotates refresh tokens, and at which each renewal kills the tokens before.
#[tokio::test(start_paused = true)]
async fn refusals_that_our_own_renewal_has_caused_mint_nothing_and_each_refresh_token_is_spent_once()
 {
    let builder = LoopbackCloud::builder().configure(|knobs| {
        knobs.rotate_refresh = true;
        knobs.refresh_kills_old_access = true;
    });
    let stack = Stack::in_memory(builder).logged_in().await;
    assert_eq!(stack.get("/api/v2/tokens/me").await.status(), 200);

    // A hundred are on their way with a token that a renewal kills.
    let gate = stack.cloud.gate(Listener::Api, "GET /api/v2/users");
    let crowd = stack.crowd(100, USERS);
    gate.arrived(100).await;
    stack.tokens.renew().await.unwrap();
    let mints = stack.cloud.mints();
    gate.release();
    assert_eq!(statuses(crowd.join_all().await), [200; 100]);
    assert_eq!(stack.cloud.api_calls_to("GET /api/v2/users"), 200);
    assert_eq!(stack.cloud.mints(), mints, "their refusals were old news");

    // A hundred are refused at once, again and again.
    for round in 1..=3 {
        stack.cloud.revoke_all();
        assert_eq!(
            statuses(stack.crowd(100, USERS).join_all().await),
            [200; 100]
        );
        assert_eq!(stack.cloud.mints(), mints + round);
    }
    let requests = stack.cloud.token_requests();
    assert_eq!(requests, mints + 3, "no refresh token was refused");
}
