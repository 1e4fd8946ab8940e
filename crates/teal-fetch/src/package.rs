/// One file of one version of an npm package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    pub name: &'static str,
    pub version: &'static str,
    /// The package's hash as npm writes it: `sha512-` and base64.
    pub integrity: &'static str,
    /// The file's path inside the package.
    pub file: &'static str,
    /// Bytes to download, about; for the progress bar.
    pub download_bytes: u64,
    /// What it is, for people.
    pub title: &'static str,
}

/// ClickHouse as a library, for Linux on x86-64 with glibc.
pub const ENGINE: Package = Package {
    name: "@chdb/lib-linux-x64-gnu",
    version: "26.7.3-stable.1",
    integrity: "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==",
    file: "libchdb.so",
    download_bytes: 180 << 20,
    title: "the embedded engine",
};

/// Three million flights within the United States in 2001 (BSD-3-Clause).
pub const FLIGHTS: Package = Package {
    name: "vega-datasets",
    version: "3.2.1",
    integrity: "sha512-lTSwZA6yq6qSU2YZm+6bqILiIvTPPxn4itir7jPGFmHIdPvUfQ9pCzzcrklYywMJgLUbaIeSkZQdiJd6wBxPug==",
    file: "data/flights-3m.parquet",
    download_bytes: 24 << 20,
    title: "the demo's data",
};
