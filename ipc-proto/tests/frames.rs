//! Frames come out the same however the stream is cut.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::os::fd::OwnedFd;

use common::{file_with, text_of};
use ipc_proto::{
    ChannelId, Violation,
    frame::{self, FrameReader, HEADER, Kind},
};
use proptest::prelude::*;

const MAX_BODY: usize = 4096;

/// A frame and the texts of its fds.
type Written = (Kind, u64, Vec<u8>, Vec<String>);

fn octets_of((kind, id, body, fds): &Written) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    let counts = [u8::try_from(fds.len()).unwrap(), *kind as u8];
    [&length.to_le_bytes()[..], &counts, &id.to_le_bytes(), body].concat()
}

/// Feeds frames as the kernel does: cut before `cuts`, fds with the read of their frame's first octet, and no read goes
/// on behind a frame that had fds.
fn read_in_pieces(frames: &[Written], cuts: &[usize]) -> Result<Vec<Written>, Violation> {
    let mut reader = FrameReader::new(ChannelId::SmtpdQueued, MAX_BODY);
    let mut seen = Vec::new();
    let mut feed = |octets: &[u8], fds: Vec<OwnedFd>| {
        let space = reader.space();
        assert!(space.len() >= octets.len(), "{} octets of room", space.len());
        space[..octets.len()].copy_from_slice(octets);
        reader.filled(octets.len(), fds);
        while let Some(frame) = reader.next_frame()? {
            let texts = frame.fds.into_iter().map(text_of).collect();
            seen.push((frame.kind, frame.id, frame.body.to_vec(), texts));
        }
        Ok::<(), Violation>(())
    };
    let hello = frame::hello(ChannelId::SmtpdQueued);
    let (mut at, mut waiting) = (0, Vec::new());
    let with_hello = std::iter::once((hello, &[][..])).chain(frames.iter().map(|f| (octets_of(f), &f.3[..])));
    for (octets, texts) in with_hello {
        let mut fds: Vec<OwnedFd> = texts.iter().map(|text| file_with(text)).collect();
        let had_fds = !fds.is_empty();
        for (nth, octet) in octets.iter().enumerate() {
            if cuts.contains(&at) && !waiting.is_empty() {
                // This frame's fds come with its own first octet, which is not among these unless it has begun.
                let with = if nth > 0 { std::mem::take(&mut fds) } else { Vec::new() };
                feed(&waiting, with)?;
                waiting.clear();
            }
            waiting.push(*octet);
            at += 1;
        }
        if had_fds {
            feed(&waiting, fds)?;
            waiting.clear();
        }
    }
    if !waiting.is_empty() {
        feed(&waiting, Vec::new())?;
    }
    Ok(seen)
}

fn written(kind: Kind, id: u64, body: &[u8], fds: &[&str]) -> Written {
    (kind, id, body.to_vec(), fds.iter().map(ToString::to_string).collect())
}

#[test]
fn every_cut_gives_the_same_frames_with_the_same_fds() {
    let frames = [
        written(Kind::Request, 1, b"one", &["a"]),
        written(Kind::Reply, u64::MAX, b"", &[]),
        written(Kind::Request, 2, b"two", &["b", "c", "d", "e"]),
        written(Kind::Dropped, 3, b"", &[]),
        written(Kind::Request, 4, b"four", &[]),
    ];
    let length: usize = frames.iter().map(|frame| octets_of(frame).len()).sum();
    let length = length + frame::hello(ChannelId::SmtpdQueued).len();
    for first in 0..length {
        assert_eq!(read_in_pieces(&frames, &[first]).as_deref(), Ok(&frames[..]), "cut at {first}");
        for second in [first + 1, first + HEADER] {
            assert_eq!(
                read_in_pieces(&frames, &[first, second]).as_deref(),
                Ok(&frames[..]),
                "{first}, {second}"
            );
        }
    }
    let everywhere: Vec<_> = (0..length).collect();
    assert_eq!(read_in_pieces(&frames, &everywhere).as_deref(), Ok(&frames[..]));
}

fn any_frame() -> impl Strategy<Value = Written> {
    let kind = prop_oneof![Just(Kind::Request), Just(Kind::Reply), Just(Kind::Dropped)];
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(any::<u8>(), MAX_BODY - 1..=MAX_BODY)
    ];
    (kind, any::<u64>(), body, 0..3_usize).prop_map(|(kind, id, body, fds)| match kind {
        Kind::Dropped => (kind, id, Vec::new(), Vec::new()),
        Kind::Hello | Kind::Request | Kind::Reply => {
            (kind, id, body, (0..fds).map(|nth| format!("{id}/{nth}")).collect())
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_frames_cut_anywhere_come_out_the_same(
        frames in prop::collection::vec(any_frame(), 0..6),
        cuts in prop::collection::vec(0..20_000_usize, 0..20),
    ) {
        prop_assert_eq!(read_in_pieces(&frames, &cuts), Ok(frames));
    }
}

#[test]
fn a_frame_over_the_bound_is_refused_before_its_body_comes() {
    let mut reader = FrameReader::new(ChannelId::SmtpdQueued, MAX_BODY);
    let hello = frame::hello(ChannelId::SmtpdQueued);
    let over = [&u32::try_from(MAX_BODY + 1).unwrap().to_le_bytes()[..], &[0; 10]].concat();
    let octets = [hello, over].concat();
    reader.space()[..octets.len()].copy_from_slice(&octets);
    reader.filled(octets.len(), []);
    assert_eq!(reader.next_frame().unwrap_err(), Violation::TooLarge { limit: MAX_BODY });
}
