//! JSON as clients really send it, read at a glance: [`Glance`]; strings written as fast: [`write_string`]; and what is kept
//! of what was read: [`slice`].
//!
//! This is no parser. It knows objects and arrays of strings, whole numbers and the three words, and gives up at anything
//! else. Whoever uses it asks `serde_json` then, which knows all of JSON and says what is wrong. So a glance may find only
//! what `serde_json` would find too.

use std::{borrow::Cow, fmt::Write};

use bytestring::ByteString;

/// A text that is being looked through. Each look is at what comes after the last one, white space left out.
#[derive(Clone, Debug)]
pub struct Glance<'a> {
    text: &'a str,
    at: usize,
}

/// What is between the quotes of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<'a> {
    raw: &'a str,
    escaped: bool,
}

/// More digits might not fit.
const DIGITS: usize = 19;

/// Bytes of a long string that are looked at together.
const BLOCK: usize = 32;

impl<'a> Glance<'a> {
    /// Begins at the beginning.
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The byte that comes next.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.as_bytes().get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Goes past this byte, if it comes next.
    #[inline]
    pub fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.peek() == Some(byte);
        self.at += usize::from(eaten);
        eaten
    }

    /// Whether nothing comes any more.
    pub fn is_over(&mut self) -> bool {
        self.peek().is_none()
    }

    /// A string. Whether its escapes mean anything is not looked at.
    #[inline]
    pub fn string(&mut self) -> Option<Quoted<'a>> {
        if !self.eat(b'"') {
            return None;
        }
        let (bytes, begin) = (self.text.as_bytes(), self.at);
        let mut escaped = false;
        loop {
            self.at += plain_bytes(bytes.get(self.at..)?);
            match bytes.get(self.at)? {
                b'"' => break,
                b'\\' => (escaped, self.at) = (true, self.at + 2),
                _ => return None,
            }
        }
        let raw = &self.text[begin..self.at];
        self.at += 1;
        Some(Quoted { raw, escaped })
    }

    /// A whole number that is not negative.
    #[inline]
    pub fn number(&mut self) -> Option<u64> {
        self.peek()?;
        let rest = &self.text.as_bytes()[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = rest.split_at(digits);
        // What begins with a nought, or goes on as a fraction, is for somebody else to judge.
        let whole = !matches!(rest.first(), Some(b'.' | b'e' | b'E'));
        if !whole || digits == 0 || digits > DIGITS || digits > 1 && number[0] == b'0' {
            return None;
        }
        self.at += digits;
        Some(number.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
    }

    /// Goes past this word, if it comes next.
    #[inline]
    pub fn word(&mut self, word: &str) -> bool {
        let found =
            self.peek().is_some() && self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += if found { word.len() } else { 0 };
        found
    }
}

impl<'a> Quoted<'a> {
    /// The string itself, if it has no escapes.
    #[must_use]
    pub fn plain(self) -> Option<&'a str> {
        (!self.escaped).then_some(self.raw)
    }

    /// The string itself, unless it has an escape that is rare or wrong.
    #[must_use]
    pub fn unescape(self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return Some(Cow::Borrowed(self.raw));
        }
        let mut text = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        loop {
            let (plain, escape) = rest.split_at(plain_bytes(rest.as_bytes()));
            text.push_str(plain);
            if escape.is_empty() {
                return Some(Cow::Owned(text));
            }
            text.push(match escape.as_bytes().get(1)? {
                b'"' => '"',
                b'\\' => '\\',
                b'/' => '/',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                _ => return None,
            });
            rest = &escape[2..];
        }
    }
}

/// Writes a string with its quotes and escapes, byte for byte as `serde_json` does.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    loop {
        let (plain, escaped) = rest.split_at(plain_bytes(rest.as_bytes()));
        out.push_str(plain);
        let Some(&byte) = escaped.as_bytes().first() else { break };
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\x08' => out.push_str("\\b"),
            b'\x0c' => out.push_str("\\f"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "\\u{byte:04x}")),
        }
        rest = &escaped[1..];
    }
    out.push('"');
}

/// How many bytes there are before the first that a string cannot hold as it is.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    let mut at = 0;
    // Most strings are short: a name ends within the first word.
    if let Some(word) = bytes.first_chunk() {
        match first_special(*word) {
            Some(found) => return found,
            None => at = word.len(),
        }
        let (blocks, _) = bytes[at..].as_chunks::<BLOCK>();
        at += BLOCK * blocks.iter().take_while(|block| is_plain(block)).count();
        for word in bytes[at..].as_chunks().0 {
            match first_special(*word) {
                Some(found) => return at + found,
                None => at += word.len(),
            }
        }
    }
    let special = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
    at + bytes[at..].iter().take_while(|byte| !special(byte)).count()
}

