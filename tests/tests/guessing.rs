//! Guessed passwords, from as many addresses as loopback has: what is judged, what waits, who gets in, what is remembered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::fs;

use moxd_tests::{Home, Instance, client, process::data};
use serde_json::{Value, json};

/// Failed logins in a minute from one address, its /26 and its /21, as the instances here are told. An account stands as
/// many from networks that its owner does not use as a /26 may make.
const MINUTE: [u32; 3] = [5, 20, 60];

const ACCOUNTS: u32 = 10;

/// What of authd's memory a full table may be, and all else that the flood leaves there.
const GROWTH: u64 = 8 << 20;

/// A client: one connection from an address of its own, and its guesses one after the other.
const CLIENT: &str = r#"
import asyncio, json, ssl, sys, time
port, cafile = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=cafile)
KINDS = ["AUTHENTICATIONFAILED", "UNAVAILABLE", "OK"]

async def connect(address):
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost", local_addr=(address, 0))
    await reader.readline()
    return reader, writer

async def ask(connection, tries):
    "What was answered to each, and after how many seconds."
    reader, writer = connection
    answers = []
    for user, password in tries:
        began = time.monotonic()
        writer.write(f"a LOGIN {user}@localhost {password}\r\n".encode())
        line = (await reader.readline()).decode()
        kind = next((kind for kind in KINDS if kind in line), line)
        answers.append((kind, time.monotonic() - began))
    writer.close()
    return answers

async def login(address, tries):
    return await ask(await connect(address), tries)

def far(number):
    "127.1.0.1, 127.1.8.1, 127.1.16.1 ...: each in a /21 of its own, 32 of them in each /16."
    return f"127.{1 + number // 32}.{8 * (number % 32)}.1"

def count(answers):
    kinds = [kind for kind, _ in answers]
    return {kind: kinds.count(kind) for kind in set(KINDS + kinds)}
"#;

/// One address that guesses on, and as many at once as a network of a provider would have.
const LIMITS: &str = r#"
async def together(addresses, each):
    connections = [await connect(address) for address in addresses for _ in range(each)]
    began = time.monotonic()
    answers = await asyncio.gather(*(
        ask(connection, [(f"x{addresses[0].replace('.', '-')}-{number}", "guessguess")])
        for number, connection in enumerate(connections)))
    return {"seconds": time.monotonic() - began, **count([answer for [answer] in answers])}

async def main():
    on = []
    for part in range(2):
        on += await login("127.150.0.1", [(f"on{part}-{number}", "guessguess") for number in range(3)])
    one = await together(["127.151.0.1"], 12)
    small = await together([f"127.152.0.{host}" for host in range(1, 7)], 6)
    large = await together([f"127.153.{third}.{fourth}" for third in range(4) for fourth in (1, 65, 129, 193)], 6)
    print(json.dumps({"on": on, "together": [one, small, large]}))

asyncio.run(main())
"#;

/// A thousand addresses, each of a provider of its own, guess at ten accounts; their owners log in all the while, and so
/// does a new device of each, from where nobody logged in before.
const CROWD: &str = r#"
accounts = [f"user{number}" for number in range(10)]
counts = []

async def guess(number, room):
    async with room:
        tries = [(accounts[(number + t) % 10], f"guess{number}x{t}") for t in range(3)]
        counts.extend(await login(far(number), tries))

async def own(account, address):
    [(kind, seconds)] = await login(address, [(account, "ownerowner")])
    return kind, seconds

def home(account):
    return f"127.{200 + accounts.index(account)}.0.1"

async def owners(stop):
    ins, slowest = 0, 0
    while not stop.is_set():
        for account in accounts:
            kind, seconds = await own(account, home(account))
            assert kind == "OK", (account, kind)
            ins, slowest = ins + 1, max(slowest, seconds)
    return ins, slowest

async def device(account, began):
    "When it gets in, and how often it was put off."
    put_off = 0
    while (await own(account, f"127.{220 + accounts.index(account)}.0.1"))[0] != "OK":
        put_off += 1
        await asyncio.sleep(0.25)
    return time.monotonic() - began, put_off

