//! `moxctl stop`.

use crate::{control::Instance, failure::Failure, output::Output};

pub(crate) fn run(instance: Instance, output: &Output) -> Result<(), Failure> {
    instance.stop()?;
    output.done("moxd has stopped");
    Ok(())
}
