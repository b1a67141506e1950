//! `DIR/moxd.toml` of an instance of localserve.

use std::{
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use supervisor::config::{Config, Protocol};

use super::place::Place;
use crate::failure::{Failure, reason};

/// The first line of a file that localserve may write anew.
const OURS: &str = "# Written by `moxctl localserve`,";

/// What the flags ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) ip: IpAddr,
    /// Small enough for every port, see [`crate::cli`].
    pub(super) port_offset: u16,
}

/// The listeners, by their standard ports.
const LISTENERS: [(Protocol, u16); 7] = [
    (Protocol::Smtp, 25),
    (Protocol::Imap, 143),
    (Protocol::Imaps, 993),
    (Protocol::Http, 80),
    (Protocol::Https, 443),
    (Protocol::Submissions, 465),
    (Protocol::Submission, 587),
];

impl Wanted {
    /// Where a protocol is served.
    pub(super) fn address(&self, protocol: Protocol) -> SocketAddr {
        let standard = LISTENERS.iter().find(|(known, _)| *known == protocol).map_or(0, |(_, port)| *port);
        SocketAddr::new(self.ip, standard.saturating_add(self.port_offset))
    }

    /// Whether a configuration has just these listeners.
    fn served_by(&self, config: &Config) -> bool {
        let asked: Vec<_> =
            LISTENERS.iter().map(|(protocol, _)| (*protocol, self.address(*protocol))).collect();
        let there: Vec<_> = config
            .listeners
            .values()
            .flat_map(|listener| listener.addresses.iter().map(|address| (listener.protocol, *address)))
            .collect();
        asked.len() == there.len() && asked.iter().all(|listener| there.contains(listener))
    }
}

/// Writes the configuration where there is none, and anew where it asks for other listeners.
pub(super) fn write(place: &Place, wanted: &Wanted) -> Result<(), Failure> {
    let path = place.configuration();
    match fs::read_to_string(&path) {
        Ok(text) => {
            let config = Config::parse(&path, &text).map_err(|error| {
                Failure::Config(format!("{error}; mend it, or remove the file: localserve writes a new one"))
            })?;
            if wanted.served_by(&config) && config.host.data == place.directory() {
                return Ok(());
            }
            if !text.starts_with(OURS) {
                return Err(Failure::Config(format!(
                    "{} has other listeners or another directory and was not written by localserve; choose another \
                     place with --dir, or start `moxd --config` with it",
                    path.display()
                )));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unwritable(&path, &error)),
    }
    let text = Text { place, wanted }.to_string();
    // Whole or not at all: a file cut short would keep the next start from its mail.
    let new = path.with_extension("toml.new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(|error| unwritable(&path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::Config(format!("{}: {}; choose another place with --dir", path.display(), reason(error)))
}

/// The file.
struct Text<'a> {
    place: &'a Place,
    wanted: &'a Wanted,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, wanted } = self;
        writeln!(f, "{OURS} which writes it anew when --ip, --port-offset or the directory change.")?;
        writeln!(f, "# Until then what is added here counts: docs/config.md describes every key.\n")?;
        writeln!(f, "[host]\nname = \"localhost\"")?;
        writeln!(f, "data = {}", quoted(place.directory()))?;
        writeln!(f, "control = {}", quoted(&place.control()))?;
        writeln!(
            f,
            "trust_loopback = true\nsimulate_failures = true\ncertificate_names = [\"{}\"]",
            wanted.ip
        )?;
        LISTENERS.iter().try_for_each(|(protocol, _)| {
            let (name, address) = (protocol.name(), wanted.address(*protocol));
            write!(f, "\n[listeners.{name}]\nprotocol = \"{name}\"\naddresses = [\"{address}\"]\n")
        })
    }
}

/// A basic string of TOML; [`Place`] has no path with control characters.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, Ipv6Addr},
        os::unix::fs::PermissionsExt,
    };

    use super::*;

    const LOOPBACK: Wanted = Wanted { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port_offset: 1000 };

    fn place(name: &str) -> (tempfile::TempDir, Place) {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let place = Place::prepare(&home.path().join(name)).unwrap();
        (home, place)
    }

    fn written(place: &Place) -> Config {
        Config::read(&place.configuration()).unwrap()
    }

    #[test]
    fn moxd_reads_what_localserve_writes() {
        for (name, wanted) in [
            ("plain", LOOPBACK),
            ("with space, \"quotes\" and \\", LOOPBACK),
            ("jürgen", Wanted { ip: IpAddr::V6(Ipv6Addr::LOCALHOST), port_offset: 64_542 }),
        ] {
            let (_home, place) = place(name);
            write(&place, &wanted).unwrap();
            let config = written(&place);
            assert_eq!(config.host.data, place.directory());
            assert_eq!(config.host.control, place.control());
            assert!(config.host.trust_loopback && config.host.simulate_failures);
            assert!(wanted.served_by(&config), "{name}");
        }
    }

    #[test]
    fn the_ports_are_the_standard_ones_plus_the_offset() {
        let ports = LISTENERS.map(|(protocol, _)| LOOPBACK.address(protocol).port());
        assert_eq!(ports, [1025, 1143, 1993, 1080, 1443, 1465, 1587]);
    }

    #[test]
    fn additions_stay_until_other_listeners_are_asked_for() {
        let (_home, place) = place("moxd");
        write(&place, &LOOPBACK).unwrap();
        let added = fs::read_to_string(place.configuration()).unwrap() + "\n[limits]\nimap_connections = 7\n";
        fs::write(place.configuration(), added).unwrap();
        write(&place, &LOOPBACK).unwrap();
        assert_eq!(written(&place).limits.imap_connections, 7);

        let other = Wanted { port_offset: 2000, ..LOOPBACK };
        write(&place, &other).unwrap();
        assert!(other.served_by(&written(&place)));
    }

    #[test]
    fn a_file_of_somebody_else_is_never_overwritten() {
        let (_home, place) = place("moxd");
        write(&place, &LOOPBACK).unwrap();
        let text = fs::read_to_string(place.configuration()).unwrap().replace(OURS, "# My own,");
        fs::write(place.configuration(), &text).unwrap();
        write(&place, &LOOPBACK).unwrap();
        let failure = write(&place, &Wanted { port_offset: 2000, ..LOOPBACK }).unwrap_err();
        assert!(failure.line().unwrap().contains("was not written by localserve"));
        assert_eq!(fs::read_to_string(place.configuration()).unwrap(), text);
    }

    #[test]
    fn a_file_that_does_not_parse_is_named_and_kept() {
        let (_home, place) = place("moxd");
        fs::write(place.configuration(), format!("{OURS}\n[host]\nname = 3\n")).unwrap();
        let line = write(&place, &LOOPBACK).unwrap_err().line().unwrap();
        assert!(line.contains("moxd.toml:3: ") && line.contains("remove the file"), "{line}");
        assert!(fs::read_to_string(place.configuration()).unwrap().contains("name = 3"));
    }
}
