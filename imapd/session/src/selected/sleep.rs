//! The view of a mailbox, put away and taken up again.

use imapd::NumberSet;
use imapd::state::View;
use store_lib::{Changes, Keyword, MailboxId, ModSeq, Uid};

use super::Selected;

impl Selected {
    /// `None`: there is something that the client is still to be told, or more than a view holds.
    pub(crate) fn to_view(&self, uidvalidity: u32) -> Option<View> {
        let Self {
            mailbox: _,
            read_only,
            changes: _,
            uids,
            told,
            gone,
            flags,
            metadata,
            read_at: _,
            modseq,
            recent,
            claimed,
            shows_recent,
            saved,
            dropped,
            contexts,
            touched: _,
            keywords,
            introduced,
            access_key_reset,
            id_suffix,
        } = self;
        let settled = *told == uids.len()
            && gone.is_empty()
            && flags.is_empty()
            && metadata.is_empty()
            && contexts.is_empty()
            && !*claimed
            && !*access_key_reset
            && id_suffix.is_empty()
            && *introduced == keywords.len();
        if !settled {
            return None;
        }
        let mut known = NumberSet::default();
        uids.iter().for_each(|uid| known.push(uid.value()));
        Some(View {
            uidvalidity,
            read_only: *read_only,
            shows_recent: *shows_recent,
            modseq: modseq.value(),
            dropped: dropped.map(ModSeq::value),
            uids: known,
            recent: recent.clone(),
            saved: saved.clone(),
            keywords: keywords.iter().map(|keyword| keyword.as_str().to_owned()).collect(),
        })
    }

    /// As it was. `changes`: watched from now on; what came before is still to be compared. `None`: no session ever saw a
    /// mailbox so.
    pub(crate) fn from_view(mailbox: MailboxId, changes: Changes, view: View) -> Option<Self> {
        let numbers = view.uids.ranges().iter().cloned().flatten();
        let uids: Vec<Uid> = numbers.filter_map(Uid::new).collect();
        let keywords: Option<Vec<_>> =
            view.keywords.iter().map(|keyword| Keyword::parse(keyword).ok()).collect();
        let (modseq, keywords) = (ModSeq::new(view.modseq)?, keywords?);
        let dropped = view.dropped.map(|modseq| ModSeq::new(modseq).ok_or(())).transpose().ok()?;
        let mut selected = Self::new(mailbox, view.read_only, changes, uids, modseq, 0..0, keywords);
        selected.recent = view.recent;
        selected.shows_recent = view.shows_recent;
        selected.saved = view.saved;
        selected.dropped = dropped;
        Some(selected)
    }
}
