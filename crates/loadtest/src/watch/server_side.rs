//! Which connections a server on this machine still holds open, as the kernel tells: a client that does not read cannot
//! see that its server has given it up, because the end is queued behind what it has not read.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};

const ESTABLISHED: &str = "01";

/// The clients' addresses of all connections to `port` that are open on the server's side. `None` where the kernel
/// does not tell.
pub(crate) fn clients_of(port: u16) -> Option<HashSet<SocketAddrV4>> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    Some(established(&table, port))
}

fn established(table: &str, port: u16) -> HashSet<SocketAddrV4> {
    let open = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, remote, state) = (address(fields.next()?)?, address(fields.next()?)?, fields.next()?);
        (local.port() == port && state == ESTABLISHED).then_some(remote)
    };
    table.lines().skip(1).filter_map(open).collect()
}

/// `0100007F:1F90`: the address in the machine's byte order, the port as a number.
fn address(text: &str) -> Option<SocketAddrV4> {
    let (host, port) = text.split_once(':')?;
    let host = u32::from_str_radix(host, 16).ok()?;
    Some(SocketAddrV4::new(Ipv4Addr::from(host.to_ne_bytes()), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_connections_of_the_port_are_told() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
            1: 0100007F:1F90 0201007F:C350 01 00000000:00000000\n\
            2: 0100007F:1F90 0201007F:C351 04 00000000:00000000\n\
            3: 0201007F:C350 0100007F:1F90 01 00000000:00000000\n";
        let clients = established(table, 8080);
        let expected = if cfg!(target_endian = "little") { "127.0.1.2:50000" } else { "2.1.0.127:50000" };
        assert_eq!(clients, HashSet::from([expected.parse().unwrap()]));
    }
}
