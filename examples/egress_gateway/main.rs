//! An egress gateway: `cargo run --example egress_gateway` shows it, against a cloud on this machine.
//!
//! Any program in any language sends plain HTTP to it; it adds the token, keeps the pace, sends again what
//! was refused or lost, and streams the answer back.
//!
//! ```sh
//! GENESYS_CLIENT_ID=… GENESYS_CLIENT_SECRET=… cargo run --release --example egress_gateway -- \
//!     --upstream genesys=https://api.mypurecloud.ie \
//!     --token-url genesys=https://login.mypurecloud.ie/oauth/token &
//! curl http://127.0.0.1:8080/genesys/api/v2/users
//! ```
//!
//! With one upstream and no name all paths are the upstream's, for SDKs that know only a host; the
//! credentials then are `CLIENT_ID` and `CLIENT_SECRET`. An upstream is an origin: paths, `..` and all, are
//! passed as they are, and no request leaves it.
//!
//! A request may say more about itself; these headers go no further:
//!
//! | header | meaning |
//! |---|---|
//! | `Outbound-Timeout: 2.5` | an answer begins within so many seconds, or there is 504; no wait is begun that cannot end by then |
//! | `Outbound-Replay-Safe: true` | a `POST` that may be sent twice |
//! | `Outbound-No-Retry: true` | one attempt |
//! | `Outbound-Priority: 5` | goes before others that wait for the same limit, -128 to 127 |
//!
//! What is not the upstream's answer has the header `Outbound-Error` with a code, and says more as JSON.
//!
//! | code | status | |
//! |---|---|---|
//! | `upstream_unreachable` | 502 | no connection: nothing was sent |
//! | `upstream_lost` | 502 | the connection was lost, and the request may not be sent twice |
//! | `token_rejected` | 502 | the authorization server says no to this gateway's credentials |
//! | `token_unavailable`, `rate_limited` | 503, `Retry-After` | nothing was sent, or what was sent was refused |
//! | `upstream_timeout`, `deadline` | 504 | |
//! | `bad_request`, `forbidden`, `no_such_upstream`, `wrong_host` | 400, 403, 404, 421 | nothing was sent |
//!
//! A program with a credential of its own keeps it: a request with `Authorization` goes as it is, and a 401
//! is the program's. An empty one, as of SDKs that were given no token (`Bearer`, `Bearer None`), counts as
//! none.
//!
//! Whoever can reach the gateway can use its credentials. So it listens on loopback, and refuses what pages
//! in a browser send and what was sent to another host name. `--admin 127.0.0.1:8081` answers
//! `/healthz` and `/metrics` (Prometheus), apart from the upstreams' paths. WebSockets and other upgrades are not forwarded, and
//! redirects are the program's: one to another host leaves the gateway.

mod account;
mod demo;
mod gateway;
mod recorder;
mod stop;

use std::process::ExitCode;

use clap::Parser;
use tower::BoxError;

use self::gateway::{Gateway, Settings};

/// Lends credentials to programs on this machine: they send plain HTTP, it adds the token, keeps the pace
/// and sends again what was refused or lost.
///
/// The credentials come from the environment: CLIENT_ID and CLIENT_SECRET, or for the upstream `genesys`
/// GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET. Without arguments it shows what it does, against a cloud
/// on this machine.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
}

#[tokio::main]
async fn main() -> ExitCode {
    let is_demo = std::env::args_os().len() == 1;
    let ran = if is_demo {
        demo::run().await
    } else {
        run(&Cli::parse().settings).await
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: &Settings) -> Result<(), BoxError> {
    let gateway = Gateway::open(settings, account::from_env, recorder::install()?).await?;
    let (address, admin) = gateway.addresses()?;
    let stop = stop::asked()?;
    println!("listening on http://{address}");
    if let Some(admin) = admin {
        println!("health on http://{admin}/healthz, metrics on http://{admin}/metrics");
    }
    if !address.ip().is_loopback() {
        eprintln!("warning: whoever can reach {address} can use the credentials");
    }
    gateway.serve(stop).await?;
    Ok(())
}
