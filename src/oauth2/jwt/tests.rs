use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::{collection::vec, prelude::*};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::{Value, json};

use super::{assertion::hs256, key::PublicJwk, *};
use crate::token::Secret;

const ES256: &str = include_str!("tests/es256.pem");
const ED25519_PEM: &str = include_str!("tests/ed25519.pem");
const RS256: &str = include_str!("tests/rs256.pem");

/// RFC 7515, appendix A.2.1.
const RFC_7515_RSA: &str = r#"{"kty":"RSA",
    "n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e":"AQAB",
    "d":"Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
    "p":"4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
    "q":"uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
    "dp":"BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0",
    "dq":"h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU",
    "qi":"IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U"}"#;

/// RFC 7515, appendix A.3.1.
const RFC_7515_EC: &str = r#"{"kty":"EC","crv":"P-256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;

/// RFC 8037, appendix A.1.
const RFC_8037: &str = r#"{"kty":"OKP","crv":"Ed25519",
    "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn pem(text: &str) -> SigningKey {
    SigningKey::from_pem(text).unwrap()
}

fn jwk(text: &str) -> SigningKey {
    SigningKey::from_jwk(text).unwrap()
}

/// One of each algorithm, from each source.
fn keys() -> Vec<SigningKey> {
    vec![
        pem(ES256),
        pem(ED25519_PEM),
        pem(RS256),
        jwk(RFC_7515_EC),
        jwk(RFC_8037),
        jwk(RFC_7515_RSA),
        SigningKey::generate_es256().unwrap(),
        SigningKey::generate_ed25519().unwrap(),
    ]
}

