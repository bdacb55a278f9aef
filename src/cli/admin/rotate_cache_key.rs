//! `fleet rotate-cache-key`: makes a new version of the key that seals a profile's responses in the shared cache.

use std::io::Write;

use http::Method;

use super::AdminTarget;
use crate::{
    cli::{Failure, rotation_policy},
    config::Settings,
    credentials::{KeyPlace, KeyReadError, KeySettings, Sources, VaultError, rotate_key},
    domain::{ProfileName, Span},
    error::Chain,
};

/// Makes a new version of the key of a profile's responses in the shared cache.
///
/// It is made here from the system's random source, written to the vault with the login of the configuration, and never
/// shown. Members seal with it when all of them have read it: two `refresh` after it was made.
#[derive(Debug, clap::Args)]
pub(super) struct RotateCacheKeyArgs {
    #[command(flatten)]
    target: AdminTarget,
    /// The profile, or a member of a template; without it, the only one that has a `cache_key`.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Also destroy all older versions. What is in the shared cache, and in any copy of it, is noise from then on.
    #[arg(long)]
    now: bool,
}

pub(super) async fn rotate_cache_key(
    args: &RotateCacheKeyArgs,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let settings = args.target.files().load()?.settings;
    let (name, key) = chosen(args.profile.as_deref(), &settings)?;
    let version = rotate_key(&key, &Sources::default(), args.now).await;
    let version = version.map_err(|error| failure(&key, args.now, &error))?;
    writeln!(out, "the cache key of {name} has version {version}")?;
    if args.now {
        writeln!(out, "older versions are destroyed: what they sealed is noise")?;
    }
    match tell(&args.target, &name).await {
        Ok(()) => writeln!(out, "the fleet is told, and reads it within seconds")?,
        Err(failure) => writeln!(
            out,
            "no running gateway could tell the fleet ({}); members read it within {}",
            failure.text().0,
            Span(key.refresh)
        )?,
    }
    Ok(())
}

/// Has a running gateway tell the fleet.
async fn tell(target: &AdminTarget, profile: &ProfileName) -> Result<(), Failure> {
    let admin = target.admin()?;
    let path = format!("/fleet/cache-key?profile={profile}");
    let answer = admin.ask(Method::POST, &path).await?;
    if answer.status.is_success() { Ok(()) } else { Err(admin.refused(&answer)) }
}

/// The profile, and where its key is.
fn chosen(named: Option<&str>, settings: &Settings) -> Result<(ProfileName, KeySettings), Failure> {
    let keys = &settings.cache_keys;
    let Some(named) = named else {
        let mut all = keys.iter();
        return match (all.next(), all.next()) {
            (Some((name, key)), None) if name.template().is_none() => {
                Ok((name.clone(), key.clone()))
            }
            (None, _) => Err(Failure::usage("no profile has a `cache_key`")),
            _ => Err(Failure::usage("more than one profile may have a `cache_key`")
                .hint("name one with `--profile`")),
        };
    };
    let name = ProfileName::new(named);
    let table = settings.profile(&name).map(|(table, _)| table.clone());
    let key = table.and_then(|table| keys.get(&table));
    let key =
        key.ok_or_else(|| Failure::usage("this profile has no `cache_key`, or there is none"))?;
    Ok((name.clone(), key.for_member(&name)))
}

fn failure(key: &KeySettings, destroys: bool, error: &KeyReadError) -> Failure {
    let failure = Failure::failed(format!("the key is not rotated: {}", Chain(error)));
    match (&key.place, error) {
        (KeyPlace::File(path), _) => {
            let path = path.display();
            let older = if destroys {
                "alone in it"
            } else {
                "on its first line, and the one before on the second"
            };
            failure.hint(format!(
                "put a new key into {path} of every member, {older}: `openssl rand -base64 32` makes one"
            ))
        }
        (KeyPlace::Vault { secret, .. }, KeyReadError::Vault(error))
            if matches!(**error, VaultError::NotWritten { .. } | VaultError::Denied { .. }) =>
        {
            let policy = rotation_policy(&secret.mount, &secret.path);
            failure.hint(format!("the policy of this login needs\n{}", policy.trim_end()))
        }
        _ => failure,
    }
}
