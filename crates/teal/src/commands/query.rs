use std::io::{IsTerminal as _, Write as _};
use std::ops::ControlFlow;

use teal_client::Format;

use crate::cli::{Common, Query};
use crate::failure::Failure;
use crate::target::Project;

pub(crate) fn run(common: &Common, args: &Query) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let server = project.open_or_make()?;
    let mut session = server.user_session(&[])?;
    // Without its lock, which the one has who waits for a reader: a signal could not end that.
    let mut out = std::io::stdout();
    let format = match &args.format {
        // Once in the life of the process.
        Some(format) => Format(Box::leak(format.clone().into_boxed_str())),
        None if common.json => Format::JSON_EACH_ROW,
        None if out.is_terminal() => Format("PrettyCompact"),
        None => Format::TSV,
    };
    let mut written = Ok(());
    session.stream_while(&args.statement, format, &mut || (), &mut |piece| {
        written = out.write_all(piece);
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
