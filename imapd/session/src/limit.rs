//! MESSAGELIMIT (RFC 9738): what one command may be about. Of more messages those with the highest UIDs are seen to, and
//! the answer says down to which, so that the client goes on below. What has to be whole is refused.

use std::borrow::Cow;

use imapd::response::{self, Status};

use crate::fetch::part_of;
use crate::reply::{Reply, Stop};
use crate::selected::Places;
use crate::session::Session;

/// A command did not see to all messages that it was about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    limit: u32,
    /// The lowest UID that it saw to.
    lowest: u32,
}

impl Session {
    /// The messages at `places` that one command may be about: the last of them.
    pub(crate) fn within_limit(&mut self, places: Places) -> Places {
        let limit = self.limits.messages;
        let (all, most) = (count(&places), usize::try_from(limit).unwrap_or(usize::MAX));
        if all <= most {
            return places;
        }
        let places = part_of(&places, all - most..all);
        let first = places.first().map(|range| range.start);
        let lowest =
            self.selected.as_ref().zip(first).and_then(|(selected, first)| selected.told().get(first));
        self.cut = lowest.map(|lowest| Cut { limit, lowest: lowest.value() });
        places
    }

    /// For what is done as a whole or not at all.
    pub(crate) fn check_limit(&self, messages: usize) -> Result<(), Stop> {
        let limit = self.limits.messages;
        match u32::try_from(messages).is_ok_and(|messages| messages <= limit) {
            true => Ok(()),
            false => Err(too_many(limit).into()),
        }
    }

    /// The same, where it shows only once the messages are known.
    pub(crate) fn refuse_cut(&mut self) -> Result<(), Stop> {
        match self.cut.take() {
            None => Ok(()),
            Some(cut) => Err(too_many(cut.limit).into()),
        }
    }
}

fn too_many(limit: u32) -> Reply {
    Reply::no(format!("[MESSAGELIMIT {limit}] that is about too many messages at once"))
}

/// The text of the tagged answer, with what is to be said of a command that was cut: in the answer, or before it where
/// another code is in its place (RFC 9738 §3).
pub(crate) fn tell_cut(
    out: &mut Vec<u8>,
    cut: Option<Cut>,
    status: Status,
    text: Cow<'static, str>,
) -> Cow<'static, str> {
    let Some(Cut { limit, lowest }) = cut else { return text };
    let code = format!("[MESSAGELIMIT {limit} {lowest}]");
    if status == Status::Ok && !text.starts_with('[') {
        return format!("{code} {text}, with {limit} messages").into();
    }
    response::untagged(out, Status::No, &format!("{code} there are more messages"));
    text
}

/// The places that are in both.
pub(crate) fn common(one: &Places, other: &Places) -> Places {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut common = Places::new();
    while let (Some(left), Some(right)) = (one.peek(), other.peek()) {
        let range = left.start.max(right.start)..left.end.min(right.end);
        if left.end < right.end {
            one.next();
        } else {
            other.next();
        }
        if range.start < range.end {
            common.push(range);
        }
    }
    common
}

pub(crate) fn count(places: &Places) -> usize {
    places.iter().map(ExactSizeIterator::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_two_sets_have_in_common() {
        let places =
            |ranges: &[(usize, usize)]| -> Places { ranges.iter().map(|(from, to)| *from..*to).collect() };
        for (one, other, expected) in [
            (&[(0, 10)][..], &[(2, 3), (5, 20)][..], &[(2, 3), (5, 10)][..]),
            (&[(0, 2), (4, 6)], &[(2, 4)], &[]),
            (&[], &[(0, 5)], &[]),
            (&[(0, 3), (3, 5)], &[(1, 4)], &[(1, 3), (3, 4)]),
        ] {
            let (one, other, expected) = (places(one), places(other), places(expected));
            assert_eq!(common(&one, &other), expected, "{one:?} {other:?}");
            assert_eq!(common(&other, &one), expected, "{other:?} {one:?}");
        }
    }

    #[test]
    fn a_code_has_room_for_itself_alone() {
        let cut = Some(Cut { limit: 10, lowest: 7 });
        for (status, text, tagged, untagged) in [
            (Status::Ok, "done", "[MESSAGELIMIT 10 7] done, with 10 messages", ""),
            (
                Status::Ok,
                "[MODIFIED 3] done",
                "[MODIFIED 3] done",
                "* NO [MESSAGELIMIT 10 7] there are more messages\r\n",
            ),
            (Status::No, "gone", "gone", "* NO [MESSAGELIMIT 10 7] there are more messages\r\n"),
        ] {
            let mut out = Vec::new();
            assert_eq!(tell_cut(&mut out, cut, status, text.into()), tagged);
            assert_eq!(String::from_utf8(out).unwrap(), untagged);
        }
        assert_eq!(tell_cut(&mut Vec::new(), None, Status::Ok, "done".into()), "done");
    }
}
