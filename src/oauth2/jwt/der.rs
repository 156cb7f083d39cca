//! As much of DER (X.690) as it takes to write a private key down. Nothing here reads it.

use secrecy::zeroize::Zeroizing;

/// Bytes that are wiped when they are dropped.
pub(super) type SecretBytes = Zeroizing<Vec<u8>>;

/// A PKCS#8 document (RFC 5958, section 2) around the private key of this algorithm.
pub(super) fn pkcs8(algorithm: &[u8], private_key: &[u8]) -> SecretBytes {
    let private_key = element(OCTET_STRING, &[private_key]);
    element(SEQUENCE, &[ZERO, algorithm, &private_key])
}

/// A P-256 key (RFC 5915, section 3) in PKCS#8.
pub(super) fn p256(d: &[u8], point: &[u8]) -> SecretBytes {
    let d = element(OCTET_STRING, &[d]);
    let point = element(BIT_STRING, &[NO_UNUSED_BITS, point]);
    let key = element(SEQUENCE, &[ONE, &d, &element(PUBLIC_KEY, &[&point])]);
    pkcs8(P256, &key)
}

/// An Ed25519 key (RFC 8410, section 7) in PKCS#8: without the public half, which not all read.
pub(super) fn ed25519(seed: &[u8]) -> SecretBytes {
    pkcs8(ED25519, &element(OCTET_STRING, &[seed]))
}

/// An RSA key (RFC 8017, appendix A.1.2) in PKCS#8, of the numbers `n`, `e`, `d`, `p`, `q`, `dp`,
/// `dq` and `qi`.
pub(super) fn rsa(numbers: &[SecretBytes]) -> SecretBytes {
    let numbers: Vec<_> = numbers.iter().map(|number| integer(number)).collect();
    let mut parts = vec![ZERO];
    parts.extend(numbers.iter().map(|number| number.as_slice()));
    pkcs8(RSA, &element(SEQUENCE, &parts))
}

/// A number that is not negative: no needless zero in front, and none that looks like a sign.
fn integer(big_endian: &[u8]) -> SecretBytes {
    let start = big_endian.iter().position(|&byte| byte != 0);
    let digits = start.map_or(&[][..], |start| &big_endian[start..]);
    let sign: &[u8] = if digits.first().is_none_or(|&first| first >= 0x80) {
        &[0]
    } else {
        &[]
    };
    element(INTEGER, &[sign, digits])
}

fn element(tag: u8, parts: &[&[u8]]) -> SecretBytes {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    // All at once: a vector that grows leaves copies behind.
    let mut element = Zeroizing::new(Vec::with_capacity(length + LONGEST_HEAD));
    element.push(tag);
    let bytes = length.to_be_bytes();
    let needed = &bytes[bytes.iter().take_while(|&&byte| byte == 0).count()..];
    if length >= 0x80 {
        element.push(0x80 | needed.len() as u8);
        element.extend_from_slice(needed);
    } else {
        element.push(length as u8);
    }
    for part in parts {
        element.extend_from_slice(part);
    }
    element
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// `[1]` of `ECPrivateKey`.
const PUBLIC_KEY: u8 = 0xa1;

const ZERO: &[u8] = &[INTEGER, 1, 0];
const ONE: &[u8] = &[INTEGER, 1, 1];
const NO_UNUSED_BITS: &[u8] = &[0];

/// A tag, the length of the length, and as many bytes as that has.
const LONGEST_HEAD: usize = 2 + size_of::<usize>();

/// `AlgorithmIdentifier` of an EC key on P-256 (RFC 5480, section 2.1.1).
pub(super) const P256: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];

/// The curve's name within it.
pub(super) const P256_CURVE: &[u8] = P256.split_at(11).1;

/// `AlgorithmIdentifier` of an Ed25519 key (RFC 8410, section 3).
pub(super) const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];

/// `AlgorithmIdentifier` of an RSA key (RFC 8017, appendix A.1).
pub(super) const RSA: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
