//! What a disk may hold after a crash, by the record: all that was done, only what a sync made certain, or that and some
//! of the rest, whole or torn.
//!
//! Strict, as no file system has to be kinder: a file's sync keeps its octets and its size, not its name; a directory's
//! sync keeps the names in it; of one directory names appear in the order they were given.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::record::{Done, Line, Record, What};

/// Disks write these whole.
const SECTOR: usize = 512;

/// A file, whatever its names.
type File = usize;

#[derive(Debug, Clone)]
pub(crate) enum Change {
    Write { file: File, at: usize, octets: Arc<[u8]> },
    Truncate { file: File, size: usize },
    Name { path: PathBuf, file: File },
    Directory(PathBuf),
    Rename { from: PathBuf, to: PathBuf },
    Remove(PathBuf),
}

/// A change, when it was begun, and from when on no crash takes it back.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) begun: Line,
    pub(crate) certain: Option<Line>,
    pub(crate) change: Change,
}

/// All steps in one directory and, of its parents, those that made it.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) root: PathBuf,
    pub(crate) steps: Vec<Step>,
}

impl World {
    /// What happened in `root`, which lies below `data`; that one was there before.
    pub(crate) fn of(record: &Record, data: &Path, root: &Path) -> Self {
        let ours = |path: &Path| path.starts_with(root) || (root.starts_with(path) && path.starts_with(data));
        let mut names: HashMap<PathBuf, File> = HashMap::new();
        let (mut files, mut ends): (File, HashMap<File, usize>) = (0, HashMap::new());
        let mut steps: Vec<(Step, Line)> = Vec::new();
        for Done { begun, ended, what } in &record.done {
            let mut add =
                |change: Change| steps.push((Step { begun: *begun, certain: None, change }, *ended));
            match what {
                What::Create { file: path, empty } if ours(path) => {
                    if let Some(file) = names.get(path) {
                        if *empty {
                            add(Change::Truncate { file: *file, size: 0 });
                        }
                    } else {
                        files += 1;
                        names.insert(path.clone(), files);
                        add(Change::Name { path: path.clone(), file: files });
                    }
                }
                What::Write { file: path, octets } if ours(path) => {
                    let file = names[path];
                    let end = ends.entry(file).or_default();
                    add(Change::Write { file, at: *end, octets: octets.as_slice().into() });
                    *end += octets.len();
                }
                What::WriteAt { file: path, at, octets } if ours(path) => {
                    add(Change::Write { file: names[path], at: *at, octets: octets.as_slice().into() });
                }
                What::Truncate { file: path, size } if ours(path) => {
                    add(Change::Truncate { file: names[path], size: *size });
                }
                What::MakeDirectory(path) if ours(path) && path != data => {
                    add(Change::Directory(path.clone()))
                }
                What::Rename { from, to } if ours(from) || ours(to) => {
                    assert_eq!(from.parent(), to.parent(), "a rename into another directory");
                    let file = names.remove(from).expect("what is renamed is there");
                    names.insert(to.clone(), file);
                    add(Change::Rename { from: from.clone(), to: to.clone() });
                }
                What::Remove(path) if ours(path) => {
                    names.remove(path);
                    add(Change::Remove(path.clone()));
                }
                What::Sync(path) if ours(path) => {
                    let file = names.get(path).copied();
                    for (step, done) in &mut steps {
                        let covers = match file {
                            Some(file) => step.change.file() == Some(file),
                            None => step.change.directory() == Some(path.as_path()),
                        };
                        if covers && *done < *begun {
                            step.certain.get_or_insert(*ended);
                        }
                    }
                }
                What::Create { .. }
                | What::Write { .. }
                | What::WriteAt { .. }
                | What::Truncate { .. }
                | What::MakeDirectory(_)
                | What::Rename { .. }
                | What::Remove(_)
                | What::Sync(_) => {}
            }
        }
        Self { root: root.to_owned(), steps: steps.into_iter().map(|(step, _)| step).collect() }
    }

    /// Every moment at which what a crash may leave becomes another.
    pub(crate) fn moments(&self) -> Vec<Line> {
        let mut moments: Vec<_> =
            self.steps.iter().flat_map(|step| [Some(step.begun), step.certain]).flatten().collect();
        moments.sort_unstable();
        moments.dedup();
        moments
    }
}

