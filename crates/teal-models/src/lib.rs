//! teal-models
