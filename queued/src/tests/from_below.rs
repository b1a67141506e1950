//! What a captured smtpd may try with descriptors and requests.

use nix::unistd::pipe;

use super::*;

/// Attack class 26: descriptors of the wrong kind are refused and counted; everybody else's mail goes on.
#[tokio::test]
async fn only_what_nobody_can_write_to_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let size = TEXT.len();
    let file = {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(TEXT).unwrap();
        file
    };
    let without = |seal| SEALS.difference(seal);
    for (fd, stated, reason) in [
        (memfd(TEXT).into(), size, "no seals"),
        (with_seals(TEXT, without(SealFlag::F_SEAL_WRITE)), size, "can be written to"),
        (with_seals(TEXT, without(SealFlag::F_SEAL_GROW)), size, "can grow"),
        (with_seals(TEXT, without(SealFlag::F_SEAL_SHRINK)), size, "can shrink"),
        (with_seals(TEXT, without(SealFlag::F_SEAL_SEAL)), size, "can get other seals"),
        (sealed(TEXT), size + 1, "shorter than stated"),
        (sealed(TEXT), size - 1, "longer than stated"),
        (file.into(), size, "a file on disk has no seals"),
        (pipe().unwrap().0, 0, "a pipe"),
        (UnixStream::pair().unwrap().0.into(), 0, "a socket"),
        (File::open(directory.path()).unwrap().into(), 0, "a directory"),
        (File::open("/dev/zero").unwrap().into(), 0, "a device"),
    ] {
        let reply = world.send(message(1, &["1@x.org"], stated), fd).await;
        assert_eq!(reply, QueuedToSmtpd::Refused, "{reason}");
        assert_eq!(world.board.refused.lock().unwrap().pop(), Some(ViolationKind::Fds), "{reason}");
    }
    assert_eq!(world.deliver(2, &["1@x.org"]).await, [Outcome::Filed]);
}

/// Attack class 26: bounds of the request. Attack class 18: trace fields that would end the header.
#[tokio::test]
async fn requests_beyond_their_bounds_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let base = || message(1, &["1@x.org"], TEXT.len());
    let trace = |text: &[u8]| Deliver { trace: text.to_vec(), ..base() };
    let long = [b"X-Long: ".as_slice(), &[b'a'; 8 * 1024], b"\r\n"].concat();
    for (deliver, kind, reason) in [
        (Deliver { recipients: Vec::new(), ..base() }, ViolationKind::Malformed, "nobody to deliver to"),
        (trace(&long), ViolationKind::Malformed, "over 8 KiB"),
        (trace(b"Received: a"), ViolationKind::Malformed, "no line end"),
        (trace(b"Received: a\r\n\r\n"), ViolationKind::Malformed, "ends the header"),
        (trace(b"\r\nReceived: a\r\n"), ViolationKind::Malformed, "ends the header at once"),
        (trace(b"Received: a\nb: c\r\n"), ViolationKind::Malformed, "a bare LF"),
        (trace(b"Received: a\rb: c\r\n"), ViolationKind::Malformed, "a bare CR"),
        (trace(b"Received: \0\r\n"), ViolationKind::Malformed, "a NUL"),
        (trace(b" continued\r\n"), ViolationKind::Malformed, "continues our own field"),
        (Deliver { size: u64::MAX, ..base() }, ViolationKind::TooLarge, "over the largest message"),
    ] {
        assert_eq!(world.send(deliver, sealed(TEXT)).await, QueuedToSmtpd::Refused, "{reason}");
        assert_eq!(world.board.refused.lock().unwrap().pop(), Some(kind), "{reason}");
    }
    assert_eq!(world.send(trace(b""), sealed(TEXT)).await, QueuedToSmtpd::Delivered(vec![Outcome::Filed]));
}

/// Attack class 26: a frame without its descriptor costs that channel, and only that.
#[tokio::test]
async fn a_request_without_its_fd_costs_the_channel() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let captured = connect(&world.service);
    let deliver = SmtpdToQueued::Deliver(message(1, &["1@x.org"], TEXT.len()));
    assert!(captured.call(&deliver, Vec::new()).await.is_err());
    assert_eq!(*world.board.violations.lock().unwrap(), [(ChannelId::SmtpdQueued, None, Violation::FdCount)]);
    assert_eq!(world.deliver(2, &["1@x.org"]).await, [Outcome::Filed]);
}

#[tokio::test]
async fn a_spool_file_comes_back_as_a_message() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let (number, mut file) = spool(&world.smtpd).await.unwrap();
    assert!(file.read_at(&mut [0], 0).is_err(), "smtpd can only write");
    let large = TEXT.repeat(50_000);
    file.write_all(&large).unwrap();
    drop(file);
    for reason in ["at first", "to whom the answer was lost"] {
        let reply = world.send_spooled(number, large.len()).await;
        assert_eq!(reply, QueuedToSmtpd::Delivered(vec![Outcome::Filed]), "{reason}");
    }
    assert!(world.account(1, |account| account.filed[0].octets == large && account.filed.len() == 1));
    world.forget(number).await;
    until_queued_files(directory.path(), 0).await;
    assert_eq!(world.send_spooled(number, large.len()).await, QueuedToSmtpd::Refused, "it is gone");
}

