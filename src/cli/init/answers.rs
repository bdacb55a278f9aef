//! What comes of the answers of `init`: from options, from a person, or the defaults.
//!
//! An answer is judged when it is given: the whole configuration that would come of it is checked as `check`
//! does, with defaults for what is not answered yet, and the answer is refused if a mistake is in its key.

use super::{
    CONFIGURATION, MOCK_CA,
    arguments::{Args, Deployment, Login, Source, Upstream},
    configuration, files,
    place::Place,
    plan::{Plan, Vault, consistent, has_roots, made_up_values, readable, values_from_file},
    question::{Answers, Given, Question, name},
    secret,
};
use crate::{cli::Failure, config};

impl Answers {
    /// Those that options give.
    pub(super) fn given(args: &Args) -> Result<Self, Failure> {
        let named = |option: &str, text: &Option<String>| {
            let named = text.as_deref().map(name).transpose();
            named.map_err(|why| Failure::usage(format!("--{option}: {why}")))
        };
        let values = args.values.as_deref().map(|file| values_from_file(args, file));
        Ok(Self {
            upstream: args.upstream.clone(),
            profile: named("profile", &args.profile)?,
            deployment: args.deploy,
            source: args.secret_from,
            vault_address: args.vault_address.clone(),
            vault_mount: args.vault_mount.clone(),
            vault_path: args.vault_path.clone(),
            vault_login: args.vault_login,
            caller: named("caller", &args.caller)?,
            allow: Some(args.allow.clone()).filter(|allow| !allow.is_empty()),
            listen: args.listen.clone(),
            directory: args.directory.clone(),
            values: values.transpose()?.map(Given::Now),
            defaults: Vec::new(),
        })
    }

    /// The next question, if one is open.
    pub(super) fn open_question(&self) -> Option<Question> {
        let mut all = Question::ALL.into_iter();
        all.find(|question| question.applies(self) && !question.is_answered(self))
    }

    /// The plan that comes of them, with defaults for what is open.
    pub(super) fn plan(&self, args: &Args) -> Result<Plan, Failure> {
        let mut all = self.clone();
        for question in Question::ALL {
            if question.applies(&all) && !question.is_answered(&all) {
                question.put(&question.default(&all), &mut all).map_err(Failure::usage)?;
            }
        }
        let Self {
            upstream: Some(which),
            profile: Some(profile),
            deployment: Some(deployment),
            source: Some(source),
            caller: Some(caller),
            allow: Some(allow),
            listen: Some(listen),
            directory: Some(directory),
            ..
        } = all
        else {
            return Err(Failure::failed("a question is open, and has no default"));
        };
        consistent(args, source, deployment, &listen, all.vault_login)?;
        readable(&directory, &listen, deployment)?;
        let vault = match (source, all.vault_address, all.vault_path) {
            (Source::Vault, Some(address), Some(path)) => Some(Vault {
                address,
                mount: all.vault_mount.as_deref().unwrap_or("secret").trim_matches('/').to_owned(),
                path: path.trim_matches('/').to_owned(),
                login: all.vault_login.unwrap_or(Login::Kubernetes),
            }),
            _ => None,
        };
        let values = match (source, all.values, &which) {
            (Source::Sealed, Some(Given::Now(values)), _) => Some(values),
            (Source::Sealed, _, Upstream::Mock) => made_up_values(),
            _ => None,
        };
        let ca_file = match (&args.ca_file, &which) {
            (Some(file), _) => {
                // A pod has files of its own, and the mock writes its authority when it starts.
                if which != Upstream::Mock && deployment != Deployment::Kubernetes {
                    has_roots(file)?;
                }
                Some(std::path::absolute(file)?)
            }
            (None, Upstream::Mock) => Some(MOCK_CA.into()),
            (None, _) => None,
        };
        Ok(Plan {
            upstream: which.url(),
            which,
            ca_file,
            profile,
            source,
            deployment,
            caller,
            allow,
            listen,
            admin: args.admin.clone().or_else(|| deployment.usual_admin()),
            vault,
            values,
            directory: std::path::absolute(directory)?,
        })
    }

    /// Takes the answer to a question, or says why it cannot be taken. An empty one takes the default.
    pub(super) fn take(
        &mut self,
        args: &Args,
        question: Question,
        text: &str,
    ) -> Result<(), String> {
        let mut next = self.clone();
        next.defaults.retain(|other| *other != question);
        if text.is_empty() {
            next.defaults.push(question);
        } else {
            question.put(text, &mut next)?;
        }
        next.follow()?;
        next.check(args, question)?;
        *self = next;
        Ok(())
    }

    /// Puts the defaults that were taken, which come from other answers.
    fn follow(&mut self) -> Result<(), String> {
        // A default comes from answers before it.
        for question in Question::ALL {
            if self.defaults.contains(&question) {
                question.put(&question.default(self), self)?;
            }
        }
        Ok(())
    }

    fn check(&self, args: &Args, question: Question) -> Result<(), String> {
        let in_words = |failure: Failure| match failure.text() {
            (text, Some(hint)) => format!("{text}; {hint}"),
            (text, None) => text,
        };
        let plan = self.plan(args).map_err(in_words)?;
        let place = Place::new(&plan.directory, args.force);
        if question == Question::Directory && !args.dry_run {
            place.can_be_made().map_err(in_words)?;
            let (files, secrets) = (files(&plan), secret::names(&plan));
            let names = files.iter().map(|file| file.name);
            let names = names.chain(secrets.iter().map(String::as_str));
            place.refuse_to_overwrite(names).map_err(in_words)?;
        }
        let text = configuration::text(&plan);
        let Err(problems) = config::load_text(&place.file(CONFIGURATION), &text) else {
            return Ok(());
        };
        let mine: Vec<_> = problems
            .iter()
            .filter(|problem| Question::of_key(problem.key()) == Some(question))
            .map(|problem| match problem.hint_text() {
                Some(hint) => format!("{}; {hint}", problem.message()),
                None => problem.message().to_owned(),
            })
            .collect();
        if mine.is_empty() { Ok(()) } else { Err(mine.join("\n  ")) }
    }

    /// Opens the question that a failure is about, so that it is asked again.
    pub(super) fn reopen(&mut self, failure: &Failure) {
        let question = match failure {
            Failure::Configuration(problems) => {
                problems.iter().find_map(|problem| Question::of_key(problem.key()))
            }
            Failure::Mistakes(..)
            | Failure::Usage(_)
            | Failure::Failed(_)
            | Failure::ReaderLeft => None,
        };
        // What is not about a key is about writing the files.
        let question = question.unwrap_or(Question::Directory);
        self.defaults.retain(|other| *other != question);
        question.clear(self);
    }
}
