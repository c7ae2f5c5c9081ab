use rand::SeedableRng;

use super::*;

const NOW: UnixMillis = UnixMillis(1_800_000_000_123);
const HOUR: Duration = Duration::from_secs(3_600);

fn secret(text: &str) -> SecretString {
    SecretString::from(text.repeat(8))
}

fn tokens(secrets: &[&str], namespace: &str) -> Tokens {
    let secrets: Vec<_> = secrets.iter().map(|text| secret(text)).collect();
    Tokens::new(&secrets, namespace).unwrap()
}

fn dice() -> rand::rngs::StdRng {
    rand::rngs::StdRng::seed_from_u64(3)
}

fn app() -> AppId {
    AppId::parse("app_1").unwrap()
}

fn with_header(token: &str, header: &str) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", BASE64.encode(header))
}

#[test]
fn what_is_minted_verifies_until_it_expires() {
    let tokens = tokens(&["k1"], "nuncio");
    let scopes = [
        Scope::Admin,
        Scope::App(AppGrant::full(app())),
        Scope::App(AppGrant {
            app: app(),
            capabilities: Capabilities::READ_ONLY,
            feature_flags: Some(vec!["beta".into()]),
            session: Some("s1".into()),
            look: Look {
                accent: Some("#0f766e".into()),
                ..Look::default()
            },
        }),
    ];
    for scope in scopes {
        let token = tokens.mint(&scope, NOW, HOUR, &mut dice());
        let verified = tokens.verify(&token, NOW).unwrap();
        assert_eq!(verified.scope, scope);
        assert_eq!(verified.issued_at, NOW);
        let last = NOW.plus(HOUR).minus(Duration::from_secs(1));
        assert!(tokens.verify(&token, last).is_ok());
        assert_eq!(tokens.verify(&token, NOW.plus(HOUR)), Err(TokenError::Expired));
    }
}

#[test]
fn each_token_has_its_own_id() {
    let (tokens, mut dice) = (tokens(&["k1"], "nuncio"), dice());
    let mut id = || {
        let token = tokens.mint(&Scope::Admin, NOW, HOUR, &mut dice);
        tokens.verify(&token, NOW).unwrap().id
    };
    assert_ne!(id(), id());
}

#[test]
fn a_rotated_main_secret_still_verifies_and_a_removed_one_does_not() {
    let old = tokens(&["k1"], "nuncio").mint(&Scope::Admin, NOW, HOUR, &mut dice());
    assert!(tokens(&["k2", "k1"], "nuncio").verify(&old, NOW).is_ok());
    assert_eq!(
        tokens(&["k2"], "nuncio").verify(&old, NOW),
        Err(TokenError::Signature)
    );
    assert_eq!(Tokens::new(&[], "nuncio").unwrap_err(), NoMainSecret);
}

#[test]
fn a_token_of_another_namespace_is_foreign() {
    let token = tokens(&["k1"], "other").mint(&Scope::Admin, NOW, HOUR, &mut dice());
    assert_eq!(
        tokens(&["k1"], "nuncio").verify(&token, NOW),
        Err(TokenError::Foreign)
    );
}

#[test]
fn a_token_of_another_issuer_is_foreign_although_the_key_is_ours() {
    let tokens = tokens(&["k1"], "nuncio");
    let token = tokens.mint(&Scope::Admin, NOW, HOUR, &mut dice());
    let parts: Vec<_> = token.split('.').collect();
    let issued_by = |issuer: &str| {
        let mut claims: Claims = decode(parts[1]).unwrap();
        claims.iss = issuer.to_owned();
        let signed = format!("{}.{}", parts[0], encode(&claims));
        let signature = mac(&tokens.keys[0], signed.as_bytes()).finalize().into_bytes();
        format!("{signed}.{}", BASE64.encode(signature))
    };
    assert!(tokens.verify(&issued_by(ISSUER), NOW).is_ok());
    for other in ["", "svix", "Nuncio"] {
        let verified = tokens.verify(&issued_by(other), NOW);
        assert_eq!(verified, Err(TokenError::Foreign), "{other}");
    }
}

#[test]
fn another_algorithm_is_refused_whatever_the_signature() {
    let tokens = tokens(&["k1"], "nuncio");
    let token = tokens.mint(&Scope::Admin, NOW, HOUR, &mut dice());
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None","typ":"JWT"}"#,
        r#"{"alg":"RS256","typ":"JWT"}"#,
        r#"{"alg":"HS512","typ":"JWT"}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","typ":"JWE"}"#,
    ] {
        assert_eq!(
            tokens.verify(&with_header(&token, header), NOW),
            Err(TokenError::Malformed),
            "{header}"
        );
    }
    let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
    assert_eq!(tokens.verify(&unsigned, NOW), Err(TokenError::Signature));
    let elsewhere = r#"{"alg":"HS256","typ":"JWT","jku":"https://evil.example/keys","kid":"../../dev/null"}"#;
    assert_eq!(
        tokens.verify(&with_header(&token, elsewhere), NOW),
        Err(TokenError::Signature)
    );
}

#[test]
fn a_swapped_subject_does_not_verify() {
    let tokens = tokens(&["k1"], "nuncio");
    let token = tokens.mint(&Scope::App(AppGrant::full(app())), NOW, HOUR, &mut dice());
    let parts: Vec<_> = token.split('.').collect();
    let claims = String::from_utf8(BASE64.decode(parts[1]).unwrap()).unwrap();
    let swapped = BASE64.encode(claims.replace("app_1", "app_2"));
    let forged = format!("{}.{swapped}.{}", parts[0], parts[2]);
    assert_eq!(tokens.verify(&forged, NOW), Err(TokenError::Signature));
}

#[test]
fn a_flipped_character_anywhere_is_refused() {
    let tokens = tokens(&["k1"], "nuncio");
    let token = tokens.mint(&Scope::Admin, NOW, HOUR, &mut dice());
    for at in 0..token.len() {
        let mut flipped = token.clone().into_bytes();
        flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
        let flipped = String::from_utf8(flipped).unwrap();
        assert!(tokens.verify(&flipped, NOW).is_err(), "position {at}");
    }
}

#[test]
fn what_is_no_token_at_all_is_malformed() {
    let tokens = tokens(&["k1"], "nuncio");
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        &"x".repeat(5_000),
        "é.é.é",
    ] {
        assert_eq!(tokens.verify(text, NOW), Err(TokenError::Malformed), "{text}");
    }
}

#[test]
fn debug_shows_no_key() {
    let shown = format!("{:?}", tokens(&["canary"], "nuncio"));
    assert!(!shown.contains("canary") && shown.contains("keys: 1"), "{shown}");
}
