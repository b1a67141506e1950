//! What bash, zsh and fish complete: commands, options, and values that are a choice of words.

use std::process::Command as Process;

use clap::{Command, builder::ValueParser};

use super::{about, arguments, built, choices, help, ship, subcommands};

/// What can stand at one place.
struct Place {
    /// The commands up to there, such as `moxctl alias`.
    path: String,
    words: Vec<(String, String)>,
    /// A file's name can.
    files: bool,
}

/// Options that the next word belongs to, and what it can be.
struct Value {
    option: String,
    choices: Vec<(String, String)>,
}

#[derive(Default)]
struct Table {
    places: Vec<Place>,
    values: Vec<Value>,
}

fn table() -> Table {
    let mut table = Table::default();
    add(&built(), &mut table);
    table.values.sort_by(|one, two| one.option.cmp(&two.option));
    table.values.dedup_by(|one, two| one.option == two.option);
    table
}

fn add(command: &Command, table: &mut Table) {
    let path = command.get_bin_name().unwrap_or("moxctl").to_owned();
    let mut words: Vec<_> =
        subcommands(command).map(|found| (found.get_name().to_owned(), about(found))).collect();
    let globals = command.get_arguments().filter(|argument| argument.is_global_set());
    for argument in arguments(command).chain(globals) {
        let Some(long) = argument.get_long() else {
            words.extend(choices(argument));
            continue;
        };
        let option = format!("--{long}");
        if argument.get_action().takes_values() && argument.is_require_equals_set() {
            let with =
                choices(argument).into_iter().map(|(value, _)| (format!("{option}={value}"), help(argument)));
            words.extend(with);
        } else if argument.get_action().takes_values() {
            table.values.push(Value { option: option.clone(), choices: choices(argument) });
        }
        words.push((option, help(argument)));
    }
    let path_type = ValueParser::path_buf().type_id();
    let files = arguments(command)
        .any(|argument| argument.is_positional() && argument.get_value_parser().type_id() == path_type);
    table.places.push(Place { path, words, files });
    subcommands(command).for_each(|command| add(command, table));
}

/// Cases of a shell's `case`, the last without its end.
fn alternatives<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" | ")
}

fn names(words: &[(String, String)]) -> String {
    words.iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>().join(" ")
}

/// Walks the words before the one that is completed; the same in bash and zsh.
fn walk(table: &Table, word: &str, count: &str) -> String {
    let paths = alternatives(table.places.iter().map(|place| place.path.as_str()));
    let options = alternatives(table.values.iter().map(|value| value.option.as_str()));
    format!(
        "    local at=moxctl before= word i\n\
         \x20   for ((i = {}; i < {count}; i++)); do\n\
         \x20       word=\"{word}\"\n\
         \x20       case \"$before\" in\n\
         \x20           {options}) before=; continue ;;\n\
         \x20       esac\n\
         \x20       before=\"$word\"\n\
         \x20       case \"$at $word\" in\n\
         \x20           {paths}) at=\"$at $word\" ;;\n\
         \x20       esac\n\
         \x20   done\n",
        if count == "CURRENT" { 2 } else { 1 },
    )
}

fn bash() -> String {
    let table = table();
    let mut text = String::from("# bash completion of moxctl. Written by `cargo xtask man`.\n_moxctl() {\n");
    text.push_str(&walk(&table, "${COMP_WORDS[i]}", "COMP_CWORD"));
    text.push_str("    local words=\n    case \"$before\" in\n");
    for value in &table.values {
        let (option, choices) = (&value.option, names(&value.choices));
        // Without a choice of words it is a name, most often a file's.
        let reply = if choices.is_empty() {
            "COMPREPLY=($(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\")); return".to_owned()
        } else {
            format!("words=\"{choices}\"")
        };
        text.push_str(&format!("        \"{option}\") {reply} ;;\n"));
    }
    text.push_str("        *)\n            case \"$at\" in\n");
    for place in &table.places {
        text.push_str(&format!("                \"{}\") words=\"{}\" ;;\n", place.path, names(&place.words)));
    }
    text.push_str(
        "            esac ;;\n    esac\n    COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n\
         complete -o default -F _moxctl moxctl\n",
    );
    text
}

