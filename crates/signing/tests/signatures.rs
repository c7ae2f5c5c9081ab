//! Signatures against the published vectors, another implementation and a tampering adversary.

use std::time::Duration;

use nuncio_signing::{
    PublicKey, Secret, Signed, SigningKey, SigningKeys, TOLERANCE, Verifier, VerifyError, verify,
};
use proptest::prelude::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SENT: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

const ED25519_SECRET: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const ED25519_PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const ED25519_SIGNATURE: &str =
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

fn secret(text: &str) -> Secret {
    Secret::parse(text).expect("a valid secret")
}

fn received<'a>(timestamp: &'a str, signature: &'a str) -> Signed<'a> {
    Signed {
        message_id: ID,
        timestamp,
        signature,
        body: BODY,
    }
}

#[test]
fn the_published_vector_of_standard_webhooks_comes_out() {
    assert_eq!(SigningKey::new(&secret(SECRET)).sign(ID, SENT, BODY), SIGNATURE);
}

#[test]
fn the_published_ed25519_vector_of_svix_comes_out() {
    let secret = secret(ED25519_SECRET);
    assert_eq!(SigningKey::new(&secret).sign(ID, SENT, BODY), ED25519_SIGNATURE);
    assert_eq!(secret.public_key().unwrap().to_string(), ED25519_PUBLIC);
}

#[test]
fn a_public_key_alone_verifies_ed25519_signatures() {
    let signed = received("1614265330", ED25519_SIGNATURE);
    let verifier = Verifier::from(PublicKey::parse(ED25519_PUBLIC).unwrap());
    assert_eq!(verifier.verify(&signed, SENT, TOLERANCE), Ok(()));
    let verifier = Verifier::parse(ED25519_PUBLIC).unwrap();
    assert_eq!(verifier.verify(&signed, SENT, TOLERANCE), Ok(()));
    let altered = Signed {
        body: b"{}",
        ..signed
    };
    assert_eq!(
        verifier.verify(&altered, SENT, TOLERANCE),
        Err(VerifyError::Mismatch)
    );
}

#[test]
fn the_standardwebhooks_crate_accepts_what_we_sign_now() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the crate under comparison reads the system's clock"
    )]
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let now = i64::try_from(now).unwrap();
    let old = Secret::generate(&mut rand::rng());
    let new = Secret::generate(&mut rand::rng());
    let mut signature = String::new();
    SigningKeys::new([&new, &old]).write_header(ID, now, BODY, &mut signature);
    let headers = http::HeaderMap::from_iter([
        (http::HeaderName::from_static("webhook-id"), ID.parse().unwrap()),
        (
            http::HeaderName::from_static("webhook-timestamp"),
            now.to_string().parse().unwrap(),
        ),
        (
            http::HeaderName::from_static("webhook-signature"),
            signature.parse().unwrap(),
        ),
    ]);
    for secret in [&old, &new] {
        standardwebhooks::Webhook::new(&secret.expose())
            .unwrap()
            .verify(BODY, &headers)
            .unwrap();
    }
    let stranger = Secret::generate(&mut rand::rng());
    standardwebhooks::Webhook::new(&stranger.expose())
        .unwrap()
        .verify(BODY, &headers)
        .unwrap_err();
}

#[test]
fn during_a_rotation_the_header_has_one_signature_for_each_secret_and_the_buffer_is_reused() {
    let old = secret(SECRET);
    let new = secret(ED25519_SECRET);
    let keys = SigningKeys::new([&new, &old]);
    let mut header = String::from("what the last delivery left");
    keys.write_header(ID, SENT, BODY, &mut header);
    let first = SigningKey::new(&new).sign(ID, SENT, BODY);
    assert_eq!(header, format!("{first} {SIGNATURE}"));
    let capacity = header.capacity();
    keys.write_header(ID, SENT, BODY, &mut header);
    assert_eq!(header.capacity(), capacity);
    for secret in [&old, &new] {
        assert_eq!(
            verify(secret, &received("1614265330", &header), SENT, TOLERANCE),
            Ok(())
        );
    }
}

#[test]
fn the_timestamp_may_be_five_minutes_off_and_not_a_second_more() {
    let secret = secret(SECRET);
    let check = |now| verify(&secret, &received("1614265330", SIGNATURE), now, TOLERANCE);
    assert_eq!(check(SENT), Ok(()));
    assert_eq!(check(SENT + 300), Ok(()));
    assert_eq!(check(SENT - 300), Ok(()));
    assert_eq!(
        check(SENT + 301),
        Err(VerifyError::TooOld(Duration::from_secs(301)))
    );
    assert_eq!(
        check(SENT - 301),
        Err(VerifyError::TooNew(Duration::from_secs(301)))
    );
    assert_eq!(
        check(i64::MAX),
        Err(VerifyError::TooOld(Duration::from_secs(i64::MAX.abs_diff(SENT))))
    );
    assert_eq!(
        check(i64::MIN),
        Err(VerifyError::TooNew(Duration::from_secs(i64::MIN.abs_diff(SENT))))
    );
}

