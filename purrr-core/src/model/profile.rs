//! What a peer says of itself: [`Hello`], [`Search`], [`Interest`] and [`Capabilities`].

use std::fmt;

use bytestring::ByteString;

/// Who a peer is, as far as its partner is told.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hello {
    /// A name to show.
    pub name: Option<ByteString>,
    /// A public key, given to the partner as it came.
    pub public_key: Option<ByteString>,
    /// Whether `public_key` is one that a partner can use. Set by whoever knows the scheme; `false` by default.
    pub encrypts: bool,
}

/// Whom a peer would like to meet.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Search {
    /// What one would like to talk about.
    pub interests: Vec<Interest>,
    /// The languages one speaks, as BCP 47 tags.
    pub languages: Vec<Interest>,
}

/// A subject or a language, as it is compared: in lower case and without white space around it.
///
/// ```
/// use purrr_core::model::Interest;
/// assert_eq!(Interest::from("  Late Night Trains "), Interest::from("late night trains"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interest(Box<str>);

/// What a client can take, beside text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Capabilities {
    /// Pictures. Default yes.
    pub images: bool,
    /// Signalling for calls. Default yes.
    pub signals: bool,
    /// Candidates apart from offers and answers (trickle ICE). Default yes.
    pub candidates: bool,
    /// The news that a message has arrived. Default yes.
    pub receipts: bool,
}

impl Hello {
    /// Introduces somebody by name, without a key.
    pub fn named(name: impl Into<ByteString>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }
}

impl Search {
    /// A search for somebody to talk to about one of these.
    ///
    /// ```
    /// let search = purrr_core::Search::for_interests(["cats", "rust"]);
    /// assert_eq!(search.interests.len(), 2);
    /// ```
    pub fn for_interests<T: Into<Interest>>(interests: impl IntoIterator<Item = T>) -> Self {
        Self { interests: interests.into_iter().map(Into::into).collect(), languages: Vec::new() }
    }

    /// The same search, for somebody who speaks one of these languages.
    #[must_use]
    pub fn in_languages<T: Into<Interest>>(
        mut self,
        languages: impl IntoIterator<Item = T>,
    ) -> Self {
        self.languages = languages.into_iter().map(Into::into).collect();
        self
    }
}

impl From<&str> for Interest {
    fn from(text: &str) -> Self {
        Self(text.trim().to_lowercase().into())
    }
}

impl AsRef<str> for Interest {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { images: true, signals: true, candidates: true, receipts: true }
    }
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("named", &self.name.is_some())
            .field("keyed", &self.public_key.is_some())
            .field("encrypts", &self.encrypts)
            .finish()
    }
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search")
            .field("interests", &self.interests.len())
            .field("languages", &self.languages.len())
            .finish()
    }
}
