//! What the tests need beside Rust, in one table.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Options, install};
use crate::{
    failure::Failure,
    workspace::{Workspace, announce_and_run},
};

/// Something of Debian's.
struct Package {
    name: &'static str,
    /// A program in PATH or an sbin, or an absolute path: there if the package is, whoever packaged it.
    shows: &'static str,
}

const fn package(name: &'static str, shows: &'static str) -> Package {
    Package { name, shows }
}

/// Clients and peers that the end-to-end tests drive, and what holds them apart.
const PACKAGES: [Package; 32] = [
    // libFuzzer is C++.
    package("g++", "c++"),
    // Clients.
    package("swaks", "swaks"),
    // swaks speaks TLS through it, and only recommends it.
    package("libio-socket-ssl-perl", "/usr/share/perl5/IO/Socket/SSL.pm"),
    package("isync", "mbsync"),
    package("offlineimap3", "offlineimap"),
    package("getmail6", "getmail"),
    package("fetchmail", "fetchmail"),
    package("mutt", "mutt"),
    package("neomutt", "neomutt"),
    package("tmux", "tmux"),
    package("curl", "curl"),
    package("openssl", "openssl"),
    package("gsasl", "gsasl"),
    // One with windows, where they are shown, who types into them, and who looks at them.
    package("thunderbird", "thunderbird"),
    package("xvfb", "Xvfb"),
    package("xdotool", "xdotool"),
    package("imagemagick", "import"),
    package("msmtp", "msmtp"),
    package("git-email", "/usr/lib/git-core/git-send-email"),
    package("libmailtools-perl", "/usr/share/perl5/Mail/Address.pm"),
    // git and swaks log in by it.
    package("libauthen-sasl-perl", "/usr/share/perl5/Authen/SASL.pm"),
    package("python3", "python3"),
    package("python3-pip", "pip3"),
    package("nodejs", "node"),
    package("npm", "npm"),
    // What reads the manual pages.
    package("groff-base", "groff"),
    package("mandoc", "mandoc"),
    // Another server's figures beside ours, and a source of load.
    package("dovecot-imapd", "/usr/lib/dovecot/imap"),
    package("postfix", "smtp-source"),
    // The order of writes, and networks of the tests' own.
    package("strace", "strace"),
    package("iproute2", "ip"),
    package("nftables", "nft"),
];

/// Something that cargo builds into target/tools, pinned.
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
}

pub(super) const NEXTEST: Tool = Tool { name: "cargo-nextest", version: "0.9.143" };
pub(super) const FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };

/// Of PyPI: distribution, version, module.
const PYTHON: [(&str, &str, &str); 3] = [
    ("imapclient", "4.1.0", "imapclient"),
    // scramp's one dependency, pinned too.
    ("asn1crypto", "1.5.1", "asn1crypto"),
    ("scramp", "1.5.0", "scramp"),
];

/// Where Python packages go.
pub(super) fn python(workspace: &Workspace) -> PathBuf {
    workspace.root().join("target/verify/python")
}

/// Where the Node clients' package-lock.json is, and their packages go.
pub(super) fn node(workspace: &Workspace) -> PathBuf {
    workspace.root().join("tests/node")
}

/// Finds or, if asked to, installs all that is needed.
pub(super) fn provide(workspace: &Workspace, options: &Options, root: bool) -> Result<(), Failure> {
    let mut missing = missing(workspace);
    if options.install && !missing.is_empty() && (root || packages(&missing).is_empty()) {
        install_all(workspace, &missing)?;
        missing = self::missing(workspace);
        if !missing.is_empty() {
            return Err(not_found(&missing));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(advice(&missing, root)) }
}

/// One line that names all of it and what to do, so that nobody has to come back for the rest.
fn advice(missing: &[Need], root: bool) -> Failure {
    let packages = packages(missing);
    let what = if root || packages.is_empty() {
        "run `cargo verify --install`".to_owned()
    } else {
        let then =
            if packages.len() < missing.len() { ", then `cargo verify --install` as yourself" } else { "" };
        format!("run `apt-get install --no-install-recommends {}` as root{then}", packages.join(" "))
    };
    Failure::Missing(format!("missing for the tests: {}; {what}", names(missing)))
}

fn not_found(missing: &[Need]) -> Failure {
    Failure::Missing(format!(
        "missing for the tests: {}; they were installed but are not found",
        names(missing)
    ))
}

fn names(missing: &[Need]) -> String {
    missing.iter().map(Need::name).collect::<Vec<_>>().join(" ")
}

/// Those that only root may install.
fn packages(missing: &[Need]) -> Vec<&'static str> {
    missing
        .iter()
        .filter_map(|need| match need {
            Need::Package(package) => Some(package.name),
            Need::Tool(_) | Need::Python(_) | Need::Node => None,
        })
        .collect()
}

