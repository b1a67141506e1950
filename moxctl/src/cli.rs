//! The command line.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand, error::ErrorKind};
use ipc_proto::{authd::Pattern, capability::Capabilities, logins::Fingerprint};

use crate::{
    alias::Alias,
    app_password,
    failure::{self, Failure},
    import::Import,
    output::Output,
    queue::Queue,
    quota::Quota,
    retention::Retention,
    undelete::Undelete,
};

/// Where packages put the control socket.
const SYSTEM_SOCKET: &str = "/run/moxd/control.sock";

/// Below an instance's directory, where localserve puts it.
const SOCKET_IN_DIRECTORY: &str = "run/control.sock";

/// The largest `--port-offset` that leaves the last port, 993, a port.
const MAX_OFFSET: i64 = 65_535 - 993;

/// Manages moxd, the mail system.
#[derive(Debug, Parser)]
#[command(name = "moxctl", version, max_term_width = 100)]
#[command(after_help = failure::exit_codes())]
pub(crate) struct Cli {
    /// The control socket of moxd [default: /run/moxd/control.sock]
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "dir")]
    pub(crate) socket: Option<PathBuf>,
    /// The directory of a localserve instance; its control socket is DIR/run/control.sock
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print JSON, also of what went wrong
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a complete instance on loopback, until Ctrl-C
    Localserve(Localserve),
    /// Show processes, listeners and what locks each process in
    Status,
    /// Read the configuration again; no connection ends, and what needs a restart is named
    Reload,
    /// Stop moxd in order and wait until it is down
    Stop,
    /// Look at a configuration
    #[command(subcommand)]
    Config(Config),
    /// Domains that take mail here
    #[command(subcommand)]
    Domain(Domain),
    /// Accounts
    #[command(subcommand)]
    Account(Account),
    /// Addresses, each of which belongs to an account
    #[command(subcommand)]
    Address(Address),
    /// Addresses whose mail goes to several accounts
    #[command(subcommand)]
    Alias(Alias),
    /// Messages that were accepted and wait
    #[command(subcommand)]
    Queue(Queue),
    /// What accounts may hold
    #[command(subcommand)]
    Quota(Quota),
    /// Passwords
    #[command(subcommand)]
    Password(Password),
    /// Passwords for one program each
    #[command(subcommand, name = "apppassword")]
    AppPassword(AppPassword),
    /// Keys of clients that log in without a password
    #[command(subcommand, name = "loginkey")]
    LoginKey(LoginKey),
    /// Who logged in and who tried to
    #[command(subcommand)]
    Login(Login),
    /// Who misbehaved, and is slowed or turned away for it
    #[command(subcommand)]
    Abuse(Abuse),
}