/// Attack class 26: a spool file that can still be changed is not believed, and neither is any other file.
#[tokio::test]
async fn a_spool_file_with_a_writer_left_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    for (attempt, reason) in ["writer", "writer on its way", "size", "number", "forgotten"].iter().enumerate()
    {
        let (number, mut file) = spool(&world.smtpd).await.unwrap();
        file.write_all(TEXT).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (named, size, kept) = match *reason {
            "writer" => (number, TEXT.len(), Some(file)),
            "writer on its way" => {
                // Between processes a descriptor can write as well.
                let fds = [std::os::fd::AsRawFd::as_raw_fd(&file)];
                let rights = [nix::sys::socket::ControlMessage::ScmRights(&fds)];
                let octets = [std::io::IoSlice::new(b"x")];
                let socket = std::os::fd::AsRawFd::as_raw_fd(&ours);
                let flags = nix::sys::socket::MsgFlags::empty();
                nix::sys::socket::sendmsg::<()>(socket, &octets, &rights, flags, None).unwrap();
                (number, TEXT.len(), None)
            }
            "size" => (number, TEXT.len() + 1, None),
            "number" => (SpoolNumber(number.0 ^ 1), TEXT.len(), None),
            _ => {
                world.forget(number).await;
                (number, TEXT.len(), None)
            }
        };
        assert_eq!(world.send_spooled(named, size).await, QueuedToSmtpd::Refused, "{reason}");
        assert_eq!(world.board.refused.lock().unwrap().len(), attempt + 1, "{reason}");
        drop((kept, theirs));
        world.forget(number).await;
    }
    assert_eq!(world.has(1), 0);
}

/// Attack class 27: the number of spool files is bounded, and what a client leaves behind is given back.
#[tokio::test]
async fn spool_files_are_bounded_and_abandoned_ones_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let mut held = Vec::new();
    for _ in 0..settings().spool_files {
        held.push(spool(&world.smtpd).await.unwrap());
    }
    assert!(spool(&world.smtpd).await.is_none(), "the budget is used up");
    let (number, file) = held.pop().unwrap();
    drop(file);
    world.forget(number).await;
    held.push(spool(&world.smtpd).await.expect("a forgotten one makes room"));
    assert!(spool(&world.smtpd).await.is_none());
    // Another smtpd: the first one's files end with its channel, whether it holds them or not.
    let World { service, smtpd, .. } = world;
    drop(smtpd);
    until_queued_files(directory.path(), 0).await;
    let smtpd = connect(&service);
    assert!(spool(&smtpd).await.is_some());
}

/// Attack class 26: a later smtpd was told no number of an earlier one's files, and they do not wait for it.
#[tokio::test]
async fn spool_files_end_with_the_smtpd_that_knows_them() {
    let directory = tempfile::tempdir().unwrap();
    let names: Vec<_> =
        (0..settings().spool_files + 2).map(|number| format!("spool-{number:016x}")).collect();
    for name in &names {
        std::fs::write(directory.path().join(name), TEXT).unwrap();
    }
    let world = World::start(directory.path());
    // More than there are places are not kept.
    until_queued_files(directory.path(), settings().spool_files as usize).await;
    assert!(spool(&world.smtpd).await.is_none(), "they have their places");
    let World { service, smtpd, .. } = world;
    drop(smtpd);
    until_queued_files(directory.path(), 0).await;
    assert!(spool(&connect(&service)).await.is_some());
}

/// The file of an smtpd that died together with queued is nobody's.
#[tokio::test]
async fn what_nobody_asks_for_again_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let path = |number: u64| directory.path().join(format!("spool-{number:016x}"));
    std::fs::write(path(1), TEXT).unwrap();
    std::fs::write(path(2), TEXT).unwrap();
    let mut writer = File::options().append(true).open(path(2)).unwrap();
    let world = World::start(directory.path());
    world.service.0.spool.forget_unclaimed();
    until_queued_files(directory.path(), 1).await;
    assert!(path(2).exists(), "a message is still coming in");
    writer.write_all(TEXT).unwrap();
    drop(writer);
    let reply = world.send_spooled(SpoolNumber(2), 2 * TEXT.len()).await;
    assert_eq!(reply, QueuedToSmtpd::Delivered(vec![Outcome::Filed]));
    world.service.0.spool.forget_unclaimed();
    until_queued_files(directory.path(), 0).await;
    world.service.forget_spooled().await;
}

#[test]
fn a_memfd_that_cannot_be_read_is_refused() {
    use crate::body::{Body, BodyError};
    let file = memfd(TEXT);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let writer = File::options().write(true).open(path).unwrap();
    assert!(matches!(Body::sealed(writer.into(), TEXT.len() as u64), Err(BodyError::NotReadable)));
}
