//! HTTP byte for byte, where a client or a server of a library would tidy up.

use std::{future::Future, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What never comes shall fail a test, and not hang it. Nothing here takes a fraction of that.
pub async fn soon<T>(waiting: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    waited.expect("it comes")
}

/// Sends this, and returns all that comes back until the connection is closed.
pub async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// A request for this target whose connection ends with the answer.
pub fn get(target: &str, host: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// The status of an answer.
pub fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1);
    status.and_then(|status| status.parse().ok()).expect(answer)
}

/// The lines of a head after the first, in lower case and in order.
pub fn fields(head: &str) -> Vec<String> {
    let head = head.split("\r\n\r\n").next().unwrap_or_default();
    let mut fields: Vec<_> = head
        .split("\r\n")
        .skip(1)
        .map(str::to_ascii_lowercase)
        .collect();
    fields.sort();
    fields
}

/// An upstream of which the test writes each byte.
pub struct RawUpstream {
    listener: TcpListener,
}

/// One connection to it, whose first request's head has been read.
pub struct Connection {
    stream: TcpStream,
    pub head: String,
    /// What of the body has come.
    pub body: Vec<u8>,
}

impl RawUpstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub async fn accept(&self) -> Connection {
        let (mut stream, _) = soon(self.listener.accept()).await.unwrap();
        let mut read = Vec::new();
        loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                let body = read.split_off(end + 4);
                let head = String::from_utf8(read).unwrap();
                return Connection { stream, head, body };
            }
            assert!(
                soon(stream.read_buf(&mut read)).await.unwrap() > 0,
                "a whole head"
            );
        }
    }

    /// Takes one request, and answers with these bytes; returns the request's head.
    pub async fn answer(&self, answer: &str) -> String {
        let mut connection = self.accept().await;
        connection.write(answer).await;
        connection.head
    }
}

impl Connection {
    pub async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads on until the body has so many bytes.
    pub async fn read_body(&mut self, length: usize) {
        while self.body.len() < length {
            let read = soon(self.stream.read_buf(&mut self.body)).await.unwrap();
            assert!(read > 0, "the body ended after {} bytes", self.body.len());
        }
    }

    /// Waits until the other side is gone.
    pub async fn closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is as good as an end.
        let _ = soon(self.stream.read_to_end(&mut rest)).await;
    }
}
