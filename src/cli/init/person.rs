//! The person who runs `init`: asks questions on a terminal.
//!
//! A secret is read without echo and never stored in a `String`.

use std::io::{self, BufRead, IsTerminal as _, Write};

use clap::ValueEnum;

use crate::{
    cli::{Failure, credentials::Console},
    credentials::{ValueName, sealed::StoredValues},
    secret::SecretText,
};

/// Input and output of the questions.
pub struct Person<'a> {
    /// The answers, if the input is a terminal.
    input: Option<Box<dyn BufRead + 'a>>,
    /// The input for secrets.
    secrets: Console<'a>,
    /// The output.
    pub(super) out: Box<dyn Write + 'a>,
}

impl std::fmt::Debug for Person<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Person")
    }
}

impl<'a> Person<'a> {
    /// Standard input, if it is a terminal, and standard output.
    pub fn standard() -> io::Result<Self> {
        let input = io::stdin();
        let asked = input.is_terminal() && io::stdout().is_terminal();
        let input = asked.then(|| Box::new(io::stdin().lock()) as Box<dyn BufRead>);
        let secrets = Console::standard(io::sink(), anstream::stdout())?;
        Ok(Self { input, secrets, out: Box::new(anstream::stdout()) })
    }

    /// For tests: `input` has the answers, `secrets` the hidden ones.
    pub fn new(
        input: Option<impl BufRead + 'a>,
        secrets: impl io::Read + 'a,
        out: impl Write + 'a,
    ) -> Self {
        let input = input.map(|input| Box::new(input) as Box<dyn BufRead>);
        let secrets = Console::new(secrets, io::sink(), io::sink());
        Self { input, secrets, out: Box::new(out) }
    }

    /// Stops asking.
    pub(super) fn leave_in_peace(&mut self) {
        self.input = None;
    }

    /// The option's value, else the answer, else the default. An invalid answer is asked for again.
    pub(super) fn ask<T>(
        &mut self,
        given: Option<T>,
        question: &str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        if let Some(given) = given {
            return Ok(given);
        }
        if self.input.is_none() {
            return parse(default).map_err(Failure::usage);
        }
        loop {
            let answer = self.answer(&format!("{question} [{default}]"))?;
            match parse(if answer.is_empty() { default } else { &answer }) {
                Ok(value) => return Ok(value),
                Err(why) => writeln!(self.out, "  {why}")?,
            }
        }
    }

    /// One line of an answer, trimmed.
    fn answer(&mut self, question: &str) -> Result<String, Failure> {
        write!(self.out, "{question}: ")?;
        self.out.flush()?;
        let mut answer = String::new();
        let read = self.input.as_mut().map_or(Ok(0), |input| input.read_line(&mut answer))?;
        if read == 0 {
            return Err(Failure::usage("the input ended before everything was answered")
                .hint("nothing was written; --defaults asks nothing"));
        }
        Ok(answer.trim().to_owned())
    }

    /// The seven values, if a person has them at hand.
    pub(super) fn values(&mut self) -> Result<Option<StoredValues>, Failure> {
        if self.input.is_none() {
            return Ok(None);
        }
        let at_hand =
            self.ask(None, "Are the seven values at hand, to be sealed now?", "yes", yes_or_no)?;
        if !at_hand {
            return Ok(None);
        }
        let mut values = StoredValues::default();
        for name in ValueName::ALL {
            values.insert(name, self.value(name)?);
        }
        Ok(Some(values))
    }

    fn value(&mut self, name: ValueName) -> Result<SecretText, Failure> {
        if name.is_secret() {
            writeln!(self.out, "  (what you type now is not shown)")?;
            self.out.flush()?;
            return self.secrets.read_value(name.key());
        }
        loop {
            let answer = self.answer(&format!("  {}", name.key()))?;
            match SecretText::parse(answer.as_bytes()) {
                Ok(value) => return Ok(value),
                Err(why) => writeln!(self.out, "  {why}")?,
            }
        }
    }

    /// As [`Self::ask`], with a choice of words.
    pub(super) fn choose<T: ValueEnum>(
        &mut self,
        given: Option<T>,
        question: &str,
        default: &str,
    ) -> Result<T, Failure> {
        let words: Vec<_> = T::value_variants()
            .iter()
            .filter_map(ValueEnum::to_possible_value)
            .map(|value| value.get_name().to_owned())
            .collect();
        let words = words.join(", ");
        self.ask(given, &format!("{question} ({words})"), default, |text| {
            T::from_str(text, true).map_err(|_| format!("give one of {words}"))
        })
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "y" => Ok(true),
        "no" | "n" => Ok(false),
        _ => Err("give yes or no".to_owned()),
    }
}
