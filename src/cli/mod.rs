//! The `gpulease` command: what the node has, who holds it, what would be granted, and the few
//! things that an administrator does by hand.
//!
//! A command reads or changes state and returns an `Answer`, text and JSON alike; only
//! `output` writes to the terminal. Only `release`, `lease resize`, `inventory refresh`,
//! `cdi generate`, `install`, `uninstall` and `mps`, but for its `status`, change anything.

mod args;
mod cdi;
mod completions;
mod devices;
mod doctor;
mod driver;
mod examples;
mod explain;
mod install;
mod inventory;
mod lease;
mod leases;
#[cfg(test)]
mod manual;
mod memory;
mod mig;
mod mps;
mod output;
mod processes;
mod release;
mod table;
mod topology;
mod values;
mod words;
mod wrap;

use crate::claim::release::Insistence;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory::nvidia::probe;
use crate::model::code::Code;
use crate::model::text::shown_line;
use anyhow::Context;
use args::{Cli, Command, InventoryAction};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ColorChoice, CommandFactory, FromArgMatches};
use output::{Answer, Output};
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command line.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Not a command: what a scan starts to have NVIDIA's library loaded by a process of its own.
    if let Some(answer) = probe(&arguments) {
        return output::exit(answer.and_then(|text| output::print(&text)));
    }
    let wish = output::wish(arguments.into_iter());
    let parser = Cli::command().color(match wish.color {
        output::Color::Auto => ColorChoice::Auto,
        output::Color::Always => ColorChoice::Always,
        output::Color::Never => ColorChoice::Never,
    });
    let output = Output::new(&wish);
    let cli = match parser.try_get_matches().and_then(|found| Cli::from_arg_matches(&found)) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return usage(&error, &wish, &output),
        // `--help` and `--version`: clap prints them in colour where that is wanted.
        Err(help) => return output::exit(help.print().context(output::WRITING)),
    };
    match run(&cli, &output) {
        Ok(answer) => output.answer(&answer),
        Err(failure) => output.fail(&failure),
    }
}

/// Wrong arguments, in our own shape. Where there are none at all, the help says more.
fn usage(error: &clap::Error, wish: &output::Wish, output: &Output) -> ExitCode {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && !wish.json {
        // It goes to stderr; if that is closed, the status still tells.
        let _ = error.print();
        return Code::BadRequest.exit_status().into();
    }
    output.fail(&of_arguments(error))
}

/// For arguments that clap refuses: its first line and its tip, in our shape.
fn of_arguments(error: &clap::Error) -> Failure {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
    ) {
        return Failure::new(Code::BadRequest, "no subcommand was given")
            .hint("`gpulease --help` lists them");
    }
    let text = error.to_string();
    // The first paragraph is the error; the missing arguments are on lines of their own.
    let paragraph: Vec<&str> =
        text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let message = paragraph.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    // All that is allowed says more than what is spelled most like it.
    if let Some(ContextValue::Strings(allowed)) = error.get(ContextKind::ValidValue)
        && let Some((message, _)) = message.split_once(" [possible values: ")
    {
        return Failure::new(Code::BadRequest, shown_line(message))
            .hint(format!("allowed are {}", allowed.join(", ")));
    }
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    // The commands that only our own programs call are not offered.
    let tip = tip.filter(|tip| !tip.contains("'attach'"));
    let hint = tip.map_or_else(|| "add `--help` for the usage".to_owned(), str::to_owned);
    Failure::new(Code::BadRequest, shown_line(message)).hint(hint)
}

fn run(cli: &Cli, output: &Output) -> Result<Answer, Failure> {
    let named = cli.gpulease_config.as_deref();
    let host = || {
        let host = Host::look(named);
        host.config()?;
        Ok::<_, Failure>(host)
    };
    match &cli.command {
        Command::Devices { wide } => devices::devices(&host()?, *wide, output),
        Command::Topology => topology::topology(&host()?, output),
        Command::Processes => processes::processes(&host()?, output),
        Command::Driver { wide } => driver::driver(&host()?, *wide, output),
        Command::Memory => memory::memory(&host()?, output),
        Command::Leases { all, wide } => leases::leases(&host()?, *all, *wide, output),
        // The table of annotations and the examples need neither configuration nor state, which
        // may be what is being set up.
        Command::Explain { words, bundle: None, user: None } if words.is_empty() => {
            Ok(explain::keys(output))
        }
        Command::Explain { words, bundle, user } => {
            explain::explain(&Host::look(named), words, bundle.as_deref(), *user, output)
        }
        Command::Release { id, force, assume_dead } => {
            let insistence = match (force, assume_dead) {
                (true, _) => Insistence::Force,
                (false, true) => Insistence::AssumeDead,
                (false, false) => Insistence::None,
            };
            release::release(&host()?, id, insistence)
        }
        Command::Lease { action } => lease::run(&host()?, action, output),
        Command::Doctor { verbose, root } => {
            doctor::doctor(named, root.as_deref(), *verbose, output)
        }
        Command::Health { root } => doctor::health(named, root.as_deref(), output),
        Command::Inventory { action } => match action {
            InventoryAction::Refresh => inventory::refresh(&host()?, output),
            InventoryAction::Show => inventory::show(&host()?, output),
            InventoryAction::Example { profile } => inventory::example(profile.as_deref(), output),
        },
        Command::Cdi { action } => cdi::run(&host()?, action, output),
        Command::Mps { action } => mps::run(host()?, action, output),
        // For a GPU that is not here, neither configuration nor state is needed.
        Command::Mig { action } => mig::run(action, named),
        // No configuration either: that may come later.
        Command::Install { engine, default_runtime, options } => {
            install::install(*engine, *default_runtime, options, output)
        }
        Command::Uninstall { engine: Some(engine), options, .. } => {
            install::uninstall(*engine, options, output)
        }
        Command::Uninstall { recorded: true, options, .. } => {
            install::uninstall_recorded(options, output)
        }
        Command::Uninstall { .. } => Err(Failure::new(Code::BadRequest, "ENGINE is not given")
            .hint(
                "name docker, podman, containerd or crio, or undo every install with --recorded",
            )),
        Command::Completions { shell } => Ok(completions::completions(*shell)),
    }
}
