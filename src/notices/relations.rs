//! What the change of an object changes in the cache: by the type that an event names, the collections of that
//! type, and the rules that depend on it.

use std::{collections::HashMap, sync::Arc};

use super::event::type_name;
use crate::{domain::Catalog, proxy::cache};

/// What is related to each type.
#[derive(Debug, Default)]
pub(super) struct Relations {
    types: HashMap<Box<str>, Related>,
}

/// What is related to one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Related {
    /// The collections of its objects, as paths.
    pub(super) collections: Vec<Arc<str>>,
    /// The numbers of the cache's rules that depend on it.
    pub(super) rules: Vec<usize>,
}

impl Relations {
    /// A collection is of the type that its path or the name of its operations ends in: that of
    /// `/accounts/users/customer/tenant/`, with the operations `tenant.…`, is `tenant`.
    pub(super) fn new(catalog: &Catalog, rules: &[Arc<cache::Rule>]) -> Self {
        let mut types: HashMap<_, Related> = HashMap::new();
        for operation in catalog.operations() {
            let Some(collection) = operation.collection() else { continue };
            let last = collection.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            for name in [type_name(last), type_name(operation.entity_name())] {
                let known = &mut types.entry(name).or_default().collections;
                if !known.iter().any(|known| &**known == collection) {
                    known.push(collection.into());
                }
            }
        }
        for (number, rule) in rules.iter().enumerate() {
            for of_type in &rule.depends_on {
                types.entry(type_name(of_type)).or_default().rules.push(number);
            }
        }
        Self { types }
    }

    /// What is related to a type; nothing if the gateway does not know it.
    pub(super) fn of(&self, of_type: &str) -> Option<&Related> {
        self.types.get(of_type)
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::domain::Operation;

    #[test]
    fn a_type_is_related_to_its_collection_and_to_the_rules_that_name_it() {
        let imported = Operation::new(
            "structural_realestate.get",
            Method::GET,
            "/objects/structural/realestate/{pk}/",
        );
        let catalog = Catalog::new([imported.unwrap()]).unwrap();
        let rule = |depends_on: &[&str]| {
            let depends_on = depends_on.iter().map(|name| (*name).to_owned()).collect();
            Arc::new(cache::Rule { depends_on, ..cache::Rule::default() })
        };
        let rules = [rule(&[]), rule(&["tenant", "contracts.ApartmentContract"])];
        let relations = Relations::new(&catalog, &rules);
        let of = |content_type: &str| relations.of(&type_name(content_type)).cloned();
        let tenant = of("accounts.Tenant").unwrap();
        assert_eq!(tenant.collections, [Arc::<str>::from("/accounts/users/customer/tenant/")]);
        assert_eq!(tenant.rules, [1]);
        for name in ["structural.realestate", "objects.structural_realestate"] {
            assert_eq!(
                of(name).unwrap().collections,
                [Arc::<str>::from("/objects/structural/realestate/")]
            );
        }
        let contract = of("contracts.apartmentcontract").unwrap();
        assert_eq!(contract, Related { collections: Vec::new(), rules: vec![1] });
        assert_eq!(of("economy.invoice"), None);
    }
}
