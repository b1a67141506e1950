//! From the configuration to each worker's settings and limits.

use std::path::Path;

use ipc_proto::{
    AccountId,
    control::{
        AccountdSettings, AuthdSettings, ImapdSettings, KeydSettings, LogSettings, PreviousEnd,
        QueuedSettings, Role, RoleSettings, Settings, SmtpdSettings, SubmitdSettings, WebdSettings,
    },
    quota::Quota,
};

use crate::config::Config;

/// What a worker is told. `account` for an account's process only.
#[must_use]
pub fn of(
    config: &Config,
    role: Role,
    account: Option<AccountId>,
    directory: Option<&Path>,
    previous: PreviousEnd,
    quota: Quota,
) -> Settings {
    let limits = &config.limits;
    let own = match (role, account) {
        (Role::Accountd, Some(account)) => RoleSettings::Accountd(AccountdSettings {
            account,
            quiet_ms: limits.account_quiet.milliseconds(),
            sessions: limits.account_sessions,
            idle_timeout_ms: limits.imap_idle.milliseconds(),
            write_timeout_ms: limits.write.milliseconds(),
            hibernate_after_ms: limits.hibernate_after.milliseconds(),
            hibernate_expiry_ms: limits.hibernate_expiry.milliseconds(),
            asleep: Vec::new(),
            undelete_days: limits.undelete_days,
            undelete_size: limits.undelete_size.0,
            previous,
            quota,
        }),
        (Role::Smtpd, _) => RoleSettings::Smtpd(smtp(config, limits.smtp_connections)),
        (Role::Submitd, _) => RoleSettings::Submitd(SubmitdSettings {
            smtp: smtp(config, limits.submission_connections),
            pre_login_connections: limits.submission_logins,
            plain_login_on_loopback: config.host.trust_loopback,
        }),
        (Role::Imapd, _) => RoleSettings::Imapd(ImapdSettings {
            connections: limits.imap_connections,
            pre_login_connections: limits.imap_logins,
            login_timeout_ms: limits.imap_login.milliseconds(),
            tls_timeout_ms: limits.tls_handshake.milliseconds(),
            plain_login_on_loopback: config.host.trust_loopback,
        }),
        (Role::Webd, _) => RoleSettings::Webd(WebdSettings {
            connections: limits.http_connections,
            header_timeout_ms: 30_000,
            idle_timeout_ms: 65_000,
            tls_timeout_ms: limits.tls_handshake.milliseconds(),
        }),
        (Role::Queued, _) => RoleSettings::Queued(QueuedSettings {
            direct_recipients: limits.direct_recipients,
            spool_files: limits.spool_files,
            retry_ms: limits.queue_retry.milliseconds(),
            submission_messages: limits.submission_messages,
            submission_new_recipients: limits.submission_new_recipients,
        }),
        (Role::Authd, _) => RoleSettings::Authd(AuthdSettings {
            loopback_exempt: config.host.trust_loopback,
            connection_rate: limits.connection_rate,
            connections: limits.connections,
            failure_rate: limits.login_failures_minute,
            failure_day: limits.login_failures_day,
            hash_threads: 2,
            rounds: limits.password_rounds,
        }),
        (Role::Keyd | Role::Accountd, _) => {
            let mut names = vec![config.host.name.0.clone()];
            names.extend(config.host.certificate_names.iter().cloned());
            names.dedup();
            RoleSettings::Keyd(KeydSettings { names, signatures_per_second: limits.signatures })
        }
    };
    Settings {
        role,
        hostname: config.host.name.0.clone(),
        directory: directory.map(|path| path.display().to_string()),
        log: LogSettings { filter: config.log.level.0.clone() },
        message_size: limits.message_size.0,
        own,
    }
}

/// What both SMTP servers are told.
fn smtp(config: &Config, connections: u32) -> SmtpdSettings {
    let limits = &config.limits;
    SmtpdSettings {
        connections,
        memory_budget: limits.smtp_memory.0,
        command_timeout_ms: limits.smtp_command.milliseconds(),
        tls_timeout_ms: limits.tls_handshake.milliseconds(),
        data_timeout_ms: limits.smtp_data.milliseconds(),
        tarpit: true,
        loopback_exempt: config.host.trust_loopback,
        simulate_failures: config.host.simulate_failures,
    }
}

/// Descriptors that a worker may have.
#[must_use]
pub fn files(config: &Config, role: Role) -> u64 {
    let files = match role {
        Role::Smtpd => u64::from(config.limits.smtp_connections) * 3 + 256,
        Role::Submitd => u64::from(config.limits.submission_connections) * 3 + 256,
        Role::Imapd => u64::from(config.limits.imap_connections) * 2 + 256,
        Role::Webd => u64::from(config.limits.http_connections) + 256,
        Role::Queued => 16_384,
        // A channel to each account's process.
        Role::Authd => u64::from(config.limits.account_processes) * 2 + 1024,
        Role::Keyd => 64,
        Role::Accountd => u64::from(config.limits.account_sessions) * 6 + 1024,
    };
    files.min(1_000_000)
}

/// The kernel's limits for a worker.
#[must_use]
pub fn limits(config: &Config, role: Role) -> Vec<(libc::__rlimit_resource_t, u64)> {
    let size = match role {
        Role::Smtpd | Role::Submitd => config.limits.message_size.0 + (64 << 10),
        Role::Imapd | Role::Webd | Role::Keyd => 0,
        Role::Queued | Role::Authd => 64 << 30,
        Role::Accountd => 1 << 40,
    };
    let mut limits = vec![
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_NOFILE, files(config, role)),
        (libc::RLIMIT_DATA, config.limits.memory.of(role)),
    ];
    // A front writes no file; its sockets are not files of any size.
    if size > 0 {
        limits.push((libc::RLIMIT_FSIZE, size));
    }
    if role == Role::Keyd {
        limits.push((libc::RLIMIT_MEMLOCK, 256 << 20));
    }
    limits
}
