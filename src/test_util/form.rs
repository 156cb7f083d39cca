//! Parse: `application/x-www-form-urlencoded`, in bodies, queries and Basic credentials.

/// The fields of a form or a query. Of several of one name the first counts.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(given, _)| given == name)?;
        Some(value)
    }
}

/// One value on its own, in which `&` and `=` are nothing special.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match (first, escaped(after)) {
            (b'+', _) => b' ',
            (b'%', Some((byte, after))) => {
                rest = after;
                byte
            }
            (plain, _) => plain,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `text` so that it can stand in a query.
pub(super) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The byte that two hex digits stand for, and what follows them.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, after) = text.split_at_checked(2)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let digits = str::from_utf8(digits).ok()?;
    Some((u8::from_str_radix(digits, 16).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_decoded_once_and_broken_escapes_stand_for_themselves() {
        let table = [
            ("plain", "plain"),
            ("a+b%20c", "a b c"),
            ("%3A%25%2B%26%3D", ":%+&="),
            ("%C3%A9", "é"),
            ("%2541", "%41"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("a=b&c", "a=b&c"),
        ];
        for (given, expected) in table {
            assert_eq!(decoded(given), expected, "{given}");
        }
    }
}
