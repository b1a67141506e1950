//! Quotas: what counts for whom, and that it is there again after a restart.

use ipc_proto::quota::{Quota, QuotaInfo, QuotaLimit, QuotaLimits, QuotaRequest, QuotaSubject};

use super::*;

fn set(subject: QuotaSubject, octets: Option<QuotaLimit>, messages: Option<QuotaLimit>) -> AdminToAuthd {
    AdminToAuthd::Quota(QuotaRequest::Set { subject, limits: QuotaLimits { octets, messages } })
}

fn of_account(name: &str) -> QuotaSubject {
    QuotaSubject::Account(name.to_owned())
}

fn of_domain(name: &str) -> QuotaSubject {
    QuotaSubject::Domain(name.to_owned())
}

fn most(limit: u64) -> Option<QuotaLimit> {
    Some(QuotaLimit::Most(limit))
}

/// Both ways of working it out agree.
fn quota(directory: &Directory, account: AccountId) -> (Option<u64>, Option<u64>) {
    let book = directory.book();
    let book = book.read();
    let quota = book.quota(account);
    assert_eq!(book.all_quotas().get(&account).copied().unwrap_or_default(), quota);
    let Quota { octets, messages } = quota;
    (octets, messages)
}

fn listed(directory: &mut Directory, after: Option<QuotaSubject>) -> Vec<QuotaInfo> {
    match directory.apply(AdminToAuthd::Quota(QuotaRequest::List { after })).unwrap().reply {
        AuthdToAdmin::Quotas(all) => all,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_accounts_own_goes_before_its_domains_and_that_before_everybodys() {
    let (at, mut directory) = new();
    for domain in ["example.org", "example.net", "bücher.example"] {
        done(&mut directory, AdminToAuthd::DomainAdd(domain.into()));
    }
    let alice = add(&mut directory, "alice", Some("alice@example.org"));
    let bob = add(&mut directory, "bob", Some("@example.net"));
    let carol = add(&mut directory, "carol", None);
    assert_eq!(quota(&directory, alice), (None, None));
    done(&mut directory, set(QuotaSubject::All, most(100), most(10)));
    done(&mut directory, set(of_domain("example.org"), most(200), None));
    done(&mut directory, set(of_account("alice"), None, most(20)));
    for (account, counts) in
        [(alice, (Some(200), Some(20))), (bob, (Some(100), Some(10))), (carol, (Some(100), Some(10)))]
    {
        assert_eq!(quota(&directory, account), counts, "{account}");
    }
    // Of several domains the most counts, and no limit is more than any.
    done(&mut directory, set(of_domain("bücher.example"), most(150), Some(QuotaLimit::Unlimited)));
    for address in ["bob@example.org", "bob@bücher.example"] {
        done(&mut directory, address_add("bob", address));
    }
    assert_eq!(quota(&directory, bob), (Some(200), None));
    done(&mut directory, set(of_account("bob"), Some(QuotaLimit::Unlimited), most(0)));
    assert_eq!(quota(&directory, bob), (None, Some(0)));
    // What is given later changes that alone.
    done(&mut directory, set(of_account("alice"), most(7), None));
    let mut directory = {
        drop(directory);
        open(&at)
    };
    assert_eq!(quota(&directory, alice), (Some(7), Some(20)));
    let all = listed(&mut directory, None);
    let subjects: Vec<_> = all.iter().map(|info| info.subject.clone()).collect();
    let expected = [
        QuotaSubject::All,
        of_domain("example.org"),
        of_domain("xn--bcher-kva.example"),
        of_account("alice"),
        of_account("bob"),
    ];
    assert_eq!(subjects, expected);
    assert_eq!(listed(&mut directory, Some(expected[2].clone())), all[3..]);
    done(&mut directory, AdminToAuthd::Quota(QuotaRequest::Remove(of_account("alice"))));
    assert_eq!(quota(&directory, alice), (Some(200), Some(10)));
}

#[test]
fn what_it_was_set_for_takes_it_along() {
    let (at, mut directory) = new();
    done(&mut directory, AdminToAuthd::DomainAdd("example.org".into()));
    add(&mut directory, "alice", None);
    done(&mut directory, set(of_account("alice"), most(1), None));
    done(&mut directory, set(of_domain("example.org"), most(1), None));
    directory.apply(AdminToAuthd::AccountRemove("alice".into())).unwrap();
    done(&mut directory, AdminToAuthd::DomainRemove("example.org".into()));
    assert_eq!(listed(&mut directory, None), []);
    drop(directory);
    let mut directory = open(&at);
    assert_eq!(listed(&mut directory, None), []);
    let again = add(&mut directory, "alice", None);
    assert_eq!(quota(&directory, again), (None, None));
}

#[test]
fn nothing_is_set_for_what_is_not_there() {
    let (_at, mut directory) = new();
    add(&mut directory, "alice", None);
    for refused in [
        set(of_account("bob"), most(1), None),
        set(of_domain("example.org"), most(1), None),
        set(of_account("alice"), most(u64::MAX), None),
        AdminToAuthd::Quota(QuotaRequest::Remove(QuotaSubject::All)),
        AdminToAuthd::Quota(QuotaRequest::Of("bob".to_owned())),
    ] {
        assert!(directory.apply(refused.clone()).is_err(), "{refused:?}");
    }
    assert_eq!(listed(&mut directory, None), []);
}
