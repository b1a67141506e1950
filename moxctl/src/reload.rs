//! `moxctl reload`.

use ipc_proto::admin::Reloaded;
use serde::Serialize;

use crate::{
    control::Instance,
    failure::Failure,
    output::{Output, printable},
};

/// Keys of the configuration.
#[derive(Debug, Serialize)]
struct Shown {
    changed: Vec<String>,
    needs_restart: Vec<String>,
}

pub(crate) fn run(instance: &Instance, output: &Output) -> Result<(), Failure> {
    let Reloaded { changed, restart } = instance.reload()?;
    output.show(&Shown { changed, needs_restart: restart }, text);
    Ok(())
}

fn text(shown: &Shown) -> String {
    let list = |keys: &[String]| keys.iter().map(|key| printable(key)).collect::<Vec<_>>().join(", ");
    let mut text = match shown.changed.as_slice() {
        [] => "nothing changed in the running moxd\n".to_owned(),
        keys => format!("changed: {}\n", list(keys)),
    };
    if !shown.needs_restart.is_empty() {
        text.push_str(&format!("after the next start only: {}\n", list(&shown.needs_restart)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named() {
        for (changed, needs_restart, expected) in [
            (vec![], vec![], "nothing changed in the running moxd\n"),
            (vec!["log.level", "limits.stop"], vec![], "changed: log.level, limits.stop\n"),
            (
                vec![],
                vec!["host.name"],
                "nothing changed in the running moxd\nafter the next start only: host.name\n",
            ),
        ] {
            let own = |keys: Vec<&str>| keys.into_iter().map(str::to_owned).collect();
            assert_eq!(text(&Shown { changed: own(changed), needs_restart: own(needs_restart) }), expected);
        }
    }
}
