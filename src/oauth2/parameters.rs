use std::borrow::Cow;

use crate::token::Secret;

/// The form of a token request, in order. Values are never printed.
///
/// ```
/// use tower_outbound::oauth2::Parameters;
///
/// let parameters = Parameters::of("account_credentials").with("account_id", "42");
/// # drop(parameters);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Parameters(Vec<(Cow<'static, str>, Secret)>);

impl Parameters {
    /// An empty form.
    pub fn new() -> Self {
        Self::default()
    }

    /// A form with this `grant_type`.
    pub fn of(grant_type: &'static str) -> Self {
        Self::new().with("grant_type", grant_type)
    }

    /// One more parameter. The standard lets only `resource` and `audience` come more than once
    /// ([RFC 6749, section 3.2](https://www.rfc-editor.org/rfc/rfc6749#section-3.2)).
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Secret>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// The value of the first parameter of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Secret> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        Some(value)
    }

    /// Puts this value in the place of all that the parameter has.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<Secret>) {
        self.0.retain(|(key, _)| key != name);
        self.0.push((Cow::Borrowed(name), value.into()));
    }

    pub(crate) fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// `application/x-www-form-urlencoded`, in UTF-8
    /// ([RFC 6749, appendix B](https://www.rfc-editor.org/rfc/rfc6749#appendix-B)).
    pub(crate) fn to_form(&self) -> String {
        let pairs = self.0.iter().map(|(name, value)| (name, value.expose()));
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish()
    }
}
