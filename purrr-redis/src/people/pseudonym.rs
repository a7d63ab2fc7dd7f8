//! What stands in Redis for persons, addresses and tokens: [`Pseudonyms`].

use std::fmt;

use purrr_core::model::{OriginKey, PersonId, ResumeToken};
use sha2::{Digest, Sha256};

/// Replaces ids by others that only who knows the key can turn back.
///
/// A token is hashed for good: a client brings it. Persons and addresses are read back, so for them
/// the hash is the round function of a Feistel network of 64 bits (Luby and Rackoff: four rounds
/// make a permutation that cannot be told from a random one without the key).
#[derive(Clone)]
pub(crate) struct Pseudonyms {
    key: [u8; 32],
}

const ROUNDS: u8 = 4;

impl Pseudonyms {
    /// Any two nodes of a cluster must be given the same secret.
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self {
            key: Sha256::new()
                .chain_update(b"purrr-redis 1")
                .chain_update(secret)
                .finalize()
                .into(),
        }
    }

    pub(crate) fn person(&self, person: PersonId) -> String {
        format!("{:016x}", self.permute(b'p', person.to_bits()))
    }

    /// Returns `None` for anything but a pseudonym.
    pub(crate) fn to_person(&self, text: &str) -> Option<PersonId> {
        Some(PersonId::from_bits(self.invert(b'p', u64::from_str_radix(text, 16).ok()?)))
    }

    pub(crate) fn origin(&self, origin: OriginKey) -> String {
        format!("{:016x}", self.permute(b'o', origin.to_bits()))
    }

    pub(crate) fn to_origin(&self, text: &str) -> Option<OriginKey> {
        Some(OriginKey::from_bits(self.invert(b'o', u64::from_str_radix(text, 16).ok()?)))
    }

    pub(crate) fn token(&self, token: ResumeToken) -> String {
        let hash = self.hash(b't', 0).chain_update(token.to_bits().to_be_bytes()).finalize();
        hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    fn hash(&self, domain: u8, round: u8) -> Sha256 {
        Sha256::new().chain_update(self.key).chain_update([domain, round])
    }

    fn round(&self, domain: u8, round: u8, half: u32) -> u32 {
        let hash = self.hash(domain, round).chain_update(half.to_be_bytes()).finalize();
        u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
    }

    fn permute(&self, domain: u8, bits: u64) -> u64 {
        let (mut left, mut right) = ((bits >> 32) as u32, bits as u32);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.round(domain, round, right));
        }
        u64::from(left) << 32 | u64::from(right)
    }

    fn invert(&self, domain: u8, bits: u64) -> u64 {
        let (mut left, mut right) = ((bits >> 32) as u32, bits as u32);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.round(domain, round, left), left);
        }
        u64::from(left) << 32 | u64::from(right)
    }
}

/// Prints nothing of the key.
impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudonyms_are_turned_back_with_the_same_key_only() {
        let (ours, theirs) = (Pseudonyms::new(b"secret"), Pseudonyms::new(b"other"));
        for bits in [0, 1, u64::from(u32::MAX), u64::MAX, 0x0123_4567_89ab_cdef] {
            let (person, origin) = (PersonId::from_bits(bits), OriginKey::from_bits(bits));
            assert_eq!(ours.to_person(&ours.person(person)), Some(person));
            assert_eq!(ours.to_origin(&ours.origin(origin)), Some(origin));
            assert_ne!(theirs.to_person(&ours.person(person)), Some(person));
            assert_ne!(ours.person(person), ours.origin(origin));
            assert_ne!(ours.person(person), format!("{bits:016x}"));
            let token = ResumeToken::from_bits(bits.into());
            assert_ne!(ours.token(token), theirs.token(token));
        }
    }
}
