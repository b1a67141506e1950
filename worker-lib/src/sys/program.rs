//! The program's own pages in memory.

use std::{ffi::c_void, ops::Range};

/// Lets go of the program's code and constants, most of which only the start needed, and of free pages of the heap. What
/// is used again comes back from the page cache, a fault for each 64 KiB.
pub(crate) fn let_go_of_start() {
    for segment in unchangeable_segments() {
        // SAFETY: the range is of whole pages of a private mapping of the program's file that nothing may write to, so the
        // kernel reads the same octets again at the next use, whoever uses them and when.
        unsafe { libc::madvise(segment.start as *mut c_void, segment.len(), libc::MADV_DONTNEED) };
    }
    // SAFETY: it has no precondition.
    unsafe { libc::malloc_trim(0) };
}

/// Where the program's own loaded segments lie that it may not write to: neither relocated pointers nor data are in them.
fn unchangeable_segments() -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // SAFETY: `note` is what `data` is for, and is gone when this returns; it does not unwind across the loader.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut found).cast()) };
    found
}

/// Of the first object, the program itself; ends the walk.
unsafe extern "C" fn note(object: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> libc::c_int {
    // SAFETY: the loader hands a whole description, valid for this call.
    let object = unsafe { &*object };
    // SAFETY: `unchangeable_segments` handed its own vector, which nobody else uses meanwhile.
    let found = unsafe { &mut *data.cast::<Vec<Range<usize>>>() };
    if object.dlpi_phdr.is_null() {
        return 1;
    }
    // SAFETY: the loader's table has that many headers.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            let (address, size) = (object.dlpi_addr.wrapping_add(header.p_vaddr), header.p_memsz);
            found.extend(whole_pages(address, size, page_size()));
        }
    }
    1
}

fn page_size() -> u64 {
    // SAFETY: it has no precondition.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or_default()
}

/// The pages of that size that lie in the segment as a whole.
fn whole_pages(address: u64, size: u64, page: u64) -> Option<Range<usize>> {
    let start = address.checked_next_multiple_of(page)?;
    let end = address.checked_add(size)?.checked_div(page)? * page;
    let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
    (start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Of this program's mappings with that access, in KiB.
    fn resident(access: &str) -> u64 {
        let program = std::env::current_exe().unwrap().display().to_string();
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut counts, mut sum) = (false, 0);
        for line in smaps.lines() {
            if let Some(size) = line.strip_prefix("Rss:") {
                if counts {
                    sum += size.trim_end_matches("kB").trim().parse::<u64>().unwrap();
                }
            } else if line.split(' ').next().is_some_and(|range| range.contains('-')) {
                counts = line.ends_with(&program) && line.contains(access);
            }
        }
        sum
    }

    /// Constants that are read once, as by a start.
    static LARGE: [u8; 1 << 20] = [7; 1 << 20];

    fn sum() -> u64 {
        LARGE.iter().map(|octet| u64::from(std::hint::black_box(*octet))).sum()
    }

    #[test]
    fn what_only_the_start_used_leaves_memory_and_comes_back_when_it_is_used() {
        assert_eq!(sum(), 7 << 20);
        let (constants, data) = (resident(" r--p "), resident(" rw-p "));
        assert!(constants >= 1024 && resident(" r-xp ") > 0, "{constants} KiB of constants");
        let_go_of_start();
        let left = resident(" r--p ");
        assert!(left + 900 < constants, "{left} KiB are left of {constants}");
        assert!(resident(" rw-p ") >= data, "what was written stays");
        assert_eq!(sum(), 7 << 20);
    }

    #[test]
    fn only_whole_pages_of_a_segment_count() {
        assert_eq!(whole_pages(0x1001, 0x2fff, 0x1000), Some(0x2000..0x4000));
        assert_eq!(whole_pages(0x1001, 0x1000, 0x1000), None);
        assert_eq!(whole_pages(0, 0, 0x1000), None);
        assert_eq!(whole_pages(0x1001, 0x2fff, 0), None);
        assert_eq!(whole_pages(u64::MAX - 1, 5, 0x1000), None);
    }
}
