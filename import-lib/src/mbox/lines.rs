//! The lines of a message in an mbox, on their way out of it: quoted `From ` lines get their own form back, and lines end
//! in CRLF.

use ipc_proto::reader::Quoting;

/// How many `>` may stand before `From `: beyond, a line is left as it is.
const MAX_QUOTES: usize = 64;

/// What is done with the ends of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// LF becomes CRLF; a last line without an end gets one. CRLF stays.
    Foreign,
    /// LF becomes CRLF.
    Lf,
    /// They are what they are. If the quoting made the last line longer, it had no end.
    AsIs,
}

/// Takes octets as they come.
#[derive(Debug)]
pub(super) struct Lines {
    form: Form,
    quoting: Quoting,
    /// The beginning of a line that may have to lose a quote.
    held: Vec<u8>,
    at_start: bool,
    last: Option<u8>,
}

impl Lines {
    pub(super) fn new(form: Form, quoting: Quoting) -> Self {
        let quoting = match form {
            Form::Foreign => quoting,
            Form::Lf | Form::AsIs => Quoting::Mboxrd,
        };
        Self { form, quoting, held: Vec::new(), at_start: true, last: None }
    }

    pub(super) fn push(&mut self, octets: &[u8], each: &mut impl FnMut(&[u8])) {
        let mut rest = octets;
        while !rest.is_empty() {
            if self.at_start {
                rest = self.start(rest, each);
                continue;
            }
            let end = rest.iter().position(|octet| *octet == b'\n');
            let (line, after) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, &[]));
            self.give(line, each);
            rest = after;
            if let Some((_, after)) = rest.split_first() {
                self.end_line(each);
                rest = after;
            }
        }
    }

    pub(super) fn finish(&mut self, each: &mut impl FnMut(&[u8])) {
        self.unhold(each);
        if self.form == Form::Foreign && !matches!(self.last, None | Some(b'\n')) {
            each(b"\r\n");
        }
    }

    /// Octets at the start of a line are held until it is known whether it was quoted.
    fn start<'a>(&mut self, rest: &'a [u8], each: &mut impl FnMut(&[u8])) -> &'a [u8] {
        let Some((octet, after)) = rest.split_first() else { return rest };
        self.held.push(*octet);
        let quotes = self.held.iter().take_while(|octet| **octet == b'>').count();
        let behind = self.held.get(quotes..).unwrap_or_default();
        let most = match self.quoting {
            Quoting::Mboxrd => MAX_QUOTES,
            Quoting::Mboxo => 1,
            Quoting::Mboxcl2 => 0,
        };
        let undecided = quotes > 0 && quotes <= most && behind.len() < 5 && b"From ".starts_with(behind);
        if undecided {
            return after;
        }
        if quotes > 0 && quotes <= most && behind == b"From " {
            self.held.remove(0);
            self.unhold(each);
            return after;
        }
        // Nothing to undo: the octet that decided may be the line's end.
        self.held.pop();
        self.unhold(each);
        rest
    }

    fn unhold(&mut self, each: &mut impl FnMut(&[u8])) {
        let held = std::mem::take(&mut self.held);
        self.at_start = false;
        self.give(&held, each);
    }

    fn give(&mut self, octets: &[u8], each: &mut impl FnMut(&[u8])) {
        if let Some(last) = octets.last() {
            self.last = Some(*last);
            each(octets);
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(&[u8])) {
        let end: &[u8] = match self.form {
            Form::AsIs => b"\n",
            Form::Foreign | Form::Lf if self.last == Some(b'\r') => b"\n",
            Form::Foreign | Form::Lf => b"\r\n",
        };
        each(end);
        self.last = Some(b'\n');
        self.at_start = true;
    }
}
