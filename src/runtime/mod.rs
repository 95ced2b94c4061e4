//! The OCI runtime shim. An engine calls it in place of runc or crun.
//!
//! `create` and `run` lease devices and edit the bundle, `delete` releases, `exec` carries the
//! container's variables into the new process, `update` opens no GPU that is not leased. Every other
//! verb, and every container that asks for no GPU, becomes the real runtime by one `execve`,
//! untouched.

pub mod args;
mod bundle;
mod create;
mod delete;
mod exec;
mod home;
mod report;
mod shim;
mod update;

use crate::failure::Failure;
use crate::start::lowlevel;
use args::Verb;
use report::report;
use shim::Shim;
use std::process::ExitCode;

pub fn main() -> ExitCode {
    let words = args::parse(std::env::args_os().skip(1));
    let shim = match Shim::new(&words) {
        Ok(shim) => shim,
        // The runtime is not known then. All runtimes agree on the words for the log.
        Err(failure) => return report(&failure, &words.read(lowlevel::RuntimeKind::Runc)),
    };
    match run(&shim) {
        Ok(code) => code,
        Err(failure) => report(&failure, &shim.call),
    }
}

fn run(shim: &Shim) -> Result<ExitCode, Failure> {
    match shim.call.verb {
        Verb::Create | Verb::Run | Verb::Restore => {
            let ready = create::prepare(shim)?;
            let Err(failure) = shim.become_runtime(ready.words.as_deref()) else {
                return Ok(ExitCode::FAILURE);
            };
            Err(match ready.leased.map(|leased| leased.take_back()) {
                Some(Err(error)) => failure.and(&error.message),
                _ => failure,
            })
        }
        Verb::Delete => delete::delete(shim),
        Verb::Exec => {
            let words = exec::prepare(shim)?;
            shim.become_runtime(words.as_deref())
        }
        Verb::Update => {
            let words = update::prepare(shim)?;
            shim.become_runtime(words.as_deref())
        }
        Verb::Version => shim.version(),
        Verb::Other | Verb::None => shim.become_runtime(None),
    }
}
