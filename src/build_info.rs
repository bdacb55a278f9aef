//! How this program was built. `build.rs` finds it out; `--version` and the metric `build_info` say it.

/// Name and value of each fact, as the labels of `build_info` have them.
pub const BUILD: [(&str, &str); 6] = [
    ("version", env!("CARGO_PKG_VERSION")),
    // `unknown` in a development build, and where the source was no git checkout.
    ("commit", env!("BUILD_COMMIT")),
    ("target", env!("BUILD_TARGET")),
    // Separated by spaces.
    ("features", env!("BUILD_FEATURES")),
    // cargo's: `debug` or `release`.
    ("profile", env!("BUILD_PROFILE")),
    // Whether the compiler had a profile of the program under load (profile-guided optimisation).
    ("pgo", env!("BUILD_PGO")),
];

/// The commit that the program was built from; `unknown` as above.
pub const COMMIT: &str = env!("BUILD_COMMIT");

/// What `--version` prints behind the program's name.
pub const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("BUILD_COMMIT"),
    "\ntarget: ",
    env!("BUILD_TARGET"),
    "\nfeatures: ",
    env!("BUILD_FEATURES"),
    "\nprofile: ",
    env!("BUILD_PROFILE"),
    "\npgo: ",
    env!("BUILD_PGO"),
);
