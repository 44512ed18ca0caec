//! What a moment says.

macro_rules! meanings {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// What a moment says; the order is the order in which a set of them is shown.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Meaning { $($(#[$doc])* $variant,)* }

        impl Meaning {
            /// Every meaning, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name used in timelines.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

meanings! {
    /// The thing came to be.
    Created = "created",
    /// Its content changed.
    Modified = "modified",
    /// It was read.
    Accessed = "accessed",
    /// Its metadata changed.
    Changed = "changed",
    /// It was removed.
    Deleted = "deleted",
    /// It was run.
    Executed = "executed",
    /// The earliest sight of it.
    FirstSeen = "first-seen",
    /// The latest sight of it.
    LastSeen = "last-seen",
    /// A log took note of it.
    Logged = "logged",
    /// It was installed.
    Installed = "installed",
    /// It was uninstalled.
    Uninstalled = "uninstalled",
    /// A device or a session came.
    Connected = "connected",
    /// A device or a session went.
    Disconnected = "disconnected",
    /// Something began.
    Started = "started",
    /// Something ended.
    Ended = "ended",
    /// A page or a place was visited.
    Visited = "visited",
    /// It was fetched from elsewhere.
    Downloaded = "downloaded",
    /// It was compiled or linked.
    Built = "built",
    /// It was signed.
    Signed = "signed",
    /// It was printed.
    Printed = "printed",
    /// It is planned for this moment.
    Scheduled = "scheduled",
    /// It stops being valid.
    Expires = "expires",
    /// It was backed up.
    BackedUp = "backed-up",
    /// A journal or a database stored the record.
    Recorded = "recorded",
}

/// A set of meanings, shown in their fixed order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Meanings(u32);

impl Meanings {
    /// Adds one.
    pub fn insert(&mut self, meaning: Meaning) {
        self.0 |= 1 << meaning as u8;
    }

    /// Whether it is in the set.
    pub fn contains(self, meaning: Meaning) -> bool {
        self.0 & (1 << meaning as u8) != 0
    }

    /// The members, in order.
    pub fn iter(self) -> impl Iterator<Item = Meaning> {
        Meaning::ALL
            .iter()
            .copied()
            .filter(move |meaning| self.contains(*meaning))
    }

    /// The set as bits: bit `n` is the `n`th of [`Meaning::ALL`].
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl From<Meaning> for Meanings {
    fn from(meaning: Meaning) -> Self {
        let mut set = Self::default();
        set.insert(meaning);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_keep_the_fixed_order() {
        assert!(Meaning::ALL.len() <= 32);
        let mut set = Meanings::from(Meaning::Deleted);
        set.insert(Meaning::Created);
        let names: Vec<_> = set.iter().map(Meaning::name).collect();
        assert_eq!(names, ["created", "deleted"]);
    }
}
