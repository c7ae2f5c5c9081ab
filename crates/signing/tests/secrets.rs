//! Secrets: what is read, what is refused, what is never shown.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nuncio_signing::{PublicKey, Secret, SecretError, SecretKind, SigningKey, SigningKeys, Verifier};
use proptest::prelude::*;

fn symmetric(bytes: usize) -> String {
    format!("whsec_{}", STANDARD.encode(vec![7; bytes]))
}

#[test]
fn secrets_of_24_to_64_bytes_are_read_and_others_refused_by_length() {
    for bytes in [24, 25, 32, 63, 64] {
        let text = symmetric(bytes);
        assert_eq!(*Secret::parse(&text).unwrap().expose(), text);
    }
    assert_eq!(Secret::parse(&symmetric(0)), Err(SecretError::TooShort(0)));
    assert_eq!(Secret::parse(&symmetric(23)), Err(SecretError::TooShort(23)));
    assert_eq!(Secret::parse(&symmetric(65)), Err(SecretError::TooLong(65)));
}

#[test]
fn each_mistake_in_a_secret_is_named() {
    let bare = STANDARD.encode([7; 24]);
    let padded = symmetric(25);
    let cases = [
        (String::new(), SecretError::Prefix),
        (bare.clone(), SecretError::Prefix),
        (format!("WHSEC_{bare}"), SecretError::Prefix),
        (format!(" whsec_{bare}"), SecretError::Prefix),
        (
            format!("whpk_{}", STANDARD.encode([7; 32])),
            SecretError::PublicKey,
        ),
        ("whsec_!".to_owned(), SecretError::Base64),
        (format!("whsec_{bare}\n"), SecretError::Base64),
        (padded.trim_end_matches('=').to_owned(), SecretError::Base64),
        (format!("whsec_{}", "-_".repeat(16)), SecretError::Base64),
        (
            format!("whsk_{}", STANDARD.encode([7; 24])),
            SecretError::KeyLength(24),
        ),
        (format!("whsk_{}", STANDARD.encode([7; 64])), SecretError::Key),
    ];
    for (text, expected) in cases {
        let error = Secret::parse(&text).unwrap_err();
        assert_eq!(error, expected, "{text:?}");
        assert!(!error.to_string().contains(&bare), "{error}");
    }
}

#[test]
fn generated_secrets_differ_and_read_back() {
    let rng = &mut rand::rng();
    for (first, second, kind, prefix, length) in [
        (
            Secret::generate(rng),
            Secret::generate(rng),
            SecretKind::Symmetric,
            "whsec_",
            24,
        ),
        (
            Secret::generate_ed25519(rng),
            Secret::generate_ed25519(rng),
            SecretKind::Ed25519,
            "whsk_",
            64,
        ),
    ] {
        assert_ne!(first, second);
        assert_eq!(first.kind(), kind);
        let text = first.expose();
        assert_eq!(
            STANDARD.decode(text.strip_prefix(prefix).unwrap()).unwrap().len(),
            length
        );
        assert_eq!(Secret::parse(&text).unwrap(), first);
    }
}

#[test]
fn a_32_byte_seed_and_its_64_byte_pair_are_the_same_ed25519_key() {
    let pair = Secret::generate_ed25519(&mut rand::rng());
    let bytes = STANDARD
        .decode(pair.expose().strip_prefix("whsk_").unwrap())
        .unwrap();
    let seed = Secret::parse(&format!("whsk_{}", STANDARD.encode(&bytes[..32]))).unwrap();
    assert_eq!(seed, pair);
    assert_eq!(seed.public_key(), pair.public_key());
}

#[test]
fn public_keys_read_back_and_others_are_refused() {
    let secret = Secret::generate_ed25519(&mut rand::rng());
    let public = secret.public_key().unwrap();
    assert_eq!(PublicKey::parse(&public.to_string()).unwrap(), public);
    assert_eq!(PublicKey::parse(&secret.expose()), Err(SecretError::PublicPrefix));
    assert_eq!(PublicKey::parse("whpk_AAAA"), Err(SecretError::KeyLength(3)));
    assert_eq!(Secret::generate(&mut rand::rng()).public_key(), None);
}

#[test]
fn nothing_that_holds_a_key_prints_it() {
    for secret in [
        Secret::generate(&mut rand::rng()),
        Secret::generate_ed25519(&mut rand::rng()),
    ] {
        let exposed = secret.expose();
        let (_, encoded) = exposed.split_once('_').unwrap();
        let printed = format!(
            "{secret:?} {secret:#?} {:?} {:?} {:?}",
            SigningKey::new(&secret),
            SigningKeys::new([&secret]),
            Verifier::new(&secret)
        );
        assert!(printed.contains("redacted"), "{printed}");
        assert!(!printed.contains(&encoded[..8]), "{printed}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_parsing_panic(text in "(whsec_|whsk_|whpk_)?[A-Za-z0-9+/=!]{0,100}") {
        if let Ok(secret) = Secret::parse(&text) {
            prop_assert_eq!(Secret::parse(&secret.expose()), Ok(secret));
        }
        if let Ok(public) = PublicKey::parse(&text) {
            prop_assert_eq!(PublicKey::parse(&public.to_string()), Ok(public));
        }
    }
}
