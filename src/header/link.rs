//! `Link` (RFC 8288).

use http::{HeaderMap, header::LINK};

/// The target of the first link with `rel="next"` (§3.3), as it is written.
///
/// Several links in a line, commas and semicolons in targets and quoted strings, relation types in a
/// list and in any letter case are read as RFC 8288 §3 asks. What makes no sense is skipped.
///
/// ```
/// use http::{HeaderMap, header::LINK};
/// use tower_outbound::header::next_link;
///
/// let mut headers = HeaderMap::new();
/// headers.insert(LINK, r#"</users?page=1>; rel="first", </users?page=3>; rel="next""#.parse()?);
/// assert_eq!(next_link(&headers).as_deref(), Some("/users?page=3"));
/// # Ok::<_, http::header::InvalidHeaderValue>(())
/// ```
pub fn next_link(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(LINK).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .find_map(next_in)
}

fn next_in(line: &str) -> Option<String> {
    let mut rest = line;
    while let Some((_, from)) = rest.split_once('<') {
        let (target, after) = from.split_once('>')?;
        let params = &after[..member_len(after)];
        if is_next(params) {
            return Some(target.to_owned());
        }
        rest = &after[params.len()..];
    }
    None
}

/// Whether a `rel` among these parameters is, or has, `next`. Only the first counts (§3.3).
fn is_next(params: &str) -> bool {
    let rel = split_outside_quotes(params, b';').find_map(|param| {
        let (name, value) = param.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("rel")
            .then(|| value.trim())
    });
    rel.is_some_and(|rel| {
        let types = rel.trim_matches('"').split_ascii_whitespace();
        types
            .into_iter()
            .any(|name| name.eq_ignore_ascii_case("next"))
    })
}

/// How far it is to the comma that ends a link.
fn member_len(text: &str) -> usize {
    split_outside_quotes(text, b',').next().map_or(0, str::len)
}

fn split_outside_quotes(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = text.bytes().position(|byte| {
            let ends = byte == separator && !quoted;
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ => {}
            }
            ends
        });
        let (part, after) = match end {
            Some(end) => (&text[..end], Some(&text[end + 1..])),
            None => (text, None),
        };
        rest = after;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn next(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(LINK, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        next_link(&headers)
    }

    #[test]
    fn the_next_link_is_found_however_it_is_written() {
        for line in [
            r#"<x>; rel="next""#,
            r#"<x>;rel=next"#,
            r#"<x> ; REL = "NEXT" ; title="a""#,
            r#"<x>; rel="prev next""#,
            r#"<a>; rel="last", <x>; rel="next""#,
            r#"<a>; title="b, <c>; rel=next", <x>; rel="next""#,
            r#"<a>; title="\", <c>; rel=next", <x>; rel="next""#,
            r#"<a>, , <x>; rel="next", <y>; rel="next""#,
            r#"<x>; rel="next"; rel="prev""#,
        ] {
            assert_eq!(next(&[line]).as_deref(), Some("x"), "{line}");
        }
        assert_eq!(
            next(&[r#"</a,b;c?d=<>; rel="next""#]).as_deref(),
            Some("/a,b;c?d=<"),
            "what a target holds is its own"
        );
        assert_eq!(
            next(&[r#"<a>; rel="prev""#, "<x>; rel=next"]).as_deref(),
            Some("x")
        );
    }

    #[test]
    fn without_a_next_link_there_is_none() {
        for line in [
            "",
            "<a>",
            r#"<a>; rel="prev""#,
            r#"<a>; rel="nextish""#,
            r#"<a>; title="rel=next""#,
            r#"<a>; rel="prev"; rel="next""#,
            "rel=next",
            "<a; rel=next",
        ] {
            assert_eq!(next(&[line]), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in r#"[ -~]{0,60}"#) {
            next(&[&line]);
        }

        #[test]
        fn no_link_like_line_panics(line in r#"([<>;,="\\ ]|rel|next|a){0,30}"#) {
            next(&[&line]);
        }
    }
}
