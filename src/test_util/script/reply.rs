use std::time::Duration;

use bytes::Bytes;
use http::{
    StatusCode,
    header::{HeaderName, HeaderValue, RETRY_AFTER},
};
use serde_json::{Map, Value, json};

use crate::{
    test_util::answer::{Answer, Content},
    time,
};

/// One scripted reply, for [`LoopbackCloud::script`](crate::test_util::LoopbackCloud::script).
///
/// It starts from a constructor, which says what is answered and what becomes of the connection,
/// and may be changed by the methods that follow. The headers that a server puts on all its
/// replies (`Content-Type`, `ININ-Correlation-Id`, `Cache-Control`…) are put on scripted ones too.
///
/// ```
/// use std::time::Duration;
/// use tower_outbound::test_util::Reply;
///
/// let slow = Reply::too_many_requests(Some("2.0")).delay(Duration::from_secs(3));
/// let twice = Reply::too_many_requests(Some("1")).header("retry-after", "60");
/// let odd = Reply::status(200).header("x-note", b"\xff\xfe").body("not json");
/// ```
#[derive(Clone, Debug)]
pub struct Reply {
    /// `None`: the request is handled as if nothing had been scripted.
    pub(in crate::test_util) answer: Option<Answer>,
    pub(in crate::test_util) fate: Fate,
    pub(in crate::test_util) delay: Duration,
    /// Whether it goes out before the body of the request is read.
    pub(in crate::test_util) early: bool,
    headers: Vec<(HeaderName, HeaderValue)>,
    retry_after_date: Option<Duration>,
    body: Option<Bytes>,
    merged: Map<String, Value>,
    pad: usize,
}

/// What becomes of the answer on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::test_util) enum Fate {
    Sent,
    CutBeforeHead,
    CutMidBody,
    Never,
    Trickled(Duration),
}

impl Reply {
    pub(super) fn new(answer: Option<Answer>, fate: Fate) -> Self {
        Self {
            answer,
            fate,
            delay: Duration::ZERO,
            early: false,
            headers: Vec::new(),
            retry_after_date: None,
            body: None,
            merged: Map::new(),
            pad: 0,
        }
    }

    /// Sets a header. It replaces the server's own of that name; called again with the same name
    /// it adds a second value. The value is sent as the bytes are, blanks at its ends included.
    ///
    /// # Panics
    ///
    /// If HTTP cannot carry the name or the value.
    #[track_caller]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_bytes(value.as_ref());
        match (name, value) {
            (Ok(name), Ok(value)) => self.headers.push((name, value)),
            (name, value) => panic!("not a header that HTTP can carry: {name:?}: {value:?}"),
        }
        self
    }

    /// Sets the body, in place of the one that there would be.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets or, with `null`, removes fields of a JSON body that is an object.
    pub fn merge(mut self, fields: Value) -> Self {
        if let Value::Object(fields) = fields {
            self.merged.extend(fields);
        }
        self
    }

    /// Sets `Retry-After` to the date that lies `wait` after the reply's own `Date`.
    pub fn retry_after_date(mut self, wait: Duration) -> Self {
        self.retry_after_date = Some(wait);
        self
    }

    /// Adds the `limit` object that says which limit was hit.
    pub fn limit(self, key: &str, namespace: &str, value: u64) -> Self {
        self.merge(json!({"limit": {"key": key, "namespace": namespace, "value": value}}))
    }

    /// Waits before the reply goes out, on top of the server's latency. The request has been
    /// handled before the wait.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Fills the body up with blanks to at least `bytes`.
    pub fn pad(mut self, bytes: usize) -> Self {
        self.pad = bytes;
        self
    }

    /// Goes out as soon as the request's head is there; the body is never read (its length and
    /// digest are missing in the log) and the connection may be closed after the reply.
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }

    /// The changes that the chained methods asked for, made to what is to be answered.
    pub(in crate::test_util) fn apply(self, mut answer: Answer) -> (Answer, usize) {
        if let Some(body) = self.body {
            answer.content = Content::Bytes(body);
        }
        if !self.merged.is_empty() {
            answer.content = merged(answer.content, self.merged);
        }
        if let Some(wait) = self.retry_after_date {
            let date = httpdate::fmt_http_date(time::wall() + wait);
            answer.headers.retain(|(name, _)| name != RETRY_AFTER);
            answer
                .headers
                .extend(HeaderValue::try_from(date).map(|date| (RETRY_AFTER, date)));
        }
        answer.headers.extend(self.headers);
        (answer, self.pad)
    }
}

fn merged(content: Content, changes: Map<String, Value>) -> Content {
    let apply = |mut object: Map<String, Value>| {
        for (name, value) in changes {
            if value.is_null() {
                object.remove(&name);
            } else {
                object.insert(name, value);
            }
        }
        object
    };
    match content {
        Content::Envelope {
            code,
            message,
            fields,
        } => Content::Envelope {
            code,
            message,
            fields: apply(fields),
        },
        Content::Bytes(bytes) => match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => {
                Content::Bytes(Value::Object(apply(object)).to_string().into())
            }
            _ => Content::Bytes(bytes),
        },
    }
}

/// A status that a program wrote down.
#[track_caller]
pub(super) fn status(code: u16) -> StatusCode {
    match StatusCode::from_u16(code) {
        Ok(status) => status,
        Err(_) => panic!("not an HTTP status: {code}"),
    }
}
