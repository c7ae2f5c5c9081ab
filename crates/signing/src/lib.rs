//! Standard Webhooks: secrets, signatures and their verification.
//!
//! Owns the text form of secrets (`whsec_`, `whsk_`, `whpk_`), the two signature versions
//! (`v1` is HMAC-SHA256, `v1a` is ed25519) and the header value that carries one signature
//! for each valid secret.
//!
//! Guarantees that what is signed is exactly `id.timestamp.body` over the bytes given, that
//! comparison takes the same time whatever is wrong, that no `Debug` prints a key and that
//! keys are wiped from memory when dropped.
//!
//! Refuses to know the clock, the dice, the network and who keeps the secrets: the time and
//! the randomness come in as arguments.
//!
//! ```
//! use nuncio_signing::{Secret, SigningKeys, Signed, TOLERANCE, verify};
//!
//! let secret = Secret::generate(&mut rand::rng());
//! let keys = SigningKeys::new([&secret]);
//! let mut signature = String::new();
//! keys.write_header("msg_1", 1_700_000_000, b"{}", &mut signature);
//!
//! let received = Signed { message_id: "msg_1", timestamp: "1700000000", signature: &signature, body: b"{}" };
//! verify(&secret, &received, 1_700_000_010, TOLERANCE)?;
//! # Ok::<(), nuncio_signing::VerifyError>(())
//! ```

mod content;
mod secret;
mod sign;
mod verify;

pub use secret::{PublicKey, SECRET_BYTES_MAX, SECRET_BYTES_MIN, Secret, SecretError, SecretKind};
pub use sign::{SigningKey, SigningKeys};
pub use verify::{Signed, TOLERANCE, Verifier, VerifyError, verify};