async def main():
    for account in accounts:
        assert (await own(account, home(account)))[0] == "OK"
    began, room, stop = time.monotonic(), asyncio.Semaphore(32), asyncio.Event()
    at_home = asyncio.create_task(owners(stop))
    crowd = asyncio.gather(*(guess(number, room) for number in range(1000)))
    # The limits of all accounts are used up by then.
    while count(counts)["UNAVAILABLE"] < 300:
        await asyncio.sleep(0.05)
    devices = asyncio.gather(*(device(account, began) for account in accounts))
    await crowd
    seconds = time.monotonic() - began
    late = [max(0, at - seconds) for at, _ in await devices]
    put_off = sum(put_off for _, put_off in devices.result())
    stop.set()
    ins, slowest = await at_home
    print(json.dumps({"seconds": seconds, "ins": ins, "slowest": slowest, "late": max(late), "put_off": put_off,
        **count(counts)}))

asyncio.run(main())
"#;

/// Names and networks that are new each time.
const FLOOD: &str = r#"
first, last = int(sys.argv[3]), int(sys.argv[4])

async def main():
    room = asyncio.Semaphore(32)
    async def one(number):
        async with room:
            return await login(far(number), [(f"absent{number}x{t}", "guessguess") for t in range(3)])
    answers = await asyncio.gather(*(one(number) for number in range(first, last)))
    print(json.dumps(count([answer for connection in answers for answer in connection])))

asyncio.run(main())
"#;

/// One that takes loopback for no better than others, with accounts `user0` and so on.
fn instance(accounts: u32, limits: &str) -> Instance {
    let home = Instance::start().stop();
    let configuration = fs::read_to_string(home.configuration()).unwrap();
    let strict = configuration.replace("trust_loopback = true", "trust_loopback = false");
    assert_ne!(strict, configuration);
    fs::write(home.configuration(), format!("{strict}\n[limits]\n{limits}\n")).unwrap();
    let instance = Instance::start_in(home);
    for number in 0..accounts {
        instance.add_account(&format!("user{number}"), "ownerowner");
    }
    instance
}

fn run(instance: &Instance, program: &str, more: &[&str]) -> Value {
    let mut python = client::python(&format!("{CLIENT}{program}"));
    python.arg(instance.imaps().port().to_string()).arg(client::certificate(instance)).args(more);
    serde_json::from_str(&client::run(&mut python)).unwrap()
}

fn of_kind<'a>(rows: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    rows.as_array().unwrap().iter().filter(move |row| row["kind"] == kind)
}

fn stop(instance: Instance) -> Home {
    let home = instance.finish();
    let log = fs::read_to_string(home.log()).unwrap();
    assert!(!log.contains("ownerowner") && !log.contains("guessguess"), "a password is in the log");
    home
}

/// Attack class 16: an address is judged as often as the configuration says and waits longer each time; so are the blocks
/// around it, whoever of them guesses, and however many at once.
#[test]
fn guesses_wait_and_stop_at_the_configured_limits_of_the_address_and_its_blocks() {
    let instance = instance(0, &format!("login_failures_minute = {MINUTE:?}"));
    let told = run(&instance, LIMITS, &[]);
    // Three are free, on whatever connection; then each waits a second longer.
    let on = told["on"].as_array().unwrap();
    let wait = |at: usize| on[at][1].as_f64().unwrap();
    for (at, due) in [(0, 0.0), (1, 0.0), (2, 0.0), (3, 1.0), (4, 2.0)] {
        assert_eq!(on[at][0], "AUTHENTICATIONFAILED", "{at}: {told}");
        assert!((due..due + 0.9).contains(&wait(at)), "{at} waited {} s: {told}", wait(at));
    }
    assert_eq!(on[5][0], "UNAVAILABLE", "{told}");
    assert!(wait(5) < 0.9, "what is not judged is answered at once: {told}");

    for (together, (limit, asked)) in
        told["together"].as_array().unwrap().iter().zip(MINUTE.into_iter().zip([12, 36, 96]))
    {
        let count = |kind: &str| together[kind].as_f64().unwrap();
        let judged = count("AUTHENTICATIONFAILED");
        assert_eq!(judged + count("UNAVAILABLE"), f64::from(asked), "{told}");
        let limit = f64::from(limit);
        let allowed = limit + (limit / 60.0 * count("seconds")).ceil();
        assert!((limit..=allowed).contains(&judged), "{judged} judged, {limit} to {allowed} allowed: {told}");
    }
    stop(instance);
}

