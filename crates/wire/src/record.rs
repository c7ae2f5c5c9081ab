//! Records as Redis keeps them.
