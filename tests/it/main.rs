//! Promises, one file each.
