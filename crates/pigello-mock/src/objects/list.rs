//! The query of a list: paging, order, search and filters.
//!
//! The response is a bare JSON array. The reference does not document it; a bulk write is known to
//! send one.

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::{Value, json};

use super::{
    field::Object,
    field_errors::FieldErrors,
    filter::{Filter, flag},
    schema::Schema,
};

/// The parsed query of a list.
#[derive(Debug, Default)]
pub(crate) struct ListQuery {
    page: Option<Page>,
    order: Vec<Order>,
    search: Option<String>,
    slim: bool,
    json_lines: bool,
    filters: Vec<Filter>,
}

#[derive(Debug)]
struct Page {
    number: usize,
    size: usize,
}

#[derive(Debug)]
struct Order {
    field: &'static str,
    descending: bool,
}

impl ListQuery {
    /// Parses a query string. The errors are by parameter.
    pub(crate) fn parse(schema: &Schema, query: &str) -> Result<Self, FieldErrors> {
        let mut list = Self::default();
        let mut errors = FieldErrors::default();
        let mut paging = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let outcome = match &*name {
                "_page" | "_page_size" => match value.parse().ok().filter(|number| *number > 0) {
                    Some(number) => {
                        paging.insert(name.clone().into_owned(), number);
                        Ok(())
                    }
                    None => Err("A whole number from 1 is wanted.".to_owned()),
                },
                "_order_by" => parse_order(schema, &value).map(|order| list.order = order),
                "_search" => {
                    list.search = Some(value.to_lowercase());
                    Ok(())
                }
                "_slim" => flag(&value).map(|slim| list.slim = slim),
                "_jsonl" => flag(&value).map(|lines| list.json_lines = lines),
                // The reference gives the names alone; both filters need objects that the mock lacks.
                "_statistics" | "global_realestates" | "global_segments" => Ok(()),
                _ => Filter::parse(schema, &name, &value).map(|filter| list.filters.push(filter)),
            };
            if let Err(problem) = outcome {
                errors.add(&name, problem);
            }
        }
        list.page = match (paging.get("_page"), paging.get("_page_size")) {
            (Some(&number), Some(&size)) => Some(Page { number, size }),
            (Some(_), None) => {
                errors.add("_page_size", "Must be sent together with _page.");
                None
            }
            (None, Some(_)) => {
                errors.add("_page", "Must be sent together with _page_size.");
                None
            }
            (None, None) => None,
        };
        errors.or(list)
    }

    /// Whether the response is JSON Lines.
    pub(crate) fn json_lines(&self) -> bool {
        self.json_lines
    }

    /// Makes pages of at most that many objects, also where the query asks for none.
    pub(crate) fn limit_pages(&mut self, most: usize) {
        let page = self.page.get_or_insert(Page { number: 1, size: most });
        page.size = page.size.min(most);
    }

    /// The objects that the query selects, in its order. A page after the last is empty.
    pub(crate) fn select<'a>(&self, objects: impl IntoIterator<Item = &'a Object>) -> Vec<Value> {
        let mut found: Vec<&Object> =
            objects.into_iter().filter(|object| self.matches(object)).collect();
        found.sort_by(|a, b| self.compare(a, b));
        let (skip, take) = self.page.as_ref().map_or((0, usize::MAX), |page| {
            ((page.number - 1).saturating_mul(page.size), page.size)
        });
        let shown = found.into_iter().skip(skip).take(take);
        shown
            .map(|object| match object.get("id") {
                Some(id) if self.slim => json!({ "id": id }),
                _ => Value::Object(object.clone()),
            })
            .collect()
    }

    fn matches(&self, object: &Object) -> bool {
        let contains = |value: &Value, words: &str| {
            value.as_str().is_some_and(|text| text.to_lowercase().contains(words))
        };
        let found = self
            .search
            .as_ref()
            .is_none_or(|words| object.values().any(|value| contains(value, words)));
        found && self.filters.iter().all(|filter| filter.matches(object))
    }

    fn compare(&self, a: &Object, b: &Object) -> Ordering {
        let by_field = self.order.iter().map(|order| {
            let ascending = compare_values(a.get(order.field), b.get(order.field));
            if order.descending { ascending.reverse() } else { ascending }
        });
        // The sort is stable: equal objects stay in the order of their creation.
        by_field.fold(Ordering::Equal, Ordering::then)
    }
}

fn parse_order(schema: &Schema, text: &str) -> Result<Vec<Order>, String> {
    text.split(',')
        .map(|part| {
            let (name, descending) =
                part.strip_prefix('-').map_or((part, false), |name| (name, true));
            let field = schema.field(name).ok_or_else(|| format!("There is no field `{name}`."))?;
            Ok(Order { field: field.name, descending })
        })
        .collect()
}

