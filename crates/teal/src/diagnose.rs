//! Shows what is wrong in the user's code, beside the code itself.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use teal_schema::{Diagnostic, Location};

pub(crate) fn render(level: Level<'_>, diagnostic: &Diagnostic, project: &Path) -> String {
    let source = diagnostic.location.as_ref().and_then(|location| Source::read(location, project));
    let other = diagnostic
        .also
        .as_ref()
        .and_then(|(location, what)| Some((Source::read(location, project)?, what)));
    let label = diagnostic.location.as_ref().and_then(|location| location.declaration.as_deref());
    let title = level.primary_title(diagnostic.message.as_str());
    let mut group = match (&source, &diagnostic.location) {
        (Some(source), _) => title.element(source.snippet(AnnotationKind::Primary, label)),
        // The file cannot be shown, and its place is known all the same.
        (None, Some(location)) if !location.file.is_empty() => {
            let origin = Origin::path(location.file.as_str()).line(location.line as usize);
            title.element(origin.char_column(location.column.unwrap_or(1) as usize))
        }
        _ => Group::with_title(title),
    };
    if let Some((source, what)) = &other {
        group = group.element(source.snippet(AnnotationKind::Context, Some(what.as_str())));
    }
    if let Some(trace) = &diagnostic.trace {
        group = group.element(Level::NOTE.message(trace.as_str()));
    }
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.message(hint.clone()));
    }
    Renderer::styled().render(&[group])
}

/// The line that a location is about.
struct Source {
    path: String,
    line: usize,
    text: String,
    /// What of the line is meant.
    span: Range<usize>,
}

impl Source {
    fn read(location: &Location, project: &Path) -> Option<Self> {
        let file = std::fs::read_to_string(project.join(&location.file)).ok()?;
        let line = usize::try_from(location.line).ok()?;
        let text = file.lines().nth(line.checked_sub(1)?)?.to_owned();
        let skipped = match location.column {
            Some(column) => usize::try_from(column).ok()?.saturating_sub(1),
            None => text.chars().take_while(|c| c.is_whitespace()).count(),
        };
        let start = text.char_indices().nth(skipped).map_or(text.len(), |(at, _)| at);
        let span = start..text.trim_end().len().max(start);
        Some(Self { path: location.file.clone(), line, text, span })
    }

    fn snippet<'s>(
        &'s self,
        kind: AnnotationKind,
        label: Option<&'s str>,
    ) -> Snippet<'s, annotate_snippets::Annotation<'s>> {
        Snippet::source(self.text.as_str())
            .line_start(self.line)
            .path(self.path.as_str())
            .annotation(kind.span(self.span.clone()).label(label))
    }
}
