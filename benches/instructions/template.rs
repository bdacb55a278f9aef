//! The workplace with a member of a template in place of the one profile, or in a fleet.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _};

use super::{
    caller::Kind,
    failure::{During as _, Failure},
    workplace::Workplace,
};

/// The member.
pub const MEMBER: &str = "bench-1";

/// Changes the configuration for calls of that kind.
pub fn prepare(workplace: &Workplace, kind: Kind) -> Result<(), Failure> {
    let listener = match kind {
        Kind::Fixed => return Ok(()),
        Kind::InFleet(store) => return join(workplace, store),
        Kind::Member => "profile = \"bench-1\"\n",
        Kind::Named => "",
    };
    let members = workplace.path("members");
    fs::create_dir(&members).during("cannot make a folder for the members")?;
    fs::rename(workplace.path("credentials"), members.join(MEMBER))
        .during("cannot move the credentials")?;
    let text = fs::read_to_string(workplace.config()).during("cannot read the configuration")?;
    let text = text
        .replacen("profile = \"bench\"\n", listener, 1)
        .replace("[profiles.bench]", "[profiles.\"bench-*\"]")
        .replace("path = \"credentials\"", "path = \"members/{profile}\"")
        .replace("allow = [", "profiles = [\"bench-*\"]\nallow = [");
    fs::write(workplace.config(), text).during("cannot write the configuration")
}

/// Puts the gateway into a fleet, where answers live longer while everything is heard.
fn join(workplace: &Workplace, store: SocketAddr) -> Result<(), Failure> {
    let key = workplace.path("fleet-key");
    fs::write(&key, KEY).during("cannot write the fleet's key")?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).during("cannot close the key")?;
    let text = fs::read_to_string(workplace.config()).during("cannot read the configuration")?;
    let fleet = format!(
        "[fleet]\nname = \"instructions\"\nkey_file = \"fleet-key\"\n\
         [fleet.store]\naddress = \"{store}\"\ntls = false\n\
         [[cache.rules]]\noperations = [\"subtenant.get\"]\nttl = \"60s\"\ncoherent_ttl = \"10m\"\n"
    );
    fs::write(workplace.config(), text + &fleet).during("cannot write the configuration")
}

/// A made-up key: 32 bytes.
const KEY: &str = "bWFkZS11cC1rZXktb2YtdGhlLWVuZHVyYW5jZS1iZW4=\n";
