//! The structs that are shown: `--json` prints them, and tables are made from them.
//!
//! Every answer is an object with the key `version`, and its lists stand under a name. A key keeps
//! its name and its meaning within a version; a new key may come.
