//! Asks a person for the seven values.
//!
//! Values are pasted one by one, and a paste that slipped by one line fits every form: the seven are texts.
//! So what does not look like its value is asked about, and the person decides.

use super::Failure;
use crate::{
    credentials::{ValueName, sealed::StoredValues},
    domain::is_uuid,
    secret::{SecretBuffer, SecretText},
};

/// Whether the terminal shows what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Echo {
    On,
    Off,
}

/// Somebody who is asked.
pub(in crate::cli) trait Prompt {
    /// One line, after a label. Fails when the input ends.
    fn line(&mut self, label: &str, echo: Echo) -> Result<SecretBuffer, Failure>;
    /// Says something.
    fn say(&mut self, text: &str) -> Result<(), Failure>;
}

/// The seven values, one after another. The secret is not shown.
pub(in crate::cli) fn ask_for_set(person: &mut dyn Prompt) -> Result<StoredValues, Failure> {
    let mut values = StoredValues::default();
    for name in ValueName::ALL {
        let value = ask_for(person, name, &values)?;
        values.insert(name, value);
    }
    Ok(values)
}

/// One value.
pub(super) fn ask_for(
    person: &mut dyn Prompt,
    name: ValueName,
    before: &StoredValues,
) -> Result<SecretText, Failure> {
    let echo = if name.is_secret() { Echo::Off } else { Echo::On };
    if name.is_secret() {
        person.say("(what you type now is not shown)")?;
    }
    loop {
        let line = person.line(name.key(), echo)?;
        let value = match SecretText::parse(&line) {
            Ok(value) => value,
            Err(why) => {
                person.say(&why.to_string())?;
                continue;
            }
        };
        match doubt(name, &value, before) {
            Some(doubt) if !is_sure(person, &doubt)? => {}
            _ => return Ok(value),
        }
    }
}

/// Asks whether to go on in spite of something.
pub(super) fn is_sure(person: &mut dyn Prompt, doubt: &str) -> Result<bool, Failure> {
    loop {
        let answer = person.line(&format!("{doubt} – sure? yes or no [no]"), Echo::On)?;
        match answer.trim_ascii() {
            b"yes" | b"y" => return Ok(true),
            b"" | b"no" | b"n" => return Ok(false),
            _ => person.say("give yes or no")?,
        }
    }
}

/// Why a value does not look like what it should be. It never quotes the value.
fn doubt(name: ValueName, value: &SecretText, before: &StoredValues) -> Option<String> {
    if let Some((same, _)) = before.iter().find(|(_, other)| other.same_as(value)) {
        return Some(format!("it is the same as `{}`", same.key()));
    }
    value.expose_to(|text| {
        if text.starts_with(['"', '\'']) || text.ends_with(['"', '\'']) {
            return Some("it has a quotation mark around it".to_owned());
        }
        if text.contains(' ') {
            return Some("it has a space in it".to_owned());
        }
        let doubt = match name {
            ValueName::ClientSecret if is_uuid(text) => {
                "it looks like an identifier, not like a secret"
            }
            ValueName::ClientSecret if text.len() < SHORTEST_SECRET => "it is short for a secret",
            ValueName::ClientSecret => return None,
            ValueName::ClientCt if is_content_type(text) => return None,
            ValueName::ClientCt => {
                "it looks like no content type, `organization.company` for instance"
            }
            _ if is_uuid(text) => return None,
            _ => "it looks like no UUID",
        };
        Some(doubt.to_owned())
    })
}

/// A content type of Django: an application and a model.
fn is_content_type(text: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    text.split_once('.').is_some_and(|(application, model)| word(application) && word(model))
}

/// A shorter one can be guessed.
const SHORTEST_SECRET: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1f3a5c70-0000-4000-8000-00000000c001";
    const OTHER: &str = "1f3a5c70-0000-4000-8000-00000000a001";

    fn doubts(name: ValueName, text: &str) -> bool {
        let mut before = StoredValues::default();
        before.insert(ValueName::CustomerId, SecretText::parse(ONE.as_bytes()).unwrap());
        let doubt = doubt(name, &SecretText::parse(text.as_bytes()).unwrap(), &before);
        assert!(doubt.as_ref().is_none_or(|doubt| !doubt.contains(text)), "{doubt:?}");
        doubt.is_some()
    }

    #[test]
    fn what_looks_right_is_taken_without_a_question() {
        for (name, text) in [
            (ValueName::ApplicationId, OTHER),
            (ValueName::ClientObjectId, OTHER),
            (ValueName::ClientCt, "organization.company"),
            (ValueName::ClientSecret, "made-up-secret-that-opens-nothing"),
        ] {
            assert!(!doubts(name, text), "{name:?}");
        }
    }

    #[test]
    fn what_slipped_or_was_pasted_with_more_is_asked_about() {
        for (name, text) in [
            (ValueName::ApplicationId, ONE),
            (ValueName::ApplicationId, "organization.company"),
            (ValueName::ServiceId, "b101"),
            (ValueName::ServiceVersionId, "\"1f3a5c70-0000-4000-8000-00000000a001\""),
            (ValueName::ClientCt, OTHER),
            (ValueName::ClientCt, "b101"),
            (ValueName::ClientObjectId, "organization.company"),
            (ValueName::ClientSecret, OTHER),
            (ValueName::ClientSecret, ONE),
            (ValueName::ClientSecret, "made-up"),
            (ValueName::ClientSecret, "made up secret with spaces"),
            (ValueName::ClientSecret, "client_secret: made-up-secret-0042"),
            (ValueName::ClientSecret, "'made-up-secret-that-opens-nothing'"),
        ] {
            assert!(doubts(name, text), "{name:?} {text}");
        }
    }
}
