//! What a captured process says to the supervisor about sessions that sleep.

use ipc_proto::{
    SessionId,
    control::{EVENT_SIZE, Event},
};
use serde::Deserialize;

/// One event, by these.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    pub(crate) what: String,
    pub(crate) roles: Vec<String>,
    send: String,
    pub(crate) outcome: Comes,
    pub(crate) why: String,
}

/// To what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Comes {
    Ended,
    Ignored,
}

impl Comes {
    /// For the table.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Ended => "the supervisor ends the process",
            Self::Ignored => "nothing, to nobody",
        }
    }
}

impl Said {
    fn octets(&self, session: SessionId) -> [u8; EVENT_SIZE] {
        match self.send.as_str() {
            "asleep" => Event::Asleep { session, count: 1 },
            "awaken" => Event::Awaken(session),
            other => panic!("{other}: no such event"),
        }
        .to_bytes()
    }
}

mod as_root {
    use super::{
        super::{Matrix, world::World},
        *,
    };

    /// Attack class 26: who says what is not its own to say is ended; what is, gives it nothing of others.
    #[test]
    fn events_about_sleeping_sessions_give_nobody_what_is_not_its_own() {
        let matrix = Matrix::read();
        for send in ["asleep", "awaken"] {
            let mut who: Vec<_> = matrix.events.iter().filter(|said| said.send == send).collect();
            who.sort_by_key(|said| said.outcome == Comes::Ended);
            let mut named: Vec<_> = who.iter().flat_map(|said| &said.roles).collect();
            named.sort();
            let mut all: Vec<_> = matrix.roles.iter().map(|role| &role.name).collect();
            all.sort();
            assert_eq!(named, all, "{send}");
            let world = World::start();
            let (mut imap, session) = world.session();
            for said in who {
                for name in &said.roles {
                    let role = matrix.role(name).role();
                    let pid = world.pid(role);
                    let digits: String =
                        said.octets(session).iter().map(|octet| format!("{octet:02x}")).collect();
                    let line = [format!("send control {digits}")];
                    if said.outcome == Comes::Ignored {
                        world.attack(role, &line);
                        assert_eq!(world.pid(role), pid, "{name}: {}", said.what);
                        // Whose it is goes on with it.
                        imap.command("NOOP").unwrap();
                    } else {
                        world.last_attack(role, &line);
                        let ended = || world.pids(role).iter().all(|other| *other != pid);
                        assert!(world.eventually(ended), "{name}: {}", said.what);
                    }
                }
            }
            world.all_serve(send);
        }
    }
}
