//! x
pub(crate) const FILE_NAME: &str = "account.sqlite";
