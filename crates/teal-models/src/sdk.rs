//! Where the SDKs and the programs that run them are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::ModelError;

/// The checkout that this was built from, with the SDKs' sources (`.cargo/config.toml` says where).
const CHECKOUT: &str = match option_env!("TEAL_CHECKOUT") {
    Some(checkout) => checkout,
    None => concat!(env!("CARGO_MANIFEST_DIR"), "/../.."),
};

pub(crate) fn node() -> OsString {
    std::env::var_os("TEAL_NODE").unwrap_or_else(|| "node".into())
}

/// The extractor of the TypeScript SDK: `TEAL_SDK_TYPESCRIPT`, the project's own `node_modules`, or
/// the sources.
pub(crate) fn typescript_extractor(project: &Path) -> Result<PathBuf, ModelError> {
    let installed = || {
        project
            .ancestors()
            .map(|directory| directory.join("node_modules/teal-sdk"))
            .find(|sdk| sdk.join("extract.cjs").is_file())
    };
    let sdk = std::env::var_os("TEAL_SDK_TYPESCRIPT")
        .map(PathBuf::from)
        .or_else(installed)
        .unwrap_or_else(|| Path::new(CHECKOUT).join("sdk/typescript"));
    let extractor = sdk.join("extract.cjs");
    if !extractor.is_file() {
        return Err(ModelError::NoSdk {
            language: "TypeScript",
            path: sdk,
            instead: "`npm install teal-sdk` in the project, or set TEAL_SDK_TYPESCRIPT",
        });
    }
    if !sdk.join("dist/cjs/extract/main.js").is_file() {
        return Err(ModelError::NoSdk {
            language: "TypeScript",
            path: sdk,
            instead: "it is not built: run `npm ci && npm run build` there, or `make setup`",
        });
    }
    Ok(extractor)
}

/// `TEAL_PYTHON`, the active or the project's virtual environment, or `python3`.
pub(crate) fn python(project: &Path) -> OsString {
    let in_environment = |environment: PathBuf| {
        Some(environment.join("bin/python")).filter(|python| python.is_file())
    };
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    variable("TEAL_PYTHON")
        .or_else(|| {
            variable("VIRTUAL_ENV").and_then(|path| in_environment(path.into())).map(Into::into)
        })
        .or_else(|| {
            project
                .ancestors()
                .find_map(|directory| in_environment(directory.join(".venv")))
                .map(Into::into)
        })
        .unwrap_or_else(|| "python3".into())
}

/// What comes first on Python's path, so that `teal` is found where it is not installed:
/// `TEAL_SDK_PYTHON`, or the sources.
pub(crate) fn python_path() -> Option<PathBuf> {
    let sources = Path::new(CHECKOUT).join("sdk/python/src");
    std::env::var_os("TEAL_SDK_PYTHON")
        .map(PathBuf::from)
        .or_else(|| Some(sources).filter(|path| path.is_dir()))
}
