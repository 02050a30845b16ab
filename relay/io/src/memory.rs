//! Tables whose memory is there from the start.

/// An empty table with room for so many entries, every page of it touched, so that the memory at
/// boot is the memory under load. It must not grow beyond its capacity.
pub(crate) fn table<T>(capacity: usize) -> Vec<T> {
    let mut table = Vec::with_capacity(capacity);
    let spare = table.spare_capacity_mut();
    let (start, bytes) = (spare.as_mut_ptr().cast::<u8>(), size_of_val(spare));
    // SAFETY: the spare capacity is ours to write, and it counts as uninitialised all the same.
    // Not zeros: an allocation of zeros would be left to the kernel to map later.
    unsafe { start.write_bytes(0xA5, bytes) };
    std::hint::black_box(start);
    table
}
