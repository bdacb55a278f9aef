//! A network of its own for a scenario, with addresses that swallow packets and names that move.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::Command,
};

use tempfile::TempDir;

use super::upstream;

/// Starts this program again in a network and with mounts of its own, and with `--inside`.
pub fn again_in_its_own() -> ! {
    let [one, other] = LIVE;
    let script = format!(
        "ip link set lo up && ip addr add {one}/32 dev lo && ip addr add {other}/32 dev lo && \
         ip link add swallow type veth peer name nowhere && ip addr add 203.0.113.1/24 dev swallow && \
         ip link set swallow up && ip link set nowhere up && \
         ip neigh add 203.0.113.2 lladdr 02:00:00:00:00:01 dev swallow && \
         ip route add 192.0.2.0/24 via 203.0.113.2 && \
         ip -6 addr add 2001:db8:1::1/64 dev swallow nodad && \
         ip -6 neigh add 2001:db8:1::2 lladdr 02:00:00:00:00:01 dev swallow && \
         ip -6 route add 2001:db8::/64 via 2001:db8:1::2 && exec \"$@\" --inside"
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c", &script, "sh"]);
    let error = command.args(env::args_os()).exec();
    panic!("cannot make a network (this needs root): {error}");
}

/// The names that the host knows by itself, and a name service that does not answer.
#[derive(Debug)]
pub struct Names(TempDir);

impl Names {
    /// Puts them in the place of the host's.
    pub fn mounted() -> Self {
        let names = Self(tempfile::tempdir().unwrap());
        names.lead_to(&[]);
        fs::write(names.file("resolv.conf"), "nameserver 192.0.2.53\n").unwrap();
        for name in ["hosts", "resolv.conf"] {
            let mut mount = Command::new("mount");
            mount.arg("--bind").arg(names.file(name)).arg(format!("/etc/{name}"));
            assert!(mount.status().unwrap().success(), "cannot mount over /etc/{name}");
        }
        names
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The upstream's name leads to these addresses. They are written over the same file, because that is
    /// what is mounted.
    pub fn lead_to(&self, addresses: &[IpAddr]) {
        let lines = addresses.iter().map(|address| format!("{address} {}\n", upstream::NAME));
        let text = format!("127.0.0.1 localhost\n{}", lines.collect::<String>());
        fs::write(self.file("hosts"), text).unwrap();
    }
}

/// Addresses that lead to the upstream.
pub const LIVE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), IpAddr::V4(Ipv4Addr::new(198, 51, 100, 8))];
/// An address that swallows packets. The system's resolver puts it in front, because it is of IPv6.
pub const DEAD: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));
