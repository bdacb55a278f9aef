//! Folders as Kubernetes, an agent or a person leaves them.

use std::{fs as std_fs, os::unix::fs::symlink};

use tempfile::TempDir;

use super::*;

const QUIET: Duration = Duration::from_millis(10);

fn write_all(folder: &Path, text: &str) {
    std_fs::create_dir_all(folder).unwrap();
    for name in ValueName::ALL {
        std_fs::write(folder.join(name.key()), format!("{text}-{name}\n")).unwrap();
    }
}

fn read(folder: &Path) -> Result<CredentialSet, DirectoryError> {
    DirectorySource::new(folder, QUIET).read(&Identifiers::new())
}

fn secret(set: &CredentialSet) -> String {
    set.value(ValueName::ClientSecret).expose_to(str::to_owned)
}

/// A folder as Kubernetes mounts a secret: files are links through `..data`.
fn mount(root: &Path, generation: &str) {
    write_all(&root.join(generation), generation);
    swap(root, generation);
    for name in ValueName::ALL {
        symlink(format!("..data/{name}"), root.join(name.key())).unwrap();
    }
}

fn swap(root: &Path, generation: &str) {
    symlink(generation, root.join("..data_tmp")).unwrap();
    std_fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
}

#[test]
fn plain_files_have_their_newest_date_as_version() {
    let root = TempDir::new().unwrap();
    write_all(root.path(), "first");
    let first = read(root.path()).unwrap();
    assert_eq!(secret(&first), "first-client_secret");
    let date: Timestamp = first.version().as_str().parse().unwrap();
    std_fs::write(root.path().join("client_secret"), "second").unwrap();
    let second = read(root.path()).unwrap();
    assert_eq!(secret(&second), "second");
    assert!(second.version().as_str().parse::<Timestamp>().unwrap() > date);
}

#[test]
fn a_mounted_secret_is_read_through_its_generation() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..2026_01");
    let set = read(root.path()).unwrap();
    assert_eq!(set.version().as_str(), "..2026_01");
    write_all(&root.path().join("..2026_02"), "..2026_02");
    swap(root.path(), "..2026_02");
    std_fs::remove_dir_all(root.path().join("..2026_01")).unwrap();
    let set = read(root.path()).unwrap();
    assert_eq!(set.version().as_str(), "..2026_02");
    assert_eq!(secret(&set), "..2026_02-client_secret");
}

#[test]
fn swaps_under_a_reader_never_mix_two_generations() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..g0");
    let path = root.path().to_owned();
    let writer = thread::spawn(move || {
        for round in 1..300 {
            let (old, new) = (format!("..g{}", round - 1), format!("..g{round}"));
            write_all(&path.join(&new), &new);
            swap(&path, &new);
            std_fs::remove_dir_all(path.join(old)).unwrap();
        }
    });
    let mut reads = 0;
    while !writer.is_finished() || reads == 0 {
        // A generation may be deleted while it is read; that is an error, never a mix.
        let Ok(set) = read(root.path()) else { continue };
        reads += 1;
        for name in ValueName::ALL {
            let text = set.value(name).expose_to(str::to_owned);
            assert_eq!(text, format!("{}-{name}", set.version()));
        }
    }
    writer.join().unwrap();
}

#[test]
fn a_file_that_is_being_written_is_waited_for() {
    let root = TempDir::new().unwrap();
    write_all(root.path(), "old");
    let file = root.path().join("client_secret");
    // The file holds half a value, and the writer comes back within the quiet time.
    std_fs::write(&file, "new-val").unwrap();
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        std_fs::write(&file, "new-value").unwrap();
    });
    let directory = DirectorySource::new(root.path(), Duration::from_millis(400));
    let set = directory.read(&Identifiers::new()).unwrap();
    writer.join().unwrap();
    assert_eq!(secret(&set), "new-value");
}

#[test]
fn every_bad_file_is_named_with_its_reason() {
    let root = TempDir::new().unwrap();
    write_all(root.path(), "made-up");
    std_fs::write(root.path().join("client_secret"), "").unwrap();
    std_fs::write(root.path().join("client_ct"), vec![b'x'; 5000]).unwrap();
    std_fs::remove_file(root.path().join("service_id")).unwrap();
    std_fs::remove_file(root.path().join("customer_id")).unwrap();
    std_fs::create_dir(root.path().join("customer_id")).unwrap();
    let error = read(root.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}: `customer_id` is not a regular file; `service_id` is missing; `client_ct` is \
             longer than 4096 bytes; `client_secret` is empty",
            root.path().display()
        )
    );
}

#[test]
fn a_pipe_in_the_folder_does_not_hang_the_reader() {
    let root = TempDir::new().unwrap();
    write_all(root.path(), "made-up");
    let pipe = root.path().join("client_secret");
    std_fs::remove_file(&pipe).unwrap();
    fs::mknodat(fs::CWD, &pipe, fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    let error = read(root.path()).unwrap_err();
    assert!(error.to_string().ends_with("`client_secret` is not a regular file"), "{error}");
}

#[test]
fn a_missing_folder_says_so() {
    let root = TempDir::new().unwrap();
    let error = read(&root.path().join("later")).unwrap_err();
    assert!(matches!(error, DirectoryError::Absent { .. }), "{error}");
}

#[test]
fn the_variable_of_systemd_stands_for_its_folder() {
    let folder = Some(OsStr::new("/run/credentials/gateway.service"));
    for (path, expected) in [
        ("$CREDENTIALS_DIRECTORY", "/run/credentials/gateway.service"),
        ("/etc/gateway/$CREDENTIALS_DIRECTORY/pigello", "/run/credentials/gateway.service/pigello"),
        ("/run/secrets/pigello", "/run/secrets/pigello"),
        ("/a$CREDENTIALS_DIRECTORY", "/a$CREDENTIALS_DIRECTORY"),
    ] {
        assert_eq!(expand(Path::new(path), folder), Path::new(expected));
        assert_eq!(expand(Path::new(path), None), Path::new(path));
    }
}
