//! What a request without an operation was probably meant to be.
//!
//! Most of such requests have a small slip: no `/` at the end, a number in place of a UUID, a misspelt word.
//! A refusal names the path of operations that is nearest, if one is near and none is as near.
//!
//! The path is foreign, so the search looks at short paths only. It is for refusals, never for a call that
//! is allowed.

use std::{fmt::Write as _, iter::zip};

use http::Method;

use super::{
    catalog::{Catalog, OperationMatch},
    operation::Operation,
    uuid::is_uuid,
};

impl Catalog {
    /// Why a request matches no operation, with the nearest path or the methods of its path. It quotes the
    /// catalog and the method, and nothing of the path.
    pub fn why_unknown(&self, method: &Method, path: &str) -> String {
        match self.find(method, path) {
            OperationMatch::Found(operation) => {
                format!("the request is `{}`", operation.name())
            }
            OperationMatch::OtherMethods(operations) => {
                let methods = methods(operations.iter().map(AsRef::as_ref));
                format!("this path takes {methods}, and not `{method}`")
            }
            OperationMatch::Unknown => match self.nearest(method, path) {
                Some(near) => format!("no operation has this path; {near}"),
                None => "no operation has this path; if Pigello's API has it, `[[operations]]` can add it"
                    .to_owned(),
            },
        }
    }

    /// `` did you mean `…/subtenant/list/` (`subtenant.list`)? The last `/` counts ``
    fn nearest(&self, method: &Method, path: &str) -> Option<String> {
        let (template, slips) = self.nearest_template(method, path)?;
        let mut text = format!("did you mean `{template}`");
        let same_path = || {
            let operations = self.operations().iter().map(AsRef::as_ref);
            operations.filter(|operation: &&Operation| operation.template() == template)
        };
        // Writing to a string cannot fail.
        let _infallible = match same_path().find(|operation| operation.has_method(method)) {
            Some(operation) => write!(text, " (`{}`)?", operation.name()),
            None => write!(text, "? It takes {}, and not `{method}`.", methods(same_path())),
        };
        for note in slips.notes(template) {
            text.push(' ');
            text.push_str(note);
        }
        text.truncate(text.trim_end_matches('.').len());
        Some(text)
    }

    /// The template with the smallest slips. Two that are equally near are no answer: it would be a guess.
    fn nearest_template(&self, method: &Method, path: &str) -> Option<(&str, Slips)> {
        if path.len() > LONGEST_PATH {
            return None;
        }
        let segments = segments(path);
        let mut best: Option<(&str, Slips, usize)> = None;
        let mut is_tied = false;
        for operation in self.operations() {
            let template = operation.template();
            let Some(slips) = Slips::between(template, path, &segments) else { continue };
            let cost = slips.cost() + usize::from(!operation.has_method(method));
            match &best {
                Some((known, _, least)) if cost == *least => is_tied |= *known != template,
                Some((_, _, least)) if cost > *least => {}
                _ => {
                    is_tied = false;
                    best = Some((template, slips, cost));
                }
            }
        }
        best.filter(|_| !is_tied).map(|(template, slips, _)| (template, slips))
    }
}

/// How a path differs from a template.
#[derive(Clone, Copy, Debug, Default)]
struct Slips {
    /// Only one of them ends with a `/`.
    last_slash: bool,
    /// Upper case in place of lower case.
    case: bool,
    /// A variable segment is no UUID.
    id: bool,
    /// Wrong letters in its words.
    letters: usize,
    /// The path has a segment too many, or too few.
    segment: Option<&'static str>,
}

impl Slips {
    /// `None` if they differ in more than slips.
    fn between(template: &str, path: &str, found: &[&str]) -> Option<Self> {
        let wanted = segments(template);
        let mut slips =
            Self { last_slash: template.ends_with('/') != path.ends_with('/'), ..Self::default() };
        if wanted.len() == found.len() {
            for (wanted, found) in zip(&wanted, found) {
                slips.compare(wanted, found)?;
            }
        } else {
            slips.segment = Some(one_segment_off(&wanted, found)?);
        }
        (slips.cost() <= MOST).then_some(slips)
    }

    fn compare(&mut self, wanted: &str, found: &str) -> Option<()> {
        if is_same(wanted, found) {
            return Some(());
        }
        if is_variable(wanted) {
            self.id = true;
        } else if wanted.eq_ignore_ascii_case(found) {
            self.case = true;
        } else {
            let most = wanted.len() / 3;
            // Cheaper than the distance, and at least as small.
            if wanted.len().abs_diff(found.len()) > most {
                return None;
            }
            let distance = strsim::osa_distance(wanted, &found.to_ascii_lowercase());
            self.letters += Some(distance).filter(|distance| *distance <= most)?;
        }
        Some(())
    }

    fn cost(&self) -> usize {
        let Self { last_slash, case, id, letters, segment } = *self;
        usize::from(last_slash)
            + usize::from(case)
            + 3 * usize::from(id)
            + letters
            + 5 * usize::from(segment.is_some())
    }

    fn notes(self, template: &str) -> impl Iterator<Item = &'static str> {
        let slash = if template.ends_with('/') {
            "The last `/` counts."
        } else {
            "It has no `/` at its end."
        };
        [
            self.last_slash.then_some(slash),
            self.case.then_some("It is in lower case."),
            self.id.then_some("The id is a UUID."),
            self.segment,
        ]
        .into_iter()
        .flatten()
    }
}

