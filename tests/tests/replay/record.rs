//! What all processes did to the data directory, and when a client was told that its message is kept: in one order, from
//! a directory that did not exist.
//!
//! strace looks at every process at once and lets none go on before it has written down what that one did: what causes
//! something else stands above it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use moxd_tests::{Home, Instance, process::eventually};

/// Calls that change files or make changes durable, and those that the answers to clients go out with.
const CALLS: &str = "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,ftruncate,truncate,fallocate,\
    copy_file_range,sendfile,splice,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,\
    rmdir,sendto,sendmsg";

/// Says to a client that its message is kept, before the id of the message.
const KEPT: &str = "250 2.0.0 kept as ";

/// A line of the record: a moment.
pub(crate) type Line = usize;

/// Something that was done, from when to when.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) begun: Line,
    pub(crate) ended: Line,
    pub(crate) what: What,
}

/// In absolute paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// Opened with leave to make it; it may have been there.
    Create {
        file: PathBuf,
        empty: bool,
    },
    /// Behind what was written so before.
    Write {
        file: PathBuf,
        octets: Vec<u8>,
    },
    WriteAt {
        file: PathBuf,
        at: usize,
        octets: Vec<u8>,
    },
    Truncate {
        file: PathBuf,
        size: usize,
    },
    MakeDirectory(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
    /// Of a file or a directory.
    Sync(PathBuf),
}

/// The record.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) done: Vec<Done>,
    /// By the message's id, when the client was told.
    pub(crate) kept: BTreeMap<String, Line>,
}

/// Starts an instance under strace.
pub(crate) fn start(home: Home) -> Instance {
    let record = path(&home);
    let plain = home.command();
    let mut command = Command::new("strace");
    // The recorder aside, so that the program stays our child; a filter, so that other calls cost nothing.
    command
        .args(["-D", "-f", "--seccomp-bpf", "-yy", "-xx", "-s", "16000000", "-e"])
        .arg(format!("trace={CALLS}"));
    command
        .arg("-o")
        .arg(record)
        .arg("--")
        .arg(plain.get_program())
        .args(plain.get_args())
        .stdin(Stdio::null());
    home.try_start_with(command).unwrap_or_else(|refused| panic!("{refused}"))
}

fn path(home: &Home) -> PathBuf {
    home.path().join("record")
}

impl Record {
    /// After the instance has ended.
    pub(crate) fn read(home: &Home) -> Self {
        let mut text = String::new();
        let whole = eventually(Duration::from_secs(30), || {
            text = std::fs::read_to_string(path(home)).unwrap();
            // The last to go is the one that was started.
            let first = text.split(' ').next().unwrap_or_default();
            text.trim_end().ends_with("+++ exited with 0 +++")
                && text.lines().last().is_some_and(|last| last.split(' ').next() == Some(first))
        });
        assert!(whole, "the record does not end");
        Self::parse(&text, &home.data())
    }

    fn parse(text: &str, data: &Path) -> Self {
        let mut record = Self { done: Vec::new(), kept: BTreeMap::new() };
        let mut unfinished: BTreeMap<&str, (Line, &str)> = BTreeMap::new();
        for (line, whole) in text.lines().enumerate() {
            let (process, rest) = whole.split_once(' ').expect("a process id");
            let rest = rest.trim_start();
            if rest.starts_with("+++") || rest.starts_with("---") {
                continue;
            }
            let (begun, call) = if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
                assert!(unfinished.insert(process, (line, begun)).is_none(), "{whole}");
                continue;
            } else if let Some(resumed) = rest.strip_prefix("<... ") {
                let (begun, first) = unfinished.remove(process).expect("what is resumed was begun");
                let (_, second) = resumed.split_once(" resumed>").expect("resumed");
                (begun, format!("{first}{second}"))
            } else {
                (line, rest.to_owned())
            };
            let call = Call::parse(&call).unwrap_or_else(|| panic!("not understood: {}", short(&call)));
            if let Some(id) = call.kept() {
                record.kept.entry(id).or_insert(begun);
            }
            let about_data = call.paths().iter().any(|path| path.starts_with(data));
            // SQLite's shared memory is made anew by whoever opens the database first.
            let memory = call.paths().iter().any(|path| path.to_string_lossy().ends_with("-shm"));
            if about_data
                && !memory
                && let Some(what) = call.what()
            {
                record.done.push(Done { begun, ended: line, what });
            }
        }
        // A call that was begun first stands first: it may have happened first.
        record.done.sort_by_key(|done| done.begun);
        record
    }
}

