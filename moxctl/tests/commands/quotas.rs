//! Quotas: what is asked, what is printed.

use ipc_proto::{
    authd::{AdminToAuthd, AuthdToAdmin},
    quota::{Quota, QuotaInfo, QuotaLimit, QuotaLimits, QuotaRequest, QuotaSubject},
};

use crate::served::{Instance, moxctl};

const FIVE_GIB: Option<QuotaLimit> = Some(QuotaLimit::Most(5 << 30));

#[test]
fn what_is_asked_about_quotas_is_what_was_typed() {
    let set =
        |subject, octets, messages| QuotaRequest::Set { subject, limits: QuotaLimits { octets, messages } };
    let alice = || QuotaSubject::Account("alice".to_owned());
    let domain = || QuotaSubject::Domain("xn--bcher-kva.example".to_owned());
    for (arguments, asked) in [
        ("set alice --storage 5GiB", set(alice(), FIVE_GIB, None)),
        (
            "set @bücher.example --storage unlimited --messages 1000",
            set(domain(), Some(QuotaLimit::Unlimited), Some(QuotaLimit::Most(1000))),
        ),
        ("set @* --messages unlimited", set(QuotaSubject::All, None, Some(QuotaLimit::Unlimited))),
        ("rm alice", QuotaRequest::Remove(alice())),
        ("rm @*", QuotaRequest::Remove(QuotaSubject::All)),
    ] {
        let instance = Instance::with_directory(move |request| {
            assert_eq!(*request, AdminToAuthd::Quota(asked.clone()), "{arguments}");
            AuthdToAdmin::Done
        });
        let done = moxctl(&instance, &format!("quota {arguments}"), "");
        assert_eq!((done.code, done.stderr.as_str(), done.stdout.lines().count()), (0, "", 1), "{arguments}");
        let json = moxctl(&instance, &format!("quota {arguments} --json"), "").json();
        assert_eq!(json, serde_json::json!({ "done": true }), "{arguments}");
    }
    let instance = Instance::with_directory(|_| panic!("nothing is asked"));
    for wrong in
        ["set alice", "set alice --storage 5GB", "set @ --storage 1", "set alice --messages -1", "rm"]
    {
        assert_eq!(moxctl(&instance, &format!("quota {wrong}"), "").code, 2, "{wrong}");
    }
}

#[test]
fn quotas_are_listed_and_shown() {
    let instance = Instance::with_directory(|request| match request {
        AdminToAuthd::Quota(QuotaRequest::List { after: None }) => AuthdToAdmin::Quotas(vec![
            QuotaInfo {
                subject: QuotaSubject::All,
                limits: QuotaLimits { octets: FIVE_GIB, messages: None },
            },
            QuotaInfo {
                subject: QuotaSubject::Account("alice".to_owned()),
                limits: QuotaLimits {
                    octets: Some(QuotaLimit::Unlimited),
                    messages: Some(QuotaLimit::Most(7)),
                },
            },
        ]),
        AdminToAuthd::Quota(QuotaRequest::Of(name)) if name == "alice" => {
            AuthdToAdmin::Quota(Quota { octets: None, messages: Some(7) })
        }
        other => panic!("{other:?}"),
    });
    let listed = moxctl(&instance, "quota list", "").stdout;
    assert_eq!(listed, "WHOSE  STORAGE    MESSAGES\n@*     5 GiB      -\nalice  unlimited  7\n");
    assert_eq!(
        moxctl(&instance, "quota list --json", "").json(),
        serde_json::json!([
            { "whose": "@*", "storage": 5_u64 << 30, "messages": null },
            { "whose": "alice", "storage": "unlimited", "messages": 7 },
        ])
    );
    let shown = moxctl(&instance, "quota show alice --json", "").json();
    assert_eq!(shown, serde_json::json!({ "account": "alice", "storage": null, "messages": 7 }));
    assert!(moxctl(&instance, "quota show alice", "").stdout.contains("unlimited  7"));
}
