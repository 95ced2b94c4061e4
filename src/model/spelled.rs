//! Enums whose values are words in annotations, configuration, records and JSON.

/// Declares an enum. Each value has one spelling, which is used to show, read and store it.
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
            /// All values, in the order of their declaration.
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
