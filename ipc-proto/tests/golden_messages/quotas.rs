//! What the admin asks about quotas.

use ipc_proto::{authd::*, quota::*};

use super::{Sample, samples_of};

const LIMITS: QuotaLimits =
    QuotaLimits { octets: Some(QuotaLimit::Most(1 << 30)), messages: Some(QuotaLimit::Unlimited) };

pub(super) fn set() -> QuotaRequest {
    QuotaRequest::Set { subject: QuotaSubject::Account("alice".to_owned()), limits: LIMITS }
}

pub(super) fn requests() -> Vec<Sample> {
    let ask = |name: &str, request: QuotaRequest| {
        super::request::<AdminAuthd>(&format!("Quota {name}"), AdminToAuthd::Quota(request))
    };
    let domain = || QuotaSubject::Domain("example.org".to_owned());
    samples_of!(ask, QuotaRequest {
        QuotaRequest::Set { .. } => "Set all":
            QuotaRequest::Set { subject: QuotaSubject::All, limits: QuotaLimits { octets: None, ..LIMITS } },
        QuotaRequest::Remove(_) => "Remove": QuotaRequest::Remove(domain()),
        QuotaRequest::List { .. } => "List": QuotaRequest::List { after: Some(domain()) },
        QuotaRequest::Of(_) => "Of": QuotaRequest::Of("alice".to_owned()),
    })
}

pub(super) fn infos() -> Vec<QuotaInfo> {
    let subjects = [
        QuotaSubject::All,
        QuotaSubject::Domain("example.org".to_owned()),
        QuotaSubject::Account("alice".to_owned()),
    ];
    subjects.map(|subject| QuotaInfo { subject, limits: LIMITS }).to_vec()
}

pub(super) fn quota() -> Quota {
    Quota { octets: Some(1 << 30), messages: None }
}
