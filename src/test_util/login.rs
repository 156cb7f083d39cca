//! Decide: what the authorization server answers.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{
    Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::test_util::{
    CLIENT_ID, Knobs,
    answer::{Answer, Content},
    form::{Form, decoded},
    quota::{Admission, seconds_to_wait},
    received::Received,
    shared::Shared,
    tokens::{Session, Tokens},
};

/// The grant type of RFC 7522.
const SAML2_BEARER: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";

pub(super) fn answer(cloud: &Shared, request: &Received, now: Instant) -> Answer {
    match (&request.method, request.path()) {
        (&Method::POST, "/oauth/token") => {
            token(cloud, request, now).unwrap_or_else(|refusal| refusal)
        }
        (&Method::GET, "/.well-known/oauth-authorization-server") => metadata(cloud),
        _ => Answer::not_found(),
    }
}

fn token(cloud: &Shared, request: &Received, now: Instant) -> Result<Answer, Answer> {
    let knobs = cloud.knobs();
    let form = form(request)?;
    let claim = Claim::read(request, &form, &knobs)?;
    admit(cloud, &claim, &knobs, now)?;

    let mut tokens = cloud.tokens();
    claim.verify(&tokens, &knobs)?;
    let grant_type = form
        .get("grant_type")
        .ok_or_else(|| invalid_request("missing grant_type"))?;
    if !tokens
        .client(&claim.id)
        .is_some_and(|client| client.may_use(grant_type))
    {
        return Err(refusal(
            "unauthorized_client",
            "client is not authorized for this grant type",
        ));
    }
    let grant = match grant_type {
        "client_credentials" if claim.secret.is_none() => return Err(invalid_client(&knobs)),
        "client_credentials" => Grant::alone(tokens.begin_session(&claim.id, false)),
        "authorization_code" => authorization_code(&mut tokens, &form, &claim)?,
        "refresh_token" => refresh_token(&mut tokens, &form, &claim, &knobs, now)?,
        SAML2_BEARER => saml2_bearer(&mut tokens, &form, &claim)?,
        _ => return Err(refusal("unsupported_grant_type", "unsupported grant type")),
    };
    let minted = tokens.mint(&grant.session, &knobs, now);
    let mut reply = Map::new();
    reply.insert("access_token".into(), minted.access_token.into());
    reply.insert("token_type".into(), "bearer".into());
    // The real one counts down before it sends: 86399 of 86400.
    let expires_in = minted.lifetime.as_secs().saturating_sub(1).max(1);
    reply.insert("expires_in".into(), expires_in.into());
    if let Some(refresh_token) = grant.refresh_token {
        reply.insert("refresh_token".into(), refresh_token.into());
    }
    Ok(Answer::ok(&Value::Object(reply)))
}

/// What the token request is granted.
struct Grant {
    session: Session,
    refresh_token: Option<String>,
}

impl Grant {
    fn alone(session: Session) -> Self {
        Self {
            session,
            refresh_token: None,
        }
    }
}

fn authorization_code(tokens: &mut Tokens, form: &Form, claim: &Claim) -> Result<Grant, Answer> {
    let code = form
        .get("code")
        .ok_or_else(|| invalid_request("missing code"))?;
    let redirect_uri = form.get("redirect_uri").unwrap_or_default();
    let challenge = tokens
        .spend_code(code, &claim.id, redirect_uri)
        .ok_or_else(|| invalid_grant("authorization code is invalid or has been used"))?;
    let verified = match (&challenge, form.get("code_verifier")) {
        (Some(challenge), Some(verifier)) => {
            *challenge == URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
        }
        // A client without a secret must prove itself by PKCE.
        (None, None) => claim.secret.is_some(),
        _ => false,
    };
    if !verified {
        return Err(invalid_grant("code verifier does not match"));
    }
    let session = tokens.begin_session(&claim.id, true);
    let refresh_token = Some(tokens.issue_refresh_token(session.clone()));
    Ok(Grant {
        session,
        refresh_token,
    })
}

fn refresh_token(
    tokens: &mut Tokens,
    form: &Form,
    claim: &Claim,
    knobs: &Knobs,
    now: Instant,
) -> Result<Grant, Answer> {
    let given = form
        .get("refresh_token")
        .ok_or_else(|| invalid_request("missing refresh_token"))?;
    let session = tokens
        .spend_refresh_token(given, &claim.id, knobs, now)
        .ok_or_else(|| invalid_grant("refresh token is invalid or has been used"))?;
    if knobs.refresh_kills_old_access {
        tokens.revoke_session(&session);
    }
    let refresh_token = if knobs.rotate_refresh {
        tokens.issue_refresh_token(session.clone())
    } else {
        given.to_owned()
    };
    Ok(Grant {
        session,
        refresh_token: Some(refresh_token),
    })
}

