//! Talks to ClickHouse. One pair of traits, [`Server`] and [`Session`], stands for every kind of
//! target: [`EmbeddedEngine`] is ClickHouse as a library in this process, [`HttpServer`] a server.

mod clock;
mod embedded;
mod error;
mod gate;
mod http;
mod neutral;
mod pace;
mod running;
mod session;

pub use clock::since_boot;
pub use embedded::{EmbeddedEngine, EngineOptions, exit, holder_of};
pub use error::ClientError;
pub use gate::{GateClosing, GateStats, GateTimeout, WriteGate, WritePass};
pub use http::{Address, AddressError, HttpOptions, HttpServer};
pub use running::RunningStatement;
pub use session::{
    Answer, Format, InsertStream, Server, Session, Settings, TEAL_LOG_COMMENT, read_rows,
};
