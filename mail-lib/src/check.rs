//! Checks that fuzzing and unit tests share.
