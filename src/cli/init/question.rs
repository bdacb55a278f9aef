//! The questions of `init`: what they ask, what may be answered, and which key of the configuration an answer
//! becomes.

use std::path::PathBuf;

use clap::ValueEnum;

use super::{
    arguments::{self, Deployment, Login, Source, Upstream},
    plan::{Plan, Vault},
};
use crate::{
    config::{KeyPath, Segment},
    credentials::sealed::StoredValues,
    domain::{Address, Name, OperationPattern, Origin, TextForm as _},
};

/// What is answered so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    pub(super) upstream: Option<Upstream>,
    pub(super) profile: Option<String>,
    pub(super) deployment: Option<Deployment>,
    pub(super) source: Option<Source>,
    pub(super) vault_address: Option<Origin>,
    /// An option only; nobody is asked for it.
    pub(super) vault_mount: Option<String>,
    pub(super) vault_path: Option<String>,
    pub(super) vault_login: Option<Login>,
    pub(super) caller: Option<String>,
    pub(super) allow: Option<Vec<OperationPattern>>,
    pub(super) listen: Option<Address>,
    pub(super) directory: Option<PathBuf>,
    pub(super) values: Option<Given>,
    /// The questions whose default was taken: they follow when the answer changes that the default comes from.
    pub(super) defaults: Vec<Question>,
}

impl Answers {
    /// Whether somebody said something of a vault.
    fn vault_is_described(&self) -> bool {
        let told =
            |question: &Question| question.is_answered(self) && !self.defaults.contains(question);
        self.vault_mount.is_some()
            || [Question::VaultAddress, Question::VaultPath, Question::VaultLogin].iter().any(told)
    }
}

/// Whether the seven values are given now, to be sealed.
#[derive(Clone, Debug)]
pub(super) enum Given {
    Now(StoredValues),
    Later,
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Upstream,
    Profile,
    Deployment,
    Source,
    VaultAddress,
    VaultPath,
    VaultLogin,
    Caller,
    Allow,
    Listen,
    Directory,
    Values,
}

impl Question {
    /// All of them, in the order in which they are asked.
    pub(super) const ALL: [Self; 12] = [
        Self::Upstream,
        Self::Profile,
        Self::Deployment,
        Self::Source,
        Self::VaultAddress,
        Self::VaultPath,
        Self::VaultLogin,
        Self::Caller,
        Self::Allow,
        Self::Listen,
        Self::Directory,
        Self::Values,
    ];

