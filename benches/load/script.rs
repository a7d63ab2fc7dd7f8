//! What people say: lines that name their speaker and their place in order, so that nothing can go astray unseen.

use anyhow::{Context, ensure};

/// How every line is made and checked.
#[derive(Debug)]
pub(crate) struct Script {
    bytes: usize,
    /// Letters to fill lines with; each line begins at another one.
    letters: Vec<u8>,
}

/// One line: who says it, and how many that person has said before in this chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) speaker: u32,
    pub(crate) number: u32,
}

/// Two numbers of eight hexadecimal digits.
const HEAD: usize = 16;

/// A prime, so that neighbouring lines never look alike.
const SHIFTS: usize = 61;

impl Script {
    pub(crate) fn new(bytes: usize) -> anyhow::Result<Self> {
        ensure!(bytes >= HEAD, "a message needs at least {HEAD} bytes to be told from others");
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        Ok(Self { bytes, letters: letters.iter().copied().cycle().take(bytes + SHIFTS).collect() })
    }

    /// Bytes of every line.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn write(&self, line: Line, out: &mut Vec<u8>) {
        for number in [line.speaker, line.number] {
            out.extend_from_slice(&hex(number));
        }
        out.extend_from_slice(self.filler(line));
    }

    /// Reads a line, every byte of which must be as it was written.
    pub(crate) fn read(&self, bytes: &[u8]) -> anyhow::Result<Line> {
        let length = self.bytes;
        ensure!(bytes.len() == length, "a message of {length} bytes arrived with {}", bytes.len());
        let (head, filler) = bytes.split_at(HEAD);
        let (speaker, number) = head.split_at(HEAD / 2);
        let line = unhex(speaker).zip(unhex(number));
        let line = line.map(|(speaker, number)| Line { speaker, number });
        let line = line.context("a message arrived altered in its first bytes")?;
        ensure!(filler == self.filler(line), "{line:?} arrived altered");
        Ok(line)
    }

    fn filler(&self, line: Line) -> &[u8] {
        let shift = line.number as usize % SHIFTS;
        &self.letters[shift..shift + self.bytes - HEAD]
    }
}

fn hex(number: u32) -> [u8; HEAD / 2] {
    std::array::from_fn(|place| b"0123456789abcdef"[(number >> (28 - 4 * place)) as usize & 15])
}

fn unhex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u32::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_not_otherwise() {
        let script = Script::new(64).unwrap();
        for line in [Line { speaker: 0, number: 0 }, Line { speaker: 0xdead_beef, number: 4_321 }] {
            let mut written = Vec::new();
            script.write(line, &mut written);
            assert_eq!((written.len(), script.read(&written).unwrap()), (64, line));
            for place in 0..written.len() {
                let mut altered = written.clone();
                altered[place] ^= 1;
                assert!(script.read(&altered).ok() != Some(line), "byte {place}");
            }
            assert!(script.read(&written[1..]).is_err());
        }
    }

    #[test]
    fn lines_differ_from_their_neighbours_throughout() {
        let script = Script::new(64).unwrap();
        let [one, two] = [1, 2].map(|number| script.filler(Line { speaker: 0, number }));
        assert!(one.iter().zip(two).all(|(one, two)| one != two));
    }
}
