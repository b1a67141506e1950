//! What locks a worker in: is all there that is required?

use ipc_proto::control::{Layers, Role};

use crate::{
    config::Layer,
    instance::{Instance, OwnNetwork, Who},
    start::StartError,
};

impl Instance {
    /// A worker is locked in: are all required layers there? Then it gets what is its.
    pub(crate) fn sandboxed(&mut self, who: Who, mut layers: Layers) -> Result<(), StartError> {
        let root = self.layout.user(Role::Keyd, None).is_some();
        layers.own_user = root;
        layers.empty_network = !matches!(self.network, OwnNetwork::Shared);
        let required = [
            (Layer::OwnUser, layers.own_user || !root, "user of its own", "run moxd as root"),
            (
                Layer::NoCapabilities,
                layers.no_capabilities,
                "loss of capabilities",
                "run moxd as root or as an ordinary user",
            ),
            (
                Layer::EmptyNetwork,
                layers.empty_network || !root,
                "network namespace",
                "does the kernel have CONFIG_NET_NS?",
            ),
            (
                Layer::NoNewPrivs,
                layers.no_new_privs && layers.not_dumpable,
                "no_new_privs",
                "the kernel is too old",
            ),
            (Layer::Limits, layers.limits, "resource limits", "see `ulimit -a`"),
            (Layer::Seccomp, layers.seccomp, "seccomp", "does the kernel have CONFIG_SECCOMP_FILTER?"),
            (
                Layer::LandlockFiles,
                layers.landlock_files,
                "Landlock",
                "enable it with `lsm=landlock,...` on the kernel's command line (Linux 5.13 and up)",
            ),
        ];
        let Some(process) = self.process_mut(who) else { return Ok(()) };
        let name = process.role.binary();
        process.layers = Some(layers);
        for (layer, there, text, advice) in required {
            if there {
                continue;
            }
            if !self.config.sandbox.accept_missing.contains(&layer) {
                return Err(StartError::Layer { layer, what: text, process: name, advice });
            }
            let note = format!("no {text}: accepted by [sandbox] accept_missing");
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        self.connect(who);
        Ok(())
    }
}
