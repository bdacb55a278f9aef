//! What stops a benchmark, in words for the person who started it.

use std::{error::Error, fmt, process::ExitCode};

/// A benchmark cannot go on.
#[derive(Debug)]
pub struct Failure {
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// Something that is wrong by itself.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// Says it on standard error, with its causes.
    pub fn report(&self) -> ExitCode {
        anstream::eprintln!("error: {self}");
        let mut source = self.source();
        while let Some(cause) = source {
            anstream::eprintln!("  because: {cause}");
            source = cause.source();
        }
        ExitCode::FAILURE
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Says what was being done when something failed.
pub trait During<T> {
    /// `what` is the thing that cannot be done: "cannot start nginx".
    fn during(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Error + Send + Sync + 'static> During<T> for Result<T, E> {
    fn during(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|source| Failure { what: what.to_string(), source: Some(Box::new(source)) })
    }
}
