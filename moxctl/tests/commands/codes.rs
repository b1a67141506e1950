//! Exit codes, and what went wrong as JSON.

use ipc_proto::authd::AuthdToAdmin;

use crate::served::{Instance, moxctl, run};

/// Of the table in docs/moxctl.md: code, name in JSON.
fn documented() -> Vec<(i32, String)> {
    let page = include_str!("../../../docs/moxctl.md");
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let code = cells.next()?.parse().ok()?;
        Some((code, cells.next()?.trim_matches('`').to_owned()))
    });
    rows.collect()
}

#[test]
fn every_exit_code_of_the_table_comes_about_and_says_why_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = directory.path().join("moxd.toml");
    std::fs::write(&wrong, "[host]\nname = 1\n").unwrap();
    let wrong = format!("config check {}", wrong.display());
    let refusing = Instance::with_directory(|_| AuthdToAdmin::Refused("no \"account\" named x".into()));
    let done = Instance::with_directory(|_| AuthdToAdmin::Done);
    let nobody = "--socket /nonexistent/control.sock status";
    let mut seen = Vec::new();
    for (instance, arguments, kind) in [
        (Some(&done), "account rm x", "done"),
        (Some(&refusing), "account rm x", "refused"),
        (Some(&done), "account remove x", "usage"),
        (Some(&done), "account", "usage"),
        (Some(&done), "domain add a..b", "usage"),
        (None, nobody, "unavailable"),
        (None, &wrong, "configuration"),
    ] {
        let ask = |arguments: &str| match instance {
            Some(instance) => moxctl(instance, arguments, ""),
            None => run(&arguments.split_whitespace().collect::<Vec<_>>(), ""),
        };
        let (plain, json) = (ask(arguments), ask(&format!("{arguments} --json")));
        assert_eq!(plain.code, json.code, "{arguments}");
        if kind == "done" {
            assert_eq!(json.stderr, "");
        } else {
            assert_eq!((json.stdout.as_str(), json.stderr.lines().count()), ("", 1), "{arguments}");
            let said: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
            assert_eq!(said["error"]["code"], plain.code, "{arguments}");
            assert_eq!(said["error"]["kind"], kind, "{arguments}");
            let line = said["error"]["message"].as_str().unwrap();
            if arguments != "account" {
                assert_eq!(plain.stderr, format!("moxctl: {line}\n"), "{arguments}");
            }
        }
        seen.push((plain.code, kind.to_owned()));
    }
    seen.dedup();
    assert_eq!(seen, documented());
}

#[test]
fn help_has_the_codes_of_the_documentation() {
    let help = run(&["--help"], "").stdout;
    for (code, _) in documented() {
        let mut rows = include_str!("../../../docs/moxctl.md").lines();
        let meaning = rows.find(|line| line.starts_with(&format!("| {code} |"))).unwrap();
        let meaning = meaning.rsplit(" | ").next().unwrap().trim_end_matches(" |");
        assert!(help.contains(&format!("{code:>2}  {meaning}\n")), "{code}: {meaning}: {help}");
    }
}

/// The blocks of a page are one file.
#[test]
fn every_configuration_in_the_documentation_passes_config_check() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let directory = tempfile::tempdir().unwrap();
    let mut checked = Vec::new();
    for entry in std::fs::read_dir(docs).unwrap() {
        let page = entry.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```"));
        let sample: String = blocks.map(|(block, _)| block).collect();
        if sample.is_empty() {
            continue;
        }
        let name = page.file_name().unwrap().to_str().unwrap().to_owned();
        let file = directory.path().join(&name);
        std::fs::write(&file, sample).unwrap();
        let done = run(&["config", "check", file.to_str().unwrap()], "");
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "docs/{name}");
        checked.push(name);
    }
    assert!(checked.contains(&"config.md".to_owned()), "{checked:?}");
}
