//! The wallet's keys in one encrypted file.
