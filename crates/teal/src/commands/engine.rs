use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use teal_fetch::{Cache, ENGINE, Package, Stage};

use crate::cli::{Common, Engine, EngineAction};
use crate::failure::Failure;
use crate::show;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    path: PathBuf,
    /// Not of a library of the user's own, which is of another.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pinned: Option<Pinned>,
}

#[derive(Debug, Serialize)]
struct Pinned {
    package: &'static str,
    version: &'static str,
}

pub(crate) fn run(common: &Common, args: &Engine) -> Result<(), Failure> {
    let users = teal_fetch::users_library()?;
    let pinned =
        users.is_none().then_some(Pinned { package: ENGINE.name, version: ENGINE.version });
    let path = match (users, &args.action) {
        (Some(path), _) => path,
        (None, EngineAction::Install) => fetch(&ENGINE)?,
        (None, EngineAction::Info) => teal_fetch::engine_library()?,
    };
    let version = match &pinned {
        Some(Pinned { package, version }) => format!("{package} {version}"),
        None => "a library of your own, which TEAL_LIBCHDB names".to_owned(),
    };
    match (common.json, &args.action) {
        (true, _) => show::json(&Info { path, pinned }),
        (false, EngineAction::Install) => show::data(&path.display().to_string()),
        (false, EngineAction::Info) => show::data(&format!("{}\n{version}", path.display())),
    }
}

/// Fetches a package's file, with a progress bar, unless it is there.
pub(crate) fn fetch(package: &Package) -> Result<PathBuf, Failure> {
    let cache = Cache::of_user()?;
    if let Some(path) = cache.cached(package) {
        return Ok(path);
    }
    show::note(&format!(
        "fetching {} ({} {}, about {}) with npm; it is kept in {}",
        package.title,
        package.name,
        package.version,
        show::bytes(package.download_bytes),
        cache.path(package).display()
    ));
    let style = ProgressStyle::with_template("  {msg:11} {bar:30} {bytes} of {total_bytes}");
    let bar = ProgressBar::new(package.download_bytes)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    let path = cache.fetch(package, &mut |progress| {
        bar.set_message(match progress.stage {
            Stage::Waiting => "waiting",
            Stage::Downloading => "downloading",
            Stage::Checking => "checking",
            Stage::Unpacking => "unpacking",
        });
        bar.set_length(progress.of);
        bar.set_position(progress.bytes);
    });
    bar.finish_and_clear();
    Ok(path?)
}
