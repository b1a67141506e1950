//! `docs/threat-model.md`: the matrix as a table for people, what each captured process is good for, and the tests of every
//! class of attack, found in the sources by the name that their doc comments give.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use crate::matrix::{Effect, Matrix, Outcome};

/// The classes that this release has something to lose by, by their numbers in the tests' comments.
const CLASSES: [(u32, &str); 34] = [
    (1, "plaintext injected before STARTTLS"),
    (2, "STARTTLS stripped, logins without TLS"),
    (3, "SMTP smuggling"),
    (4, "transaction state"),
    (6, "limits of lines and commands"),
    (7, "IMAP literals"),
    (8, "IMAP nesting"),
    (9, "MIME bombs"),
    (10, "header bombs"),
    (11, "decompression bombs"),
    (14, "clients that are slow or never read"),
    (15, "floods of connections, no descriptors left"),
    (16, "guessed passwords"),
    (17, "content of logins"),
    (18, "injection by names"),
    (24, "path traversal"),
    (25, "races with symbolic and hard links"),
    (26, "forged messages between processes"),
    (27, "starved channels between processes"),
    (28, "descriptors that are left over"),
    (29, "the sandbox holds"),
    (30, "the keys' process as a signing oracle"),
    (31, "one account from another"),
    (32, "accounts mixed up"),
    (33, "injection into logs"),
    (34, "the web's cross-site requests"),
    (36, "file names and content of attachments"),
    (37, "mail loops and backscatter"),
    (39, "full disks and other trouble of the queue"),
    (40, "crashes at any moment"),
    (41, "upgrades and older programs"),
    (42, "TLS settings"),
    (46, "one account that uses everything up"),
    (47, "the supply chain"),
];

/// All of it.
pub(crate) fn document(matrix: &Matrix, root: &Path) -> String {
    let mut text = String::from(
        "# Threat model\n\n\
         Written from `tests/blast-radius/matrix.toml` and the sources; `MOXD_WRITE_DOCS=1 cargo nextest run -p moxd-tests \
         the_threat_model` writes it anew, and the test fails while it is not what they say.\n\n\
         An attacker is assumed to run any code inside one of moxd's processes. The question is then what else is lost. \
         The processes and their channels: [channels.md](channels.md).\n\n\
         ## What a captured process is good for\n\n\
         | captured | the attacker gets | and does not get |\n|---|---|---|\n",
    );
    for role in &matrix.roles {
        let _ = writeln!(text, "| {} | {} | {} |", role.name, role.gets, role.does_not_get);
    }
    text.push_str(
        "\nNot in the table: the supervisor, which is root and reads nothing of variable length from any worker but log \
         lines; the kernel; whoever is root on the machine. As an ordinary user (`moxctl localserve`) all processes share \
         one user, and Landlock is the only wall between accounts; `moxctl status` says so. Every cell ends the same there but where one says otherwise, \
         and is tested there, too; what stands behind the sandbox is less: the last columns say how the same call ends in \
         a process that is not locked in, of another of moxd's users and of the same one.\n\n\
         A captured front can have clients charged for what they did not do: those that it holds itself, on its channel to \
         authd or by what it notes in its recorder before it dies. Never anybody whom another front holds, or the process \
         before it held, and never above a small block of addresses without a second source.\n\n\
         What `moxctl account import` reads is taken apart in a child of moxctl that holds the source and a stream pair to moxctl, \
         and nothing else: no file, no new socket, a user of its own where root runs moxctl. Captured, it can put mail into \
         that account, and use an IMAP source as the password that was given allows; it cannot say where mail goes beyond \
         the names of mailboxes, and learns nothing of what the account holds but which messages of that source came \
         before.\n\n\
         ## What a captured process tries, and how it ends\n\n\
         Every cell runs in a real process behind its lock, and the same call succeeds in one that is not locked in. \
         EPERM is seccomp's answer, EACCES Landlock's; \"has none\": the process holds no such descriptor.\n\n| it tries to |",
    );
    for role in &matrix.roles {
        let _ = write!(text, " {} |", role.name);
    }
    text.push_str(" why | unlocked, another user | unlocked, same user |\n|---|");
    text.push_str(&"---|".repeat(matrix.roles.len() + 3));
    text.push('\n');
    for row in &matrix.rows {
        let _ = write!(text, "| {} |", row.what);
        for role in &matrix.roles {
            let outcome = row.outcome(role);
            let mark = if outcome == Outcome::Ok { "**" } else { "" };
            let ordinary = match row.ordinary_outcome(role) {
                same if same == outcome => String::new(),
                other => format!("; ordinary user: **{}**", other.text()),
            };
            let _ = write!(text, " {mark}{}{mark}{ordinary} |", outcome.text());
        }
        let (another, same) = (row.unlocked.another.text(), row.unlocked.same.text());
        let _ = writeln!(text, " {} | {another} | {same} |", row.why);
    }
    text.push_str(
        "\n## What it gets by the requests that it has\n\n\
         Each is asked by a captured process in its role's place, on a channel of its own. What was filed before stays \
         as it is.\n\n| who | asks | for | outcome | why |\n|---|---|---|---|---|\n",
    );
    for verb in &matrix.verbs {
        let outcome = match verb.outcome.as_str() {
            "violation" => "the peer closes the channel, which is counted".to_owned(),
            answer => format!("`{}`", answer.trim_end_matches('(')),
        };
        let (who, filed) = (
            verb.roles.join(", "),
            match verb.filed {
                None => "",
                Some(0) => ", and nothing of it is in the mailbox",
                Some(_) => ", and it is in the mailbox once",
            },
        );
        let _ = writeln!(text, "| {who} | {} | {} | {outcome}{filed} | {} |", verb.to, verb.what, verb.why);
    }
    text.push_str(
        "\n## What it puts into its channels\n\n\
         Into every end of every channel that it holds, asking or answering. Afterwards mail comes in and is read, every front \
         shakes hands over TLS, and no process was started again; only a front that breaks the rules of both keyd's and authd's \
         channel is. While an end that answers leaves half a frame in its \
         channel, those who ask there wait; all others are served.\n\n\
         | it sends | into ends | what happens | why |\n|---|---|---|---|\n",
    );
    for row in &matrix.forgeries {
        let happens = match row.outcome {
            Effect::Violation => "the peer closes the channel, which is counted",
            Effect::Contained => "others do not notice",
            Effect::Bounded => "the peer takes no more of them; others do not notice",
        };
        let _ = writeln!(text, "| {} | {} | {happens} | {} |", row.what, row.into(), row.why);
    }
    text.push_str(
        "\n## What it says to the supervisor\n\n\
         Events are 64 octets of numbers. Of those about sessions that sleep:\n\n\
         | who | says that | what happens | why |\n|---|---|---|---|\n",
    );
    for said in &matrix.events {
        let (who, happens) = (said.roles.join(", "), said.outcome.text());
        let _ = writeln!(text, "| {who} | {} | {happens} | {} |", said.what, said.why);
    }
    text.push_str("\n## Classes of attacks and their tests\n\n| class | tests |\n|---|---|\n");
    let tests = tests_by_class(root);
    for (number, name) in CLASSES {
        let Some(found) = tests.get(&number) else { continue };
        let _ = writeln!(text, "| {number}. {name} | {} |", found.join("<br>"));
    }
    text
}

