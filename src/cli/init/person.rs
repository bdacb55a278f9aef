//! The person who runs `init`: asks questions on a terminal.
//!
//! A secret is read without echo and never stored in a `String`.

use std::io::{self, BufRead, IsTerminal as _, Write};

use super::{
    arguments::Args,
    plan::Plan,
    question::{Answers, Given, Question},
};
use crate::{
    cli::{
        Failure,
        credentials::{Console, Echo, Prompt, ask_for_set},
    },
    secret::SecretBuffer,
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

    /// Whether there is somebody to ask.
    pub(super) fn is_asked(&self) -> bool {
        self.input.is_some()
    }

    /// Says what failed.
    pub(super) fn tell(&mut self, failure: &Failure) -> Result<(), Failure> {
        Ok(failure.report(&mut self.out)?)
    }

    /// Asks all that is open, shows the plan, and changes answers until it is accepted. Without a person the
    /// defaults are taken.
    pub(super) fn settle(&mut self, args: &Args, answers: &mut Answers) -> Result<Plan, Failure> {
        // Options that contradict one another are refused before anything is asked.
        let plan = answers.plan(args)?;
        if !self.is_asked() || answers.open_question().is_none() {
            return Ok(plan);
        }
        loop {
            while let Some(question) = answers.open_question() {
                self.ask(args, answers, question)?;
            }
            let plan = answers.plan(args)?;
            let questions = self.show(&plan, answers)?;
            let answer = self
                .answer("Write it? yes, no, or the number of an answer to change [yes]")?
                .to_ascii_lowercase();
            match (answer.as_str(), answer.parse::<usize>()) {
                ("" | "yes" | "y", _) => return Ok(plan),
                ("no" | "n", _) => return Err(Failure::failed("nothing was written")),
                (_, Ok(number)) => {
                    let question = number.checked_sub(1).and_then(|at| questions.get(at));
                    match question {
                        Some(question) => self.ask(args, answers, *question)?,
                        None => writeln!(self.out, "  there is no answer {number}")?,
                    }
                }
                _ => writeln!(self.out, "  give yes, no, or a number")?,
            }
        }
    }

    /// The summary: every answer with a number. Returns their questions.
    fn show(&mut self, plan: &Plan, answers: &Answers) -> Result<Vec<Question>, Failure> {
        let questions: Vec<_> =
            Question::ALL.into_iter().filter(|question| question.applies(answers)).collect();
        writeln!(self.out, "\nThis is the plan:")?;
        for (at, question) in questions.iter().enumerate() {
            let (label, answer) = (question.label(), question.answer(plan));
            writeln!(self.out, "  {:>2}  {label:<14}{answer}", at + 1)?;
        }
        Ok(questions)
    }

    /// Asks one question until the answer can be taken.
    fn ask(
        &mut self,
        args: &Args,
        answers: &mut Answers,
        question: Question,
    ) -> Result<(), Failure> {
        if question == Question::Values {
            answers.values = Some(self.values()?);
            return Ok(());
        }
        let default = question.default(answers);
        writeln!(self.out, "\n{}", question.text())?;
        for (at, (word, what)) in question.choices().into_iter().enumerate() {
            writeln!(self.out, "  {}  {word:<12} {what}", at + 1)?;
        }
        if question == Question::Upstream {
            writeln!(self.out, "  or a URL")?;
        }
        loop {
            let answer = self.answer(&format!("[{default}]"))?;
            match answers.take(args, question, &answer) {
                Ok(()) => return Ok(()),
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
    fn values(&mut self) -> Result<Given, Failure> {
        writeln!(self.out, "\n{}", Question::Values.text())?;
        loop {
            match self.answer("[yes]")?.as_str() {
                "" | "yes" | "y" => return ask_for_set(self).map(Given::Now),
                "no" | "n" | "later" => return Ok(Given::Later),
                _ => writeln!(self.out, "  give yes or no")?,
            }
        }
    }
}

impl Prompt for Person<'_> {
    fn line(&mut self, label: &str, echo: Echo) -> Result<SecretBuffer, Failure> {
        match echo {
            Echo::On => Ok(self.answer(&format!("  {label}"))?.into_bytes().into()),
            Echo::Off => {
                self.out.flush()?;
                self.secrets.line(&format!("  {label}"), echo)
            }
        }
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.out, "  {text}")?)
    }
}
