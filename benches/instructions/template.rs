//! The workplace with a member of a template in place of the one profile.

use std::fs;

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
