//! The system call that no crate wraps here. The only unsafe code of the store.
#![allow(unsafe_code)]

use std::io;

/// Fills `octets` at random.
pub(crate) fn random(octets: &mut [u8]) -> io::Result<()> {
    let mut rest = octets;
    while !rest.is_empty() {
        // SAFETY: the kernel writes at most as many octets as `rest` has, which is borrowed for the call.
        let filled = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(filled) {
            Ok(filled) => rest = rest.get_mut(filled..).unwrap_or_default(),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn octets_are_not_the_same_twice() {
        let mut keys = [[0; 32]; 2];
        keys.iter_mut().for_each(|key| super::random(key).unwrap());
        assert_ne!(keys[0], keys[1]);
        assert!(keys.iter().all(|key| *key != [0; 32]));
    }
}
