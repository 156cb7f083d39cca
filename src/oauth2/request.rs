use std::{fmt, sync::Arc};

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

use super::{
    Parameters, TokenEndpoint,
    grant::{AnyGrantType, GrantType},
};
use crate::token::{Cause, Grant, Refusal, Rotation, Secret, TokenError, TokenSource};

/// A token request that can be made again and again: the source of tokens by one grant.
///
/// Two requests that differ in scope, resource, audience or any other parameter get different tokens,
/// so each wants a [`TokenCache`](crate::token::TokenCache) of its own. Clone the request, or ask
/// its endpoint for another, to make the second.
#[derive(Clone)]
pub struct TokenRequest {
    endpoint: TokenEndpoint,
    grant: Arc<dyn AnyGrantType>,
    wanted: Wanted,
}

/// What a token is to be good for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    scope: Option<String>,
    required_scopes: Vec<String>,
    parameters: Parameters,
    answers_claims: bool,
}

impl TokenRequest {
    pub(crate) fn new(endpoint: TokenEndpoint, grant: impl GrantType) -> Self {
        Self {
            endpoint,
            grant: Arc::new(grant),
            wanted: Wanted::default(),
        }
    }

    pub(crate) fn endpoint(&self) -> &TokenEndpoint {
        &self.endpoint
    }

    /// Asks as this request does, by another grant.
    pub(crate) async fn ask_by(
        &self,
        grant: &dyn AnyGrantType,
        cause: &Cause,
    ) -> Result<Grant, TokenError> {
        self.wanted.ask(&self.endpoint, grant, cause).await
    }

    /// Whether a token has the scopes that it must have.
    pub(crate) fn suffices(&self, grant: &Grant) -> bool {
        self.wanted.require(grant).is_ok()
    }

    /// The scopes to ask for, separated by spaces. None by default: the server then grants its own
    /// default. Blank text asks for none, as the standard knows no empty scope.
    pub fn scope(mut self, scope: &str) -> Self {
        let scope = scope.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        self.wanted.scope = Some(scope).filter(|scope| !scope.is_empty());
        self
    }

    /// Scopes without which a token is of no use: if one is not granted, there is no token but an
    /// error that names it. None by default.
    pub fn require_scope(mut self, scope: &str) -> Self {
        self.wanted
            .required_scopes
            .extend(scope.split_ascii_whitespace().map(str::to_owned));
        self
    }

    /// The API that the token is for, by its absolute URI without a fragment; can be repeated
    /// ([RFC 8707, section 2](https://www.rfc-editor.org/rfc/rfc8707#section-2)).
    pub fn resource(self, uri: impl Into<Secret>) -> Self {
        self.parameter("resource", uri)
    }

    /// The API that the token is for, by a name that the server knows; can be repeated
    /// ([RFC 8693, section 2.1](https://www.rfc-editor.org/rfc/rfc8693#section-2.1), and vendors).
    pub fn audience(self, name: impl Into<Secret>) -> Self {
        self.parameter("audience", name)
    }

    /// One more parameter. Can be repeated.
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.wanted.parameters = self.wanted.parameters.with(name.into(), value);
        self
    }

    /// Answers the claims challenges of Microsoft Entra (continuous access evaluation): if an API
    /// refuses a token with `error="insufficient_claims"`, what its `claims` say is sent along
    /// with the request for the next token, merged into the parameter `claims` if there is one.
    ///
    /// To be sent such challenges, a client says that it can handle them:
    ///
    /// ```
    /// # use tower_outbound::oauth2::TokenRequest;
    /// # fn with(request: TokenRequest) -> TokenRequest {
    /// request
    ///     .parameter("claims", r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#)
    ///     .answer_claims_challenges()
    /// # }
    /// ```
    pub fn answer_claims_challenges(mut self) -> Self {
        self.wanted.answers_claims = true;
        self
    }
}

impl TokenSource for TokenRequest {
    async fn token(&self, cause: &Cause) -> Result<Grant, TokenError> {
        self.ask_by(&*self.grant, cause).await
    }
}

impl Wanted {
    /// Asks for a token by this grant that is good for all this.
    pub(crate) async fn ask(
        &self,
        endpoint: &TokenEndpoint,
        grant: &dyn AnyGrantType,
        cause: &Cause,
    ) -> Result<Grant, TokenError> {
        let grant = endpoint.ask(grant, &self.parameters(cause)).await?;
        match self.require(&grant) {
            Ok(()) => Ok(grant),
            Err(error) => Err(error.rotated(Rotation::by(grant))),
        }
    }

    fn parameters(&self, cause: &Cause) -> Parameters {
        let mut parameters = Parameters::new();
        if let Some(scope) = &self.scope {
            parameters = parameters.with("scope", scope.clone());
        }
        parameters.append(&self.parameters);
        if self.answers_claims
            && let Cause::Refused(refusal) = cause
            && let Some(claims) = demanded_claims(refusal)
        {
            let known = parameters.get("claims").and_then(object);
            parameters.set("claims", merged(known.unwrap_or_default(), claims));
        }
        parameters
    }

