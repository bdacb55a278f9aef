//! Whoever runs `init`: asked on a terminal, otherwise only told.

use std::io::{self, BufRead, IsTerminal as _, Write};

use clap::ValueEnum;

use crate::cli::Failure;

/// Answers and questions.
pub struct Person<'a> {
    /// Answers, if there is somebody to give them.
    input: Option<Box<dyn BufRead + 'a>>,
    /// Where they read.
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
        Ok(Self { input, out: Box::new(anstream::stdout()) })
    }

    /// One made of parts: with `input`, somebody answers.
    pub fn new(input: Option<impl BufRead + 'a>, out: impl Write + 'a) -> Self {
        let input = input.map(|input| Box::new(input) as Box<dyn BufRead>);
        Self { input, out: Box::new(out) }
    }

    /// Asks no more.
    pub(super) fn leave_in_peace(&mut self) {
        self.input = None;
    }

    /// What was given; else what is answered; else the default. A wrong answer is asked for again.
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
        let Some(input) = &mut self.input else {
            return parse(default).map_err(Failure::usage);
        };
        loop {
            write!(self.out, "{question} [{default}]: ")?;
            self.out.flush()?;
            let mut answer = String::new();
            if input.read_line(&mut answer)? == 0 {
                return Err(Failure::usage("the input ended before everything was answered")
                    .hint("nothing was written; --defaults asks nothing"));
            }
            let answer = answer.trim();
            match parse(if answer.is_empty() { default } else { answer }) {
                Ok(value) => return Ok(value),
                Err(why) => writeln!(self.out, "  {why}")?,
            }
        }
    }

    /// The same for one of a few words.
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