#[test]
fn timestamps_that_are_not_plain_digits_are_refused() {
    let secret = secret(SECRET);
    for timestamp in [
        "",
        "+1614265330",
        "-1",
        "1614265330.0",
        " 1614265330",
        "1e9",
        "99999999999999999999",
    ] {
        let outcome = verify(&secret, &received(timestamp, SIGNATURE), SENT, TOLERANCE);
        assert_eq!(outcome, Err(VerifyError::Timestamp), "{timestamp:?}");
    }
}

#[test]
fn headers_without_a_usable_signature_are_refused() {
    let secret = secret(SECRET);
    let encoded = SIGNATURE.strip_prefix("v1,").unwrap();
    let none = Err(VerifyError::NoSignature("v1"));
    let differs = Err(VerifyError::Mismatch);
    let cases = [
        (String::new(), none),
        (encoded.to_owned(), none),
        (format!("v1a,{encoded}"), none),
        (format!("v2,{encoded}"), none),
        (format!("V1,{encoded}"), none),
        ("v1,".to_owned(), differs),
        ("v1,!".to_owned(), differs),
        (format!("v1,{}", &encoded[..20]), differs),
        (format!("v1,{encoded}{encoded}"), differs),
        (format!("v1,AAAA v1a,x  v1,{encoded} junk"), Ok(())),
    ];
    for (header, expected) in cases {
        let outcome = verify(&secret, &received("1614265330", &header), SENT, TOLERANCE);
        assert_eq!(outcome, expected, "{header:?}");
    }
}

#[test]
fn a_header_of_thousands_of_signatures_is_only_read_so_far() {
    let flood = "v1,AAAA ".repeat(10_000) + SIGNATURE;
    let outcome = verify(&secret(SECRET), &received("1614265330", &flood), SENT, TOLERANCE);
    assert_eq!(outcome, Err(VerifyError::Mismatch));
}

proptest! {
    #[test]
    fn what_is_signed_verifies_and_equals_the_other_implementation(
        key in proptest::collection::vec(any::<u8>(), 24..=64),
        id in "[a-zA-Z0-9_-]{1,64}",
        sent in 0..4_000_000_000_i64,
        body in ".{0,200}",
    ) {
        use base64::Engine;
        let text = format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(&key));
        let secret = secret(&text);
        let ours = SigningKey::new(&secret).sign(&id, sent, body.as_bytes());
        let theirs = standardwebhooks::Webhook::new(&text).unwrap().sign(&id, sent, body.as_bytes()).unwrap();
        prop_assert_eq!(&ours, &theirs);
        let timestamp = sent.to_string();
        let signed = Signed { message_id: &id, timestamp: &timestamp, signature: &ours, body: body.as_bytes() };
        prop_assert_eq!(verify(&secret, &signed, sent, TOLERANCE), Ok(()));
    }

    #[test]
    fn flipping_any_byte_of_body_id_or_signature_is_refused(
        symmetric in any::<bool>(),
        part in 0..3_usize,
        at in any::<prop::sample::Index>(),
        bit in 0..7_u32,
    ) {
        let secret = secret(if symmetric { SECRET } else { ED25519_SECRET });
        let signature = SigningKey::new(&secret).sign(ID, SENT, BODY);
        let mut parts = [ID.as_bytes().to_vec(), BODY.to_vec(), signature.into_bytes()];
        let at = at.index(parts[part].len());
        parts[part][at] ^= 1 << bit;
        let [id, body, signature] = parts;
        let (id, signature) = (String::from_utf8(id).unwrap(), String::from_utf8(signature).unwrap());
        let signed = Signed { message_id: &id, timestamp: "1614265330", signature: &signature, body: &body };
        prop_assert!(verify(&secret, &signed, SENT, TOLERANCE).is_err());
    }

    #[test]
    fn no_header_whatever_makes_verification_panic_or_succeed(
        id in ".*", timestamp in "[0-9+-]{0,21}", signature in "(v1a?,)?.*", body in any::<Vec<u8>>(),
    ) {
        let signed = Signed { message_id: &id, timestamp: &timestamp, signature: &signature, body: &body };
        for text in [SECRET, ED25519_SECRET] {
            prop_assert!(verify(&secret(text), &signed, SENT, TOLERANCE).is_err());
        }
    }
}
