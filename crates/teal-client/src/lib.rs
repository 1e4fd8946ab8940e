//! teal-client
