//! Integration tests of the whole application live in `it/`; this library is empty.
