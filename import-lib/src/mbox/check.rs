//! What must hold for any octets that somebody calls an mbox. Run by the fuzz target and by the unit tests.

use ipc_proto::reader::Quoting;

use super::{Layout, Mbox, Message, Writer};
use crate::window::Window;

/// What is read of a file through a window of that size.
pub(crate) fn read(file: &[u8], window: usize, quoting: Quoting) -> Option<Vec<(Message, Vec<u8>)>> {
    let window = Window::with_size(file, file.len() as u64, window);
    let mut mbox = Mbox::with(window, quoting).ok().flatten()?;
    let mut messages = Vec::new();
    let mut before = mbox.position();
    while let Ok(Some(message)) = mbox.next_message() {
        let mut octets = Vec::new();
        assert!(mbox.read(&message, |piece| octets.extend_from_slice(piece)).is_ok());
        assert!(mbox.position() > before, "it gets on");
        before = mbox.position();
        messages.push((message, octets));
    }
    Some(messages)
}

/// The file of these messages.
pub(crate) fn write(messages: &[(Message, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (message, octets) in messages {
        let mut layout = Layout::default();
        octets.chunks(5).for_each(|piece| layout.push(piece));
        let written = writer
            .begin(&message.head.flags, message.head.received, &layout)
            .and_then(|()| octets.chunks(7).try_for_each(|piece| writer.push(piece)))
            .and_then(|()| writer.end());
        assert!(written.is_ok());
    }
    writer.into_inner()
}

/// Nothing panics or stands still; the size of the window changes nothing; what was read is the same after it was written
/// and read once more.
pub(crate) fn check_mbox(file: &[u8]) {
    for quoting in [Quoting::Mboxrd, Quoting::Mboxo, Quoting::Mboxcl2] {
        let Some(messages) = read(file, 1 << 20, quoting) else { continue };
        let same = |others: &[(Message, Vec<u8>)]| {
            assert_eq!(messages.len(), others.len());
            for ((message, octets), (other, other_octets)) in messages.iter().zip(others) {
                assert_eq!((&message.head, octets), (&other.head, other_octets));
            }
        };
        same(&read(file, 600, quoting).unwrap_or_default());
        same(&read(&write(&messages), 1 << 20, Quoting::Mboxrd).unwrap_or_default());
    }
}