/// Every test whose doc comment names a class, as `path: name`, in the order of paths.
fn tests_by_class(root: &Path) -> BTreeMap<u32, Vec<String>> {
    let mut files = Vec::new();
    collect(root, &mut files);
    files.sort();
    let mut found: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(root.join(&file)).unwrap();
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let is_doc = line.starts_with("//") || line.starts_with('#');
            let Some(rest) = line.find("Attack class").filter(|_| is_doc).and_then(|at| line.get(at..))
            else {
                continue;
            };
            let whole = line.starts_with("//!");
            let name = if whole { Some("all") } else { name_below(&lines[at..]) };
            let Some(name) = name else { continue };
            for number in numbers(rest) {
                let entry = format!("`{file}`: {}", name.replace('_', " "));
                let tests = found.entry(number).or_default();
                if !tests.contains(&entry) {
                    tests.push(entry);
                }
            }
        }
    }
    found
}

/// Rust sources of the workspace: whatever is built or brought in lies elsewhere.
fn collect(root: &Path, files: &mut Vec<String>) {
    fn walk(root: &Path, below: &Path, files: &mut Vec<String>) {
        for entry in fs::read_dir(root.join(below)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap_or_default();
            let path = below.join(&name);
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                walk(root, &path, files);
            } else if kind.is_file() && name.ends_with(".rs") {
                files.push(path.display().to_string());
            }
        }
    }
    walk(root, Path::new(""), files);
}

/// The function that a comment stands before.
fn name_below<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let item = lines.iter().find(|line| !line.starts_with("//") && !line.starts_with('#'))?;
    let (_, behind) = item.split_once("fn ")?;
    behind.split(['(', '<']).next()
}

/// The classes that a comment names: `16, 17 and 26: ...` or `1 to 4 and 37`.
fn numbers(comment: &str) -> Vec<u32> {
    let rest = comment.trim_start_matches("Attack class").trim_start_matches("es");
    let mut found: Vec<u32> = Vec::new();
    let mut through = false;
    for word in rest.split_ascii_whitespace() {
        let figure = word.trim_end_matches([',', ':', '.', ';']);
        match figure.parse::<u32>() {
            Ok(number) => {
                let from = found.last().filter(|_| through).map_or(number, |last| last + 1);
                found.extend(from..=number);
                through = false;
                if word.ends_with([':', '.', ';']) {
                    break;
                }
            }
            Err(_) if figure == "to" => through = true,
            Err(_) if matches!(figure, "and" | "class" | "classes") => {}
            Err(_) => break,
        }
    }
    found
}

#[test]
fn classes_are_read_out_of_comments() {
    assert_eq!(numbers("Attack class 7: literals of 2 kinds"), [7]);
    assert_eq!(numbers("Attack classes 1 to 4, 6 and 37: each"), [1, 2, 3, 4, 6, 37]);
    assert_eq!(numbers("Attack class 40, and the poisoned message of attack class 9: what"), [40]);
    assert_eq!(numbers("Attack class 3. Each sequence 5"), [3]);
}
