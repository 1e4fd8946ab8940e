//! teal-catalog
