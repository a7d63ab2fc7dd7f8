//! What an embedder knows of a peer, for its pairing rules: [`Attributes`].

use std::sync::Arc;

use bytestring::ByteString;

/// What an embedder knows of a peer, by name. Pairing rules read it, and no partner is ever shown
/// it.
///
/// Set by [`Profile::with_attributes`](crate::Profile::with_attributes), read in
/// [`Ticket::attributes`](crate::model::Ticket::attributes). Clones share the memory.
///
/// ```
/// use purrr_core::model::Attributes;
///
/// let attributes = Attributes::default().with("karma", 12).with("mentor", true);
/// assert_eq!(attributes.integer("karma"), Some(12));
/// assert!(attributes.flag("mentor") && !attributes.flag("moderator"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes(
    /// In ascending order of their names. One pointer, since every session has it.
    Option<Arc<Vec<(ByteString, Attribute)>>>,
);

/// The value of one of the [`Attributes`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Attribute {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(ByteString),
}

impl Attributes {
    /// Sets one attribute.
    #[must_use]
    pub fn with(self, name: impl Into<ByteString>, value: impl Into<Attribute>) -> Self {
        let (name, value) = (name.into(), value.into());
        let mut all = self.0.map_or_else(Vec::new, Arc::unwrap_or_clone);
        match all.binary_search_by(|(known, _)| known.cmp(&name)) {
            Ok(index) => all[index].1 = value,
            Err(index) => all.insert(index, (name, value)),
        }
        Self(Some(Arc::new(all)))
    }

    /// Returns an attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        let all = self.0.as_ref()?;
        let found = all.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&all[found].1)
    }

    /// Returns true if there is a flag of this name that is set.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Attribute::Flag(true)))
    }

    /// Returns the number of this name.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Attribute::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the text of this name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Attribute::Text(value) => Some(value),
            _ => None,
        }
    }

    /// Returns all attributes, in ascending order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.0.iter().flat_map(|all| all.iter()).map(|(name, value)| (&**name, value))
    }
}

impl From<bool> for Attribute {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<i64> for Attribute {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&'static str> for Attribute {
    fn from(value: &'static str) -> Self {
        Self::Text(ByteString::from_static(value))
    }
}

impl From<String> for Attribute {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl From<ByteString> for Attribute {
    fn from(value: ByteString) -> Self {
        Self::Text(value)
    }
}

impl<N: Into<ByteString>, V: Into<Attribute>> FromIterator<(N, V)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(all: I) -> Self {
        all.into_iter().fold(Self::default(), |known, (name, value)| known.with(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_typed_and_replaced_by_name() {
        let all = Attributes::default().with("b", 1).with("a", "x").with("c", true).with("b", 2);
        assert_eq!(all.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((all.integer("b"), all.text("a"), all.flag("c")), (Some(2), Some("x"), true));
        assert_eq!((all.integer("a"), all.text("c"), all.flag("d")), (None, None, false));
        let again: Attributes = [("c", true)].into_iter().collect();
        assert_eq!(again.with("a", "x".to_owned()).with("b", 2), all);
    }
}
