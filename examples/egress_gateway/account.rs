//! The credentials that are lent, from the environment.

use std::env;

use tower::BoxError;

use super::gateway::Account;

/// For the upstream `genesys` they are `GENESYS_CLIENT_ID` and `GENESYS_CLIENT_SECRET`, for one without a
/// name `CLIENT_ID` and `CLIENT_SECRET`.
pub(crate) fn from_env(name: Option<&str>) -> Result<Account, BoxError> {
    let prefix = name.map_or_else(String::new, |name| {
        format!("{}_", name.to_ascii_uppercase().replace('-', "_"))
    });
    let read = |what: &str| {
        let variable = format!("{prefix}{what}");
        let value = env::var(&variable).ok().filter(|value| !value.is_empty());
        value.ok_or_else(|| format!("the environment variable {variable} is not set"))
    };
    Ok(Account {
        client_id: read("CLIENT_ID")?,
        client_secret: read("CLIENT_SECRET")?.into(),
    })
}