/// Attack class 16: guesses at ten accounts from a thousand addresses. What is judged stays below what is configured; the
/// owners get in every time; a new device is put off while the account's limit is used up and gets in when a guess is
/// forgotten, however often it knocked.
#[test]
fn owners_log_in_while_a_thousand_addresses_guess_their_passwords() {
    let instance = instance(ACCOUNTS, &format!("login_failures_minute = {MINUTE:?}"));
    let told = run(&instance, CROWD, &[]);
    let count = |name: &str| told[name].as_f64().unwrap();
    assert_eq!(count("AUTHENTICATIONFAILED") + count("UNAVAILABLE"), 3000.0, "none is right or lost: {told}");
    let [_, account, _] = MINUTE.map(f64::from);
    let all = f64::from(ACCOUNTS);
    let allowed = all * (account + 1.0 + account / 60.0 * count("seconds"));
    assert!(count("AUTHENTICATIONFAILED") <= allowed, "more than {allowed} were judged: {told}");
    assert!(count("AUTHENTICATIONFAILED") >= all * (account - 1.0), "{told}");
    assert!(count("ins") >= 2.0 * all && count("slowest") < 5.0, "{told}");
    // A guess is forgotten every three seconds; the rest is for the login.
    assert!(count("put_off") >= 1.0 && count("late") < 6.0, "{told}");

    let remembered = instance.json(&["abuse", "list"]);
    assert_eq!(of_kind(&remembered, "account").count(), 10, "each account, as guessed at from elsewhere");
    assert_eq!(of_kind(&remembered, "owner").count(), 0, "nothing against the owners' networks");
    let second = |at: &str| at.split('.').nth(1).and_then(|octet| octet.parse::<u8>().ok());
    let at_home = |row: &Value| row["network"].as_str().and_then(second) >= Some(200);
    assert!(!of_kind(&remembered, "network").any(at_home), "{remembered}");

    // Another guess from a new network is put off, until the admin has it forgotten.
    let guess = "print(json.dumps(asyncio.run(login('127.240.0.1', [('user0', sys.argv[3])] ))[0][0]))";
    // There is room for one every three seconds.
    assert!(["a", "b", "c"].iter().any(|word| run(&instance, guess, &[word]) == "UNAVAILABLE"));
    assert_eq!(instance.moxctl(&["abuse", "clear"]).status.code(), Some(2), "whom?");
    assert_eq!(instance.json(&["abuse", "clear", "user0"]), json!({ "cleared": 1 }));
    assert_eq!(run(&instance, guess, &["d"]), "AUTHENTICATIONFAILED");
    assert!(instance.json(&["abuse", "clear", "--all"])["cleared"].as_u64().unwrap() > 10);
    assert_eq!(instance.json(&["abuse", "list"]), json!([]));
    stop(instance);
}

/// Attack class 16: more names and networks than are remembered. The table has its bound and so has authd's memory, and
/// what is known of accounts that are guessed at is not washed away.
#[test]
fn a_flood_of_new_names_and_networks_fills_the_table_and_no_more() {
    const CAPACITY: usize = 16_384;
    // As few rounds as are allowed: the guesses are what counts here.
    let limits = format!("login_failures_minute = {MINUTE:?}\npassword_rounds = 4096");
    let instance = instance(ACCOUNTS, &limits);
    run(&instance, CROWD, &[]);
    let authd = instance.pid("mox-authd").unwrap();
    let before = data(authd);

    // Each leaves its three blocks and three names.
    let told = run(&instance, FLOOD, &["1000", "4000"]);
    assert_eq!(told["AUTHENTICATIONFAILED"], 9000, "{told}");
    let full = data(authd);
    let remembered = instance.json(&["abuse", "list"]);
    let entries = remembered.as_array().unwrap().len();
    assert!((CAPACITY - 500..=CAPACITY).contains(&entries), "{entries} entries");
    assert!(full.saturating_sub(before) < GROWTH, "authd grew from {before} to {full} octets");
    let accounts: Vec<_> = of_kind(&remembered, "account").collect();
    assert_eq!(accounts.len(), 10, "guesses at accounts were forgotten");
    assert!(accounts.iter().all(|row| row["failures_day"].as_u64() >= Some(15)), "{accounts:?}");

    // And then no more.
    run(&instance, FLOOD, &["4000", "6000"]);
    let again = data(authd);
    assert!(again.saturating_sub(full) < GROWTH / 4, "authd grew again, from {full} to {again} octets");
    assert!(instance.json(&["abuse", "list"]).as_array().unwrap().len() <= CAPACITY);
    let own = "print(json.dumps(asyncio.run(login('127.200.0.1', [('user0', 'ownerowner')] ))[0][0]))";
    assert_eq!(run(&instance, own, &[]), "OK");
    assert_eq!(instance.pid("mox-authd"), Some(authd), "authd was started again");
    stop(instance);
}
