//! Who may use what, for people: the policy asked about every caller and every operation.

use std::sync::Arc;

use serde::Serialize;

use super::{Access, Policy};
use crate::domain::{Caller, CallerRule, Operation, Proof};

/// Who may use which operation.
#[derive(Debug)]
pub struct AccessMatrix {
    /// The callers, in the order of the configuration. The last one stands for everybody else, if the
    /// policy lets them in.
    pub callers: Vec<Arc<str>>,
    /// Every operation, built-in ones first.
    pub rows: Vec<AccessRow>,
}

/// One operation, and who may use it.
#[derive(Debug)]
pub struct AccessRow {
    /// The operation.
    pub operation: Arc<Operation>,
    /// Whether each caller of the matrix may use it.
    pub allowed: Vec<bool>,
}

/// One operation, as JSON has it.
#[derive(Debug, Serialize)]
pub struct AccessEntry<'a> {
    name: &'a str,
    method: &'a str,
    path: &'a str,
    built_in: bool,
    /// Who may use it; left out if no policy says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    callers: Option<Vec<&'a str>>,
}

impl<'a> AccessEntry<'a> {
    /// An operation of which no policy says who may use it.
    pub fn of(operation: &'a Operation) -> Self {
        Self {
            name: operation.name(),
            method: operation.method().as_str(),
            path: operation.template(),
            built_in: operation.is_built_in(),
            callers: None,
        }
    }
}

/// One entity, and what one caller may do with it.
#[derive(Debug, PartialEq, Eq)]
pub enum EntityAccess<'a> {
    /// Every operation.
    All,
    /// These actions, perhaps none.
    Some(Vec<&'a str>),
}

impl Policy {
    /// Asks the policy about each of these rules and each operation. A policy that only reports is asked what
    /// it would refuse.
    pub fn matrix(&self, rules: &[Arc<CallerRule>]) -> AccessMatrix {
        let known = rules.iter().map(|rule| Caller::Known {
            rule: Some(Arc::clone(rule)),
            name: rule.name.clone(),
            proof: Proof::Listener,
        });
        let others = (self.unidentified == Access::Allow)
            .then_some(Caller::Unidentified { proof: Proof::Listener });
        let others_name = if rules.is_empty() { "everyone" } else { "everyone else" };
        let callers: Vec<_> = known.chain(others).collect();
        let rows = self.catalog.operations().iter().map(|operation| AccessRow {
            operation: Arc::clone(operation),
            allowed: callers
                .iter()
                .map(|caller| self.permits(caller, Some(operation)).is_ok())
                .collect(),
        });
        let rows = rows.collect();
        let name = |caller: &Caller| {
            caller.name().map_or_else(|| others_name.into(), |name| Arc::clone(name.shared()))
        };
        AccessMatrix { callers: callers.iter().map(name).collect(), rows }
    }
}

impl AccessMatrix {
    /// The entities with their rows, each once, in the order of the rows.
    pub fn entities(&self) -> Vec<(&str, Vec<&AccessRow>)> {
        let mut entities: Vec<(&str, Vec<&AccessRow>)> = Vec::new();
        for row in &self.rows {
            let entity = row.operation.entity_name();
            match entities.iter_mut().rfind(|(known, _)| *known == entity) {
                Some((_, rows)) => rows.push(row),
                None => entities.push((entity, vec![row])),
            }
        }
        entities
    }

    /// The row as JSON has it.
    pub fn entry<'a>(&'a self, row: &'a AccessRow) -> AccessEntry<'a> {
        AccessEntry {
            callers: Some(self.allowed(row).collect()),
            ..AccessEntry::of(&row.operation)
        }
    }

    /// The callers that may use an operation.
    pub fn allowed<'a>(&'a self, row: &'a AccessRow) -> impl Iterator<Item = &'a str> {
        let callers = self.callers.iter().zip(&row.allowed);
        callers.filter(|(_, allowed)| **allowed).map(|(caller, _)| &**caller)
    }
}

/// What the caller at that place of the matrix may do with the entity of these rows.
pub fn entity_access<'a>(rows: &[&'a AccessRow], caller: usize) -> EntityAccess<'a> {
    let may = |row: &&&AccessRow| row.allowed.get(caller).is_some_and(|allowed| *allowed);
    let actions: Vec<_> = rows.iter().filter(may).map(|row| row.operation.action_name()).collect();
    if actions.len() == rows.len() { EntityAccess::All } else { EntityAccess::Some(actions) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{CallerLimits, Catalog},
        proxy::stages::authorize::{CallerLimiters, Mode, Unmatched},
    };

    fn policy(unidentified: Access) -> Policy {
        Policy {
            catalog: Arc::new(Catalog::new([]).unwrap()),
            unidentified,
            unmatched: Unmatched::Deny,
            mode: Mode::Enforce,
            limits: CallerLimiters::default(),
        }
    }

    fn rule(name: &str, allow: &[&str]) -> Arc<CallerRule> {
        Arc::new(CallerRule {
            name: name.into(),
            unix_uids: Vec::new(),
            tls_names: Vec::new(),
            allow: allow.iter().map(|pattern| pattern.parse().unwrap()).collect(),
            profile: None,
            profiles: Vec::new(),
            forward: Vec::new(),
            limits: CallerLimits::default(),
        })
    }

    #[test]
    fn it_says_what_the_policy_decides() {
        let rules = [rule("billing", &["subtenant.*", "tenant.get"]), rule("idle", &[])];
        let matrix = policy(Access::Deny).matrix(&rules);
        assert_eq!(matrix.callers, ["billing", "idle"].map(Arc::<str>::from));
        let entities = matrix.entities();
        assert_eq!((entities.len(), matrix.rows.len()), (10, 63));
        let rows = |name: &str| &entities.iter().find(|(entity, _)| *entity == name).unwrap().1;
        assert_eq!(entity_access(rows("subtenant"), 0), EntityAccess::All);
        assert_eq!(entity_access(rows("tenant"), 0), EntityAccess::Some(vec!["get"]));
        assert_eq!(entity_access(rows("tenant"), 1), EntityAccess::Some(Vec::new()));
    }

    #[test]
    fn everybody_else_has_a_column_if_they_are_let_in() {
        let open = policy(Access::Allow);
        assert_eq!(open.matrix(&[]).callers, [Arc::<str>::from("everyone")]);
        let matrix = open.matrix(&[rule("billing", &["tenant.get"])]);
        assert_eq!(matrix.callers, ["billing", "everyone else"].map(Arc::<str>::from));
        assert!(matrix.rows.iter().all(|row| row.allowed[1]));
        assert_eq!(policy(Access::Deny).matrix(&[]).callers, Vec::<Arc<str>>::new());
    }
}