fn decode(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Header and claims of a JWT whose signature fits this public JWK, read as a server does.
pub(crate) fn verified(jwt: &str, public: &Value) -> (Value, Value) {
    let (input, signature) = jwt.rsplit_once('.').unwrap();
    let (header, claims) = input.split_once('.').unwrap();
    let [header, claims]: [Value; 2] =
        [header, claims].map(|part| serde_json::from_slice(&decode(part)).unwrap());
    let algorithm = header["alg"].as_str().unwrap();
    assert!(fits(
        algorithm,
        input.as_bytes(),
        &decode(signature),
        public
    ));
    (header, claims)
}

fn fits(algorithm: &str, input: &[u8], signature: &[u8], public: &Value) -> bool {
    let member = |name: &str| decode(public[name].as_str().unwrap());
    let verdict = match algorithm {
        "ES256" => {
            let point = [vec![4], member("x"), member("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(input, signature)
        }
        "EdDSA" => UnparsedPublicKey::new(&ED25519, member("x")).verify(input, signature),
        "RS256" => {
            let (n, e) = (member("n"), member("e"));
            let public = RsaPublicKeyComponents { n, e };
            public.verify(&RSA_PKCS1_2048_8192_SHA256, input, signature)
        }
        other => panic!("no such algorithm: {other}"),
    };
    verdict.is_ok()
}

fn claims(value: Value) -> Claims {
    value.as_object().unwrap().clone()
}

// ===== signatures =====

#[test]
fn every_jwt_has_a_signature_that_fits_the_public_half() {
    for key in keys() {
        let (header, body) = (claims(json!({"typ": "JWT"})), claims(json!({"iss": "me"})));
        let jwt = key.sign(header, body).unwrap();
        let (header, body) = verified(jwt.expose(), &key.public_jwk());
        assert_eq!(
            header,
            json!({"typ": "JWT", "alg": key.algorithm().as_str()})
        );
        assert_eq!(body, json!({"iss": "me"}));
    }
}

#[test]
fn a_signature_fits_neither_another_text_nor_another_key() {
    for key in keys() {
        let (algorithm, public) = (key.algorithm().as_str(), key.public_jwk());
        let signature = key.signature(b"text").unwrap();
        assert!(fits(algorithm, b"text", &signature, &public));
        assert!(!fits(algorithm, b"test", &signature, &public));
        let others = keys().into_iter().filter(|other| {
            other.algorithm() == key.algorithm() && other.thumbprint() != key.thumbprint()
        });
        for other in others {
            assert!(!fits(algorithm, b"text", &signature, &other.public_jwk()));
        }
    }
}

#[test]
fn an_es256_signature_is_two_raw_numbers_of_32_bytes() {
    for _ in 0..64 {
        assert_eq!(jwk(RFC_7515_EC).signature(b"text").unwrap().len(), 64);
    }
}

#[test]
fn ed25519_signs_as_in_rfc_8037() {
    // Appendix A.4. What is signed there is no JSON.
    let input = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    assert_eq!(
        BASE64_URL_SAFE_NO_PAD.encode(jwk(RFC_8037).signature(input).unwrap()),
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
    let jwt = jwk(RFC_8037).sign(Claims::new(), Claims::new()).unwrap();
    assert!(jwt.expose().starts_with("eyJhbGciOiJFZERTQSJ9."));
}

#[test]
fn rs256_signs_as_in_rfc_7515() {
    // Appendix A.2. Its JSON has line breaks, so it cannot be made from claims here.
    let input = b"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    assert_eq!(
        BASE64_URL_SAFE_NO_PAD.encode(jwk(RFC_7515_RSA).signature(input).unwrap()),
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
}

#[test]
fn hs256_signs_as_in_rfc_4231() {
    // Section 4.3, test case 2.
    let hash = hs256(&Secret::from("Jefe"), b"what do ya want for nothing?");
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

// ===== public halves =====

#[test]
fn a_public_jwk_has_the_required_members_and_nothing_private() {
    let members = |key: &SigningKey| key.public_jwk().as_object().unwrap().clone();
    assert_eq!(
        jwk(RFC_7515_EC).public_jwk(),
        json!({
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })
    );
    // RFC 8037, appendix A.2.
    assert_eq!(
        jwk(RFC_8037).public_jwk(),
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        })
    );
    let rsa = members(&jwk(RFC_7515_RSA).key_id("named"));
    assert_eq!(rsa.keys().collect::<Vec<_>>(), ["e", "kty", "n"]);
    assert_eq!(rsa["e"], "AQAB");
    let given: Value = serde_json::from_str(RFC_7515_RSA).unwrap();
    assert_eq!(rsa["n"], given["n"]);
}

#[test]
fn thumbprints_are_those_of_the_rfcs() {
    // RFC 7638, section 3.1, which gives the public half only.
    let example = PublicJwk(vec![
        ("e", "AQAB".to_owned()),
        ("kty", "RSA".to_owned()),
        ("n", "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw".to_owned()),
    ]);
    assert_eq!(
        example.thumbprint(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    // RFC 9449, section 6.1, of the key in section 4.2.
    let example = PublicJwk(vec![
        ("crv", "P-256".to_owned()),
        ("kty", "EC".to_owned()),
        (
            "x",
            "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs".to_owned(),
        ),
        (
            "y",
            "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA".to_owned(),
        ),
    ]);
    assert_eq!(
        example.thumbprint(),
        "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    );
    // RFC 8037, appendix A.3.
    assert_eq!(
        jwk(RFC_8037).thumbprint(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
}

#[test]
fn a_thumbprint_is_of_the_public_members_in_the_order_of_their_names() {
    for key in keys() {
        let members = key.public_jwk();
        let mut names: Vec<_> = members.as_object().unwrap().keys().collect();
        names.sort();
        let members = names
            .iter()
            .map(|name| format!("\"{name}\":{}", members[name.as_str()]));
        let canonical = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
        assert_eq!(key.thumbprint(), sha256(canonical.as_bytes()));
    }
}

// ===== reading and writing =====

#[test]
fn one_key_in_two_forms_is_one_key() {
    let sec1 = include_str!("tests/es256_sec1.pem");
    assert_eq!(pem(ES256).thumbprint(), pem(sec1).thumbprint());
    let pkcs1 = include_str!("tests/rs256_pkcs1.pem");
    assert_eq!(pem(RS256).thumbprint(), pem(pkcs1).thumbprint());
}

#[test]
fn a_written_key_is_read_back() {
    for key in keys() {
        let written = key.to_pem();
        let again = pem(written.expose());
        assert_eq!(again.thumbprint(), key.thumbprint());
        assert_eq!(again.algorithm(), key.algorithm());
        assert_eq!(again.to_pem().expose(), written.expose());
    }
}

#[test]
fn a_key_is_written_as_openssl_writes_it() {
    for text in [ES256, ED25519_PEM, RS256] {
        assert!(text.ends_with(pem(text).to_pem().expose()));
    }
    // The same PKCS#8 whether the wrapping is ours or openssl's.
    let sec1 = pem(include_str!("tests/rs256_pkcs1.pem"));
    assert_eq!(sec1.to_pem().expose(), pem(RS256).to_pem().expose());
}

#[test]
fn carriage_returns_and_what_stands_around_a_key_are_passed_over() {
    let key = pem(ES256);
    let around = format!(
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{ES256}\
         -----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n"
    );
    for text in [ES256.replace('\n', "\r\n"), around] {
        assert_eq!(pem(&text).thumbprint(), key.thumbprint());
    }
}

#[test]
fn what_is_no_usable_pem_key_is_named_with_what_to_do() {
    let certificate = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n";
    let openssh = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
    let old_style = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n\
                     -----END RSA PRIVATE KEY-----\n";
    let damaged = ES256.replacen("MIGH", "M(GH", 1);
    let in_one_line = ES256.replace('\n', "\\n");
    let mixed_up = ES256.replacen("6pG1", "7pG1", 1);
    let table = [
        ("", "not PEM"),
        ("hunter2", "not PEM"),
        (include_str!("tests/encrypted.pem"), "openssl pkey"),
        (old_style, "openssl pkey"),
        (include_str!("tests/public.pem"), "a public key"),
        (certificate, "a certificate"),
        (openssh, "ssh-keygen"),
        (include_str!("tests/p384.pem"), "P-256"),
        (include_str!("tests/rsa1024.pem"), "2048"),
        (include_str!("tests/es256_half.pem"), "openssl ec"),
        (damaged.as_str(), "not base64"),
        (in_one_line.as_str(), "turn them back"),
        (mixed_up.as_str(), "InconsistentComponents"),
    ];
    for (text, hint) in table {
        let error = SigningKey::from_pem(text).unwrap_err();
        assert!(error.to_string().contains(hint), "{hint}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn what_is_no_usable_jwk_is_named_with_what_to_do() {
    let without = |name| {
        let mut jwk: Value = serde_json::from_str(RFC_7515_RSA).unwrap();
        jwk.as_object_mut().unwrap().remove(name);
        jwk.to_string()
    };
    let table = [
        ("hunter2".to_owned(), "not a JWK"),
        ("[]".to_owned(), "not a JWK"),
        (r#"{"d":"hunter2"}"#.to_owned(), "not a JWK"),
        (r#"{"keys":[]}"#.to_owned(), "\"keys\""),
        (r#"{"kty":"oct","k":"hunter2"}"#.to_owned(), "shared secret"),
        (without("d"), "public key"),
        (without("qi"), "\"qi\""),
        (RFC_7515_EC.replace("P-256", "secp256k1"), "P-256"),
        (RFC_8037.replace("Ed25519", "X25519"), "P-256"),
        (RFC_7515_EC.replace("\"x\":\"f8", "\"x\":\""), "\"x\""),
        (RFC_7515_EC.replace("\"d\":\"", "\"d\":\"+"), "\"d\""),
        (RFC_7515_EC.replace("jpsQ", "jpsR"), "Inconsistent"),
        (RFC_8037.replace("nWGx", "nWGy"), "Inconsistent"),
        (
            RFC_7515_RSA.replace("{", r#"{"alg":"PS256","#),
            "another algorithm",
        ),
    ];
    for (text, hint) in table {
        let error = SigningKey::from_jwk(&text).unwrap_err();
        assert!(error.to_string().contains(hint), "{hint}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(
        label in "(EC |RSA |ENCRYPTED )?PRIVATE KEY",
        body in vec(any::<u8>(), 0..200),
        text in ".*",
    ) {
        let body = base64::prelude::BASE64_STANDARD.encode(body);
        let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----");
        let _ = SigningKey::from_pem(&pem);
        let _ = SigningKey::from_pem(&text);
        let _ = SigningKey::from_jwk(&text);
    }
}

#[test]
fn a_jwk_keeps_its_key_id_and_a_later_one_replaces_it() {
    let named = RFC_8037.replace("{", r#"{"kid":"first","alg":"EdDSA","#);
    assert_eq!(jwk(&named).kid(), Some("first"));
    assert_eq!(jwk(&named).key_id("second").kid(), Some("second"));
    assert_eq!(jwk(RFC_8037).kid(), None);
}

#[test]
fn no_two_generated_keys_are_alike() {
    let generate = || {
        [
            SigningKey::generate_es256().unwrap(),
            SigningKey::generate_ed25519().unwrap(),
        ]
    };
    for (one, other) in generate().iter().zip(&generate()) {
        assert_ne!(one.thumbprint(), other.thumbprint());
    }
}

#[test]
fn debug_output_holds_no_part_of_a_private_key() {
    let signer = Signer::Secret("hunter2".into());
    assert!(!format!("{signer:?}").contains("hunter2"));

    let key = jwk(RFC_8037).key_id("mine");
    let shown = format!("{key:?} {:?}", Signer::Key(key.clone()));
    assert!(shown.contains("EdDsa") && shown.contains("mine") && shown.contains("kPrK_qmx"));
    assert!(!shown.contains("nWGxne") && !shown.contains("MC4C"));
    let bytes = decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    assert!(!shown.contains(&format!("{}, {}", bytes[0], bytes[1])));
    assert!(!format!("{:?}", key.to_pem()).contains("MC4C"));

    let jwt = key.sign(Claims::new(), Claims::new()).unwrap();
    assert!(!format!("{jwt:?}").contains("ey"));
}

// ===== assertions =====

fn assertion(extra: &Claims) -> Assertion<'_> {
    Assertion {
        issuer: "client",
        subject: "client",
        audience: "https://login.example.com/",
        lifetime: Assertion::LIFETIME,
        extra,
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn an_assertion_says_who_for_whom_and_for_how_long() {
    let key = pem(ES256).key_id("mine");
    let extra = claims(json!({"scope": "read", "iss": "someone else", "jti": "old"}));
    let signer = Signer::Key(key.clone());
    let now = at(1_000) + Duration::from_millis(999);
    let jwt = assertion(&extra).signed(&signer, now).unwrap();
    let (header, mut body) = verified(jwt.expose(), &key.public_jwk());
    assert_eq!(header, json!({"alg": "ES256", "typ": "JWT", "kid": "mine"}));
    let jti = body.as_object_mut().unwrap().remove("jti").unwrap();
    assert_eq!(decode(jti.as_str().unwrap()).len(), 16);
    assert_eq!(
        body,
        json!({
            "iss": "client",
            "sub": "client",
            "aud": "https://login.example.com/",
            "iat": 1_000,
            "exp": 1_060,
            "scope": "read",
        })
    );
}

#[test]
fn an_assertion_with_a_secret_is_hs256_of_its_bytes() {
    let secret = Secret::from("hunter2");
    let signer = Signer::Secret(secret.clone());
    let jwt = assertion(&Claims::new())
        .signed(&signer, at(1_000))
        .unwrap();
    let (input, signature) = jwt.expose().rsplit_once('.').unwrap();
    assert_eq!(decode(signature), hs256(&secret, input.as_bytes()));
    let header: Value = serde_json::from_slice(&decode(input.split_once('.').unwrap().0)).unwrap();
    assert_eq!(header, json!({"alg": "HS256", "typ": "JWT"}));
}

#[test]
fn no_two_assertions_share_an_id() {
    let (key, extra) = (pem(ED25519_PEM), Claims::new());
    let signer = Signer::Key(key.clone());
    let id = |_| {
        let jwt = assertion(&extra).signed(&signer, at(1_000)).unwrap();
        verified(jwt.expose(), &key.public_jwk()).1["jti"].to_string()
    };
    let ids: std::collections::HashSet<_> = (0..1_000).map(id).collect();
    assert_eq!(ids.len(), 1_000);
}

#[test]
fn a_time_before_1970_or_beyond_all_clocks_is_no_panic() {
    assert_eq!(unix_seconds(UNIX_EPOCH - Duration::from_secs(1)), 0);
    let extra = Claims::new();
    let endless = Assertion {
        lifetime: Duration::MAX,
        ..assertion(&extra)
    };
    let signer = Signer::Secret("hunter2".into());
    assert!(endless.signed(&signer, at(1_000)).is_ok());
}
