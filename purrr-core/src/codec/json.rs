//! Fast paths for JSON: [`FastReader`], [`write_string`], and [`slice`] for what is kept of a
//! message.
//!
//! [`FastReader`] is not a parser. It knows flat objects, arrays, strings, whole numbers, `null`,
//! `true` and `false`, and returns `None` at anything else. The caller then asks `serde_json`,
//! which knows all of JSON and locates errors. So the reader must never accept what `serde_json`
//! would refuse, or read it differently.

use std::{borrow::Cow, fmt::Write};

use bytestring::ByteString;

/// Reads common JSON token by token, skipping white space before each.
#[derive(Clone, Debug)]
pub struct FastReader<'a> {
    text: &'a str,
    at: usize,
}

/// The contents of a string, with its escapes unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<'a> {
    raw: &'a str,
    escaped: bool,
}

/// A value that is neither an object nor an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number from 0.
    Unsigned(u64),
    /// A string.
    Text(Quoted<'a>),
}

/// Digits that always fit into a `u64`.
const DIGITS: usize = 19;

/// Bytes of a long string that are checked at a time.
const BLOCK: usize = 32;

impl<'a> FastReader<'a> {
    /// Creates a reader at the start of a text.
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Returns the next byte that is not white space.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.as_bytes().get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Consumes this byte if it comes next.
    #[inline]
    pub fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.peek() == Some(byte);
        self.at += usize::from(eaten);
        eaten
    }

    /// Returns true if only white space is left.
    pub fn is_over(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Reads an object. `member` gets each name and must read its value.
    #[inline]
    pub fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a str) -> Option<()>,
    ) -> Option<()> {
        if !self.eat(b'{') {
            return None;
        }
        if self.eat(b'}') {
            return Some(());
        }
        self.member(&mut member)?;
        self.rest_of_object(member)
    }

    /// Reads the members after the first one, and the end of the object.
    #[inline]
    pub fn rest_of_object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a str) -> Option<()>,
    ) -> Option<()> {
        while self.eat(b',') {
            self.member(&mut member)?;
        }
        self.eat(b'}').then_some(())
    }

    #[inline]
    fn member(&mut self, member: &mut impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        let name = self.string()?.plain()?;
        if !self.eat(b':') {
            return None;
        }
        member(self, name)
    }

    /// Reads a value that is neither an object nor an array.
    #[inline]
    pub fn scalar(&mut self) -> Option<Scalar<'a>> {
        Some(match self.peek()? {
            b'"' => Scalar::Text(self.string()?),
            b'n' if self.word("null") => Scalar::Null,
            b't' if self.word("true") => Scalar::Bool(true),
            b'f' if self.word("false") => Scalar::Bool(false),
            _ => Scalar::Unsigned(self.number()?),
        })
    }

    /// Reads a string without checking its escapes.
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

    /// Reads a whole number from 0.
    #[inline]
    pub fn number(&mut self) -> Option<u64> {
        self.peek()?;
        let rest = &self.text.as_bytes()[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = rest.split_at(digits);
        // Leading zeros, fractions and exponents are left to `serde_json`.
        let whole = !matches!(rest.first(), Some(b'.' | b'e' | b'E'));
        if !whole || digits == 0 || digits > DIGITS || digits > 1 && number[0] == b'0' {
            return None;
        }
        self.at += digits;
        Some(number.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
    }

    /// Consumes this word if it comes next.
    #[inline]
    pub fn word(&mut self, word: &str) -> bool {
        let found =
            self.peek().is_some() && self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += if found { word.len() } else { 0 };
        found
    }
}

impl<'a> Quoted<'a> {
    /// Returns the string if it has no escapes.
    #[must_use]
    pub fn plain(self) -> Option<&'a str> {
        (!self.escaped).then_some(self.raw)
    }

    /// Returns the string without its escapes, or `None` if one is `\\u` or invalid.
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

/// Writes a string with quotes and escapes, byte for byte as `serde_json` does.
///
/// Own code, because `serde_json` escapes byte by byte: 53 ns instead of 21 ns for 64 bytes, and 33
/// µs instead of 19 µs for 48 KiB. That is 6 % of a message with 8 in flight, and half of the CPU
/// time of a 1 MB image in the Purrr.chat dialect.
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

/// Returns the number of bytes before the first one that needs an escape.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    let mut at = 0;
    // Most strings are short: a field name ends within the first word.
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

/// Returns the index of the first byte that needs an escape.
///
/// SWAR: sets the high bit of each byte that is `"`, `\` or a control character (see `hasless` in
/// <https://graphics.stanford.edu/~seander/bithacks.html>).
#[inline]
const fn first_special(word: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let word = u64::from_le_bytes(word);
    let quotes = word ^ (ONES * b'"' as u64);
    let slashes = word ^ (ONES * b'\\' as u64);
    // A byte less than the subtrahend borrows and gets its high bit set. Bytes after the first hit
    // may be false positives.
    let found = quotes.wrapping_sub(ONES) & !quotes
        | slashes.wrapping_sub(ONES) & !slashes
        | word.wrapping_sub(ONES * b' ' as u64) & !word;
    let found = found & (ONES << 7);
    if found == 0 { None } else { Some(found.trailing_zeros() as usize / 8) }
}

/// Returns true if no byte needs an escape. Written as a fold so that LLVM vectorizes it.
#[inline]
fn is_plain(block: &[u8; BLOCK]) -> bool {
    let zero_if_special =
        |byte: u8| (byte ^ b'"').min(byte ^ b'\\').min(byte.saturating_sub(b' ' - 1));
    block.iter().fold(u8::MAX, |least, byte| least.min(zero_if_special(*byte))) != 0
}

/// Bytes of a receive buffer that a slice of it may keep alive unused.
///
/// The 256 frames of a full queue then waste at most half of the bytes that the queue may hold.
pub const MAX_WASTE: usize = 2 * 1024;

/// Returns true if a part of so many bytes may share its receive buffer.
///
/// A slice keeps the whole buffer alive. A part is shared only if it leaves at most [`MAX_WASTE`]
/// or a 16th of itself unused. Otherwise it must be copied.
#[must_use]
pub fn worth_sharing(part: usize, whole: usize) -> bool {
    whole.saturating_sub(part) <= MAX_WASTE.max(part / 16)
}

/// Returns a part of a text as a slice, if it is [worth sharing](worth_sharing).
///
/// # Panics
///
/// If `part` does not lie in `source`.
#[must_use]
pub fn slice(source: &ByteString, part: &str) -> Option<ByteString> {
    worth_sharing(part.len(), source.len()).then(|| source.slice_ref(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Strings with and without escapes, some longer than a block.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[ -~\n\t\\\\\"\u{1}é🐈]{0,100}",
            "[a-z]{60,200}[\"\\\\\n\u{1f} \u{7f}é]?[a-z]{0,80}"
        ]
    }

    proptest! {
        #[test]
        fn write_string_equals_serde_json(text in texts()) {
            let mut written = String::new();
            write_string(&text, &mut written);
            prop_assert_eq!(&written, &serde_json::to_string(&text).unwrap());
            let read = FastReader::new(&written).string().unwrap();
            let rare = text.contains(|c: char| c < ' ' && !"\u{8}\u{c}\n\r\t".contains(c));
            prop_assert_eq!(read.unescape().map(Cow::into_owned), (!rare).then_some(text));
        }

        #[test]
        fn fast_reader_agrees_with_serde_json(
            json in "[ \t]?(\"[a\"\\\\/bfnrtué\u{1}]{0,20}\"?|[-0-9.e]{1,21}|[nultre]{1,5})"
        ) {
            let mut reader = FastReader::new(&json);
            if let Some(text) = reader.clone().string().and_then(Quoted::unescape) {
                let mut strings = serde_json::Deserializer::from_str(&json).into_iter::<String>();
                prop_assert_eq!(strings.next().unwrap().unwrap(), text);
            }
            if let Some(number) = reader.number() && reader.is_over() {
                prop_assert_eq!(serde_json::from_str::<u64>(&json).unwrap(), number);
            }
        }
    }

    #[test]
    fn fast_reader_tokens() {
        let mut reader = FastReader::new(" { \"a\" : 12 ,\n\"b\\n\": null } ");
        assert!(reader.eat(b'{') && !reader.eat(b'}'));
        assert_eq!(reader.string().unwrap().plain(), Some("a"));
        assert!(reader.eat(b':'));
        assert_eq!(reader.number(), Some(12));
        assert!(reader.eat(b','));
        let key = reader.string().unwrap();
        assert_eq!((key.plain(), key.unescape()), (None, Some("b\n".into())));
        assert!(reader.eat(b':') && !reader.word("true") && reader.word("null"));
        assert!(reader.eat(b'}') && reader.is_over());
        assert_eq!(reader.string(), None);
    }

    #[test]
    fn fast_reader_refuses_rare_and_invalid_json() {
        for json in [r#""a"#, r#""a\"#, "\"\n\"", "x", ""] {
            assert_eq!(FastReader::new(json).string(), None, "{json}");
        }
        for json in [r#""\u0041""#, r#""\x""#, r#""\é""#] {
            assert_eq!(FastReader::new(json).string().unwrap().unescape(), None, "{json}");
        }
        for json in ["01", "-1", "1.5", "1e3", "18446744073709551616", "", "x"] {
            assert_eq!(FastReader::new(json).number(), None, "{json}");
        }
    }
}
