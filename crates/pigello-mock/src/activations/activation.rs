//! One activation as a mock starts with it: a name and what it accepts.

use std::sync::Arc;

use crate::credentials::{Accepted, Credentials};

/// One activation of a service by a customer, with data of its own.
#[derive(Clone, Debug)]
pub struct Activation {
    name: Arc<str>,
    accepted: Accepted,
}

impl Activation {
    /// The name of the activation that a mock has if it is told nothing else.
    pub const BUILT_IN: &'static str = "built-in";

    /// The built-in activation, with [`MADE_UP_VALUES`](crate::MADE_UP_VALUES).
    pub fn built_in() -> Self {
        Self::new(Self::BUILT_IN, Accepted::OneOf(vec![Credentials::made_up()]))
    }

    /// An activation with seven values made up from its name, `customer-acme` for example. They are
    /// the same in each process, and no two names share one.
    pub fn made_up(name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        let accepted = Accepted::OneOf(vec![Credentials::made_up_for(&name)]);
        Self { name, accepted }
    }

    /// That many made-up activations: `customer-0001`, `customer-0002` and so on.
    pub fn made_up_many(count: u32) -> impl Iterator<Item = Self> {
        (1..=count).map(|number| Self::made_up(format!("customer-{number:04}")))
    }

    /// An activation that accepts these credentials.
    pub fn new(name: impl Into<Arc<str>>, accepted: Accepted) -> Self {
        Self { name: name.into(), accepted }
    }

    /// The name. Pigello knows nothing of it; tests and the mock's control paths do.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The newest credentials; `None` if it accepts anything.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.accepted.sets().last()
    }

    pub(super) fn into_parts(self) -> (Arc<str>, Accepted) {
        (self.name, self.accepted)
    }
}
