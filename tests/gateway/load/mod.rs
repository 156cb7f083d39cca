//! A minute of load on a gateway in a process of its own, before an upstream that misbehaves.
//!
//! ```sh
//! cargo test --release --test gateway -- --ignored --nocapture --test-threads=1 a_minute
//! ```
//!
//! `GATEWAY_SECONDS` sets how long each takes. Counts and bytes are asserted, and that memory does
//! not grow; rates and latencies are printed.

mod chaos;
mod program;
mod report;

use std::{env, time::Duration};

use self::{
    chaos::{Chaos, Manners, Refusals},
    report::Report,
};
use super::process::GatewayProcess;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute; .ci/run runs it in release"]
async fn a_minute_of_dead_tokens_and_cut_connections_is_not_seen() {
    let report = run(Refusals::DeadTokens, 0).await;
    report.every_call_is_answered_but_cut_posts(|_| false);
    report.posts_were_cut();
    report.tokens_are_minted_a_second_apart();
    report.memory_does_not_grow();
}

/// Half of the refusals ask for a second in which nothing is sent, so few calls are made.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute; .ci/run runs it in release"]
async fn a_minute_of_dead_tokens_cut_connections_and_limits_is_not_seen() {
    let report = run(Refusals::DeadTokens, 5).await;
    report.every_call_is_answered_but_cut_posts(|_| false);
    report.tokens_are_minted_a_second_apart();
    report.memory_does_not_grow();
}

/// A server that says of a good token that it is none, now and then, refuses the next one as well: no
/// client can please it. What is not renewed then is the server's 401, and the gateway goes on.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute; .ci/run runs it in release"]
async fn a_minute_of_random_401s_mints_no_more_than_one_token_a_second() {
    let report = run(Refusals::AtRandom, 0).await;
    report.every_call_is_answered_but_cut_posts(|what| what.starts_with("401"));
    report.posts_were_cut();
    report.tokens_are_minted_a_second_apart();
    report.memory_does_not_grow();
}

async fn run(refusals: Refusals, limited: u8) -> Report {
    let manners = Manners { refusals, limited };
    let chaos = Chaos::start(manners).await;
    let gateway = GatewayProcess::start(&chaos.origin(), &chaos.token_url());
    let memory = gateway.watch_memory();
    let duration = duration();
    let calls = program::run(gateway.address(), CONNECTIONS, duration).await;
    let report = Report::new(calls, chaos.saw(), memory.readings(), duration);
    println!("{manners:?}\n{report}");
    gateway.terminate();
    assert!(gateway.ended().await.success());
    report
}

fn duration() -> Duration {
    let seconds = env::var("GATEWAY_SECONDS").ok();
    let seconds = seconds.map(|text| text.parse().expect("whole seconds"));
    Duration::from_secs(seconds.unwrap_or(60))
}

const CONNECTIONS: usize = 100;
