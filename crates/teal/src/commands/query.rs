use std::io::{IsTerminal as _, Write as _};
use std::ops::ControlFlow;

use serde::Deserialize;
use teal_client::{Format, Server};
use teal_schema::QualifiedName;

use crate::cli::{Common, Query};
use crate::failure::Failure;
use crate::target::Project;

pub(crate) fn run(common: &Common, args: &Query) -> Result<(), Failure> {
    let project = Project::read(common)?;
    let server = project.open_or_make()?;
    let mut session = server.user_session(&[])?;
    // Not `lock()`: a write that waits for a slow reader would hold it, and the end by a signal needs it.
    let mut out = std::io::stdout();
    let format = match &args.format {
        Some(format) => Format(format.clone().into()),
        None if common.json => Format::JSON_EACH_ROW,
        None if out.is_terminal() => Format("PrettyCompact".into()),
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
    write_out(server.as_ref())?;
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// The embedded engine ends with the process, and without what Buffers hold in memory, which was acknowledged. (An
/// INSERT is never asynchronous there, whatever its settings; 26.7.)
fn write_out(server: &dyn Server) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Row {
        database: String,
        name: String,
    }
    if !server.is_exclusive() {
        return Ok(());
    }
    let mut session = server.session(&[])?;
    let buffers = session.rows::<Row>(
        "SELECT database, name FROM system.tables WHERE engine = 'Buffer' AND total_rows > 0",
    )?;
    for buffer in buffers {
        let buffer = QualifiedName::new(buffer.database, buffer.name);
        session.command(&format!("OPTIMIZE TABLE {}", buffer.sql()))?;
    }
    Ok(())
}
