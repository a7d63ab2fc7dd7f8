//! A peer's introduction and search: [`Hello`], [`Search`], [`Interest`] and [`Capabilities`].

use std::fmt;

use bytestring::ByteString;

use super::tag;

/// A peer's introduction, as its partner receives it.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hello {
    /// The display name.
    pub name: Option<ByteString>,
    /// The public key. Forwarded unchanged.
    pub public_key: Option<ByteString>,
    /// True if a partner can use `public_key`. Set by the server, which knows the scheme. Default:
    /// false.
    pub encrypts: bool,
}

/// The interests and languages that a peer wants its partner to share.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Search {
    /// Subjects to talk about.
    pub interests: Vec<Interest>,
    /// Spoken languages, as primary languages of BCP 47 tags: see [`Interest::language`].
    pub languages: Vec<Interest>,
}

/// A subject or a language in its normal form, in which tags are compared.
///
/// The form is NFKC, case folded, with white space collapsed and trimmed, and without invisible
/// characters and leading `#`.
///
/// ```
/// use purrr_core::model::Interest;
/// assert_eq!(Interest::from(" #Late  Night Trains "), Interest::from("late night trains"));
/// assert_eq!(Interest::from("cafe\u{301}"), Interest::from("Café"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interest(Box<str>);

/// The optional features of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Capabilities {
    /// Receives pictures. Default: true.
    pub images: bool,
    /// Receives signalling for calls. Default: true.
    pub signals: bool,
    /// Receives ICE candidates apart from offers and answers (trickle ICE). Default: true.
    pub candidates: bool,
    /// Receives delivery receipts. Default: true.
    pub receipts: bool,
}

impl Hello {
    /// Creates an introduction with a name and without a key.
    pub fn named(name: impl Into<ByteString>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }
}

impl Search {
    /// Creates a search by interests.
    ///
    /// ```
    /// let search = purrr_core::Search::for_interests(["cats", "rust"]);
    /// assert_eq!(search.interests.len(), 2);
    /// ```
    pub fn for_interests<T: Into<Interest>>(interests: impl IntoIterator<Item = T>) -> Self {
        Self { interests: interests.into_iter().map(Into::into).collect(), languages: Vec::new() }
    }

    /// Replaces the languages of this search.
    #[must_use]
    pub fn in_languages<T: Into<Interest>>(
        mut self,
        languages: impl IntoIterator<Item = T>,
    ) -> Self {
        self.languages = languages.into_iter().map(|tag| tag.into().into_language()).collect();
        self
    }
}

impl Interest {
    /// Returns the primary language of a language tag, in which two tags agree that the lookup of
    /// RFC 4647 matches.
    ///
    /// ```
    /// use purrr_core::model::Interest;
    /// assert_eq!(Interest::language("pt-BR"), Interest::language("pt"));
    /// assert_eq!(Interest::language("en_US"), Interest::language("en-GB"));
    /// ```
    #[must_use]
    pub fn language(tag: &str) -> Self {
        Self(tag::language(tag))
    }

    /// Returns the primary language of this tag, as [`language`](Self::language) does.
    pub(crate) fn into_language(self) -> Self {
        if tag::is_primary_language(&self.0) { self } else { Self::language(&self.0) }
    }

    /// Creates a tag from its normal form, as another node has written it.
    pub(crate) fn from_normal_form(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Interest {
    fn from(text: &str) -> Self {
        Self(tag::interest(text))
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