fn short(text: &str) -> &str {
    text.get(..200).unwrap_or(text)
}

/// One system call with its arguments taken apart.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: Vec<Argument>,
    /// `None`: an error.
    result: Option<usize>,
    returned: Option<PathBuf>,
}

#[derive(Debug)]
enum Argument {
    /// A descriptor and what it is of; `None`: something without a path, or a file without a name.
    Descriptor(Option<PathBuf>),
    Octets(Vec<u8>),
    /// Numbers, flags, structures.
    Other(String),
}

impl Call {
    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('(')?;
        // All strings are in hex: there is no other parenthesis with an equals sign behind it.
        let (arguments, result) = rest.rsplit_once(" = ")?;
        let arguments = arguments.trim_end().strip_suffix(')')?;
        let end = result.find(|octet: char| !octet.is_ascii_digit()).unwrap_or(result.len());
        let (number, of) = result.split_at(end);
        Some(Self {
            name: name.to_owned(),
            arguments: split(arguments).into_iter().map(Argument::parse).collect(),
            result: number.parse().ok(),
            returned: descriptor(of),
        })
    }

    /// The id of the message that a client hears of with this.
    fn kept(&self) -> Option<String> {
        let sent = self.arguments.iter().find_map(|argument| match argument {
            Argument::Octets(octets) if octets.starts_with(KEPT.as_bytes()) => Some(octets),
            Argument::Octets(_) | Argument::Descriptor(_) | Argument::Other(_) => None,
        })?;
        let text = String::from_utf8_lossy(sent);
        Some(text.strip_prefix(KEPT)?.lines().next()?.to_owned())
    }

    /// Every file that it is about.
    fn paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<_> = self.returned.clone().into_iter().collect();
        match self.name.as_str() {
            "rename" | "unlink" | "rmdir" | "mkdir" | "link" | "symlink" | "truncate" => {
                paths.extend((0..self.arguments.len()).filter_map(|at| self.path(None, at)));
            }
            "renameat" | "renameat2" | "linkat" => {
                paths.extend(self.path(Some(0), 1).into_iter().chain(self.path(Some(2), 3)));
            }
            "unlinkat" | "mkdirat" => paths.extend(self.path(Some(0), 1)),
            _ => paths.extend(self.arguments.iter().filter_map(|argument| match argument {
                Argument::Descriptor(path) => path.clone(),
                Argument::Octets(_) | Argument::Other(_) => None,
            })),
        }
        paths
    }

    /// A path argument, as seen from the directory in another one.
    fn path(&self, directory: Option<usize>, at: usize) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStrExt;
        let Argument::Octets(name) = self.arguments.get(at)? else { return None };
        let name = Path::new(std::ffi::OsStr::from_bytes(name));
        match directory.and_then(|directory| self.arguments.get(directory)) {
            Some(Argument::Descriptor(Some(directory))) => Some(directory.join(name)),
            _ if name.is_absolute() => Some(name.to_owned()),
            _ => panic!("a path from nowhere: {self:?}"),
        }
    }

    fn of(&self) -> Option<PathBuf> {
        match self.arguments.first()? {
            Argument::Descriptor(path) => path.clone(),
            Argument::Octets(_) | Argument::Other(_) => None,
        }
    }

    fn number(&self, at: usize) -> usize {
        match self.arguments.get(at) {
            Some(Argument::Other(number)) => number.parse().expect("a number"),
            other => panic!("{other:?} is no number: {}", self.name),
        }
    }

    /// What was written, as far as it was.
    fn written(&self) -> Vec<u8> {
        let written = self.result.unwrap_or_default();
        match self.arguments.get(1) {
            Some(Argument::Octets(octets)) => octets.get(..written).expect("all of it is recorded").to_vec(),
            other => panic!("{other:?} was written"),
        }
    }

    /// What it did; `None`: nothing, or nothing that lasts.
    fn what(&self) -> Option<What> {
        self.result?;
        Some(match self.name.as_str() {
            "open" | "openat" | "creat" => {
                let flags = |flag: &str| {
                    let is = |argument: &Argument| matches!(argument, Argument::Other(flags) if flags.contains(flag));
                    self.arguments.iter().any(is)
                };
                if !flags("O_CREAT") && !flags("O_TRUNC") {
                    return None;
                }
                What::Create { file: self.returned.clone()?, empty: flags("O_TRUNC") }
            }
            "write" => What::Write { file: self.of()?, octets: self.written() },
            "pwrite64" => What::WriteAt { file: self.of()?, at: self.number(3), octets: self.written() },
            "ftruncate" => What::Truncate { file: self.of()?, size: self.number(1) },
            "fsync" | "fdatasync" => What::Sync(self.of()?),
            "mkdir" => What::MakeDirectory(self.path(None, 0)?),
            "mkdirat" => What::MakeDirectory(self.path(Some(0), 1)?),
            "rename" => What::Rename { from: self.path(None, 0)?, to: self.path(None, 1)? },
            "renameat" | "renameat2" => {
                What::Rename { from: self.path(Some(0), 1)?, to: self.path(Some(2), 3)? }
            }
            "unlink" | "rmdir" => What::Remove(self.path(None, 0)?),
            "unlinkat" => What::Remove(self.path(Some(0), 1)?),
            // Descriptors go along with messages.
            "sendmsg" | "sendto" => return None,
            other => panic!("{other} changes the data directory: teach it to this test"),
        })
    }
}

