//! The command `moxd`: reads the configuration, then is the supervisor until it is told to stop.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use supervisor::{config::Config, instance::Instance, start::StartError};

/// EX_CONFIG of sysexits: started wrongly.
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let result = match arguments() {
        Ok((path, check)) => run(path, check),
        Err(usage) => Err(StartError::Other(usage)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In one write, so that nothing can come between.
            let _ = io::stderr().write_all(format!("moxd: {error}\n").as_bytes());
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn run(path: PathBuf, check: bool) -> Result<(), StartError> {
    // Relative to where it was started; everything else in it is absolute.
    let path = std::path::absolute(&path).unwrap_or(path);
    let config = Config::read(&path)?;
    if check {
        return Ok(());
    }
    Instance::prepare(config, path)?.run()
}

/// `--config FILE [--check]`.
fn arguments() -> Result<(PathBuf, bool), String> {
    let mut path = None;
    let mut check = false;
    let mut given = std::env::args_os().skip(1);
    while let Some(argument) = given.next() {
        match argument.to_str() {
            Some("--config") => path = given.next().map(PathBuf::from),
            Some("--check") => check = true,
            Some("--version") => {
                let _ = writeln!(io::stdout(), "moxd {}", env!("CARGO_PKG_VERSION"));
                std::process::exit(0);
            }
            Some(_) | None => {
                return Err(format!("unknown argument {argument:?}; use `moxd --config FILE [--check]`"));
            }
        }
    }
    let path = path.unwrap_or_else(|| PathBuf::from("/etc/moxd/moxd.toml"));
    Ok((path, check))
}
