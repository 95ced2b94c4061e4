//! Enums whose values are words: in annotations and configuration, in records and in JSON.

/// Declares such an enum. Each value has one spelling, by which it is shown, read and stored.
macro_rules! spelled {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$doc:meta])* $value:ident = $word:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord,
            serde::Serialize, serde::Deserialize,
        )]
        $visibility enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $value,)+
        }

        impl $name {
            /// Every value, in the order in which they are declared.
            $visibility const ALL: [Self; [$($word),+].len()] = [$(Self::$value),+];

            $visibility const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();
            fn from_str(word: &str) -> Result<Self, ()> {
                Self::ALL.into_iter().find(|value| value.as_str() == word).ok_or(())
            }
        }
    };
}
pub(crate) use spelled;
