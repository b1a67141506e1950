//! The base subject (RFC 5256 §2.1), by which SORT and THREAD compare.

/// Longer subjects are cut: prefixes are taken off one at a time, and nobody replies two thousand octets deep.
const MAX_SUBJECT: usize = 2_000;

/// What a subject is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseSubject {
    /// Without `Re:`, `Fwd:`, `[list]` and the like. Not case-folded.
    pub text: String,
    /// Whether the subject said that the message is a reply or forward.
    pub is_reply: bool,
}

/// The base of a decoded subject.
#[must_use]
pub fn base_subject(decoded: &str) -> BaseSubject {
    let cut = decoded.floor_char_boundary(MAX_SUBJECT);
    let words: Vec<&str> = decoded.get(..cut).unwrap_or_default().split_whitespace().collect();
    let spaced = words.join(" ");
    let mut text = spaced.as_str();
    let mut is_reply = false;
    loop {
        while let Some(shorter) = strip_suffix_ignoring_case(text, "(fwd)") {
            is_reply = true;
            text = shorter.trim_end();
        }
        loop {
            if let Some(shorter) = without_leader(text) {
                is_reply = true;
                text = shorter;
            } else if let Some(shorter) = without_blob(text).filter(|rest| !rest.is_empty()) {
                text = shorter;
            } else {
                break;
            }
        }
        match strip_prefix_ignoring_case(text, "[fwd:").and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => {
                is_reply = true;
                text = inner.trim();
            }
            None => return BaseSubject { text: text.to_owned(), is_reply },
        }
    }
}

/// subj-leader = *subj-blob subj-refwd.
fn without_leader(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(shorter) = without_blob(rest) {
        rest = shorter;
    }
    let rest =
        ["re", "fwd", "fw"].iter().find_map(|word| strip_prefix_ignoring_case(rest, word))?.trim_start();
    let rest = without_blob(rest).unwrap_or(rest);
    rest.strip_prefix(':').map(str::trim_start)
}

/// subj-blob = "[" *BLOBCHAR "]" *WSP.
fn without_blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    inner.get(end..)?.strip_prefix(']').map(str::trim_start)
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn strip_suffix_ignoring_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_and_forwards_have_the_subject_of_what_they_answer() {
        for (subject, base, is_reply) in [
            ("Lunch", "Lunch", false),
            ("Re: Lunch", "Lunch", true),
            ("RE:re: FWD: Lunch (fwd) (FWD)", "Lunch", true),
            ("[list] Re: [list] Lunch", "Lunch", true),
            ("[list] Lunch", "Lunch", false),
            ("[only]", "[only]", false),
            ("Re[2]: Lunch", "Lunch", true),
            ("[Fwd: Re: Lunch  today]", "Lunch today", true),
            ("Regarding lunch", "Regarding lunch", false),
            ("Re:", "", true),
            ("", "", false),
            ("fw: ü", "ü", true),
        ] {
            assert_eq!(base_subject(subject), BaseSubject { text: base.to_owned(), is_reply }, "{subject}");
        }
    }

    /// Attack class 10: a subject made of prefixes.
    #[test]
    fn a_subject_of_prefixes_costs_no_more_than_its_cap() {
        for storm in ["[]", "[a] ", "re:", "[fwd:", "(fwd)", "ü[", "[x]re"] {
            assert!(base_subject(&storm.repeat(300_000)).text.len() <= MAX_SUBJECT);
        }
    }
}
