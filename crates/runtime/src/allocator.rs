//! The allocator of every process. Blocks of one size stand together in it: what a closed connection, a hashed password or
//! a filled page leaves behind is used again, where the C library's allocator leaves holes between what lives longer
//! (9 KiB for a WebSocket of 3 KiB; hundreds of megabytes after logins). docs/BENCHMARKS.md has the figures.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
