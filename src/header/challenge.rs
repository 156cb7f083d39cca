//! `WWW-Authenticate` (RFC 9110 §11.6.1).

use std::iter;

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// What a server wants to see before it lets a request through: one challenge of
/// `WWW-Authenticate` (RFC 9110 §11.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    token68: Option<String>,
    params: Vec<(String, String)>,
}

impl Challenge {
    /// The authentication scheme as the server wrote it, such as `Bearer`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Whether it is of this scheme; letter case does not matter (§11.1).
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The value of a parameter, without quotes and escapes; letter case of the name does not matter
    /// (§11.2). If a server gives one twice, which it must not, the first counts.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params()
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }

    /// All parameters, names as written, in order.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The bare text that some schemes give in place of parameters, as `Negotiate` does.
    pub fn token68(&self) -> Option<&str> {
        self.token68.as_deref()
    }

    fn new(scheme: &str) -> Self {
        Self {
            scheme: scheme.to_owned(),
            token68: None,
            params: Vec::new(),
        }
    }
}

/// All challenges of all `WWW-Authenticate` lines, in order.
///
/// Several challenges in a line, commas and escapes in quoted strings, empty members and blanks
/// around `=` are read as RFC 9110 §11.2, §5.6.1 and §5.6.3 ask of a recipient. What is between two
/// commas and makes no sense is skipped; what is around it is kept. Bytes in a quoted string that
/// are not UTF-8 become U+FFFD.
pub fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let lines = headers.get_all(WWW_AUTHENTICATE).into_iter();
    lines.flat_map(|line| read_line(line.as_bytes())).collect()
}

/// A comma stands between challenges, and between the parameters of one. Which it is shows in what
/// comes next: `name = value` is a parameter of the challenge before, anything else starts anew.
fn read_line(line: &[u8]) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    for member in members(line) {
        match Member::read(member) {
            Some(Member::Challenge(challenge)) => challenges.push(challenge),
            Some(Member::Param(name, value)) => {
                // Without a challenge before it, it belongs to nothing.
                if let Some(challenge) = challenges.last_mut() {
                    challenge.params.push((name, value));
                }
            }
            None => {}
        }
    }
    challenges
}

/// What stands between two commas.
enum Member {
    Challenge(Challenge),
    Param(String, String),
}

impl Member {
    fn read(member: &[u8]) -> Option<Self> {
        if let Some((name, value)) = read_param(member) {
            return Some(Self::Param(name, value));
        }
        let (scheme, rest) = split_token(member)?;
        let mut challenge = Challenge::new(scheme);
        match rest {
            [] => {}
            [b' ' | b'\t', ..] => challenge.add(rest.trim_ascii_start()),
            _ => return None,
        }
        Some(Self::Challenge(challenge))
    }
}

impl Challenge {
    /// What follows the scheme. If it makes no sense, the scheme still does.
    fn add(&mut self, rest: &[u8]) {
        if let Some(param) = read_param(rest) {
            self.params.push(param);
        } else {
            self.token68 = read_token68(rest);
        }
    }
}

/// `token BWS "=" BWS ( token / quoted-string )` (§11.2)
fn read_param(text: &[u8]) -> Option<(String, String)> {
    let (name, rest) = split_token(text)?;
    let value = rest.trim_ascii_start().strip_prefix(b"=")?;
    let value = read_value(value.trim_ascii_start())?;
    Some((name.to_owned(), value))
}

fn read_value(text: &[u8]) -> Option<String> {
    if let Some(quoted) = text.strip_prefix(b"\"") {
        let end = quoted_len(quoted)?;
        let is_all = end + 1 == quoted.len();
        return is_all.then(|| unescape(&quoted[..end]));
    }
    let (token, rest) = split_token(text)?;
    rest.is_empty().then(|| token.to_owned())
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (§11.2)
fn read_token68(text: &[u8]) -> Option<String> {
    let is_char = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(b);
    let len = text.iter().take_while(|b| is_char(b)).count();
    let is_all = len > 0 && text[len..].iter().all(|&b| b == b'=');
    is_all.then(|| String::from_utf8_lossy(text).into_owned())
}

/// What a line has between its commas, without blanks around and without empty ones (§5.6.1.2).
fn members(mut line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let next = move || {
        if line.is_empty() {
            return None;
        }
        let (member, rest) = line.split_at(member_len(line));
        line = rest.strip_prefix(b",").unwrap_or(rest);
        Some(member.trim_ascii())
    };
    iter::from_fn(next).filter(|member| !member.is_empty())
}

/// How far it is to the next comma that is not in a quoted string.
///
/// A quoted string can only begin after `=`, and must end: any other quotation mark is nonsense that
/// shall not swallow the commas behind it.
fn member_len(line: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        let rest = &line[at + 1..];
        match byte {
            b',' => break,
            b'"' if line[..at].trim_ascii_end().ends_with(b"=") => {
                at += quoted_len(rest).map_or(1, |len| len + 2);
            }
            _ => at += 1,
        }
    }
    at
}

/// How far it is to the quotation mark that ends a quoted string (§5.6.4), if there is one.
fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    text.iter().position(|&byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })
}

/// The text of a quoted string: a backslash stands for what comes after it (§5.6.4).
fn unescape(quoted: &[u8]) -> String {
    let mut text = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(&byte) = bytes.next() {
        let escaped = (byte == b'\\').then(|| bytes.next()).flatten();
        text.push(*escaped.unwrap_or(&byte));
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A token at the start (§5.6.2), and what comes after it.
fn split_token(text: &[u8]) -> Option<(&str, &[u8])> {
    let is_char = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let len = text.iter().take_while(|b| is_char(b)).count();
    let (token, rest) = text.split_at(len);
    // Such characters are ASCII.
    let token = str::from_utf8(token).ok()?;
    (!token.is_empty()).then_some((token, rest))
}

#[cfg(test)]
mod tests;
