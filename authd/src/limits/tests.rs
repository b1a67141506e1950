use super::*;

fn settings() -> AuthdSettings {
    AuthdSettings {
        loopback_exempt: true,
        connection_rate: [300, 900, 2700],
        connections: [30, 90, 270],
        failure_rate: [10, 30, 90],
        failure_day: [50, 150, 450],
        hash_threads: 2,
        rounds: 16,
    }
}

fn at(seconds: u64) -> Moment {
    Moment::since_start(Duration::from_secs(seconds))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn account(number: u32) -> AccountId {
    AccountId::new(number).unwrap()
}

/// An address of its own /21 for each number.
fn far_apart(number: u32) -> IpAddr {
    IpAddr::from((0x0b00_0000 + (number << 11)).to_be_bytes())
}

fn stranger(number: u32) -> Target {
    Target::Account { account: account(number), known: None }
}

fn owner(number: u32, address: IpAddr) -> Target {
    Target::Account { account: account(number), known: Some(Network::of(address)) }
}

/// How many of `tries` failing logins are judged.
fn judged(limits: &mut Limits, address: IpAddr, target: Target, tries: u32, now: Moment) -> usize {
    (0..tries).filter(|_| limits.attempt(address, target, now).is_ok()).count()
}

/// Attack class 15.
#[test]
fn connections_at_once_are_limited_per_address_and_block() {
    let mut limits = Limits::new(&settings());
    let admitted = |limits: &mut Limits, address: &str, tries: u32| {
        (0..tries).filter(|_| limits.admit(ip(address), false, at(0)).is_ok()).count()
    };
    assert_eq!(admitted(&mut limits, "192.0.2.1", 40), 30);
    assert_eq!(limits.admit(ip("192.0.2.1"), false, at(0)), Err(TurnedAway::Concurrent));
    assert_eq!(admitted(&mut limits, "192.0.2.2", 40), 30);
    assert_eq!(admitted(&mut limits, "192.0.2.3", 40), 30);
    assert_eq!(admitted(&mut limits, "192.0.2.4", 40), 0, "the /26 is full");
    assert_eq!(admitted(&mut limits, "192.0.2.70", 40), 30, "another /26 of the same /21");
    limits.closed(ip("192.0.2.1"));
    assert_eq!(admitted(&mut limits, "192.0.2.4", 40), 1, "one place came free");
    assert_eq!(admitted(&mut limits, "2001:db8::1", 20), 20);
    assert_eq!(admitted(&mut limits, "2001:db8::2:1", 20), 10, "one /64 is one client");
}

#[test]
fn closing_everything_leaves_nothing_behind() {
    let mut limits = Limits::new(&settings());
    for number in 0..500 {
        limits.admit(far_apart(number), false, at(0)).unwrap();
    }
    for number in 0..500 {
        limits.closed(far_apart(number));
        limits.closed(far_apart(number));
    }
    assert!(limits.open.is_empty());
}

/// Attack class 15.
#[test]
fn new_connections_are_limited_by_a_rate_without_edges() {
    let mut limits = Limits::new(&settings());
    let mut come_and_go = |tries: u32, now: Moment| {
        let admitted = (0..tries).filter(|_| {
            let admitted = limits.admit(ip("192.0.2.1"), false, now);
            if admitted.is_ok() {
                limits.closed(ip("192.0.2.1"));
            }
            admitted.is_ok()
        });
        admitted.count()
    };
    assert_eq!(come_and_go(1000, at(0)), 300);
    assert_eq!(come_and_go(1000, at(1)), 5, "300 a minute are 5 a second");
    assert_eq!(come_and_go(1000, at(31)), 150);
    assert_eq!(come_and_go(1000, at(600)), 300);
}

/// Attack class 16: from one address.
#[test]
fn guesses_from_one_address_are_limited_by_minute_and_by_day() {
    let mut limits = Limits::new(&settings());
    let address = ip("192.0.2.1");
    let name = |number| Target::Nobody(number);
    let judged_of = |limits: &mut Limits, second: u64| {
        (0..100).filter(|number| limits.attempt(address, name(*number), at(second)).is_ok()).count()
    };
    assert_eq!(judged_of(&mut limits, 0), 10);
    assert_eq!(judged_of(&mut limits, 60), 10);
    assert_eq!((2..10).map(|minute| judged_of(&mut limits, minute * 60)).sum::<usize>(), 30, "50 in a day");
    assert_eq!(judged_of(&mut limits, 12 * 3600), 10, "half a day later some of the day's are free again");
}

/// Attack class 16: guesses that are under way all count.
#[test]
fn many_guesses_at_once_are_not_judged_by_one_count() {
    let mut limits = Limits::new(&settings());
    let under_way: Vec<_> =
        (0..100).filter_map(|_| limits.attempt(ip("192.0.2.1"), Target::Nobody(1), at(0)).ok()).collect();
    assert_eq!(under_way.len(), 10);
}

#[test]
fn right_passwords_cost_nothing_and_forgive_nothing() {
    let mut limits = Limits::new(&settings());
    let address = ip("192.0.2.1");
    for _ in 0..500 {
        let attempt = limits.attempt(address, stranger(1), at(0)).unwrap();
        limits.succeeded(attempt);
    }
    assert_eq!(judged(&mut limits, address, stranger(2), 9, at(0)), 9);
    let own = limits.attempt(address, stranger(1), at(0)).unwrap();
    limits.succeeded(own);
    assert_eq!(
        judged(&mut limits, address, stranger(2), 9, at(0)),
        1,
        "an account of one's own buys no guesses"
    );
}

/// Attack class 16: a thousand addresses guess at every account; the owners still log in; memory is bounded.
#[test]
fn owners_log_in_while_a_thousand_addresses_guess() {
    let mut limits = Limits::new(&settings());
    let home = |number: u32| IpAddr::from([203, 0, 113, u8::try_from(number).unwrap()]);
    let mut guesses = vec![0; 21];
    for second in 0..120 {
        for guesser in 0..1000 {
            let victim = 1 + (guesser + second) % 20;
            if limits.attempt(far_apart(guesser), stranger(victim), at(u64::from(second))).is_ok() {
                guesses[victim as usize] += 1;
            }
        }
        for number in 1..=20 {
            let login = limits.attempt(home(number), owner(number, home(number)), at(u64::from(second)));
            limits.succeeded(login.unwrap_or_else(|_| panic!("owner {number} locked out at {second} s")));
        }
    }
    // 30 at once, then one every two seconds.
    assert!(guesses[1..].iter().all(|count| (30..=90).contains(count)), "{guesses:?}");
    // And in a day no more than 150 at once and 150 over the day, whoever asks.
    let day = (1..=1440).map(|minute| {
        let now = at(120 + minute * 60);
        (0..40).filter(|guesser| limits.attempt(far_apart(2000 + guesser), stranger(1), now).is_ok()).count()
    });
    assert!(day.sum::<usize>() <= 300);
    for number in 0..200_000_u32 {
        let _ = limits.attempt(far_apart(number % 4000), Target::Nobody(u64::from(number)), at(90_000));
    }
    assert!(limits.remembered() <= Table::CAPACITY);
}

/// Attack class 16: guesses from a network that the owner uses have a budget of their own.
#[test]
fn guesses_from_the_owners_network_are_limited_too_and_lock_out_nobody_else() {
    let mut limits = Limits::new(&settings());
    let home = ip("203.0.113.5");
    assert_eq!(judged(&mut limits, home, owner(1, home), 100, at(0)), 10);
    assert_eq!(
        judged(&mut limits, home, owner(2, home), 100, at(0)),
        10,
        "another account of the same house"
    );
    let office = ip("198.51.100.1");
    assert!(limits.attempt(office, owner(1, office), at(0)).is_ok(), "the same owner elsewhere");
    assert_eq!(
        judged(&mut limits, home, stranger(3), 100, at(0)),
        10,
        "the address was not charged for owners"
    );
}

#[test]
fn unknown_names_meet_the_same_limits_as_accounts() {
    let mut limits = Limits::new(&settings());
    let tries = |limits: &mut Limits, target| {
        (0..200).filter(|number| limits.attempt(far_apart(*number), target, at(0)).is_ok()).count()
    };
    assert_eq!(tries(&mut limits, stranger(1)), 30);
    assert_eq!(tries(&mut limits, Target::Nobody(1)), 30);
}

#[test]
fn offences_add_up_drain_and_turn_away() {
    let mut limits = Limits::new(&settings());
    let bad = ip("192.0.2.1");
    for _ in 0..3 {
        assert_eq!(limits.admit(bad, false, at(0)), Ok(()));
        limits.charge(bad, None, Offence::Crash, at(0));
    }
    assert_eq!(limits.admit(bad, false, at(0)), Ok(()), "30 points are the limit");
    limits.charge(bad, None, Offence::Bounds, at(0));
    assert_eq!(limits.admit(bad, false, at(0)), Err(TurnedAway::Abuse));
    assert_eq!(limits.admit(ip("192.0.2.2"), false, at(0)), Ok(()), "its neighbour");
    assert_eq!(limits.admit(bad, false, at(301)), Ok(()), "5 points drain in 5 minutes");
}

/// Attack class 26: a front cannot have a network turned away over one address that it holds.
#[test]
fn one_address_never_gets_its_block_turned_away_but_several_do() {
    let mut limits = Limits::new(&settings());
    for _ in 0..1000 {
        limits.charge(ip("192.0.2.1"), None, Offence::Crash, at(0));
    }
    assert_eq!(limits.admit(ip("192.0.2.1"), false, at(0)), Err(TurnedAway::Abuse));
    assert_eq!(limits.admit(ip("192.0.2.2"), false, at(0)), Ok(()));
    let later = at(1801);
    assert_eq!(limits.admit(ip("192.0.2.1"), false, later), Ok(()), "nothing is for ever");
    for last in 2..=4 {
        for _ in 0..1000 {
            limits.charge(IpAddr::from([192, 0, 2, last]), None, Offence::Crash, later);
        }
    }
    assert_eq!(
        limits.admit(ip("192.0.2.60"), false, later),
        Err(TurnedAway::Abuse),
        "the /26 has a record now"
    );
    assert_eq!(limits.admit(ip("192.0.2.65"), false, later), Ok(()), "the /21 has not");
}

#[test]
fn an_account_is_charged_too_and_its_owner_is_not_locked_out() {
    let mut limits = Limits::new(&settings());
    for number in 0..10 {
        limits.charge(far_apart(number), Some(account(1)), Offence::Crash, at(0));
    }
    let home = ip("203.0.113.5");
    assert!(limits.attempt(far_apart(50), stranger(1), at(0)).is_err());
    assert!(limits.attempt(home, owner(1, home), at(0)).is_ok());
    assert!(limits.attempt(far_apart(50), stranger(2), at(0)).is_ok());
}

#[test]
fn loopback_is_exempt_only_where_the_settings_say_so() {
    for (exempt, address) in
        [(true, "127.0.0.1"), (true, "::1"), (true, "::ffff:127.0.0.1"), (false, "127.0.0.1")]
    {
        let mut limits = Limits::new(&AuthdSettings { loopback_exempt: exempt, ..settings() });
        for _ in 0..100 {
            limits.charge(ip(address), None, Offence::Crash, at(0));
        }
        assert_eq!(limits.admit(ip(address), false, at(0)).is_ok(), exempt, "{address}");
        assert_eq!(judged(&mut limits, ip(address), stranger(1), 100, at(0)), if exempt { 100 } else { 10 });
        assert_eq!(limits.remembered() == 0, exempt, "{address}");
    }
}

#[test]
fn replies_to_failures_wait_longer_each_time() {
    let mut limits = Limits::new(&settings());
    let address = ip("192.0.2.1");
    for (failures, seconds) in [(0, 0), (3, 0), (4, 1), (5, 2), (18, 15), (1000, 15)] {
        assert_eq!(
            limits.wait(address, failures, at(0)),
            Duration::from_secs(seconds),
            "{failures} failures"
        );
    }
    for _ in 0..7 {
        limits.attempt(address, stranger(1), at(0)).unwrap();
    }
    assert_eq!(
        limits.wait(address, 1, at(0)),
        Duration::from_secs(4),
        "a new connection does not start afresh"
    );
    assert_eq!(limits.wait(address, 1, at(3600)), Duration::ZERO);
}

/// Attack class 16: what others did at an owner's network keeps the owner from nothing.
#[test]
fn offences_turn_away_strangers_and_not_where_owners_are_at_home() {
    let mut limits = Limits::new(&settings());
    for _ in 0..20 {
        limits.charge(ip("192.0.2.1"), None, Offence::Crash, at(0));
    }
    assert_eq!(limits.admit(ip("192.0.2.1"), false, at(0)), Err(TurnedAway::Abuse));
    assert_eq!(limits.admit(ip("192.0.2.1"), true, at(0)), Ok(()));
}

#[test]
fn the_admin_sees_who_is_refused_and_has_it_forgotten() {
    let mut limits = Limits::new(&settings());
    let guesser = ip("192.0.2.1");
    limits.admit(ip("198.51.100.1"), false, at(0)).unwrap();
    assert!(limits.list(0, at(0)).is_empty(), "connecting is nothing to remember");
    assert_eq!(judged(&mut limits, guesser, stranger(7), 40, at(0)), 10);
    assert_eq!(judged(&mut limits, ip("203.0.113.9"), owner(8, ip("203.0.113.9")), 3, at(0)), 3);
    let listed = limits.list(0, at(0));
    let network = |prefix, first| Abuser::Network { address: ip(first), prefix };
    let who: Vec<_> = listed.iter().map(|info| (info.who, info.failures_minute, info.refused)).collect();
    assert_eq!(who[0], (network(32, "192.0.2.1"), 10, true), "those that are refused come first");
    for expected in [
        (network(26, "192.0.2.0"), 10, false),
        (network(21, "192.0.0.0"), 10, false),
        (Abuser::Account(account(7)), 10, false),
        (Abuser::Owner { account: account(8), address: ip("203.0.113.0"), prefix: 26 }, 3, false),
    ] {
        assert!(who.contains(&expected), "{expected:?} in {who:?}");
    }
    assert_eq!(who.len(), 5);
    assert!(limits.list(5, at(0)).is_empty());
    assert_eq!(limits.list(0, at(120)).len(), 5, "those of a day still count");

    let blocks_of_guesser = blocks(guesser);
    let cleared =
        limits.clear(|key| matches!(key, Key::Block(block) if blocks_of_guesser.contains(&block)), at(120));
    assert_eq!(cleared, 3);
    assert_eq!(judged(&mut limits, guesser, Target::Nobody(1), 40, at(0)), 10);
    assert_eq!(limits.clear(|_| true, at(0)), 6);
    assert!(limits.list(0, at(0)).is_empty());
}
