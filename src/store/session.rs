use std::time::{Duration, SystemTime};

use secrecy::zeroize::Zeroizing;
use serde_json::{Map, Value};

use super::StoreError;
use crate::token::{Grant, Rotation, Secret};

/// One login, as processes share it.
///
/// To a store it is text: [`to_json`](Self::to_json) and [`from_json`](Self::from_json).
///
/// ```
/// use tower_outbound::store::Session;
///
/// // What a login made elsewhere brought; the first renewal gets an access token for it.
/// let session = Session::new("the refresh token");
///
/// let text = session.to_json();
/// let read = Session::from_json(text.expose().as_bytes())?;
/// assert_eq!(read.refresh_token().map(|token| token.expose()), Some("the refresh token"));
/// # Ok::<_, tower_outbound::store::StoreError>(())
/// ```
///
/// Another version of this crate may share the store. A member of the JSON that is missing counts
/// as unknown. One that is not known is left out when the next session is written: kept, it would
/// go on to speak of a token that is gone.
#[derive(Clone, Debug)]
pub struct Session {
    pub(crate) access_token: Option<Secret>,
    /// When the access token ends, if that is known.
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) scope: Option<String>,
    pub(crate) refresh_token: Option<Secret>,
    /// The thumbprint of the DPoP key that the tokens are bound to.
    pub(crate) bound_to: Option<String>,
    /// When the refresh token was sent, if no reply has been stored since.
    pub(crate) spending: Option<SystemTime>,
    /// Why the user has to log in again.
    pub(crate) ended: Option<String>,
}

impl Session {
    /// A login that was made elsewhere.
    pub fn new(refresh_token: impl Into<Secret>) -> Self {
        Self {
            refresh_token: Some(refresh_token.into()),
            ..Self::empty()
        }
    }

    /// The access token that came with it, asked for at that time.
    pub fn grant(mut self, grant: &Grant, asked: SystemTime) -> Self {
        self.access_token = Some(grant.access_token.clone());
        self.expires_at = grant
            .lifetime
            .since(asked)
            .and_then(|lifetime| asked.checked_add(lifetime));
        self.scope = grant.scope.clone();
        self
    }

    /// This session after the server has granted a token. A grant without a refresh token leaves the
    /// old one good ([RFC 6749, section 6](https://www.rfc-editor.org/rfc/rfc6749#section-6)).
    pub(crate) fn granted(self, grant: &Grant, asked: SystemTime) -> Self {
        let scope = grant.scope.clone().or_else(|| self.scope.clone());
        let refresh_token = grant
            .refresh_token
            .clone()
            .or_else(|| self.refresh_token.clone());
        let attach = grant.attach.as_ref();
        let bound_to = attach
            .and_then(|attach| attach.bound_to())
            .map(str::to_owned);
        Self {
            scope,
            refresh_token,
            bound_to,
            spending: None,
            ended: None,
            ..self.grant(grant, asked)
        }
    }

    /// This session after the server has granted something of no use: the access token stays as it was.
    pub(crate) fn rotated(mut self, rotation: Rotation) -> Self {
        if let Rotation::To(refresh_token) = rotation {
            self.refresh_token = Some(refresh_token);
        }
        self.spending = None;
        self
    }

    pub(crate) const fn empty() -> Self {
        Self {
            access_token: None,
            expires_at: None,
            scope: None,
            refresh_token: None,
            bound_to: None,
            spending: None,
            ended: None,
        }
    }

    /// The refresh token, if there is one.
    pub fn refresh_token(&self) -> Option<&Secret> {
        self.refresh_token.as_ref()
    }

    /// Whether the server ended it: the user has to log in again.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Its text, one line of JSON. It holds the tokens.
    pub fn to_json(&self) -> Secret {
        let mut object = Writer::new();
        object.secret("access_token", self.access_token.as_ref());
        object.time("expires_at", self.expires_at);
        object.text("scope", self.scope.as_deref());
        object.secret("refresh_token", self.refresh_token.as_ref());
        object.text("bound_to", self.bound_to.as_deref());
        object.time("spending", self.spending);
        object.text("ended", self.ended.as_deref());
        object.finish()
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// It is something else. The error is a [damaged](StoreError::is_damaged) one, and quotes
    /// nothing.
    pub fn from_json(text: &[u8]) -> Result<Self, StoreError> {
        match parse(text)? {
            Value::Object(members) => Self::from_members(members),
            _ => Err(StoreError::damaged("the session is not a JSON object")),
        }
    }

    pub(crate) fn from_members(members: Map<String, Value>) -> Result<Self, StoreError> {
        let mut session = Self::empty();
        for (name, value) in members {
            match name.as_str() {
                "access_token" => session.access_token = text(&name, value)?.map(Secret::new),
                "expires_at" => session.expires_at = time(&name, &value)?,
                "scope" => session.scope = text(&name, value)?,
                "refresh_token" => session.refresh_token = text(&name, value)?.map(Secret::new),
                "bound_to" => session.bound_to = text(&name, value)?,
                "spending" => session.spending = time(&name, &value)?,
                "ended" => session.ended = text(&name, value)?,
                _ => {}
            }
        }
        Ok(session)
    }
}

/// JSON out of bytes; an error tells the place, and quotes nothing.
pub(crate) fn parse(text: &[u8]) -> Result<Value, StoreError> {
    serde_json::from_slice(text)
        .map_err(|error| StoreError::damaged("what is stored is not JSON").caused_by(error))
}

fn text(name: &str, value: Value) -> Result<Option<String>, StoreError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(StoreError::damaged(format!("{name} is not a string"))),
    }
}

