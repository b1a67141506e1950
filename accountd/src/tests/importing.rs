//! Mail that moxctl brings and takes, and what it never says.

use std::os::fd::OwnedFd;

use ipc_proto::{
    admin::{AccountdToAdmin, AdminAccountd, AdminToAccountd},
    blocking::Asker,
    transfer::*,
};

use super::*;

fn admin(world: &World) -> Asker<AdminAccountd> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let order = Order::Channel { channel: ChannelId::AdminAccountd, account: None, run: Run(1) };
    assert_eq!(world.account.take(order, vec![theirs.into()]).unwrap(), Next::Continue);
    Asker::new(ours).unwrap()
}

fn ask(
    asker: &Asker<AdminAccountd>,
    request: ImportRequest,
    fds: Vec<OwnedFd>,
) -> Result<ImportReply, String> {
    match asker.call(&AdminToAccountd::Import(request), fds).unwrap().0 {
        AccountdToAdmin::Import(reply) => Ok(reply),
        AccountdToAdmin::Refused(line) => Err(line),
        other => panic!("{other:?}"),
    }
}

fn begin(asker: &Asker<AdminAccountd>, mailbox: &str) -> Result<ImportReply, String> {
    let target = ImportTarget {
        mailbox: mailbox.to_owned(),
        source: "here".to_owned(),
        special_use: None,
        subscribed: false,
        uids: None,
        skip_duplicates: false,
        again: false,
    };
    ask(asker, ImportRequest::Begin(target), Vec::new())
}

fn head(number: u8) -> Mail {
    let flags = MailFlags { system: 1, keywords: vec!["work".to_owned(), "no atom".to_owned()] };
    Mail::Begin(MailHead { key: ImportKey([number; 16]), uid: None, flags, received: 7 })
}

fn block(stream: &[u8], seals: SealFlag) -> OwnedFd {
    let mut file =
        File::from(memfd_create(c"block", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap());
    file.write_all(stream).unwrap();
    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals)).unwrap();
    file.into()
}

fn send(asker: &Asker<AdminAccountd>, stream: &[u8]) -> Result<ImportReply, String> {
    let octets = u32::try_from(stream.len()).unwrap();
    ask(asker, ImportRequest::Block { octets }, vec![block(stream, SealFlag::all())])
}

fn whole(number: u8, octets: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    write_value(&head(number), &mut stream).unwrap();
    write_octets(octets, &mut stream);
    write_value(&Mail::End, &mut stream).unwrap();
    stream
}

#[test]
fn a_message_may_go_on_in_the_next_block_and_each_comes_once() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let asker = admin(&world);
    assert_eq!(begin(&asker, "Old"), Ok(ImportReply::Ready { keeps_uids: false }));
    let mut stream = whole(1, TEXT);
    write_value(&head(2), &mut stream).unwrap();
    write_octets(b"Subject: two\r\n", &mut stream);
    assert_eq!(send(&asker, &stream), Ok(ImportReply::Filed(vec![Imported::Filed])));
    let mut rest = Vec::new();
    write_octets(b"\r\ntext\r\n", &mut rest);
    write_value(&Mail::End, &mut rest).unwrap();
    rest.extend(whole(1, TEXT));
    assert_eq!(send(&asker, &rest), Ok(ImportReply::Filed(vec![Imported::Filed, Imported::Known])));
    let known = ask(&asker, ImportRequest::Known { after: None }, Vec::new());
    assert_eq!(known, Ok(ImportReply::Known(vec![ImportKey([1; 16]), ImportKey([2; 16])])));
    world.account.store.verify().unwrap();
}

#[test]
fn what_moxctl_never_says_is_refused_and_files_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let asker = admin(&world);
    assert!(send(&asker, &whole(1, TEXT)).is_err(), "no mailbox was begun");
    assert!(begin(&asker, "../../etc").unwrap_err().contains("no name of a mailbox"));
    let mut nested = Vec::new();
    write_value(&head(1), &mut nested).unwrap();
    write_value(&head(2), &mut nested).unwrap();
    let mut end = Vec::new();
    write_value(&Mail::End, &mut end).unwrap();
    let mut lonely = Vec::new();
    write_octets(TEXT, &mut lonely);
    let cut = &whole(1, TEXT)[..40];
    for stream in [&nested, &end, &lonely, cut, &[9; 20][..]] {
        begin(&asker, "Old").unwrap();
        let refused = send(&asker, stream).unwrap_err();
        assert!(refused.ends_with("use the moxctl that lies beside moxd"), "{refused}");
        assert!(send(&asker, &whole(1, TEXT)).is_err(), "the mailbox has to be begun again");
    }
    begin(&asker, "Old").unwrap();
    let stream = whole(1, TEXT);
    let octets = u32::try_from(stream.len()).unwrap();
    let unsealed = block(&stream, SealFlag::F_SEAL_GROW);
    assert!(ask(&asker, ImportRequest::Block { octets }, vec![unsealed]).is_err(), "it could be changed");
    begin(&asker, "Old").unwrap();
    assert!(ask(&asker, ImportRequest::Block { octets: 1 }, vec![block(&stream, SealFlag::all())]).is_err());
    let name = MailboxName::parse("Old").unwrap();
    let found = world.account.store.read(&Budget::default(), |reader| reader.find(&name)).unwrap().unwrap();
    assert_eq!(found.counts.total, 0);
}

#[test]
fn a_message_over_the_limit_is_told_and_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let asker = admin(&world);
    begin(&asker, "INBOX").unwrap();
    let mut told = Vec::new();
    let mut stream = Vec::new();
    write_value(&head(1), &mut stream).unwrap();
    for _ in 0..200 {
        write_octets(&[b'x'; PIECE], &mut stream);
        if stream.len() + 2 * PIECE > BLOCK {
            told.push(send(&asker, &stream).unwrap());
            stream.clear();
        }
    }
    write_value(&Mail::End, &mut stream).unwrap();
    stream.extend(whole(2, TEXT));
    assert!(told.iter().all(|reply| *reply == ImportReply::Filed(Vec::new())));
    assert_eq!(send(&asker, &stream), Ok(ImportReply::Filed(vec![Imported::TooLarge, Imported::Filed])));
}
