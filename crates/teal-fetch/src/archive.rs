//! The archive that npm brings: its hash, and the one file that is wanted of it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use sha2::{Digest, Sha512};

use crate::error::at;
use crate::{FetchError, Package, Progress, Stage};

/// How much is unpacked between two reports.
const STEP: u64 = 16 << 20;

/// # Errors
/// When the archive's hash is not the pinned one.
pub(crate) fn check(
    package: &Package,
    archive: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), FetchError> {
    let mut file = File::open(archive).map_err(at(archive))?;
    let of = file.metadata().map_err(at(archive))?.len();
    let mut hash = Sha512::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer).map_err(at(archive))?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            break;
        };
        hash.update(piece);
        bytes += piece.len() as u64;
        progress(Progress { stage: Stage::Checking, bytes, of });
    }
    let hash = base64::engine::general_purpose::STANDARD.encode(hash.finalize());
    let found = format!("sha512-{hash}");
    match found == package.integrity {
        true => Ok(()),
        false => Err(FetchError::Integrity {
            package: package.spec(),
            expected: package.integrity.to_owned(),
            found,
        }),
    }
}

/// Writes the wanted file to `to`, and to the disk.
///
/// # Errors
/// When the archive is broken or lacks the file, or `to` cannot be written.
pub(crate) fn unpack(
    package: &Package,
    archive: &Path,
    to: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), FetchError> {
    let file = File::open(archive).map_err(at(archive))?;
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in tar.entries().map_err(at(archive))? {
        let mut entry = entry.map_err(at(archive))?;
        let path = entry.path().map_err(at(archive))?.into_owned();
        // An npm package's files lie below one directory, `package` by custom.
        if path.components().skip(1).collect::<PathBuf>() != Path::new(package.file) {
            continue;
        }
        let of = entry.size();
        let mut out = File::create(to).map_err(at(to))?;
        let mut bytes = 0;
        loop {
            let copied = io::copy(&mut (&mut entry).take(STEP), &mut out).map_err(at(to))?;
            if copied == 0 {
                break;
            }
            bytes += copied;
            progress(Progress { stage: Stage::Unpacking, bytes, of });
        }
        return out.sync_all().map_err(at(to));
    }
    Err(FetchError::FileMissing { package: package.spec(), file: package.file.to_owned() })
}
