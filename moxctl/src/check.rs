//! `moxctl config check`.

use std::path::{Path, PathBuf};

use serde::Serialize;
use supervisor::config::Config;

use crate::{failure::Failure, output::Output};

#[derive(Serialize)]
struct Good {
    file: PathBuf,
    good: bool,
}

/// Reads a configuration as moxd does, and starts nothing.
pub(crate) fn run(file: &Path, output: &Output) -> Result<(), Failure> {
    Config::read(file).map_err(|error| Failure::Config(error.to_string()))?;
    output.show(&Good { file: file.to_owned(), good: true }, |good| {
        format!("{}: good, moxd would start with it\n", good.file.display())
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_configuration_is_named_with_its_line_and_code_78() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("moxd.toml");
        std::fs::write(&file, "[host]\nname = \"mail.example.org\"\ndatadir = \"/x\"\n").unwrap();
        let failure = run(&file, &Output::new(false)).unwrap_err();
        assert_eq!(failure.exit_code(), 78);
        let line = failure.line().unwrap();
        assert!(line.contains("moxd.toml:3: ") && line.contains("datadir"), "{line}");
    }

    /// The blocks of docs/config.md, which are one file.
    fn documented() -> String {
        let page = include_str!("../../docs/config.md");
        page.split("```toml\n")
            .skip(1)
            .filter_map(|rest| rest.split_once("```"))
            .map(|(block, _)| block)
            .collect()
    }

    #[test]
    fn the_documented_configuration_is_good_and_has_the_real_defaults() {
        let path = Path::new("docs/config.md");
        let documented = Config::parse(path, &documented()).unwrap();
        let least = "[host]\nname = \"a.example\"\ndata = \"/d\"\ncontrol = \"/c\"\n\
                     [listeners.a]\nprotocol = \"smtp\"\naddresses = [\"0.0.0.0:25\"]\n";
        let least = Config::parse(path, least).unwrap();
        // Every field is in the Debug text, and a new one is so, too.
        assert_eq!(format!("{:#?}", documented.limits), format!("{:#?}", least.limits));
        assert_eq!(format!("{:#?}", documented.users), format!("{:#?}", least.users));
        assert_eq!(format!("{:#?}", documented.sandbox), format!("{:#?}", least.sandbox));
        assert_eq!(format!("{:#?}", documented.log), format!("{:#?}", least.log));
        assert_eq!(documented.host.trust_loopback, least.host.trust_loopback);
        assert_eq!(documented.host.simulate_failures, least.host.simulate_failures);
        assert_eq!(documented.host.certificate_names, least.host.certificate_names);
    }

    #[test]
    fn every_key_of_the_configuration_is_documented() {
        let documented = documented();
        let config = Config::parse(Path::new("docs/config.md"), &documented).unwrap();
        let shown = format!("{config:#?}");
        let keys: Vec<_> = shown
            .lines()
            .filter_map(|line| line.trim().split_once(": "))
            .map(|(key, _)| key)
            .filter(|key| key.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_'))
            .collect();
        assert!(keys.len() > 40, "{keys:?}");
        for key in keys {
            let section = format!("[{key}]");
            let subsection = format!(".{key}]");
            let set = documented.lines().any(|line| line.starts_with(&format!("{key} =")));
            // `log.format` has no default that could be written down.
            let named =
                set || documented.contains(&section) || documented.contains(&subsection) || key == "format";
            assert!(named || key == "listeners", "{key} is not in docs/config.md");
        }
    }
}
