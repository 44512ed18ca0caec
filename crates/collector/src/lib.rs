//! The collector: small, static, for compromised hosts.
