//! The command `moxd`: reads the configuration, then is the supervisor until it is told to stop.

use std::{
    env,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use supervisor::{
    arguments::{self, Asked},
    config::Config,
    instance::Instance,
    start::StartError,
};

/// EX_CONFIG of sysexits: started wrongly.
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    match arguments::parse(env::args_os().skip(1)).map_err(StartError::Other).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In one write, so that nothing can come between.
            let _ = io::stderr().write_all(format!("moxd: {error}\n").as_bytes());
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn run(asked: Asked) -> Result<(), StartError> {
    // Relative to where it was started; everything else in it is absolute.
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let said = match asked {
        Asked::Run(path) => {
            let path = absolute(path);
            return Instance::prepare(Config::read(&path)?, path)?.run();
        }
        Asked::Check(path) => {
            Config::read(&absolute(path))?;
            String::new()
        }
        Asked::Version => format!("moxd {}\n", env!("CARGO_PKG_VERSION")),
        Asked::Help => arguments::help(),
    };
    let _ = io::stdout().write_all(said.as_bytes());
    Ok(())
}