enum Need {
    Package(&'static Package),
    Tool(&'static Tool),
    Python(&'static (&'static str, &'static str, &'static str)),
    Node,
}

impl Need {
    fn name(&self) -> String {
        match self {
            Self::Package(package) => package.name.to_owned(),
            Self::Tool(Tool { name, version }) => format!("{name}@{version}"),
            Self::Python((name, version, _)) => format!("{name}=={version}"),
            Self::Node => "tests/node/node_modules".to_owned(),
        }
    }
}

fn missing(workspace: &Workspace) -> Vec<Need> {
    let packages = PACKAGES.iter().filter(|package| !is_there(package.shows)).map(Need::Package);
    let tools =
        [&NEXTEST, &FUZZ].into_iter().filter(|tool| tool.program(workspace).is_none()).map(Need::Tool);
    let modules = python(workspace);
    let python = PYTHON.iter().filter(|(.., module)| !modules.join(module).is_dir()).map(Need::Python);
    let clients = node(workspace);
    // npm writes this one last.
    let built = clients.join("node_modules/.package-lock.json");
    let node = (clients.join("package-lock.json").is_file() && !built.is_file()).then_some(Need::Node);
    packages.chain(tools).chain(python).chain(node).collect()
}

fn is_there(shows: &str) -> bool {
    if shows.starts_with('/') {
        return Path::new(shows).exists();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let sbins = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(sbins).any(|directory| directory.join(shows).is_file())
}

impl Tool {
    /// The right version: ours, or the system's.
    pub(super) fn program(&self, workspace: &Workspace) -> Option<PathBuf> {
        let ours = workspace.tools().join("bin").join(self.name);
        [ours, PathBuf::from(self.name)].into_iter().find(|program| {
            let output = Command::new(program).arg("--version").output();
            output.is_ok_and(|output| {
                let text = String::from_utf8_lossy(&output.stdout);
                text.split_whitespace().nth(1) == Some(self.version)
            })
        })
    }
}

fn install_all(workspace: &Workspace, missing: &[Need]) -> Result<(), Failure> {
    let packages = packages(missing);
    if !packages.is_empty() {
        if !is_there("apt-get") {
            let names = packages.join(" ");
            return Err(Failure::Missing(format!(
                "there is no apt-get here; install what Debian calls {names}"
            )));
        }
        install::packages(&packages)?;
    }
    for need in missing {
        match need {
            Need::Package(_) => {}
            Need::Tool(Tool { name, version }) => {
                let mut cargo = workspace.cargo();
                // Its own target directory: the workspace's would be locked and filled with it.
                cargo.env("CARGO_TARGET_DIR", workspace.tools().join("build"));
                cargo.args(["install", "--locked", "--root"]).arg(workspace.tools());
                announce_and_run(cargo.arg(format!("{name}@{version}")), "installing a tool")?;
            }
            Need::Python((name, version, _)) => {
                let mut pip = Command::new("python3");
                pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
                pip.args(["--root-user-action=ignore", "--target"]).arg(python(workspace));
                announce_and_run(pip.arg(format!("{name}=={version}")), "installing a Python package")?;
            }
            Need::Node => {
                let mut npm = Command::new("npm");
                npm.current_dir(node(workspace)).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
                announce_and_run(&mut npm, "installing Node packages")?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn what_is_missing_is_said_once_with_who_can_mend_it() {
        let package = |name| {
            Need::Package(PACKAGES.iter().find(|package| package.name == name).expect("one of the table"))
        };
        let packages = [package("swaks"), package("mutt")];
        let tools = [Need::Tool(&NEXTEST), Need::Node];
        let all = [package("swaks"), Need::Tool(&NEXTEST)];
        let install = "apt-get install --no-install-recommends";
        for (missing, root, expected) in [
            (
                &packages[..],
                true,
                "missing for the tests: swaks mutt; run `cargo verify --install`".to_owned(),
            ),
            (
                &packages,
                false,
                format!("missing for the tests: swaks mutt; run `{install} swaks mutt` as root"),
            ),
            (
                &tools,
                false,
                format!(
                    "missing for the tests: cargo-nextest@{} tests/node/node_modules; run `cargo verify --install`",
                    NEXTEST.version
                ),
            ),
            (
                &all,
                false,
                format!(
                    "missing for the tests: swaks cargo-nextest@{}; run `{install} swaks` as root, then `cargo verify \
                     --install` as yourself",
                    NEXTEST.version
                ),
            ),
        ] {
            let failure = advice(missing, root);
            assert_eq!((failure.to_string(), failure.exit_code()), (expected, 2));
        }
    }

    #[test]
    fn programs_are_found_in_path_and_packages_files_where_they_are() {
        assert!(is_there("sh"));
        assert!(is_there("/etc/passwd"));
        assert!(!is_there("no-such-program-of-moxd"));
        assert!(!is_there("/no/such/file"));
    }
}
