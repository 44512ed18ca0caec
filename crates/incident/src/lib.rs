//! The incident record that a CERT's charter asks for.
//!
//! Date and time with time zone, people to contact, context and description, estimated impact,
//! indicators already seen. [`Incident::from_toml`] reads what a person wrote, [`Incident::gaps`] says in that
//! person's language what is missing, [`Incident::to_json`] is what is sealed inside a bundle. With the feature
//! `render` a [`Document`] is made of it, in French or English, as Markdown, HTML or PDF, and
//! [`iodef`] writes the exchange format of RFC 7970.

mod check;
#[cfg(feature = "render")]
mod document;
#[cfg(feature = "render")]
mod html;
#[cfg(feature = "render")]
pub mod iodef;
#[cfg(feature = "render")]
mod layout;
#[cfg(feature = "render")]
mod markdown;
#[cfg(feature = "render")]
mod pdf;
mod protocol;
mod record;
mod time;
mod words;
mod written;

pub use check::Gap;
#[cfg(feature = "render")]
pub use document::{Block, Document, RenderError, Section};
pub use record::{
    Contact, ContactRole, Context, FORMAT, Impact, Incident, Indicator, LoweredLabel, ReadError,
    Severity, Status, Times,
};
pub use time::{Time, TimeError};
pub use words::Language;
pub use written::Written;

/// What a new record looks like, with a comment on each element, in a language.
pub fn template(language: Language) -> &'static str {
    match language {
        Language::French => include_str!("template.fr.toml"),
        Language::English => include_str!("template.en.toml"),
    }
}
