//! teal-plan