/// Null comes first; relations compare by identifier.
fn compare_values(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    let id = |value: &Value| value.get("id").and_then(Value::as_str).map(str::to_owned);
    match (a.unwrap_or(&Value::Null), b.unwrap_or(&Value::Null)) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.as_i64().cmp(&b.as_i64()),
        (a, b) => id(a).cmp(&id(b)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::objects::{
        store::Store,
        subtenant::{EXAMPLE_SUBTENANT, FIELDS},
    };

    proptest! {
        #[test]
        fn no_query_panics(query in "([_a-z]{0,8}(__[a-z]{0,4})?!?=?[ -~é]{0,6}&?){0,4}") {
            if let Ok(list) = ListQuery::parse(Schema::of("subtenant"), &query) {
                prop_assert!(list.select(Store::seeded().all("subtenant")).len() <= 4);
            }
        }

        #[test]
        fn the_pages_together_are_the_list(size in 1_usize..6, field in 0..FIELDS.len()) {
            let name = FIELDS[field].name;
            let mut pages = Vec::new();
            for page in 1..=4 {
                pages.extend(names(&format!("_page={page}&_page_size={size}&_order_by=-{name}")));
            }
            prop_assert_eq!(pages, names(&format!("_order_by=-{name}")));
        }

        #[test]
        fn a_negated_filter_matches_the_rest(
            field in 0..FIELDS.len(),
            operator in "(__(in|isnull|gt|lte|icontains|startswith))?",
            value in "true|false|1|Maja|2021-03-01|2022-09-15T10:00:00Z|Maja,Anders",
        ) {
            let name = format!("{}{operator}", FIELDS[field].name);
            let plain = format!("{name}={value}");
            if ListQuery::parse(Schema::of("subtenant"), &plain).is_ok() {
                let mut both = names(&plain);
                both.extend(names(&format!("{name}!={value}")));
                both.sort();
                let mut all = names("");
                all.sort();
                prop_assert_eq!(both, all);
            }
        }
    }

    fn names(query: &str) -> Vec<String> {
        let list = ListQuery::parse(Schema::of("subtenant"), query).unwrap();
        let found = list.select(Store::seeded().all("subtenant"));
        found.iter().map(|it| it["communication_name"].as_str().unwrap().to_owned()).collect()
    }

    fn problems(query: &str) -> Vec<String> {
        let errors = ListQuery::parse(Schema::of("subtenant"), query).unwrap_err();
        errors.to_json().as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn pages_are_whole_and_in_order() {
        assert_eq!(names("").len(), 4);
        assert_eq!(names("_page=1&_page_size=3").len(), 3);
        assert_eq!(names("_page=2&_page_size=3"), ["Exempelbolaget AB"]);
        assert!(names("_page=3&_page_size=3").is_empty());
        assert!(names("_page=18446744073709551615&_page_size=500").is_empty());
    }

    #[test]
    fn pages_can_be_limited() {
        for (query, wanted) in [
            ("", &["Maja", "Anders Provberg"][..]),
            ("_page=2&_page_size=500", &["Åsa Demolund", "Exempelbolaget AB"]),
            ("_page=2&_page_size=1", &["Anders Provberg"]),
            ("_page=3&_page_size=2", &[]),
        ] {
            let mut list = ListQuery::parse(Schema::of("subtenant"), query).unwrap();
            list.limit_pages(2);
            let found = list.select(Store::seeded().all("subtenant"));
            let names: Vec<_> =
                found.iter().map(|it| it["communication_name"].as_str().unwrap()).collect();
            assert_eq!(names, wanted, "{query}");
        }
    }

    #[test]
    fn paging_comes_in_pairs() {
        assert_eq!(problems("_page=1"), ["_page_size"]);
        assert_eq!(problems("_page_size=1"), ["_page"]);
        assert_eq!(problems("_page=0&_page_size=1"), ["_page"]);
        assert_eq!(problems("_page=x&_page_size=-1"), ["_page", "_page_size"]);
    }

    #[test]
    fn order_is_by_several_fields_either_way() {
        assert_eq!(
            names("_order_by=-status,first_name"),
            ["Åsa Demolund", "Anders Provberg", "Maja", "Exempelbolaget AB"]
        );
        assert_eq!(names("_order_by=first_name").first().unwrap(), "Exempelbolaget AB");
        assert_eq!(names("_order_by=-organization").first().unwrap(), "Åsa Demolund");
        assert_eq!(problems("_order_by=nothing"), ["_order_by"]);
    }

    #[test]
    fn search_and_filters_narrow_together() {
        assert_eq!(names("_search=PROVBERG"), ["Anders Provberg"]);
        assert_eq!(names("_search=%C3%85sa"), ["Åsa Demolund"]);
        assert_eq!(names("status__gte=1&is_active=true&first_name!=Maja"), ["Anders Provberg"]);
        assert_eq!(problems("status=x&nope=1"), ["nope", "status"]);
    }

    #[test]
    fn slim_is_only_the_id() {
        let list = ListQuery::parse(Schema::of("subtenant"), "_slim=true").unwrap();
        let found = list.select(Store::seeded().all("subtenant"));
        assert!(found.iter().all(|it| it.as_object().unwrap().len() == 1));
        assert_eq!(found[0]["id"], EXAMPLE_SUBTENANT);
    }
}
