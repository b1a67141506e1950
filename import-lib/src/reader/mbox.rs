//! Reading an mbox.

use std::fs::File;

use ipc_proto::reader::{FromReader, Quoting, SourceMailbox};

use super::{
    begin,
    link::{Link, Stop},
};
use crate::mbox::Mbox;

pub(super) fn read(file: File, size: u64, quoting: Quoting, link: &mut Link) -> Result<(), Stop> {
    let failed = |error: std::io::Error| Stop::source(format!("the file cannot be read: {error}"));
    let mbox = Mbox::open(file, size, quoting).map_err(failed)?;
    let Some(mut mbox) = mbox else {
        return Err(Stop::source("it is no mbox: it does not begin with a `From ` line"));
    };
    link.say(&FromReader::Totals { messages: 0, octets: size })?;
    let mailbox = SourceMailbox {
        source: String::new(),
        name: String::new(),
        special_use: None,
        uids: None,
        messages: 0,
    };
    let Some(known) = begin(link, mailbox)? else { return Ok(()) };
    let mut passed = 0;
    while let Some(message) = mbox.next_message().map_err(failed)? {
        if known.contains(&message.head.key) {
            passed += 1;
            continue;
        }
        link.begin(message.head.clone())?;
        let mut sent = Ok(());
        let read = mbox.read(&message, |octets| {
            if sent.is_ok() {
                sent = link.octets(octets);
            }
        });
        sent?;
        match read {
            Ok(()) => link.end()?,
            // It was made shorter meanwhile.
            Err(_) => link.gone()?,
        }
    }
    link.say(&FromReader::Known(passed))
}