/// Where the first byte is that a string cannot hold as it is, all eight looked at as one number.
#[inline]
const fn first_special(word: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let word = u64::from_le_bytes(word);
    let quotes = word ^ (ONES * b'"' as u64);
    let slashes = word ^ (ONES * b'\\' as u64);
    // A byte below what is taken from it borrows, and its highest bit is set then. It may be set in bytes after that, too.
    let found = quotes.wrapping_sub(ONES) & !quotes
        | slashes.wrapping_sub(ONES) & !slashes
        | word.wrapping_sub(ONES * b' ' as u64) & !word;
    let found = found & (ONES << 7);
    if found == 0 { None } else { Some(found.trailing_zeros() as usize / 8) }
}

/// Whether a string can hold all of this, in such a way that many bytes are looked at in one instruction.
#[inline]
fn is_plain(block: &[u8; BLOCK]) -> bool {
    let nought_if_special =
        |byte: u8| (byte ^ b'"').min(byte ^ b'\\').min(byte.saturating_sub(b' ' - 1));
    block.iter().fold(u8::MAX, |least, byte| least.min(nought_if_special(*byte))) != 0
}

/// So much beside itself a part may keep of what it was read with: as many parts as a queue takes by default, 256, half of
/// the bytes that it takes.
const BESIDE: usize = 2 * 1024;

/// Whether a part is so much of the whole that it may keep all of that from being freed.
#[must_use]
pub fn is_most_of(part: usize, whole: usize) -> bool {
    whole.saturating_sub(part) <= BESIDE.max(part / 16)
}

/// A part of a text as a slice of it, if it is most of it. What is little of much is better copied.
///
/// # Panics
///
/// If `part` does not lie in `source`.
#[must_use]
pub fn slice(source: &ByteString, part: &str) -> Option<ByteString> {
    is_most_of(part.len(), source.len()).then(|| source.slice_ref(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Strings that need escapes, and are long enough to be looked at together.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[ -~\n\t\\\\\"\u{1}é🐈]{0,100}",
            "[a-z]{60,200}[\"\\\\\n\u{1f} \u{7f}é]?[a-z]{0,80}"
        ]
    }

    proptest! {
        #[test]
        fn strings_are_written_as_serde_json_writes_them(text in texts()) {
            let mut written = String::new();
            write_string(&text, &mut written);
            prop_assert_eq!(&written, &serde_json::to_string(&text).unwrap());
            let read = Glance::new(&written).string().unwrap();
            let rare = text.contains(|c: char| c < ' ' && !"\u{8}\u{c}\n\r\t".contains(c));
            prop_assert_eq!(read.unescape().map(Cow::into_owned), (!rare).then_some(text));
        }

        #[test]
        fn whatever_is_found_serde_json_finds_too(json in "[ \t]?(\"[a\"\\\\/bfnrtué\u{1}]{0,20}\"?|[-0-9.e]{1,21}|[nultre]{1,5})") {
            let mut glance = Glance::new(&json);
            if let Some(text) = glance.clone().string().and_then(Quoted::unescape) {
                let mut strings = serde_json::Deserializer::from_str(&json).into_iter::<String>();
                prop_assert_eq!(strings.next().unwrap().unwrap(), text);
            }
            if let Some(number) = glance.number() && glance.is_over() {
                prop_assert_eq!(serde_json::from_str::<u64>(&json).unwrap(), number);
            }
        }
    }

    #[test]
    fn one_looks_from_token_to_token() {
        let mut glance = Glance::new(" { \"a\" : 12 ,\n\"b\\n\": null } ");
        assert!(glance.eat(b'{') && !glance.eat(b'}'));
        assert_eq!(glance.string().unwrap().plain(), Some("a"));
        assert!(glance.eat(b':'));
        assert_eq!(glance.number(), Some(12));
        assert!(glance.eat(b','));
        let key = glance.string().unwrap();
        assert_eq!((key.plain(), key.unescape()), (None, Some("b\n".into())));
        assert!(glance.eat(b':') && !glance.word("true") && glance.word("null"));
        assert!(glance.eat(b'}') && glance.is_over());
        assert_eq!(glance.string(), None);
    }

    #[test]
    fn what_is_rare_or_wrong_is_given_up() {
        for json in [r#""a"#, r#""a\"#, "\"\n\"", "x", ""] {
            assert_eq!(Glance::new(json).string(), None, "{json}");
        }
        for json in [r#""\u0041""#, r#""\x""#, r#""\é""#] {
            assert_eq!(Glance::new(json).string().unwrap().unescape(), None, "{json}");
        }
        for json in ["01", "-1", "1.5", "1e3", "18446744073709551616", "", "x"] {
            assert_eq!(Glance::new(json).number(), None, "{json}");
        }
    }
}