/// `word:help` of `_describe`.
fn described(words: &[(String, String)]) -> String {
    let one = |(word, help): &(String, String)| {
        format!("'{word}:{}'", help.replace('\'', "'\\''").replace(':', "\\:"))
    };
    words.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn zsh() -> String {
    let table = table();
    let mut text = String::from(
        "#compdef moxctl\n# zsh completion of moxctl. Written by `cargo xtask man`.\n_moxctl() {\n",
    );
    text.push_str(&walk(&table, "${words[i]}", "CURRENT"));
    text.push_str("    local -a candidates\n    case \"$before\" in\n");
    for value in &table.values {
        let reply = if value.choices.is_empty() {
            "_files; return".to_owned()
        } else {
            format!("candidates=({})", described(&value.choices))
        };
        text.push_str(&format!("        \"{}\") {reply} ;;\n", value.option));
    }
    text.push_str("        *)\n            case \"$at\" in\n");
    for place in &table.places {
        let words = described(&place.words);
        text.push_str(&format!("                \"{}\") candidates=({words}) ;;\n", place.path));
    }
    text.push_str("            esac ;;\n    esac\n    _describe moxctl candidates\n}\n_moxctl \"$@\"\n");
    text
}

fn fish() -> String {
    let table = table();
    let list = |words: &mut dyn Iterator<Item = &str>| {
        words.map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" ")
    };
    let options = list(&mut table.values.iter().map(|value| value.option.as_str()));
    let paths = list(&mut table.places.iter().map(|place| place.path.as_str()));
    let mut text = format!(
        "# fish completion of moxctl. Written by `cargo xtask man`.\n\
         function __moxctl_at\n\
         \x20   set -l at moxctl\n\
         \x20   set -l before \"\"\n\
         \x20   for word in (commandline -opc)[2..]\n\
         \x20       if contains -- \"$before\" {options}\n\
         \x20           set before \"\"\n\
         \x20           continue\n\
         \x20       end\n\
         \x20       set before $word\n\
         \x20       if contains -- \"$at $word\" {paths}\n\
         \x20           set at \"$at $word\"\n\
         \x20       end\n\
         \x20   end\n\
         \x20   test \"$at\" = \"$argv[1]\"; and not contains -- \"$before\" {options}\n\
         end\n\
         function __moxctl_before\n\
         \x20   set -l words (commandline -opc)\n\
         \x20   test \"$words[-1]\" = \"$argv[1]\"\n\
         end\n",
    );
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    for place in &table.places {
        if !place.files {
            let at = quoted(&format!("__moxctl_at \"{}\"", place.path));
            text.push_str(&format!("complete -c moxctl -f -n {at}\n"));
        }
        for (word, help) in &place.words {
            let at = quoted(&format!("__moxctl_at \"{}\"", place.path));
            text.push_str(&format!("complete -c moxctl -n {at} -a {word} -d {}\n", quoted(help)));
        }
    }
    for value in &table.values {
        for (word, help) in &value.choices {
            let before = quoted(&format!("__moxctl_before {}", value.option));
            text.push_str(&format!("complete -c moxctl -f -n {before} -a {word} -d {}\n", quoted(help)));
        }
    }
    text
}

#[test]
fn the_completions_are_what_moxctl_has() {
    for (name, text) in [("moxctl.bash", bash()), ("_moxctl", zsh()), ("moxctl.fish", fish())] {
        ship(&format!("completions/{name}"), &text);
    }
}

#[test]
fn bash_completes_commands_options_and_values() {
    for (typed, expected) in [
        ("moxctl al", "alias"),
        ("moxctl --dir account alias s", "show set"),
        ("moxctl alias ", "add list show set member rm enable disable --socket --dir --json"),
        ("moxctl alias member ", "add rm --socket --dir --json"),
        ("moxctl alias add x@example.org --po", "--post"),
        ("moxctl alias add x@example.org --post ", "members anyone"),
        ("moxctl queue li", "list"),
        ("moxctl nonsense st", "status stop"),
    ] {
        let (before, last) = typed.rsplit_once(' ').unwrap();
        let words = before.split(' ').chain([last]).map(|word| format!("'{word}'")).collect::<Vec<_>>();
        let script = format!(
            "{}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_moxctl\necho \"${{COMPREPLY[*]}}\"",
            bash(),
            words.join(" "),
            words.len() - 1
        );
        let output = Process::new("bash").args(["--norc", "-euc", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.trim_end(), expected, "{typed}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
