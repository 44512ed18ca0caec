//! The file as it is written. Everything may be missing: what is, is told at once.

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Text {
    pub(crate) format: Option<u32>,
    pub(crate) version: Option<u32>,
    pub(crate) date: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) tlp: Option<String>,
    pub(crate) profile: Option<String>,
    #[serde(default)]
    pub(crate) hours: Hours,
    #[serde(default)]
    pub(crate) contacts: Vec<Contact>,
    #[serde(default)]
    pub(crate) key: Key,
    #[serde(default)]
    pub(crate) limits: Limits,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hours {
    #[serde(default)]
    pub(crate) days: Vec<String>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contact {
    pub(crate) name: Option<String>,
    pub(crate) mail: Option<String>,
    pub(crate) telephone: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    pub(crate) fingerprint: Option<String>,
    pub(crate) certificate: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) max_file: Option<String>,
    pub(crate) max_total: Option<String>,
}
