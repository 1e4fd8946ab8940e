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

/// The TypeScript SDK: `TEAL_SDK_TYPESCRIPT`, or the sources. Never what lies in a `node_modules`: the
/// registry's package of this name is not ours.
pub fn typescript_sdk() -> PathBuf {
    std::env::var_os("TEAL_SDK_TYPESCRIPT")
        .map_or_else(|| Path::new(CHECKOUT).join("sdk/typescript"), PathBuf::from)
}

/// The Python SDK, as it stands on Python's path: `TEAL_SDK_PYTHON`, or the sources.
pub fn python_sdk() -> PathBuf {
    std::env::var_os("TEAL_SDK_PYTHON")
        .map_or_else(|| Path::new(CHECKOUT).join("sdk/python/src"), PathBuf::from)
}

pub(crate) fn typescript_extractor() -> Result<PathBuf, ModelError> {
    let sdk = typescript_sdk();
    let extractor = sdk.join("extract.cjs");
    if !extractor.is_file() {
        return Err(ModelError::NoSdk {
            language: "TypeScript",
            path: sdk,
            instead: "set TEAL_SDK_TYPESCRIPT to the folder sdk/typescript of teal's sources",
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

/// What comes first on Python's path, so that `teal` is the SDK and no other package of that name.
pub(crate) fn python_path() -> Result<PathBuf, ModelError> {
    let sdk = python_sdk();
    match sdk.join("teal/extract.py").is_file() {
        true => Ok(sdk),
        false => Err(ModelError::NoSdk {
            language: "Python",
            path: sdk,
            instead: "set TEAL_SDK_PYTHON to the folder sdk/python/src of teal's sources",
        }),
    }
}
