//! One file a command.

mod away;
pub mod cat;
pub mod collect;
pub mod deliver;
pub mod hash;
pub mod ls;
pub mod prepared;
pub mod profiles;
pub mod salvage;
pub mod verify;
