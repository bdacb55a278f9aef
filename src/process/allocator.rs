//! The allocator of the process: mimalloc, and every block is wiped when it is freed.
//!
//! With many calls under way glibc's allocator takes and gives back what is larger than 1 KB (a read
//! buffer, a record of TLS, a header map) on lists that everything shares, and looks at blocks that
//! nobody has touched for long. mimalloc has a list for each size.

/// Wipes every block of memory when it is freed: what hyper, serde and the header types copy of a
/// secret is not theirs to wipe, and stays readable in freed memory otherwise.
#[cfg(all(feature = "wipe-memory", not(feature = "count-allocations")))]
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<mimalloc::MiMalloc> =
    zeroizing_alloc::ZeroAlloc(mimalloc::MiMalloc);

/// Without the feature `wipe-memory` only what is ours is wiped.
#[cfg(not(any(feature = "wipe-memory", feature = "count-allocations")))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
