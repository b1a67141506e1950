//! The build id: a digest of this crate's own sources and version, so that processes of two releases never talk.

use std::{fs, path::Path};

fn main() {
    let mut files: Vec<_> =
        ["src", "../mail-lib/src/address.rs"].iter().flat_map(|path| sources(Path::new(path))).collect();
    files.sort();
    let mut digest = Fnv(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
    digest.take(env!("CARGO_PKG_VERSION").as_bytes());
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
        digest.take(&fs::read(file).unwrap_or_default());
    }
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rustc-env=MOXD_BUILD_ID={:032x}", digest.0);
}

fn sources(path: &Path) -> Vec<String> {
    if path.is_file() {
        return vec![path.display().to_string()];
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.flat_map(|entry| sources(&entry.path())).collect()
}

/// FNV-1a, 128 bits: only to tell builds apart, not against an adversary.
struct Fnv(u128);

impl Fnv {
    fn take(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = (self.0 ^ u128::from(*octet)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}
