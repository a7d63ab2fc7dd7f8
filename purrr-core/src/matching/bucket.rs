//! The index of the lobby: [`Bucket`] and [`Partition`].

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use crate::model::ticket::Ticket;

/// An index entry under which tickets find each other: the hash of a namespace and a value.
///
/// The hash is the same on every machine. Buckets of one namespace are of one kind: the more of
/// them two tickets share, the better they fit. The upper 32 of the 128 bits are the FNV-1a hash of
/// the namespace, the rest are bits of the FNV-1a hash of both
/// (<http://www.isthe.com/chongo/tech/comp/fnv/>). Values with equal hashes share a bucket;
/// [`Pairing::accepts`](crate::Pairing::accepts) has the last word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u128);

impl Bucket {
    /// Returns the bucket of `value` within `namespace`.
    #[must_use]
    pub fn new(namespace: &str, value: &str) -> Self {
        Namespace::new(namespace).bucket(value)
    }

    /// Returns the bucket of any value within `namespace`, such as a tuple, a number or an enum.
    ///
    /// Equal values of one type share a bucket. The hash of a type may change with its declaration and with the
    /// version of the compiler, so all nodes of a cluster must run the same build. A text has
    /// another bucket than by [`new`](Self::new), which is the same for ever.
    ///
    /// ```
    /// use purrr_core::matching::Bucket;
    /// assert_eq!(Bucket::of("level", &(7, true)), Bucket::of("level", &(7, true)));
    /// assert_ne!(Bucket::of("level", &(7, true)), Bucket::of("level", &(8, true)));
    /// ```
    #[must_use]
    pub fn of(namespace: &str, value: &(impl Hash + ?Sized)) -> Self {
        let namespace = Namespace::new(namespace);
        let mut hasher = BucketHasher(namespace.prefix);
        value.hash(&mut hasher);
        Self::of_kind(namespace.kind, hasher.0)
    }

    /// Creates the bucket with these bits, for backends.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Returns the bits of the hash, for backends.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }

    /// Returns the part of the hash that buckets of one namespace have in common.
    #[must_use]
    pub const fn kind(self) -> u32 {
        (self.0 >> 96) as u32
    }

    const fn of_kind(kind: u32, value: u128) -> Self {
        Self((kind as u128) << 96 | (value & (u128::MAX >> 32)))
    }

    /// Returns the bucket that stands for the conjunction of two.
    pub(crate) const fn with(self, other: Self) -> Self {
        // Must not be symmetric, or swapped values of two kinds would meet. Must be odd, or bits
        // would be lost.
        const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        Self::of_kind(
            self.kind().rotate_left(1) ^ other.kind(),
            self.0.wrapping_mul(SPREAD) ^ other.0,
        )
    }

    /// Returns the bucket that stands for this one within a partition.
    #[must_use]
    pub const fn in_partition(self, partition: Partition) -> Self {
        match partition {
            Partition::Plain => self,
            Partition::Encrypting => Self(!self.0),
        }
    }
}

/// A part of the lobby whose tickets never share a bucket with those of another part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Partition {
    /// Clients without a usable public key.
    Plain,
    /// Clients that encrypt. They cannot talk to a client that does not.
    Encrypting,
}

impl Partition {
    /// Returns the partition of a ticket.
    #[must_use]
    pub const fn of(ticket: &Ticket) -> Self {
        if ticket.hello.encrypts { Self::Encrypting } else { Self::Plain }
    }
}

/// A namespace whose hash is computed already, at compile time for those of this crate's rules.
#[derive(Clone, Copy)]
pub(crate) struct Namespace {
    kind: u32,
    /// The hash of the name and of the separator after it.
    prefix: u128,
}

impl Namespace {
    pub(crate) const ANYONE: Self = Self::new("anyone");
    pub(crate) const INTEREST: Self = Self::new("interest");
    pub(crate) const LANGUAGE: Self = Self::new("language");
    pub(crate) const NO_LANGUAGE: Self = Self::new("no language");

    const fn new(name: &str) -> Self {
        let name = name.as_bytes();
        let mut namespace =
            Self { kind: 0x811c_9dc5, prefix: 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d };
        let mut index = 0;
        while index < name.len() {
            namespace.kind = (namespace.kind ^ name[index] as u32).wrapping_mul(0x0100_0193);
            namespace.prefix = fnv(namespace.prefix, name[index]);
            index += 1;
        }
        // 0xff occurs in no UTF-8, so it separates name and value without ambiguity.
        Self { prefix: fnv(namespace.prefix, 0xff), ..namespace }
    }

    pub(crate) fn bucket(self, value: &str) -> Bucket {
        Bucket::of_kind(self.kind, value.bytes().fold(self.prefix, fnv))
    }
}

/// FNV-1a of what a value hashes, the same on machines of either byte order and word size.
struct BucketHasher(u128);

impl Hasher for BucketHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().copied().fold(self.0, fnv);
    }

    fn write_u16(&mut self, value: u16) {
        self.write(&value.to_le_bytes());
    }

    fn write_u32(&mut self, value: u32) {
        self.write(&value.to_le_bytes());
    }

    fn write_u64(&mut self, value: u64) {
        self.write(&value.to_le_bytes());
    }

    fn write_u128(&mut self, value: u128) {
        self.write(&value.to_le_bytes());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_i64(value as i64);
    }

    fn finish(&self) -> u64 {
        self.0 as u64
    }
}

const fn fnv(hash: u128, byte: u8) -> u128 {
    (hash ^ byte as u128).wrapping_mul((1 << 88) + 0x13b)
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({:032x})", self.0)
    }
}
