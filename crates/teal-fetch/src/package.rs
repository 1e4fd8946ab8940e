use std::fmt;

/// One file of one version of an npm package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    pub name: &'static str,
    pub version: &'static str,
    /// The package's hash as npm writes it: `sha512-` and base64.
    pub integrity: &'static str,
    /// The file's path inside the package.
    pub file: &'static str,
    /// Bytes to download.
    pub download_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Where the file is of use; `None` when it is of use everywhere.
    pub runs_on: Option<Platform>,
    /// What it is, for people.
    pub title: &'static str,
}

/// A kind of machine, in Rust's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    pub os: &'static str,
    pub arch: &'static str,
    /// The C library, where there is a choice.
    pub libc: &'static str,
}

impl Platform {
    /// The platform that this teal was built for. A library for another C library cannot be loaded
    /// into it, whatever the machine has.
    pub const HERE: Self = Self {
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        libc: if cfg!(target_env = "gnu") {
            "glibc"
        } else if cfg!(target_env = "musl") {
            "musl"
        } else {
            ""
        },
    };
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.os, self.arch)?;
        match self.libc {
            "" => Ok(()),
            libc => write!(f, " {libc}"),
        }
    }
}

impl Package {
    /// The package as npm writes it: `name@version`.
    pub fn spec(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Bytes on the disk while it is fetched: npm's own copy, the archive and the unpacked file.
    pub(crate) const fn needed_bytes(&self) -> u64 {
        2 * self.download_bytes + self.file_bytes
    }
}

/// ClickHouse as a library. There is a package of this version for no other platform.
pub const ENGINE: Package = Package {
    name: "@chdb/lib-linux-x64-gnu",
    version: "26.7.3-stable.1",
    integrity: "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==",
    file: "libchdb.so",
    download_bytes: 177_817_999,
    file_bytes: 566_330_096,
    runs_on: Some(Platform { os: "linux", arch: "x86_64", libc: "glibc" }),
    title: "the embedded engine",
};

/// Three million flights within the United States in 2001 (BSD-3-Clause).
pub const FLIGHTS: Package = Package {
    name: "vega-datasets",
    version: "3.2.1",
    integrity: "sha512-lTSwZA6yq6qSU2YZm+6bqILiIvTPPxn4itir7jPGFmHIdPvUfQ9pCzzcrklYywMJgLUbaIeSkZQdiJd6wBxPug==",
    file: "data/flights-3m.parquet",
    download_bytes: 17_630_305,
    file_bytes: 13_493_022,
    runs_on: None,
    title: "the demo's data",
};
