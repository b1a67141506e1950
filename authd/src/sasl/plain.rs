//! PLAIN (RFC 4616).

use ipc_proto::Secret;

use super::Unfit;

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// `authzid NUL authcid NUL password`, of which the first may be empty.
pub fn parse(message: &Secret) -> Result<Credentials, Unfit> {
    let mut parts = message.0.split(|octet| *octet == 0);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(acting_for), Some(user), Some(password), None) => {
            if !acting_for.is_empty() && acting_for != user {
                return Err(Unfit::Proxy);
            }
            Ok(Credentials { user: user_name(user)?, password: Secret(password.to_vec()) })
        }
        _ => Err(Unfit::Form),
    }
}

/// A user name as LOGIN sends it alone.
pub fn user_name(octets: &[u8]) -> Result<String, Unfit> {
    match std::str::from_utf8(octets) {
        Ok(user) if !user.is_empty() && !user.chars().any(char::is_control) => Ok(user.to_owned()),
        Ok(_) | Err(_) => Err(Unfit::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8]) -> Result<(String, Vec<u8>), Unfit> {
        let read = parse(&Secret(message.to_vec()))?;
        Ok((read.user, read.password.0.clone()))
    }

    #[test]
    fn a_message_has_three_parts_and_the_first_is_nobody_else() {
        let mox = Ok(("mox".to_owned(), b"secret".to_vec()));
        for (message, expected, why) in [
            (&b"\0mox\0secret"[..], mox.clone(), "the usual"),
            (b"mox\0mox\0secret", mox, "as oneself, said aloud"),
            (b"eve\0mox\0secret", Err(Unfit::Proxy), "as somebody else"),
            (b"mox\0secret", Err(Unfit::Form), "a part is missing"),
            (b"\0mox\0secret\0", Err(Unfit::Form), "a part too many"),
            (b"", Err(Unfit::Form), "nothing"),
            (b"\0\0secret", Err(Unfit::Form), "nobody"),
            (b"\0\xff\xfe\0secret", Err(Unfit::Form), "no UTF-8"),
            (b"\0mo\x1bx\0secret", Err(Unfit::Form), "a control"),
            (b"\0mox\0", Ok(("mox".to_owned(), Vec::new())), "no password: a wrong one"),
        ] {
            assert_eq!(read(message), expected, "{why}");
        }
    }
}
