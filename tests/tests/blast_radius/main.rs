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
//! cannot play a captured process, and is locked in as what was attacked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

/// What a captured process tries: the very code that it runs.
#[path = "../../../worker-lib/src/captured/attempt.rs"]
#[allow(dead_code)]
mod attempt;
mod crashes;
mod events;
mod forgery;
mod matrix;
mod profiles;
#[path = "../../../worker-lib/src/captured/sys.rs"]
#[allow(dead_code)]
mod sys;
mod threat_model;
mod tls;
mod unconfined;
mod verbs;
mod world;

use std::{env, fs, path::Path};

use matrix::Matrix;

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
    let roles = Matrix::read().roles;
    for (directory, plays) in [(moxd_tests::instance::programs(), false), (world::captured(), true)] {
        for role in &roles {
            let program = directory.join(role.role().binary());
            let octets = fs::read(&program).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
            let found = octets.windows(MARKER.len()).any(|window| window == MARKER);
            assert_eq!(found, plays, "{}", program.display());
        }
    }
}

mod as_root {
    use std::thread;

    use ipc_proto::control::Role;
    use moxd_tests::{ADDRESS, Instance, Smtp, mail, ordinary};

    use super::{
        Matrix, forgery,
        matrix::{Effect, End},
        profiles,
        unconfined::{self, Somebody},
        verbs::{self, Answer, Given},
        world::{FRONTS, World, dependents, status_of},
    };

    /// The last of the numbers that roles have, and none has it.
    const ANOTHER_USER: u32 = 1_900_000_015;

    /// Every row in every role.
    fn run_rows(matrix: &Matrix, world: &World, ordinary: bool, wrong: &mut Vec<String>) {
        let mut ran = 0;
        for role in &matrix.roles {
            let lines: Vec<_> =
                matrix.rows.iter().map(|row| world.inside(role.role(), &row.attempt)).collect();
            let results = world.attack(role.role(), &lines);
            for (number, (row, line)) in matrix.rows.iter().zip(&lines).enumerate() {
                let expected = if ordinary { row.ordinary_outcome(role) } else { row.outcome(role) };
                let found = &results[&number];
                if !matches!(found[..], [errno] if expected.is(errno)) {
                    let name = &role.name;
                    wrong.push(format!("{name}: {}: `{line}`: {found:?}, expected {expected:?}", row.what));
                }
                ran += 1;
            }
        }
        assert_eq!(ran, matrix.rows.len() * matrix.roles.len(), "a row did not run");
    }

    /// What stands behind the sandbox: the same, by a user without one.
    fn run_unlocked(matrix: &Matrix, world: &World, user: u32, shared: bool, wrong: &mut Vec<String>) {
        for row in &matrix.rows {
            let expected = if shared { row.unlocked.same } else { row.unlocked.another };
            let line = world.unlocked(&row.attempt);
            let errno = unconfined::run(&line, Some(Somebody { user, like: world.pid(Role::Webd) }));
            if !expected.is(errno) {
                wrong.push(format!("user {user}: {}: `{line}`: {errno}, expected {expected:?}", row.what));
            }
        }
    }

