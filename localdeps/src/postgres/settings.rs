//! Server settings, given on the command line so that a new release changes them everywhere.

use super::PostgresOptions;

const ALWAYS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_permissions=0700",
    "password_encryption=scram-sha-256",
    "timezone=UTC",
    "log_timezone=UTC",
    "logging_collector=off",
    "log_destination=stderr",
    // Values may be secrets: neither parameters nor failing statements nor row details are logged.
    "log_parameter_max_length=0",
    "log_parameter_max_length_on_error=0",
    "log_min_error_statement=panic",
    "log_error_verbosity=terse",
    // Statements are short; compiling them costs more than it saves.
    "jit=off",
    "random_page_cost=1.1",
    "shared_buffers=256MB",
    "max_wal_size=4GB",
    // Room for migrations and tests that create many tables in one transaction.
    "max_locks_per_transaction=128",
];

/// Outbox and queue tables turn over quickly: vacuum them early, often and without pausing.
const DURABLE: &[&str] = &[
    "fsync=on",
    "synchronous_commit=on",
    "checkpoint_timeout=15min",
    "autovacuum_naptime=10s",
    "autovacuum_vacuum_scale_factor=0.05",
    "autovacuum_analyze_scale_factor=0.05",
    "autovacuum_vacuum_cost_limit=2000",
];

const FAST: &[&str] = &[
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "checkpoint_timeout=1h",
];

pub(super) fn arguments(options: &PostgresOptions, port: u16) -> Vec<String> {
    let own = [
        format!("port={port}"),
        format!("max_connections={}", options.max_connections),
        format!("unix_socket_directories={}", options.socket_dir.display()),
    ];
    let profile = if options.durable { DURABLE } else { FAST };
    let fixed = ALWAYS.iter().chain(profile).map(|setting| String::from(*setting));

    let mut arguments = vec![String::from("-D"), options.data_dir.display().to_string()];
    for setting in own.into_iter().chain(fixed) {
        arguments.extend([String::from("-c"), setting]);
    }
    arguments
}