/// Whether the path has one segment too many or too few, in words.
fn one_segment_off(wanted: &[&str], found: &[&str]) -> Option<&'static str> {
    let (fewer, text) = match (wanted.len(), found.len()) {
        (wanted, found) if wanted == found + 1 => (found, "A segment is missing."),
        (wanted, found) if found == wanted + 1 => (wanted, "There is a segment too many."),
        _ => return None,
    };
    let alike = |(wanted, found): &(&&str, &&str)| is_same(wanted, found);
    let before = zip(wanted, found).take_while(alike).count();
    let behind = zip(wanted.iter().rev(), found.iter().rev()).take_while(alike).count();
    (fewer > 0 && before + behind >= fewer).then_some(text)
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

fn is_same(wanted: &str, found: &str) -> bool {
    if is_variable(wanted) { is_uuid(found) } else { wanted == found }
}

fn is_variable(segment: &str) -> bool {
    segment.starts_with('{')
}

/// `` `GET` (`subtenant.get`), `PATCH` (`subtenant.update`) ``
fn methods<'a>(operations: impl Iterator<Item = &'a Operation>) -> String {
    let told: Vec<_> = operations
        .map(|operation| format!("`{}` (`{}`)", operation.method(), operation.name()))
        .collect();
    told.join(", ")
}

/// The cost of slips up to which a template counts as meant.
const MOST: usize = 6;
/// In bytes. Longer than the API's longest path with its UUID.
const LONGEST_PATH: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55";

    fn why(method: &str, path: &str) -> String {
        let own = Operation::new("report.get", Method::GET, "/reports/yearly/{pk}").unwrap();
        let catalog = Catalog::new([own]).unwrap();
        catalog.why_unknown(&method.parse().unwrap(), &path.replace("{ID}", ID))
    }

    #[test]
    fn a_slip_leads_to_the_path_that_was_meant() {
        let base = "/accounts/users/customer/subtenant";
        let (list, object) = (format!("`{base}/list/`"), format!("`{base}/{{pk}}/`"));
        let list_meant = format!("did you mean {list} (`subtenant.list`)?");
        let object_meant = format!("did you mean {object} (`subtenant.get`)?");
        for (method, path, told) in [
            ("GET", format!("{base}/list"), format!("{list_meant} The last `/` counts")),
            ("HEAD", format!("{base}/list"), format!("{list_meant} The last `/` counts")),
            ("GET", format!("{base}/{ID}"), format!("{object_meant} The last `/` counts")),
            ("GET", format!("{base}/List/"), format!("{list_meant} It is in lower case")),
            (
                "GET",
                "/Accounts/Users/Customer/SubTenant/list/".to_owned(),
                format!("{list_meant} It is in lower case"),
            ),
            ("GET", format!("{base}/lst/"), list_meant.clone()),
            ("GET", format!("{base}/lists/"), list_meant.clone()),
            ("GET", "/account/user/customer/subtenant/list/".to_owned(), list_meant.clone()),
            ("GET", "/accounts/users/customer/sub-tenant/list/".to_owned(), list_meant.clone()),
            ("GET", format!("{base}/4711/"), format!("{object_meant} The id is a UUID")),
            (
                "GET",
                format!("{base}/{}/", ID.replace('-', "")),
                format!("{object_meant} The id is a UUID"),
            ),
            ("GET", format!("{base}/urn:uuid:{ID}/"), format!("{object_meant} The id is a UUID")),
            (
                "GET",
                format!("{base}/4711"),
                format!("{object_meant} The last `/` counts. The id is a UUID"),
            ),
            (
                "GET",
                format!("/api{base}/list/"),
                format!("{list_meant} There is a segment too many"),
            ),
            (
                "GET",
                "/users/customer/subtenant/list/".to_owned(),
                format!("{list_meant} A segment is missing"),
            ),
            (
                "PUT",
                format!("{base}/{ID}"),
                format!(
                    "did you mean {object}? It takes `GET` (`subtenant.get`), `PATCH` (`subtenant.update`), \
                     `DELETE` (`subtenant.delete`), and not `PUT`. The last `/` counts"
                ),
            ),
            (
                "GET",
                "/reports/yearly/{ID}/".to_owned(),
                "did you mean `/reports/yearly/{pk}` (`report.get`)? It has no `/` at its end"
                    .to_owned(),
            ),
        ] {
            assert_eq!(why(method, &path), format!("no operation has this path; {told}"), "{path}");
        }
    }

    #[test]
    fn a_path_with_other_methods_names_them() {
        assert_eq!(
            why("PUT", "/accounts/users/customer/subtenant/{ID}/"),
            "this path takes `GET` (`subtenant.get`), `PATCH` (`subtenant.update`), \
             `DELETE` (`subtenant.delete`), and not `PUT`"
        );
    }

    #[test]
    fn what_is_near_to_nothing_or_to_several_is_no_guess() {
        for path in [
            "/",
            "/admin/",
            "/.env",
            "/wp-login.php",
            "/accounts/",
            // One of five entities is missing.
            "/accounts/users/customer/list/",
            "/accounts/users/customer/{ID}/",
            "/accounts/users/customer/elephant/list/",
        ] {
            let told = why("GET", path);
            assert!(told.ends_with("`[[operations]]` can add it"), "{path}: {told}");
        }
    }

    #[test]
    fn a_long_path_is_not_searched() {
        let near = "/accounts/users/customer/subtenant/list";
        for path in [format!("{near}{}", "/".repeat(300)), format!("{near}/{}", "x".repeat(300))] {
            assert!(!why("GET", &path).contains("did you mean"), "{path}");
        }
    }
}
