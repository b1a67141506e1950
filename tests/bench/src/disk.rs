//! What a message takes on the disk.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    aims::{Aims, Bound},
    delivery::{self, Load},
    failure::Failure,
    instance::{Instance, Programs},
    message::Octets,
};

/// Beyond 1.3 octets for each of the message, octets.
const BEYOND: f64 = 1024.0;

/// A new account for each size; what it takes after an orderly stop, which folds in the log, less what it took empty.
pub(crate) fn measure(
    programs: &Programs,
    place: &Path,
    share: usize,
    aims: &mut Aims,
) -> Result<(), Failure> {
    crate::line(format_args!("\non disk    messages  octets a message  less 1.3 for each octet"));
    for (size, messages) in [(Octets(1024), 10_000), (Octets(2048), 10_000), (Octets(50 * 1024), 1_000)] {
        let load = Load { size, connections: 10, messages: messages / share };
        let directory = place.join(format!("disk-{}", size.0));
        Instance::start(programs, &directory)?.stop()?;
        let before = taken(&accounts(&directory)?)?;
        let instance = Instance::start(programs, &directory)?;
        delivery::measure(&instance, load)?;
        instance.stop()?;
        let more = taken(&accounts(&directory)?)?.saturating_sub(before);
        // With the one that woke the account.
        let each = load.share(more) * load.whole() / (load.whole() + 1.0);
        let beyond = each - 1.3 * load.octets();
        crate::line(format_args!("{size:<10} {:>8} {each:>17.0} {beyond:>24.0}", load.messages));
        aims.add(
            format!("on disk beyond 1.3 octets for each, {size}"),
            Bound::AtMost(BEYOND),
            "octets",
            beyond,
        );
        fs::remove_dir_all(&directory)
            .map_err(|error| Failure::io(directory.display().to_string(), error))?;
    }
    Ok(())
}

fn accounts(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let accounts = directory.join("accounts");
    let failed = |error: io::Error| Failure::io(accounts.display().to_string(), error);
    fs::read_dir(&accounts).map_err(failed)?.map(|entry| Ok(entry.map_err(failed)?.path())).collect()
}

/// In blocks of the file system, octets, without search indexes.
fn taken(places: &[PathBuf]) -> Result<u64, Failure> {
    let mut octets = 0;
    for place in places.iter().filter(|place| !is_search_index(place)) {
        let failed = |error| Failure::io(place.display().to_string(), error);
        let found = fs::symlink_metadata(place).map_err(failed)?;
        octets += found.blocks() * 512;
        if found.is_dir() {
            let below = fs::read_dir(place).map_err(failed)?;
            let below: Vec<_> = below
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()
                .map_err(failed)?;
            octets += taken(&below)?;
        }
    }
    Ok(octets)
}

/// It is made when there is time for it, and has a part of its own.
fn is_search_index(place: &Path) -> bool {
    place.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"search.sqlite"))
}
