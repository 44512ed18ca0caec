//! The collector's commands, which the workstation has too.
//!
//! One module a command, each with its options (`Args`) and what it does (`run`).

mod choices;
pub mod collected;
pub mod commands;
pub mod delivery;
#[cfg(unix)]
mod echo;
mod keys;
mod labels;
pub mod names;
pub mod output;
pub mod password;
pub mod planned;
mod small;
pub mod terminal;
mod unlock;

pub use choices::{Choices, CompressionName};
pub use delivery::{AwayArgs, DeliveryArgs};
pub use keys::{KeyArgs, RecipientArgs};
pub use labels::{AtMostArgs, Inputs, LabelArgs, StateArgs};
pub use small::{read_secret_text, read_small, read_small_text};
pub use terminal::{Common, Exit, Terminal, Tone};
pub use unlock::{OpenArgs, UnlockArgs};
