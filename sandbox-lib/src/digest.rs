//! Digests of what was applied, so that two processes can be compared: is the one locked in as the other is?

/// FNV-1a, 64 bits: tells apart what nobody made to look alike.
#[derive(Debug, Clone)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// More octets.
    pub fn take(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = (self.0 ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Of all octets so far.
    #[must_use]
    pub const fn value(&self) -> u64 {
        self.0
    }
}

/// `BPF_JMP | BPF_JEQ | BPF_K`: compares with a constant.
const COMPARE: u64 = 0x15;

/// Of the filters of a process, oldest first, each instruction as the kernel has it in memory. Where a filter compares
/// with the process's own id, which differs from one process to the next, another constant is digested.
#[must_use]
pub fn of_filters(filters: &[Vec<u64>], own: u32) -> u64 {
    let mut digest = Digest::default();
    for filter in filters {
        digest.take(&filter.len().to_le_bytes());
        for instruction in filter {
            let is_own = instruction & 0xffff == COMPARE && instruction >> 32 == u64::from(own);
            let shown = if is_own { instruction | u64::from(u32::MAX) << 32 } else { *instruction };
            digest.take(&shown.to_le_bytes());
        }
    }
    digest.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn compare(with: u64) -> u64 {
        COMPARE | 1 << 16 | with << 32
    }

    #[test]
    fn one_changed_instruction_is_another_digest() {
        let filters = [vec![0x20, compare(59), 6], vec![6]];
        let digest = of_filters(&filters, 4711);
        let moved = [vec![0x20, compare(59)], vec![6, 6]];
        for other in
            [[vec![0x20, compare(60), 6], vec![6]], [vec![0x20, compare(59), 6 | 1 << 32], vec![6]], moved]
        {
            assert_ne!(of_filters(&other, 4711), digest, "{other:x?}");
        }
        assert_eq!(of_filters(&filters, 4711), digest);
    }

    #[test]
    fn the_own_id_does_not_matter_and_another_one_does() {
        let filter = |id| [vec![compare(id), 6]];
        assert_eq!(of_filters(&filter(100_001), 100_001), of_filters(&filter(100_002), 100_002));
        assert_ne!(of_filters(&filter(100_001), 100_001), of_filters(&filter(100_002), 100_001));
    }
}