#[derive(Debug, Args)]
pub(crate) struct Localserve {
    /// The address to listen on; other than loopback, everybody there knows the password
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) ip: IpAddr,
    /// Listen on ports 25, 143, 993, 80 and 443, each plus N
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(0..=MAX_OFFSET))]
    pub(crate) port_offset: u16,
    /// Do not print what to do next
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Print the one line `ready` on stdout when everything runs, all else on stderr
    #[arg(long)]
    pub(crate) wait_ready: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Say whether moxd would start with this file
    Check {
        /// The configuration
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Domain {
    /// Take mail for a domain
    Add {
        /// Such as example.org
        domain: String,
    },
    /// List all domains
    List,
    /// Show a domain
    Show {
        /// Its name
        domain: String,
    },
    /// Remove a domain that has no addresses
    Rm {
        /// Its name
        domain: String,
    },
    /// Take mail again
    Enable {
        /// Its name
        domain: String,
    },
    /// Take no mail for now: senders are told to try later
    Disable {
        /// Its name
        domain: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Make an account; `moxctl password set` gives it a password
    Add {
        /// 1 to 64 of a-z, 0-9, `.`, `-` and `_`
        name: String,
        /// Its first address: a@example.org, @example.org or @*
        #[arg(value_parser = pattern)]
        address: Option<Pattern>,
    },
    /// List all accounts
    List,
    /// Show an account with its addresses, app passwords and login keys
    Show {
        /// Its name
        name: String,
    },
    /// Remove an account and its addresses; its mail stays on disk
    Rm {
        /// Its name
        name: String,
    },
    /// Take mail and logins again
    Enable {
        /// Its name
        name: String,
    },
    /// Take neither mail nor logins for now; open sessions end
    Disable {
        /// Its name
        name: String,
    },
    /// Show what is switched off in an account's IMAP sessions, or switch it off: for a program that makes something odd of it
    Capabilities {
        /// Its name
        name: String,
        /// What to switch off, and nothing else, such as IDLE,MOVE; open sessions end
        #[arg(long, value_name = "WORDS", value_parser = capabilities)]
        without: Option<Capabilities>,
        /// Switch everything on again
        #[arg(long, conflicts_with = "without")]
        all: bool,
    },
    /// Write an account's mail, with flags, keywords and dates, to files that `account import` and others read
    Export(crate::export::Export),
    /// Bring mail from elsewhere into an account; run again, it goes on where it stopped, and brings what is new
    #[command(subcommand)]
    Import(Import),
    /// Show or set how long messages of a mailbox stay
    Retention(Retention),
    /// Bring back messages that were expunged, or went with their mailbox
    Undelete(Undelete),
    /// Read all of an account's mail and compare it with what was stored
    Verify {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Address {
    /// Give an account an address
    Add {
        /// a@example.org; @example.org: all of the domain that is nobody else's; @*: all that is nobody else's
        #[arg(value_parser = pattern)]
        address: Pattern,
        /// Whose it is to be
        account: String,
    },
    /// List all addresses
    List,
    /// Show whose an address is
    Show {
        /// As `moxctl address list` shows it
        #[arg(value_parser = pattern)]
        address: Pattern,
    },
    /// Take mail again
    Enable {
        /// As `moxctl address list` shows it
        #[arg(value_parser = pattern)]
        address: Pattern,
    },
    /// Take no mail for it for now: senders are told to try later
    Disable {
        /// As `moxctl address list` shows it
        #[arg(value_parser = pattern)]
        address: Pattern,
    },
    /// Take an address away
    Rm {
        /// As `moxctl address list` shows it
        #[arg(value_parser = pattern)]
        address: Pattern,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Password {
    /// Ask for a password twice on the terminal, or read one line from stdin; the account's sessions end
    Set {
        /// The account's name
        account: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppPassword {
    /// Make a password for one program of an account and print it, this once
    Add {
        /// The account's name
        account: String,
        /// What to call it, such as "phone"
        name: String,
        /// What it is good for
        #[arg(long = "for", value_name = "PROTOCOL", value_delimiter = ',', default_values = ["imap", "submission"])]
        protocols: Vec<Use>,
        /// From when on it opens nothing: a date (2027-01-31), a time (2027-01-31T12:00:00Z) or days from now (90d)
        #[arg(long, value_name = "WHEN", value_parser = app_password::when)]
        expires: Option<ipc_proto::types::Timestamp>,
    },
    /// List the app passwords of an account
    List {
        /// The account's name
        account: String,
    },
    /// Remove one; all sessions of the account end
    Rm {
        /// The account's name
        account: String,
        /// What it is called
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LoginKey {
    /// Let in who shows a certificate with this key, and print the key's fingerprint
    Add {
        /// The account's name
        account: String,
        /// What to call it, such as "laptop"
        name: String,
        #[command(flatten)]
        source: LoginKeySource,
        /// What it is good for
        #[arg(long, value_name = "PROTOCOL", value_delimiter = ',', default_values = ["imap", "submission"])]
        protocols: Vec<Use>,
        /// From when on it opens nothing: a date (2027-01-31), a time (2027-01-31T12:00:00Z) or days from now (90d)
        #[arg(long, value_name = "WHEN", value_parser = app_password::when)]
        expires: Option<ipc_proto::types::Timestamp>,
    },
    /// List the login keys of an account
    List {
        /// The account's name
        account: String,
    },
    /// Remove one; all sessions of the account end
    Rm {
        /// The account's name
        account: String,
        /// What it is called
        name: String,
    },
}

/// Where a login key comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct LoginKeySource {
    /// A certificate, or a public key, in PEM; names and dates in it do not matter
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// SHA-256 of the public key (SubjectPublicKeyInfo, DER), in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = fingerprint)]
    pub(crate) fingerprint: Option<Fingerprint>,
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    Fingerprint::parse(text).ok_or_else(|| "a fingerprint is 64 hexadecimal digits".to_owned())
}

/// What an app password or a login key can be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Use {
    /// Reading mail
    Imap,
    /// Sending mail
    Submission,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Login {
    /// List login attempts of the last 30 days, the latest first
    List {
        /// Of this account only
        account: Option<String>,
        /// At most so many lines
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Abuse {
    /// List who is remembered for failed logins and other offences
    List,
    /// Forget what an address or an account is remembered for
    Clear {
        /// An IP address, with the blocks around it, or an account's name
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        who: Option<String>,
        /// Forget everybody
        #[arg(long)]
        all: bool,
    },
}

fn capabilities(text: &str) -> Result<Capabilities, String> {
    Capabilities::parse(text.split(',').map(str::trim)).map_err(|error| error.to_string())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| format!("{error}; write it like a@example.org, @example.org or @*"))
}

impl Cli {
    /// Which instance is meant.
    pub(crate) fn control_socket(&self) -> PathBuf {
        match (&self.socket, &self.dir) {
            (Some(socket), _) => socket.clone(),
            (None, Some(directory)) => socket_in(directory),
            (None, None) => PathBuf::from(SYSTEM_SOCKET),
        }
    }
}

/// The control socket of an instance of localserve.
pub(crate) fn socket_in(directory: &Path) -> PathBuf {
    directory.join(SOCKET_IN_DIRECTORY)
}

/// Parses the arguments. `Err`: what was to be said is said, leave with this code.
pub(crate) fn parse() -> Result<Cli, u8> {
    let refused = match Cli::try_parse() {
        Ok(cli) => match &cli {
            Cli { command: Command::Localserve(_), socket: Some(_), .. } => {
                "localserve has its socket in its directory; use --dir instead of --socket".to_owned()
            }
            _ => return Ok(cli),
        },
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                let _ = error.print();
                return Err(0);
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if wants_json() => {
                "a command is missing; see `moxctl --help`".to_owned()
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                let _ = error.print();
                return Err(failure::USAGE);
            }
            _ => one_line(&error.to_string()),
        },
    };
    // The line was not understood, but whether JSON is wanted can be told from it.
    Output::new(wants_json()).fail(&Failure::Usage(refused));
    Err(failure::USAGE)
}

fn wants_json() -> bool {
    std::env::args_os().any(|argument| argument == "--json")
}

/// Of clap's paragraphs the first, which says what is wrong, and where to read on.
fn one_line(error: &str) -> String {
    let said: Vec<_> = error.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let said = said.join(" ");
    format!("{}; see `moxctl --help`", said.strip_prefix("error: ").unwrap_or(&said))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split_whitespace()).map_err(|error| one_line(&error.to_string()))
    }

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_instance_is_named_before_or_behind_the_command() {
        for (line, socket) in [
            ("moxctl status", "/run/moxd/control.sock"),
            ("moxctl --dir /srv/a status", "/srv/a/run/control.sock"),
            ("moxctl status --dir /srv/a", "/srv/a/run/control.sock"),
            ("moxctl account list --socket /tmp/c.sock --json", "/tmp/c.sock"),
        ] {
            assert_eq!(parsed(line).unwrap().control_socket(), Path::new(socket), "{line}");
        }
    }

    #[test]
    fn the_three_written_forms_of_addresses_are_taken() {
        for (written, shown) in
            [("a@Example.org", "a@example.org"), ("@example.org", "@example.org"), ("@*", "@*")]
        {
            let Command::Address(Address::Add { address, account }) =
                parsed(&format!("moxctl address add {written} mox")).unwrap().command
            else {
                panic!("{written}: not an address add");
            };
            assert_eq!((address.to_string().as_str(), account.as_str()), (shown, "mox"));
        }
    }

    #[test]
    fn localserve_has_the_documented_defaults() {
        let Command::Localserve(options) = parsed("moxctl localserve").unwrap().command else { panic!() };
        assert_eq!(options.ip, IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(options.port_offset, 1000);
        assert!(!options.quiet && !options.wait_ready);
    }

    #[test]
    fn wrong_usage_is_one_line_that_names_what_is_wrong() {
        for (line, says) in [
            ("moxctl status --socket /a --dir /b", "'--socket <PATH>' cannot be used with '--dir <DIR>'"),
            ("moxctl account add", "<NAME>"),
            ("moxctl address add nonsense mox", "an address is LOCALPART@DOMAIN"),
            ("moxctl localserve --port-offset 64543", "64543"),
            ("moxctl localserve --ip here", "--ip"),
            ("moxctl stauts", "stauts"),
            ("moxctl password set mox secret", "secret"),
        ] {
            let said = parsed(line).unwrap_err();
            assert!(said.contains(says), "{line}: {said}");
            assert!(!said.contains('\n') && said.ends_with("see `moxctl --help`"), "{line}: {said}");
        }
    }
}
