//! What the kernel does for slow readers.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use socket2::SockRef;

/// A reader that takes nothing for so long is gone.
pub(crate) const EVICT_AFTER: Duration = Duration::from_secs(10);

/// Bytes that a connection holds unsent before it counts as not writable: by default a reader that stalls swallows
/// megabytes of states that are old when it comes back.
const UNSENT_BYTES: u32 = 4 * 1024;

/// Tunes a listener whose connections carry streams; accepted connections inherit it. A connection whose reader makes
/// no progress for 10 s is ended by the kernel (`TCP_USER_TIMEOUT`, which also counts a window that stays closed): no
/// timer per socket, and it works where nothing can be written any more.
///
/// # Errors
/// When the system refuses an option.
pub fn tune_listener(listener: &TcpListener) -> io::Result<()> {
    let socket = SockRef::from(listener);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(EVICT_AFTER))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    socket.set_tcp_nodelay(true)
}
