//! Which errors of HTTP clients prove that the server never acted on a request.

use std::error::Error;

/// Whether this very error, not its causes, says that the request never reached the application.
pub(super) fn was_never_sent(error: &(dyn Error + 'static)) -> bool {
    client::failed_to_connect(error) || http2::was_not_processed(error)
}

#[cfg(feature = "hyper-util")]
mod client {
    use super::Error;

    /// hyper-util's client says so itself, and reqwest's errors have one of its as a cause.
    pub(super) fn failed_to_connect(error: &(dyn Error + 'static)) -> bool {
        error
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(|error| error.is_connect())
    }
}

#[cfg(not(feature = "hyper-util"))]
mod client {
    pub(super) fn failed_to_connect(_: &(dyn super::Error + 'static)) -> bool {
        false
    }
}

#[cfg(feature = "h2")]
mod http2 {
    use super::Error;

    /// A stream that the server refused, or one beyond the last that it takes before it goes away,
    /// was not processed (RFC 9113, section 8.7).
    pub(super) fn was_not_processed(error: &(dyn Error + 'static)) -> bool {
        error.downcast_ref::<h2::Error>().is_some_and(|error| {
            let reason = error.reason();
            let refused = error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM);
            let gone = error.is_go_away() && reason == Some(h2::Reason::NO_ERROR);
            error.is_remote() && (refused || gone)
        })
    }
}

#[cfg(not(feature = "h2"))]
mod http2 {
    pub(super) fn was_not_processed(_: &(dyn super::Error + 'static)) -> bool {
        false
    }
}

#[cfg(test)]
#[cfg(feature = "h2")]
mod tests {
    use bytes::Bytes;
    use h2::{Reason, client, server};
    use http::Request;
    use tokio::io::duplex;

    use super::*;

    /// What a client sees whose one request a server treats like this.
    async fn error_of<F>(
        treat: impl FnOnce(server::Connection<tokio::io::DuplexStream, Bytes>) -> F,
    ) -> h2::Error
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (ours, theirs) = duplex(64 * 1024);
        let (client, server) = tokio::join!(client::handshake(ours), server::handshake(theirs));
        tokio::spawn(treat(server.unwrap()));
        let (send, connection) = client.unwrap();
        tokio::spawn(connection);
        let request = Request::get("https://api.example.com/").body(()).unwrap();
        let sent = async {
            let (response, _) = send.ready().await?.send_request(request, true)?;
            response.await.map(drop)
        };
        sent.await.unwrap_err()
    }

    async fn reset(mut server: server::Connection<tokio::io::DuplexStream, Bytes>, reason: Reason) {
        while let Some(Ok((_, mut respond))) = server.accept().await {
            respond.send_reset(reason);
        }
    }

    #[tokio::test]
    async fn a_refused_stream_was_never_processed() {
        let error = error_of(|server| reset(server, Reason::REFUSED_STREAM)).await;
        assert!(was_never_sent(&error), "{error:?}");
    }

    #[tokio::test]
    async fn a_stream_that_was_cancelled_may_have_been() {
        for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::NO_ERROR] {
            let error = error_of(|server| reset(server, reason)).await;
            assert!(!was_never_sent(&error), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_stream_beyond_the_last_of_a_connection_was_never_processed() {
        let error = error_of(|mut server| async move {
            server.abrupt_shutdown(Reason::NO_ERROR);
            while server.accept().await.is_some() {}
        })
        .await;
        assert!(was_never_sent(&error), "{error:?}");
    }
}
