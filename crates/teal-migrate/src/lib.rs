//! teal-migrate
