//! The blast radius of a captured process: `tests/blast-radius/matrix.toml`, row by row, in every process of a running
//! instance of the build that plays captured processes.
//!
//! ```text
//!   matrix.toml ──▶ script ──▶ control socket ──▶ supervisor ──▶ worker, locked in: raw calls ──▶ errno each
//!        │                                                                                          │ compared
//!        ├────────▶ the same code in a fork of this test that is not locked in: must succeed ───────┘
//!        └────────▶ docs/threat-model.md
//! ```
//! Always true: (1) every row runs in every role; (2) a refusal counts only if its control succeeded; (3) what ships
//! cannot play a captured process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

/// What a captured process tries: the very code that it runs.
#[path = "../../../worker-lib/src/captured/attempt.rs"]
#[allow(dead_code)]
mod attempt;
mod forgery;
mod matrix;
#[path = "../../../worker-lib/src/captured/sys.rs"]
mod sys;
mod threat_model;
mod unconfined;
mod world;

use std::{env, fs, path::Path};

use matrix::{Matrix, Outcome};

/// In every program that can play a captured process, and in no other.
const MARKER: &[u8] = b"moxd-plays-a-captured-process";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn the_threat_model_is_what_the_matrix_says() {
    let path = root().join("docs/threat-model.md");
    let wanted = threat_model::document(&Matrix::read(), root());
    if env::var_os("MOXD_WRITE_DOCS").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is not what the matrix says; run this test with MOXD_WRITE_DOCS=1",
        path.display()
    );
}

#[test]
fn only_the_build_for_tests_can_play_a_captured_process() {
    let mut workers = 0;
    for (directory, plays) in [(moxd_tests::instance::programs(), false), (world::captured(), true)] {
        for role in matrix::ROLES {
            let program = directory.join(role.binary());
            let octets = fs::read(&program).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
            let found = octets.windows(MARKER.len()).any(|window| window == MARKER);
            assert_eq!(found, plays, "{}", program.display());
            workers += 1;
        }
    }
    assert_eq!(workers, 2 * matrix::ROLES.len());
}

mod as_root {
    use std::collections::BTreeSet;

    use super::{Matrix, Outcome, forgery, matrix, unconfined, world::World};

    /// Attack classes 29 and 31: every call that could lead out of a process fails in it as declared, and succeeds in one
    /// that is not locked in.
    #[test]
    fn every_row_ends_in_every_role_as_the_matrix_says() {
        let matrix = Matrix::read();
        let world = World::start();
        let mut wrong = Vec::new();
        let mut ran = BTreeSet::new();
        for (number, row) in matrix.rows.iter().enumerate() {
            let line = world.outside(row.control.as_deref().unwrap_or(&row.attempt));
            let errno = unconfined::run(&line);
            if errno != 0 {
                wrong.push(format!("{}: the control `{line}` fails, errno {errno}", row.what));
            }
            ran.insert((number, None));
        }
        for role in matrix::ROLES {
            let lines: Vec<_> = matrix.rows.iter().map(|row| world.inside(role, &row.attempt)).collect();
            let results = world.attack(role, &lines);
            for (number, (row, line)) in matrix.rows.iter().zip(&lines).enumerate() {
                let expected = row.outcome(role);
                let found = results.get(&number).copied();
                if found != Some(expected.errno()) {
                    let name = role.binary();
                    wrong.push(format!("{name}: {}: `{line}`: {found:?}, expected {expected:?}", row.what));
                }
                ran.insert((number, Some(role)));
            }
        }
        assert!(wrong.is_empty(), "{} cells are not as declared:\n{}", wrong.len(), wrong.join("\n"));
        assert_eq!(ran.len(), matrix.rows.len() * (matrix::ROLES.len() + 1), "a row did not run");
        world.nobody_came();
        world.all_serve("all rows");
    }

    /// Attack classes 26 and 27: whatever a captured process puts into its channels, its peer closes that one, it is
    /// counted, and everybody is served.
    #[test]
    fn forged_channels_cost_their_sender_the_channel_and_others_nothing() {
        let matrix = Matrix::read();
        let world = World::start();
        let mut ran = 0;
        for end in forgery::ENDS {
            for row in &matrix.forgeries {
                let before = world.violations(end.role);
                let results = world.attack(end.role, &forgery::lines(end, &row.send));
                assert!(
                    !results.values().any(|errno| *errno == super::attempt::NOT_TRIED),
                    "{end:?} {results:?}"
                );
                if row.violation && end.heard_at_once() {
                    let counted = world.eventually(|| world.violations(end.role) > before);
                    assert!(counted, "{end:?}: {} was not counted", row.what);
                }
                // Who answers can always keep its askers waiting; what the next row sends completes the frame.
                if row.send != "half-frame" || end.asks {
                    world.all_serve(&format!("{}, {end:?}", row.what));
                }
                ran += 1;
            }
        }
        assert_eq!(ran, matrix.forgeries.len() * forgery::ENDS.len(), "a row did not run");
        assert!(world.restarts().is_empty(), "restarted: {:?}", world.restarts());
    }

    #[test]
    fn outcomes_are_told_apart() {
        let all = [Outcome::Ok, Outcome::Eperm, Outcome::Eacces, Outcome::Absent];
        let errnos: BTreeSet<_> = all.iter().map(|outcome| outcome.errno()).collect();
        assert_eq!(errnos.len(), all.len());
    }
}