fn saml2_bearer(tokens: &mut Tokens, form: &Form, claim: &Claim) -> Result<Grant, Answer> {
    if claim.secret.is_none() {
        return Err(invalid_grant("client authentication is required"));
    }
    for name in ["orgName", "assertion"] {
        if form.get(name).is_none_or(str::is_empty) {
            return Err(invalid_request(&format!("missing {name}")));
        }
    }
    Ok(Grant::alone(tokens.begin_session(&claim.id, true)))
}

/// Who the request says it comes from.
struct Claim {
    id: String,
    secret: Option<String>,
}

impl Claim {
    fn read(request: &Received, form: &Form, knobs: &Knobs) -> Result<Self, Answer> {
        let Some(header) = request.headers.get(AUTHORIZATION) else {
            let id = form.get("client_id").ok_or_else(|| invalid_client(knobs))?;
            return Ok(Self {
                id: id.to_owned(),
                secret: form.get("client_secret").map(str::to_owned),
            });
        };
        // RFC 6749 §2.3: not more than one method of authentication in a request.
        if form.get("client_secret").is_some() {
            return Err(invalid_request("more than one client authentication"));
        }
        let header = header
            .to_str()
            .ok()
            .and_then(|header| header.split_once(' '));
        let (id, secret) = header
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok())
            .and_then(|pair| String::from_utf8(pair).ok())
            .and_then(|pair| {
                let (id, secret) = pair.split_once(':')?;
                Some(if knobs.raw_basic {
                    (id.to_owned(), secret.to_owned())
                } else {
                    (decoded(id), decoded(secret))
                })
            })
            .ok_or_else(|| invalid_client(knobs))?;
        Ok(Self {
            id,
            secret: Some(secret),
        })
    }

    fn verify(&self, tokens: &Tokens, knobs: &Knobs) -> Result<(), Answer> {
        let known = match &self.secret {
            Some(secret) => tokens.authenticated(&self.id, secret).is_some(),
            None => tokens.client(&self.id).is_some(),
        };
        if known {
            Ok(())
        } else {
            Err(invalid_client(knobs))
        }
    }
}

fn form(request: &Received) -> Result<Form, Answer> {
    let content_type = request
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = content_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    if !media_type
        .trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    {
        return Err(invalid_request(
            "content type must be application/x-www-form-urlencoded",
        ));
    }
    if request.too_large {
        return Err(invalid_request("request is too large"));
    }
    Ok(Form::parse(&request.body))
}

fn admit(cloud: &Shared, claim: &Claim, knobs: &Knobs, now: Instant) -> Result<(), Answer> {
    let Some(quota) = knobs.token_quota else {
        return Ok(());
    };
    match cloud
        .login_windows()
        .admit(&claim.id, quota, knobs.penalise, now)
    {
        Admission::Admitted { .. } => Ok(()),
        Admission::Refused { reset, .. } => {
            let answer = throttled(knobs.throttle_status);
            Err(if knobs.throttle_retry_after {
                answer.header(RETRY_AFTER, seconds_to_wait(reset).into())
            } else {
                answer
            })
        }
    }
}

/// The real one says so with 400, not with 429.
pub(super) fn throttled(status: StatusCode) -> Answer {
    Answer::oauth_error(
        status,
        "invalid_request",
        "rate limit exceeded; too many token requests for this client",
    )
}

pub(super) fn invalid_grant(description: &str) -> Answer {
    refusal("invalid_grant", description)
}

fn invalid_client(knobs: &Knobs) -> Answer {
    Answer::oauth_error(
        knobs.invalid_client_status,
        "invalid_client",
        "authentication failed",
    )
}

fn invalid_request(description: &str) -> Answer {
    refusal("invalid_request", description)
}

fn refusal(error: &str, description: &str) -> Answer {
    Answer::oauth_error(StatusCode::BAD_REQUEST, error, description)
}

/// RFC 8414, with the values of the real one.
fn metadata(cloud: &Shared) -> Answer {
    let login = cloud.login_url();
    Answer::ok(&json!({
        "issuer": login,
        "authorization_endpoint": format!("{login}/oauth/authorize"),
        "token_endpoint": format!("{login}/oauth/token"),
        "response_types_supported": ["code"],
        "grant_types_supported":
            ["authorization_code", "client_credentials", "refresh_token", SAML2_BEARER],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }))
}

/// A token in a scripted reply is as good as one of ours.
pub(super) fn adopt(cloud: &Shared, answer: &Answer, now: Instant) {
    let Content::Bytes(bytes) = &answer.content else {
        return;
    };
    let Ok(Value::Object(body)) = serde_json::from_slice(bytes) else {
        return;
    };
    let Some(token) = body.get("access_token").and_then(Value::as_str) else {
        return;
    };
    let lifetime = cloud.knobs().token_lifetime;
    let mut tokens = cloud.tokens();
    let session = tokens.begin_session(CLIENT_ID, false);
    tokens.admit(token.to_owned(), session, lifetime, now);
}