impl Change {
    fn file(&self) -> Option<File> {
        match self {
            Self::Write { file, .. } | Self::Truncate { file, .. } => Some(*file),
            Self::Name { .. } | Self::Directory(_) | Self::Rename { .. } | Self::Remove(_) => None,
        }
    }

    /// In which a name changes.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match self {
            Self::Write { .. } | Self::Truncate { .. } => None,
            Self::Name { path, .. } | Self::Directory(path) | Self::Remove(path) => path.parent(),
            Self::Rename { to, .. } => to.parent(),
        }
    }

    /// What is left of a write that did not come to its end: every sector is there, or is not, or is zeros.
    pub(crate) fn torn(&self, dice: &mut Dice) -> Vec<Self> {
        let Self::Write { file, at, octets } = self else { return vec![self.clone()] };
        let mut left = Vec::new();
        let (mut from, mut torn) = (0, dice.one_in(2));
        while from < octets.len() {
            let size = (SECTOR - (at + from) % SECTOR).min(octets.len() - from);
            let sector: Arc<[u8]> = match (torn, dice.below(3)) {
                (true, 0) => Arc::from([]),
                (true, 1) => vec![0; size].into(),
                _ => octets[from..from + size].into(),
            };
            if !sector.is_empty() {
                left.push(Self::Write { file: *file, at: at + from, octets: sector });
            }
            from += size;
            torn |= dice.one_in(4);
        }
        left
    }
}

/// Files by their names, as far as they go. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    names: BTreeMap<PathBuf, Node>,
    octets: HashMap<File, Arc<Vec<u8>>>,
}

#[derive(Debug, Clone, Copy)]
enum Node {
    File(File),
    Directory,
}

impl Disk {
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { file, at, octets } => {
                let held = Arc::make_mut(self.octets.entry(*file).or_default());
                if held.len() < at + octets.len() {
                    held.resize(at + octets.len(), 0);
                }
                held[*at..at + octets.len()].copy_from_slice(octets);
            }
            Change::Truncate { file, size } => {
                Arc::make_mut(self.octets.entry(*file).or_default()).resize(*size, 0);
            }
            Change::Name { path, file } => {
                self.names.insert(path.clone(), Node::File(*file));
            }
            Change::Directory(path) => {
                self.names.insert(path.clone(), Node::Directory);
            }
            Change::Rename { from, to } => {
                if let Some(node) = self.names.remove(from) {
                    self.names.insert(to.clone(), node);
                }
            }
            Change::Remove(path) => {
                self.names.remove(path);
            }
        }
    }

    /// Whether a directory below `data` is there.
    pub(crate) fn has(&self, root: &Path, data: &Path) -> bool {
        root.ancestors().take_while(|path| *path != data).all(|path| self.names.contains_key(path))
    }

    fn is_reachable(&self, path: &Path, root: &Path) -> bool {
        let mut parents = path.ancestors().skip(1).take_while(|path| *path != root);
        parents.all(|parent| matches!(self.names.get(parent), Some(Node::Directory)))
    }

    /// The files below `root` by their names there, of those whose directories are there too.
    pub(crate) fn files<'a>(&'a self, root: &'a Path) -> BTreeMap<&'a Path, &'a [u8]> {
        let file = |(path, node): (&'a PathBuf, &'a Node)| match node {
            Node::File(file) if self.is_reachable(path, root) => {
                Some((path.strip_prefix(root).ok()?, self.octets.get(file).map_or(&[][..], |held| held)))
            }
            Node::File(_) | Node::Directory => None,
        };
        self.names.iter().filter_map(file).collect()
    }

    /// Writes it out below `to`.
    pub(crate) fn write(&self, root: &Path, to: &Path) {
        let _ = fs::remove_dir_all(to);
        fs::create_dir_all(to).unwrap();
        for (path, node) in &self.names {
            if let (Node::Directory, Ok(below)) = (node, path.strip_prefix(root))
                && self.is_reachable(path, root)
            {
                fs::create_dir_all(to.join(below)).unwrap();
            }
        }
        for (path, octets) in self.files(root) {
            fs::write(to.join(path), octets).unwrap();
        }
    }
}

/// Numbers that look like chance and are the same in every run.
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }

    pub(crate) fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }
}
