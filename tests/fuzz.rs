//! Made-up inputs: specs and command lines made from the seeds in `fuzz/seeds`, by
//! their numbers. None makes a program panic or hang, and none gets a container at a GPU without a
//! lease. What would be at a GPU is said by a model of the runtimes that shares nothing with ours.
//!
//! `make test` tries a thousand, `make fuzz-quick` 30,000 (`GPULEASE_FUZZ`); the number of a case
//! in `GPULEASE_FUZZ_ONLY` tries that one.

#[path = "fuzz/argv.rs"]
mod argv;
#[path = "fuzz/json.rs"]
mod json;
#[path = "fuzz/model.rs"]
mod model;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/quick.rs"]
mod quick;
mod support;
