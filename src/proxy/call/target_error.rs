//! The error of a call for a target that is refused, the same from the server, the stages and `explain`.

use crate::{
    domain::TargetError,
    error::{Error, Kind},
};

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Self {
        let kind = match error {
            TargetError::NotAbsolute | TargetError::Unencoded(_) => Kind::Malformed,
            TargetError::PercentEncoding(_)
            | TargetError::EncodedSeparator
            | TargetError::EncodedControl
            | TargetError::EncodedUnreserved
            | TargetError::EncodedBytes
            | TargetError::PathParameter
            | TargetError::Backslash
            | TargetError::EmptySegment
            | TargetError::DotSegment => Kind::TargetNotCanonical,
        };
        Self::new(kind, error.to_string())
    }
}