    /// Fails if what was granted is less than what the user cannot do without.
    ///
    /// A reply without `scope` grants what was asked for (RFC 6749, section 5.1).
    fn require(&self, grant: &Grant) -> Result<(), TokenError> {
        let granted = grant
            .scope
            .as_deref()
            .or(self.scope.as_deref())
            .unwrap_or_default();
        let is_missing =
            |scope: &&String| !granted.split_ascii_whitespace().any(|has| has == *scope);
        let missing: Vec<_> = self
            .required_scopes
            .iter()
            .filter(is_missing)
            .map(String::as_str)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(TokenError::rejected(format!(
            "the server granted `{granted}`, which lacks the required `{}`",
            missing.join(" ")
        )))
    }
}

/// What a claims challenge demands: a JSON object in Base64, which some write for URLs and some not.
fn demanded_claims(refusal: &Refusal) -> Option<Map<String, Value>> {
    let challenges = refusal.challenges();
    let challenge = challenges
        .iter()
        .find(|challenge| challenge.param("error") == Some("insufficient_claims"))?;
    let encoded = challenge
        .param("claims")?
        .replace('-', "+")
        .replace('_', "/");
    let claims = BASE64.decode(encoded).ok()?;
    serde_json::from_slice(&claims).ok()
}

fn object(text: &Secret) -> Option<Map<String, Value>> {
    serde_json::from_str(text.expose()).ok()
}

/// Both objects in one; where both say something, the second does.
fn merged(first: Map<String, Value>, second: Map<String, Value>) -> String {
    fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
        for (name, value) in from {
            match (into.get_mut(&name), value) {
                (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
                (_, value) => drop(into.insert(name, value)),
            }
        }
    }
    let mut all = first;
    merge(&mut all, second);
    Value::Object(all).to_string()
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest")
            .field("endpoint", &self.endpoint)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use http::{Response, header};

    use super::*;

    fn refused(challenge: &'static str) -> Cause {
        let response = Response::builder()
            .status(401)
            .header(header::WWW_AUTHENTICATE, challenge)
            .body(())
            .unwrap();
        Cause::Refused(Refusal::from_parts(&response.into_parts().0))
    }

    fn claims(wanted: &Wanted, cause: &Cause) -> Option<String> {
        let parameters = wanted.parameters(cause);
        parameters
            .get("claims")
            .map(|claims| claims.expose().to_owned())
    }

    fn answering() -> Wanted {
        Wanted {
            answers_claims: true,
            ..Wanted::default()
        }
    }

    // {"access_token":{"nbf":{"essential":true,"value":"1"}}}
    const CHALLENGE: &str = r#"Bearer realm="", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxIn19fQ==""#;

    #[test]
    fn a_claims_challenge_is_answered_where_the_user_said_so() {
        assert_eq!(
            claims(&answering(), &refused(CHALLENGE)).unwrap(),
            r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#
        );
        assert_eq!(claims(&Wanted::default(), &refused(CHALLENGE)), None);
        assert_eq!(claims(&answering(), &Cause::Expired), None);
    }

    #[test]
    fn demanded_claims_are_merged_into_those_that_are_always_sent() {
        let mut wanted = answering();
        wanted.parameters = Parameters::new().with(
            "claims",
            r#"{"access_token":{"xms_cc":{"values":["cp1"]},"nbf":{"value":"0"}}}"#,
        );
        let sent: Value =
            serde_json::from_str(&claims(&wanted, &refused(CHALLENGE)).unwrap()).unwrap();
        assert_eq!(
            sent,
            serde_json::json!({"access_token": {
                "xms_cc": {"values": ["cp1"]},
                "nbf": {"essential": true, "value": "1"},
            }})
        );
        // Once, not twice.
        assert_eq!(
            wanted
                .parameters(&refused(CHALLENGE))
                .to_form()
                .matches("claims=")
                .count(),
            1
        );
    }

    #[test]
    fn claims_that_are_no_json_in_base64_are_left_alone() {
        for challenge in [
            r#"Bearer error="insufficient_claims""#,
            r#"Bearer error="insufficient_claims", claims="%%%""#,
            r#"Bearer error="insufficient_claims", claims="bm90IGpzb24=""#,
            r#"Bearer error="insufficient_claims", claims="WzFd""#,
            r#"Bearer error="invalid_token", claims="e30=""#,
        ] {
            assert_eq!(
                claims(&answering(), &refused(challenge)),
                None,
                "{challenge}"
            );
        }
        // Base64 for URLs, without padding: {"a":"??>"}
        let url_safe = r#"Bearer error="insufficient_claims", claims="eyJhIjoiPz8-In0""#;
        assert_eq!(
            claims(&answering(), &refused(url_safe)).unwrap(),
            r#"{"a":"??>"}"#
        );
    }
}