impl Argument {
    fn parse(text: &str) -> Self {
        if text.starts_with('"') {
            return Self::Octets(octets(text));
        }
        let digits = text.find('<').map(|at| &text[..at]);
        match digits {
            Some(number) if number == "AT_FDCWD" || number.parse::<u32>().is_ok() => {
                Self::Descriptor(descriptor(&text[number.len()..]))
            }
            _ => match text.split_once("iov_base=") {
                Some((_, data)) if data.starts_with('"') => Self::Octets(octets(data)),
                _ => Self::Other(text.to_owned()),
            },
        }
    }
}

/// `<\x2f...>`, without a mark that the file has no name any more.
fn descriptor(text: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let (path, behind) = text.strip_prefix('<')?.split_once('>')?;
    if !path.starts_with("\\x2f") || behind.contains("deleted") {
        return None;
    }
    // Devices have more behind their names.
    let path = path.split('<').next()?;
    Some(std::ffi::OsString::from_vec(hex(path)).into())
}

/// `"\x61"`, which must not be cut.
fn octets(text: &str) -> Vec<u8> {
    let (octets, behind) = text.strip_prefix('"').and_then(|text| text.split_once('"')).expect("a string");
    assert!(!behind.starts_with("..."), "the record is cut");
    hex(octets)
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |octet: u8| char::from(octet).to_digit(16).expect("hex");
    let octet = |four: &[u8]| match four {
        [b'\\', b'x', high, low] => u8::try_from(digit(*high) * 16 + digit(*low)).expect("an octet"),
        other => panic!("not hex: {}", other.escape_ascii()),
    };
    text.as_bytes().chunks(4).map(octet).collect()
}

/// At the commas that are in no bracket.
fn split(arguments: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0_i32, 0);
    for (at, octet) in arguments.bytes().enumerate() {
        match octet {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(arguments[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(arguments[from..].trim());
    parts
}