    fn assert_none(wrong: &[String]) {
        assert!(wrong.is_empty(), "{} cells are not as declared:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// Attack classes 29 and 31: every call that could lead out of a process fails in it as declared, and succeeds in one
    /// that is not locked in.
    #[test]
    fn every_row_ends_in_every_role_as_the_matrix_says() {
        let matrix = Matrix::read();
        let world = World::start();
        let mut wrong = Vec::new();
        for row in &matrix.rows {
            let line = world.outside(row.control.as_deref().unwrap_or(&row.attempt));
            let errno = unconfined::run(&line, None);
            if errno != 0 {
                wrong.push(format!("{}: the control `{line}` fails, errno {errno}", row.what));
            }
        }
        world.a_control_came();
        run_unlocked(&matrix, &world, ANOTHER_USER, false, &mut wrong);
        run_rows(&matrix, &world, false, &mut wrong);
        assert_none(&wrong);
        world.nobody_came();
        world.all_serve("all rows");
    }

    /// Attack classes 29 and 31: the same where an ordinary user runs moxd. There is one user for all, so what is behind
    /// the sandbox is less, and the matrix says what.
    #[test]
    fn an_ordinary_users_processes_are_locked_in_as_the_matrix_says() {
        let matrix = Matrix::read();
        let world = World::start_as_ordinary_user();
        let mut wrong = Vec::new();
        run_unlocked(&matrix, &world, ordinary::user(), true, &mut wrong);
        run_rows(&matrix, &world, true, &mut wrong);
        assert_none(&wrong);
        world.nobody_came();
        world.all_serve("all rows");
    }

    /// Attack classes 26 and 30: what each verb of a channel gives whoever has captured its asker, with replayed ids,
    /// foreign data to sign, connections of others and files that are none.
    #[test]
    fn every_verb_gives_a_captured_process_what_the_matrix_says() {
        let matrix = Matrix::read();
        let (mut wrong, mut given, mut ran) = (Vec::new(), Given::default(), 0);
        // An instance for each who answers: nobody is ended for what one of them reports.
        for answers in matrix.answering() {
            let world = World::start();
            ran += ask_all(&matrix, &world, answers, &mut wrong, &mut given);
            assert!(world.restarts().is_empty(), "restarted: {:?}", world.restarts());
        }
        assert_none(&wrong);
        assert_eq!(
            ran,
            matrix.verbs.iter().map(|verb| verb.roles.len()).sum::<usize>(),
            "a verb did not run"
        );
        given.compare();
    }

    /// Every verb that this role answers, by everybody who has it; how many that were.
    fn ask_all(
        matrix: &Matrix,
        world: &World,
        answers: Role,
        wrong: &mut Vec<String>,
        given: &mut Given,
    ) -> usize {
        let mut ran = 0;
        for role in &matrix.roles {
            let mine = |end: &End| end.asks && end.role == role.role() && end.answers == answers;
            for end in matrix.ends().into_iter().filter(mine) {
                let asks = |verb: &&super::matrix::Verb| {
                    verb.roles.contains(&role.name) && role.channel(&verb.to) == end.channel
                };
                let beside = verbs::beside(end.channel);
                for channel in beside.into_iter().chain([end.channel]) {
                    world.keep(end.role, channel);
                }
                for verb in matrix.verbs.iter().filter(asks) {
                    let (mark, before) = (verbs::mark(verb), world.violations(end.role));
                    let mut lines = verbs::lines(world, role, verb, &mark);
                    if verb.outcome == "violation" {
                        // The one that is made in its place is for the next request.
                        lines.insert(0, format!("keep {:?}", end.channel));
                    }
                    let results = world.attack(end.role, &lines);
                    let answer = Answer::of(&results[&(lines.len() - 1)]);
                    let shown = match answer {
                        // The request is dropped first, or its channel at once.
                        Answer::Closed | Answer::Dropped
                            if verb.outcome == "violation"
                                && world.counted(end.role, end.channel, before) =>
                        {
                            world.make_ask(end.channel);
                            "violation".to_owned()
                        }
                        ref other => other.shown(end.channel),
                    };
                    if !shown.starts_with(&verb.outcome) {
                        wrong.push(format!(
                            "{}: {}: {shown}, expected {}",
                            role.name, verb.what, verb.outcome
                        ));
                    }
                    let filed = verb.filed.map(|_| world.filed_with(&mark));
                    if filed != verb.filed {
                        wrong.push(format!(
                            "{}: {}: {filed:?} filed, expected {:?}",
                            role.name, verb.what, verb.filed
                        ));
                    }
                    given.note(role, verb, &answer);
                    ran += 1;
                }
                for channel in [end.channel].into_iter().chain(beside) {
                    let before = world.violations(end.role);
                    world.attack(end.role, &[format!("leave {channel:?}")]);
                    assert!(
                        world.counted(end.role, channel, before),
                        "{end:?}: {channel:?} was not given back; {wrong:?}"
                    );
                }
                world.all_serve(&format!("the verbs of {end:?}"));
            }
        }
        ran
    }

    /// Attack classes 26 and 27: whatever a captured process puts into its channels, its peer closes that one, it is
    /// counted, and everybody is served.
    #[test]
    fn forged_channels_cost_their_sender_the_channel_and_others_nothing() {
        let matrix = Matrix::read();
        // An instance for each side: a channel that breaks more than twenty times in a row is made anew slowly. And one for
        // each who answers: nobody is ended for what one of them reports.
        for answers in matrix.answering() {
            for asks in [true, false] {
                forge(&matrix, &World::start(), answers, asks);
            }
        }
    }

    fn forge(matrix: &Matrix, world: &World, answers: Role, asks: bool) {
        let (mut ran, mut wanted) = (0, 0);
        let ends = matrix.ends().into_iter().filter(|end| end.asks == asks && end.answers == answers);
        for end in ends {
            let rows: Vec<_> = matrix.forgeries.iter().filter(|row| row.goes_into(end)).collect();
            wanted += rows.len();
            for row in rows {
                let behind = format!("{}, {end:?}", row.what);
                match row.outcome {
                    Effect::Bounded => drown(world, end, &row.send, &behind),
                    Effect::Violation | Effect::Contained => {
                        let before = world.violations(end.role);
                        let lines = forgery::lines(end, &row.send);
                        let results = world.attack(end.role, &lines);
                        assert!(results.values().all(|result| result[..] == [0]), "{behind}: {results:?}");
                        if row.outcome == Effect::Violation {
                            // One that was broken to come to an answer counts, too.
                            let more = u32::try_from(lines.len() - 1).unwrap();
                            assert!(
                                world.counted(end.role, end.channel, before + more),
                                "{behind}: not counted"
                            );
                        } else if row.send == "half-frame" && !end.asks {
                            // Who answers can keep its askers waiting, and nobody else.
                            world.serve(&others(end), &behind);
                            world.attack(end.role, &[forgery::other_half(end.channel)]);
                            assert!(world.counted(end.role, end.channel, before), "{behind}: its end");
                        }
                    }
                }
                world.all_serve(&behind);
                ran += 1;
            }
        }
        assert_eq!(ran, wanted, "a row did not run");
        assert!(world.restarts().is_empty(), "restarted: {:?}", world.restarts());
    }

    /// Attack class 26: a front that breaks the rules of keyd's channel and of authd's is not itself any more: it is ended
    /// and started again, and no other is.
    #[test]
    fn who_forges_to_both_keyd_and_authd_is_ended_and_nobody_else_is() {
        let matrix = Matrix::read();
        let world = World::start();
        let mut ended = Vec::new();
        for front in FRONTS {
            let ends = matrix.ends().into_iter().filter(|end| end.role == front && end.asks);
            let channel = |of| ends.clone().find(|end| end.answers == of).unwrap().channel;
            let before = world.violations(front);
            world.attack(front, &[forgery::breaking(channel(Role::Keyd))]);
            assert!(world.counted(front, channel(Role::Keyd), before), "{front:?}: keyd does not say so");
            assert_eq!(world.restarts(), ended, "one word ends nobody");
            let pid = world.pid(front);
            world.last_attack(front, &[forgery::breaking(channel(Role::Authd))]);
            ended.push(front.binary());
            assert!(world.eventually(|| world.restarts() == ended), "{ended:?}: {:?}", world.restarts());
            world.all_serve(&format!("the end of {front:?}"));
            assert_ne!(world.pid(front), pid);
        }
        assert_eq!(world.restarts(), ended);
    }

    /// The fronts that do not need this channel.
    fn others(end: End) -> Vec<Role> {
        FRONTS.into_iter().filter(|front| !dependents(end.channel).contains(front)).collect()
    }

    /// Requests without end, while the others are served.
    fn drown(world: &World, end: End, send: &str, behind: &str) {
        world.keep(end.role, end.channel);
        let results = thread::scope(|scope| {
            let attack = scope.spawn(|| world.attack(end.role, &forgery::lines(end, send)));
            world.serve(&others(end), behind);
            attack.join().unwrap()
        });
        let bounded = |errno: i32| [libc::EAGAIN, libc::EPIPE, libc::ECONNRESET].contains(&errno);
        assert!(
            results.values().all(|result| matches!(result[..], [errno] if bounded(errno))),
            "{behind}: {results:?}"
        );
        let before = world.violations(end.role);
        world.attack(end.role, &[format!("leave {:?}", end.channel)]);
        assert!(world.counted(end.role, end.channel, before), "{behind}: not given back");
    }

    /// Attack class 29: what ships is locked in exactly as what was attacked: the same filters, read back from the kernel,
    /// and the same rules of Landlock.
    #[test]
    fn shipped_processes_are_locked_in_as_those_that_were_attacked() {
        let (shipped, captured) = (Instance::start(), World::start());
        Smtp::connect(shipped.smtp()).unwrap().must_deliver(ADDRESS, &mail::message("shipped", 300));
        let (of_shipped, of_captured) = (status_of(&shipped), captured.status());
        let reported = profiles::reported(&of_shipped);
        let roles = Matrix::read().roles;
        assert!(roles.iter().all(|role| reported.contains_key(role.role().binary())), "{reported:?}");
        assert_eq!(reported, profiles::reported(&of_captured));
        match (profiles::in_force(&of_shipped), profiles::in_force(&of_captured)) {
            (Some(in_force), Some(others)) => {
                assert_eq!(in_force, others);
                for (role, (filter, _)) in reported {
                    assert_eq!(in_force[role], filter, "{role} reports another filter than is in force");
                }
            }
            _ => eprintln!("the kernel does not give filters back here: compared as reported"),
        }
    }
}
