//! Which members a template's source has: the folders beside one another, the sets of a sealed store, the secrets
//! of a vault. No value is read.

use std::{collections::BTreeSet, fs, io, path::Path};

use tokio::time;

use super::{
    LoadError, Sources,
    directory::DirectoryError,
    expanded,
    member_place::Place,
    sealed::{SealedError, SealedStore},
    vault,
};
use crate::{
    credentials::settings::{Settings, SourceSettings},
    domain::{PROFILE_PLACE, ProfileName, Span},
};

/// The names that a template's source has, whatever the template's pattern.
pub async fn members(
    template: &Settings,
    sources: &Sources,
) -> Result<BTreeSet<ProfileName>, LoadError> {
    let limit = template.refresh.read_timeout;
    let listed = async {
        match &template.source {
            SourceSettings::Vault(vault) => Ok(vault::members(vault, sources.vaults()).await?),
            SourceSettings::Directory { path } => {
                let path = expanded(path);
                Ok(sources.lane().run(move || folders(&path)).await??)
            }
            SourceSettings::Sealed { file, key_file } => {
                let store = sources.store(SealedStore::new(file, key_file));
                let names = store.names().await?.map_err(SealedError::Store)?;
                let members = names.iter();
                Ok(members.filter_map(|name| ProfileName::of_member(name.as_bytes())).collect())
            }
            // A name in a variable cannot have a dash, so there are no members.
            SourceSettings::Environment { .. } => Ok(BTreeSet::new()),
        }
    };
    time::timeout(limit, listed).await.unwrap_or(Err(LoadError::Timeout { limit: Span(limit) }))
}

/// The names for which the path leads to a folder.
fn folders(path: &Path) -> Result<BTreeSet<ProfileName>, DirectoryError> {
    let text = path.to_string_lossy();
    let Some(place) = Place::of(&text) else { return Ok(BTreeSet::new()) };
    let parent = Path::new(if place.parent.is_empty() { "." } else { place.parent });
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => DirectoryError::Absent { path: parent.to_owned() },
        _ => DirectoryError::Open { path: parent.to_owned(), source },
    };
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(parent).map_err(failed)? {
        let entry = entry.map_err(failed)?.file_name();
        let member = entry.to_str().and_then(|entry| place.member(entry));
        found.extend(
            member.filter(|name| Path::new(&*text.replace(PROFILE_PLACE, name.as_str())).is_dir()),
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_has_the_rest_of_the_path_is_a_member() {
        let folder = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(folder.path().join(path)).unwrap();
        for path in
            ["of-acme.d/values", "of-nordic.d/values", "of-half.d", "other", "of-UPPER.d/values"]
        {
            make(path);
        }
        fs::write(folder.path().join("of-file.d"), "").unwrap();
        let names = |path: &str| folders(&folder.path().join(path));
        let found = names("of-{profile}.d/values").unwrap();
        assert_eq!(found.iter().map(ProfileName::as_str).collect::<Vec<_>>(), ["acme", "nordic"]);
        // Wherever it stands again, it is the same name.
        make("twice/acme/acme");
        make("twice/nordic/acme");
        let found = names("twice/{profile}/{profile}").unwrap();
        assert_eq!(found.iter().map(ProfileName::as_str).collect::<Vec<_>>(), ["acme"]);
        assert!(matches!(names("none/{profile}"), Err(DirectoryError::Absent { .. })));
    }
}