    /// The question itself, with an explanation.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Upstream => "Which Pigello is called?",
            Self::Profile => {
                "What is this Pigello called in the configuration?\n  \
                 A word of yours: it names the upstream and its seven values"
            }
            Self::Deployment => "How is the gateway run?",
            Self::Source => "Where does the secret come from?",
            Self::VaultAddress => "Where is the vault?",
            Self::VaultPath => {
                "Which secret of the vault has the seven values?\n  Its path below the mount, without `data/`"
            }
            Self::VaultLogin => "How does the gateway log in to the vault?",
            Self::Caller => {
                "What is the application called that calls?\n  The audit trail has this name"
            }
            Self::Allow => {
                "What may it do? Patterns with commas between\n  \
                 An operation, `entity.*`, `*.get` or `*`; `pigello-gateway operations` lists all"
            }
            Self::Listen => {
                "Where does it call?\n  An address with a port on this machine, or `unix:/path` of a socket"
            }
            Self::Directory => "Into which folder are the files written?",
            Self::Values => "Are the seven values at hand, to be sealed now?",
        }
    }

    /// The line of the summary.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Upstream => "Pigello",
            Self::Profile => "its name here",
            Self::Deployment => "run by",
            Self::Source => "secret from",
            Self::VaultAddress => "vault",
            Self::VaultPath => "secret in it",
            Self::VaultLogin => "login",
            Self::Caller => "application",
            Self::Allow => "may do",
            Self::Listen => "calls at",
            Self::Directory => "files in",
            Self::Values => "seven values",
        }
    }

    /// What can be chosen, each with a line about it. An answer may be its number.
    pub(super) fn choices(self) -> Vec<(String, String)> {
        match self {
            Self::Upstream => [
                (Upstream::Production, "the real one"),
                (Upstream::Development, "Pigello's test environment"),
                (Upstream::Mock, "a mock on this machine, to try the gateway"),
            ]
            .map(|(which, what)| (which.word().to_owned(), format!("{}, {what}", which.url())))
            .into(),
            Self::Deployment => words::<Deployment>(),
            Self::Source => words::<Source>(),
            Self::VaultLogin => words::<Login>(),
            _ => Vec::new(),
        }
    }

    /// Whether it has a meaning, after these answers.
    pub(super) fn applies(self, answers: &Answers) -> bool {
        let from_vault = answers.source == Some(Source::Vault);
        match self {
            Self::VaultAddress | Self::VaultPath => from_vault,
            Self::VaultLogin => from_vault && answers.deployment != Some(Deployment::Kubernetes),
            Self::Values => {
                answers.source == Some(Source::Sealed) && answers.upstream != Some(Upstream::Mock)
            }
            _ => true,
        }
    }

    pub(super) fn is_answered(self, answers: &Answers) -> bool {
        match self {
            Self::Upstream => answers.upstream.is_some(),
            Self::Profile => answers.profile.is_some(),
            Self::Deployment => answers.deployment.is_some(),
            Self::Source => answers.source.is_some(),
            Self::VaultAddress => answers.vault_address.is_some(),
            Self::VaultPath => answers.vault_path.is_some(),
            Self::VaultLogin => answers.vault_login.is_some(),
            Self::Caller => answers.caller.is_some(),
            Self::Allow => answers.allow.is_some(),
            Self::Listen => answers.listen.is_some(),
            Self::Directory => answers.directory.is_some(),
            Self::Values => answers.values.is_some(),
        }
    }

    pub(super) fn clear(self, answers: &mut Answers) {
        match self {
            Self::Upstream => answers.upstream = None,
            Self::Profile => answers.profile = None,
            Self::Deployment => answers.deployment = None,
            Self::Source => answers.source = None,
            Self::VaultAddress => answers.vault_address = None,
            Self::VaultPath => answers.vault_path = None,
            Self::VaultLogin => answers.vault_login = None,
            Self::Caller => answers.caller = None,
            Self::Allow => answers.allow = None,
            Self::Listen => answers.listen = None,
            Self::Directory => answers.directory = None,
            Self::Values => answers.values = None,
        }
    }

    /// The answer if none is given.
    pub(super) fn default(self, answers: &Answers) -> String {
        let deployment = answers.deployment.unwrap_or(Deployment::None);
        match self {
            Self::Upstream => Upstream::Production.word().to_owned(),
            Self::Profile => {
                answers.upstream.as_ref().unwrap_or(&Upstream::Production).word().to_owned()
            }
            Self::Deployment => "none".to_owned(),
            // A sealed store does not fit into a pod.
            Self::Source if deployment == Deployment::Kubernetes => "vault".to_owned(),
            Self::Source if answers.vault_is_described() => "vault".to_owned(),
            Self::Source => "sealed".to_owned(),
            Self::VaultAddress => "https://vault.internal:8200".to_owned(),
            Self::VaultPath => {
                format!("pigello/{}", answers.profile.as_deref().unwrap_or("production"))
            }
            Self::VaultLogin if deployment == Deployment::Kubernetes => "kubernetes".to_owned(),
            Self::VaultLogin => "approle".to_owned(),
            Self::Caller => "app".to_owned(),
            Self::Allow => "subtenant.*".to_owned(),
            Self::Listen => deployment.usual_address().to_string(),
            Self::Directory => match deployment {
                Deployment::Systemd => "/etc/pigello-gateway".to_owned(),
                Deployment::None | Deployment::Kubernetes => "pigello-gateway".to_owned(),
            },
            Self::Values => "later".to_owned(),
        }
    }

    /// Puts an answer to the others, if it has the right form.
    pub(super) fn put(self, text: &str, answers: &mut Answers) -> Result<(), String> {
        let choices = self.choices();
        let number = text.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let text = number.and_then(|at| choices.get(at)).map_or(text, |(word, _)| word);
        match self {
            Self::Upstream => answers.upstream = Some(text.parse()?),
            Self::Profile => answers.profile = Some(name(text)?),
            Self::Deployment => answers.deployment = Some(word(text)?),
            Self::Source => answers.source = Some(word(text)?),
            Self::VaultAddress => {
                let address = text.parse();
                let form = |_| "give a URL like https://vault.internal:8200".to_owned();
                answers.vault_address = Some(address.map_err(form)?);
            }
            Self::VaultPath => answers.vault_path = Some(text.to_owned()),
            Self::VaultLogin => answers.vault_login = Some(word(text)?),
            Self::Caller => answers.caller = Some(name(text)?),
            Self::Allow => {
                let patterns = text.split(',').map(|pattern| {
                    let pattern = pattern.trim();
                    pattern.parse().map_err(|error| {
                        format!(
                            "`{}` is {error}; `pigello-gateway operations` lists all",
                            pattern.escape_debug()
                        )
                    })
                });
                answers.allow = Some(patterns.collect::<Result<_, _>>()?);
            }
            Self::Listen => answers.listen = Some(arguments::local(text)?),
            Self::Directory => answers.directory = Some(text.into()),
            Self::Values => answers.values = Some(Given::Later),
        }
        Ok(())
    }

    /// The answer in a plan, for the summary.
    pub(super) fn answer(self, plan: &Plan) -> String {
        let vault =
            |field: fn(&Vault) -> String| plan.vault.as_ref().map(field).unwrap_or_default();
        match self {
            Self::Upstream => plan.upstream.clone(),
            Self::Profile => plan.profile.clone(),
            Self::Deployment => shown(&plan.deployment),
            Self::Source => shown(&plan.source),
            Self::VaultAddress => vault(|vault| vault.address.to_string()),
            Self::VaultPath => vault(|vault| format!("{} (mount {})", vault.path, vault.mount)),
            Self::VaultLogin => vault(|vault| shown(&vault.login)),
            Self::Caller => plan.caller.clone(),
            Self::Allow => {
                plan.allow.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }
            Self::Listen => plan.listen.to_string(),
            Self::Directory => plan.directory.display().to_string(),
            Self::Values if plan.values.is_some() => "sealed now".to_owned(),
            Self::Values => "later, with `credentials set`".to_owned(),
        }
    }

    /// The question whose answer is at that key of the configuration.
    pub(super) fn of_key(key: &KeyPath) -> Option<Self> {
        let words: Vec<_> = key
            .segments()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Key(word) => Some(&**word),
                Segment::Index(_) => None,
            })
            .collect();
        Some(match *words.as_slice() {
            ["profiles", _, "upstream", ..] => Self::Upstream,
            ["profiles" | "credentials", _] => Self::Profile,
            ["credentials", _, "path"] => Self::VaultPath,
            ["vault", "address"] => Self::VaultAddress,
            ["vault", "auth", ..] => Self::VaultLogin,
            ["callers", "allow"] => Self::Allow,
            ["callers", "name"] | ["listeners", "caller" | "name"] => Self::Caller,
            ["listeners", "address"] => Self::Listen,
            _ => return None,
        })
    }
}

/// A name as the configuration takes it.
pub(super) fn name(text: &str) -> Result<String, String> {
    Name::check(text).map(|()| text.to_owned())
}

fn words<T: ValueEnum>() -> Vec<(String, String)> {
    let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    values
        .map(|value| {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            (value.get_name().to_owned(), help)
        })
        .collect()
}

fn word<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, true).map_err(|_| {
        let words: Vec<_> = words::<T>().into_iter().map(|(word, _)| word).collect();
        format!("give one of {}, or its number", words.join(", "))
    })
}

fn shown<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
