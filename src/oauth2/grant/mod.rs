//! The grants, one a file.

mod client_credentials;

pub use self::client_credentials::{ClientCredentials, ClientCredentialsSource};
