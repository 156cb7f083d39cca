//! What a handler decided, before it becomes bytes.

use bytes::Bytes;
use http::{
    StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_TYPE, DATE, EXPIRES, HeaderMap, HeaderName, HeaderValue, PRAGMA,
        RETRY_AFTER, STRICT_TRANSPORT_SECURITY,
    },
    response,
};
use serde_json::{Map, Value, json};

use crate::{test_util::Listener, time};

pub(super) const CORRELATION_ID: HeaderName = HeaderName::from_static("inin-correlation-id");

/// A reply without the headers that its server puts on all of them.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// They replace the server's own of the same name.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) content: Content,
    /// It comes from the proxy in front: none of the server's own headers.
    pub(super) from_edge: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Bytes(Bytes),
    /// The error envelope; its `contextId` is known when the request is.
    Envelope {
        code: String,
        message: String,
        fields: Map<String, Value>,
    },
}

impl Answer {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self::bytes(status, Bytes::new())
    }

    pub(super) fn bytes(status: StatusCode, bytes: Bytes) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content: Content::Bytes(bytes),
            from_edge: false,
        }
    }

    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::bytes(status, body.to_string().into())
    }

    pub(super) fn ok(body: &Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// The API's error envelope.
    pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Self {
        let content = Content::Envelope {
            code: code.to_owned(),
            message: message.to_owned(),
            fields: Map::new(),
        };
        Self {
            status,
            headers: Vec::new(),
            content,
            from_edge: false,
        }
    }

    /// The flat error of the token endpoint, with its description twice.
    pub(super) fn oauth_error(status: StatusCode, error: &str, description: &str) -> Self {
        Self::json(
            status,
            &json!({"error": error, "description": description, "error_description": description}),
        )
    }

    pub(super) fn not_found() -> Self {
        Self::error(
            StatusCode::NOT_FOUND,
            "not.found",
            "The requested resource was not found.",
        )
    }

    pub(super) fn bad_request(code: &str, message: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn too_many_requests(seconds: u64) -> Self {
        Self::error(
            StatusCode::TOO_MANY_REQUESTS,
            "too.many.requests.retry.after",
            &format!("Rate limit exceeded the maximum. Retry the request in [{seconds}] seconds"),
        )
        .header(RETRY_AFTER, seconds.into())
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds a field to the error envelope; any other body stays as it is.
    pub(super) fn field(mut self, name: &str, value: Value) -> Self {
        if let Content::Envelope { fields, .. } = &mut self.content {
            fields.insert(name.to_owned(), value);
        }
        self
    }

    /// The head with the server's own headers, and the body padded to at least `pad` bytes.
    pub(super) fn render(
        self,
        listener: Listener,
        correlation_id: &str,
        pad: usize,
    ) -> (response::Parts, Bytes) {
        let body = padded(self.content.render(self.status, correlation_id), pad);
        let mut headers = if self.from_edge {
            HeaderMap::new()
        } else {
            common(listener)
        };
        if !self.from_edge
            && let Ok(value) = HeaderValue::from_str(correlation_id)
        {
            headers.insert(CORRELATION_ID, value);
        }
        if let Ok(value) = HeaderValue::try_from(httpdate::fmt_http_date(time::wall())) {
            headers.insert(DATE, value);
        }
        let mut seen: Vec<HeaderName> = Vec::new();
        for (name, value) in self.headers {
            if seen.contains(&name) {
                headers.append(name, value);
            } else {
                headers.insert(name.clone(), value);
                seen.push(name);
            }
        }
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = self.status;
        parts.headers = headers;
        (parts, body)
    }
}

impl Content {
    fn render(self, status: StatusCode, correlation_id: &str) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Envelope {
                code,
                message,
                fields,
            } => {
                let mut body = Map::new();
                body.insert("message".into(), message.into());
                body.insert("code".into(), code.into());
                body.insert("status".into(), status.as_u16().into());
                body.insert("contextId".into(), correlation_id.into());
                body.insert("details".into(), json!([]));
                body.insert("errors".into(), json!([]));
                body.extend(fields);
                Value::Object(body).to_string().into()
            }
        }
    }
}

/// The headers that a server puts on everything it says.
fn common(listener: Listener) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match listener {
        Listener::Login => {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        Listener::Api => {
            headers.insert(
                STRICT_TRANSPORT_SECURITY,
                HeaderValue::from_static("max-age=600; includeSubDomains"),
            );
            headers.insert(
                CACHE_CONTROL,
                HeaderValue::from_static("no-cache, no-store, must-revalidate"),
            );
            headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
            headers.insert(EXPIRES, HeaderValue::from_static("0"));
        }
    }
    headers
}

/// Blanks after a JSON text change nothing for who reads it.
fn padded(body: Bytes, length: usize) -> Bytes {
    if body.len() >= length {
        return body;
    }
    let mut longer = Vec::from(body);
    longer.resize(length, b' ');
    longer.into()
}
