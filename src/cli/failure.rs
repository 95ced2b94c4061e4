//! The command's own failures; the others are those of the library.

use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::text::shown_line;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// For something that only root may do.
pub(super) fn needs_root(what: &str) -> Failure {
    let code = Code::RootlessUnsupported;
    Failure::new(code, format!("{what} needs root, and not in a user namespace"))
        .hint("run it with sudo")
}

/// For `uninstall` alone.
pub(super) fn no_engine() -> Failure {
    Failure::new(Code::BadRequest, "ENGINE is not given")
        .hint("name docker, podman, containerd or crio, or undo every install with --recorded")
}

/// For arguments that clap refuses: its first line and its tip, in our shape.
pub(super) fn of_arguments(error: &clap::Error) -> Failure {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
    ) {
        return Failure::new(Code::BadRequest, "no subcommand was given")
            .hint("`gpulease --help` lists them");
    }
    let text = error.to_string();
    // The first paragraph is the error; what is missing is listed on lines of its own.
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
    // What only our own programs call is offered to nobody.
    let tip = tip.filter(|tip| !tip.contains("'attach'"));
    let hint = tip.map_or_else(|| "add `--help` for the usage".to_owned(), str::to_owned);
    Failure::new(Code::BadRequest, shown_line(message)).hint(hint)
}
