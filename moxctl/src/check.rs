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
}
