//! The coverage ledger's words: what became of each path that was asked for.

macro_rules! outcomes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// What became of a requested path.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Outcome { $($(#[$doc])* $variant,)* }

        impl Outcome {
            /// Every outcome, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name used in the ledger.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

outcomes! {
    /// All of it is in the bundle.
    Collected = "collected",
    /// Some of it could not be read; the bundle says which ranges.
    Partial = "partial",
    /// It changed while it was read.
    ChangedWhileRead = "changed-while-read",
    /// Nothing matches.
    Absent = "absent",
    /// Another program holds it.
    Locked = "locked",
    /// The system refused.
    Denied = "denied",
    /// Not one byte could be read.
    Unreadable = "unreadable",
    /// It is stored in a way that this version does not read.
    Unsupported = "unsupported",
    /// It is encrypted and was taken as it stands.
    EncryptedRaw = "encrypted-raw",
    /// The plan leaves it out.
    Excluded = "excluded",
    /// A size limit was reached.
    OverCap = "over-cap",
    /// The deadline was reached.
    OutOfTime = "out-of-time",
    /// The collection was cut off.
    CutOff = "cut-off",
}

impl Outcome {
    /// Whether evidence that was asked for, and is there, is not whole in the bundle.
    pub const fn is_loss(self) -> bool {
        !matches!(self, Self::Collected | Self::Absent | Self::Excluded)
    }
}

/// One line of the coverage ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// What was asked for: the profile's target and its pattern.
    pub target: String,
    /// The stream that matched, as a timeline names it; `None` where nothing did.
    pub path: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, where there is more to say.
    pub detail: Option<String>,
}
