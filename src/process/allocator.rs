//! The global allocator: mimalloc, which wipes every block when it is freed (feature
//! `wipe-memory`).
//!
//! Under concurrent load glibc's allocator serves blocks above 1 KB (read buffers, TLS records,
//! header maps) from shared, sorted lists. mimalloc has a free list for each size.

/// Wipes every block when it is freed. hyper, serde and the header types copy secrets into buffers
/// of their own and do not wipe them.
#[cfg(all(feature = "wipe-memory", not(feature = "count-allocations")))]
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<mimalloc::MiMalloc> =
    zeroizing_alloc::ZeroAlloc(mimalloc::MiMalloc);

/// Without `wipe-memory`, only buffers of this crate are wiped.
#[cfg(not(any(feature = "wipe-memory", feature = "count-allocations")))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