fn time(name: &str, value: &Value) -> Result<Option<SystemTime>, StoreError> {
    if value.is_null() {
        return Ok(None);
    }
    value
        .as_u64()
        .and_then(|millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)))
        .map(Some)
        .ok_or_else(|| StoreError::damaged(format!("{name} is not a time in milliseconds")))
}

/// Milliseconds since 1970, rounded down: a token that ends a little early does no harm.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Writes an object member by member into memory that is wiped: a `Value` would leave copies of the
/// secrets behind.
struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    fn new() -> Self {
        // A buffer that grows leaves a copy of its text behind; few sessions are longer than this.
        Self(Zeroizing::new(Vec::with_capacity(16 * 1024)))
    }

    fn secret(&mut self, name: &str, value: Option<&Secret>) {
        self.text(name, value.map(Secret::expose));
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.name(name);
            self.quote(value);
        }
    }

    fn time(&mut self, name: &str, value: Option<SystemTime>) {
        if let Some(value) = value {
            self.name(name);
            self.0
                .extend_from_slice(millis(value).to_string().as_bytes());
        }
    }

    fn name(&mut self, name: &str) {
        let before = if self.0.is_empty() { b'{' } else { b',' };
        self.0.push(before);
        self.quote(name);
        self.0.push(b':');
    }

    fn quote(&mut self, text: &str) {
        // Neither a string nor memory can fail.
        let _ = serde_json::to_writer(&mut *self.0, text);
    }

    fn finish(mut self) -> Secret {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.push(b'}');
        Secret::new(String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn full() -> Session {
        Session {
            access_token: Some("access-hunter2".into()),
            expires_at: Some(at(1_700_000_000_123)),
            scope: Some("a b".into()),
            refresh_token: Some("refresh-hunter2".into()),
            bound_to: Some("thumb".into()),
            spending: Some(at(5)),
            ended: Some("revoked".into()),
        }
    }

    fn read(text: &str) -> Session {
        Session::from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_text_has_one_member_for_each_thing_that_is_known() {
        assert_eq!(
            full().to_json().expose(),
            r#"{"access_token":"access-hunter2","expires_at":1700000000123,"scope":"a b","refresh_token":"refresh-hunter2","bound_to":"thumb","spending":5,"ended":"revoked"}"#
        );
        assert_eq!(
            Session::new("r").to_json().expose(),
            r#"{"refresh_token":"r"}"#
        );
        assert_eq!(Session::empty().to_json().expose(), "{}");
    }

    #[test]
    fn what_was_written_is_read_back() {
        for session in [
            full(),
            Session::new("\"\\ \n\0 é 𝄞 </script>"),
            Session::empty(),
        ] {
            let text = session.to_json();
            let again = read(text.expose()).to_json();
            assert_eq!(again.expose(), text.expose());
        }
        let read = read(full().to_json().expose());
        assert_eq!(read.expires_at, full().expires_at);
        assert_eq!(read.spending, full().spending);
        assert!(read.has_ended());
    }

    #[test]
    fn a_buffer_that_has_to_grow_loses_nothing() {
        let long = "x".repeat(100_000);
        let text = Session::new(long.as_str()).to_json();
        assert_eq!(read(text.expose()).refresh_token().unwrap().expose(), long);
    }

    #[test]
    fn missing_members_are_unknown_and_unknown_ones_are_left_out() {
        let session = read(r#"{"refresh_token":"r","scope":null,"id_token":"of another version"}"#);
        assert_eq!(session.to_json().expose(), r#"{"refresh_token":"r"}"#);
        assert!(!session.has_ended());
    }

    #[test]
    fn what_is_no_session_is_damaged_and_not_quoted() {
        for text in [
            "",
            "{",
            "[]",
            "null",
            r#""hunter2""#,
            r#"{"refresh_token":["hunter2"]}"#,
            r#"{"access_token":17}"#,
            r#"{"expires_at":"hunter2"}"#,
            r#"{"expires_at":-1}"#,
            r#"{"spending":1.5}"#,
            r#"{"ended":true}"#,
            r#"{"access_token":"hunter2" "scope":"a"}"#,
        ] {
            let error = Session::from_json(text.as_bytes()).unwrap_err();
            assert!(error.is_damaged(), "{text}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn no_time_is_too_far_away_to_be_written() {
        let mut session = Session::new("r");
        session.expires_at = Some(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(read(session.to_json().expose()).expires_at, Some(at(0)));
        session.expires_at = Some(at(u64::MAX));
        assert_eq!(
            read(session.to_json().expose()).expires_at,
            Some(at(u64::MAX))
        );
    }

    #[test]
    fn the_life_of_a_grant_counts_from_when_it_was_asked_for() {
        let grant = Grant::new("a")
            .expires_in(Duration::from_secs(60))
            .scope("s");
        let session = Session::new("r").grant(&grant, at(1000));
        assert_eq!(session.expires_at, Some(at(61_000)));
        assert_eq!(session.scope.as_deref(), Some("s"));
        let session = session.grant(&Grant::new("b"), at(0));
        assert_eq!(session.expires_at, None);
        assert_eq!(session.scope, None);
        assert_eq!(session.access_token.unwrap().expose(), "b");
    }

    #[test]
    fn debug_output_holds_no_secret() {
        assert!(!format!("{:?} {:?}", full(), full().to_json()).contains("hunter2"));
    }
}
