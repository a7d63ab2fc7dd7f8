//! The normal forms in which tags are compared: [`interest`] and [`language`].
//!
//! Two crates do the Unicode part: `unicode-normalization` has the tables of NFKC and `caseless`
//! those of case folding. Both are tables without further dependencies but `tinyvec`.

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;

/// Rounds after which a normal form is stable. Real text is after one.
const ROUNDS: usize = 8;

/// Returns the normal form of an interest.
///
/// NFKC, case folded, white space collapsed to one space and trimmed, without invisible characters
/// and leading `#`.
pub(super) fn interest(text: &str) -> Box<str> {
    if is_normal_ascii(text) {
        return text.into();
    }
    if text.is_ascii() {
        return tidy(&text.to_ascii_lowercase()).into();
    }
    let mut normal = fold(text);
    // Folding and normalizing can each undo what the other did, so that a second round differs.
    for _ in 0..ROUNDS {
        let again = fold(&normal);
        if again == normal {
            break;
        }
        normal = again;
    }
    normal.into()
}

/// Returns the normal form of a language tag: its primary language.
///
/// It is where the lookup of RFC 4647, section 3.4, ends: subtags are removed from the end until
/// two tags agree. `pt-BR` and `pt` meet, and so do `en_US` and `en-GB`.
pub(super) fn language(tag: &str) -> Box<str> {
    if is_primary_language(tag) {
        return tag.into();
    }
    let tag = interest(tag);
    // What follows in a POSIX locale, such as `.utf-8`, belongs to no language.
    let name = tag.split(['.', '@']).next().unwrap_or_default().trim_end();
    let primary = name.split(['-', '_']).next().unwrap_or_default().trim_end();
    match primary {
        // A single character begins a tag that is registered or private as a whole.
        short if short.chars().count() < 2 => name.replace('_', "-").into(),
        // Withdrawn codes, which browsers still send.
        "iw" => "he".into(),
        "in" => "id".into(),
        "ji" => "yi".into(),
        primary => primary.into(),
    }
}

/// Returns true for most language tags that are in their normal form already.
pub(super) fn is_primary_language(tag: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase();
    tag.len() >= 2 && tag.bytes().all(is_letter) && !matches!(tag, "iw" | "in" | "ji")
}

/// Returns true if an interest is ASCII in its normal form already, as most are.
fn is_normal_ascii(text: &str) -> bool {
    // A space before the text and one after it, so that one test finds every needless space.
    let mut before = b' ';
    for byte in text.bytes() {
        let is_kept = matches!(byte, b' '..=b'@' | b'['..=b'~');
        if !is_kept || (byte == b' ' && before == b' ') {
            return false;
        }
        before = byte;
    }
    (before != b' ' || text.is_empty()) && !text.starts_with('#')
}

fn fold(text: &str) -> String {
    let folded = text.nfd().default_case_fold().nfkd().default_case_fold().nfkc();
    tidy(&folded.filter(|c| !is_invisible(*c)).nfkc().collect::<String>())
}

/// Collapses white space, and removes control characters and leading `#`.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut space_due = false;
    for c in text.chars() {
        if c.is_whitespace() {
            space_due = !tidy.is_empty();
        } else if !c.is_control() && (c != '#' || !tidy.is_empty()) {
            if std::mem::take(&mut space_due) {
                tidy.push(' ');
            }
            tidy.push(c);
        }
    }
    tidy
}

/// Returns true for the characters that Unicode displays as nothing (`Default_Ignorable`).
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_interest_are_equal() {
        for spellings in [
            &["café", "cafe\u{301}", " CAFÉ\t", "#café", "# Cafe\u{301}", "ca\u{ad}fé"][..],
            &["anime", "ＡＮＩＭＥ", "\u{200b}Anime\u{fe0f}", "##anime", "＃anime"],
            &["late night trains", " Late  Night\u{a0}\nTrains ", "late\u{3000}night trains"],
            &["straße", "STRASSE", "strasse"],
            &["σίσυφος", "ΣΊΣΥΦΟΣ", "σίσυφοσ"],
            &["ﬁlm", "film", "FILM"],
            &["c#", "C#", "c＃", "#c#"],
            &["가", "가"],
            &["", " ", "#", "\u{200d}", "\u{3164}", "\u{0}"],
        ] {
            let normal = interest(spellings[0]);
            for spelling in spellings {
                assert_eq!(interest(spelling), normal, "{spelling:?}");
            }
        }
        for (one, other) in [("cafe", "café"), ("c", "c#"), ("a b", "ab"), ("が", "か"), ("ı", "i")]
        {
            assert_ne!(interest(one), interest(other));
        }
    }

    #[test]
    fn languages_are_looked_up() {
        for (tag, primary) in [
            ("pt-BR", "pt"),
            ("pt", "pt"),
            ("en_US", "en"),
            ("en-GB", "en"),
            ("EN-gb-oed", "en"),
            ("zh-Hant-TW", "zh"),
            ("en_US.UTF-8", "en"),
            ("sr@latin", "sr"),
            ("iw-IL", "he"),
            ("i-klingon", "i-klingon"),
            ("x-elvish", "x-elvish"),
            ("ｄｅ－AT", "de"),
            ("gsw", "gsw"),
            ("*", "*"),
            ("en -GB", "en"),
            ("! -", "! -"),
            ("-", "-"),
            ("", ""),
        ] {
            assert_eq!(&*language(tag), primary, "{tag}");
        }
    }

    proptest! {
        #[test]
        fn short_cuts_change_nothing(text in "[ -~]{0,6}|[a-z]{0,3}|[#a \\t\u{7f}A]{0,5}") {
            let tidied = tidy(&text.to_ascii_lowercase());
            prop_assert_eq!(is_normal_ascii(&text), tidied == text);
            prop_assert_eq!(&*interest(&text), &*tidied);
            if is_primary_language(&text) {
                // A subtag keeps the short cut from being taken.
                prop_assert_eq!(&*language(&format!("{text}-x")), &*text);
            }
        }

        #[test]
        fn normal_forms_are_idempotent(text in r"\PC{0,12}|[#\s\PC]{0,8}|[ -~]{0,16}") {
            for normal in [interest, language] {
                let once = normal(&text);
                prop_assert_eq!(&*normal(&once), &*once, "{:?}", text);
            }
        }

        #[test]
        fn any_character_has_one_normal_form(text in proptest::collection::vec(any::<char>(), 0..6)) {
            let text = String::from_iter(text);
            let once = interest(&text);
            prop_assert_eq!(&*interest(&once), &*once, "{:?}", text);
            for spelled in [
                text.nfd().to_string(),
                text.nfc().to_string(),
                text.nfkd().to_string(),
                format!(" \u{200b}#{text}\u{ad}\u{2003}"),
            ] {
                prop_assert_eq!(&*interest(&spelled), &*once, "{:?} as {:?}", text, spelled);
            }
        }
    }
}
