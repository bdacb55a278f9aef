//! Field filters of a list: `ssn=…`, `created_at__gte=…`, `id__in!=…`.
//!
//! `<field>=<value>` is an exact match, `<field>__<operator>=<value>` an operator; the kind of a
//! field decides which operators it has. A `!` at the end of the parameter's name negates it. A null
//! field matches `isnull` alone, and therefore every other filter that is negated.

use jiff::{Timestamp, civil, tz::Offset};
use serde_json::Value;

use super::{
    field::{Field, Kind, Object},
    schema::Schema,
};

/// One filter of a list's query.
#[derive(Debug)]
pub(super) struct Filter {
    field: &'static Field,
    negated: bool,
    test: Test,
}

impl Filter {
    /// Parses a query parameter; its name and value are percent-decoded.
    pub(super) fn parse(schema: &Schema, name: &str, value: &str) -> Result<Self, String> {
        let (name, negated) = name.strip_suffix('!').map_or((name, false), |name| (name, true));
        let (field, operator) =
            name.split_once("__").map_or((name, None), |(field, op)| (field, Some(op)));
        let field = schema.field(field).ok_or("There is no field with this name.")?;
        let test = Test::parse(field.kind, operator, value)?;
        Ok(Self { field, negated, test })
    }

    /// Whether the filter matches an object.
    pub(super) fn matches(&self, object: &Object) -> bool {
        let value = object.get(self.field.name).unwrap_or(&Value::Null);
        self.test.holds(self.field.kind, value) != self.negated
    }
}

#[derive(Debug)]
enum Test {
    Exact(Operand),
    In(Vec<Operand>),
    IsNull(bool),
    Order { accepts: fn(std::cmp::Ordering) -> bool, than: Operand },
    Text { accepts: fn(&str, &str) -> bool, folds_case: bool, part: String },
}

impl Test {
    fn parse(kind: Kind, operator: Option<&str>, value: &str) -> Result<Self, String> {
        let Some(operator) = operator else { return Operand::parse(kind, value).map(Self::Exact) };
        let ordered = matches!(kind, Kind::Number | Kind::Date | Kind::Moment);
        let textual = matches!(kind, Kind::Text(_) | Kind::Any);
        match operator {
            "in" => {
                let operands = value.split(',').map(|part| Operand::parse(kind, part));
                return operands.collect::<Result<_, _>>().map(Self::In);
            }
            "isnull" => return flag(value).map(Self::IsNull),
            _ => {}
        }
        let accepts: Option<fn(std::cmp::Ordering) -> bool> = match operator {
            "gt" => Some(std::cmp::Ordering::is_gt),
            "gte" => Some(std::cmp::Ordering::is_ge),
            "lt" => Some(std::cmp::Ordering::is_lt),
            "lte" => Some(std::cmp::Ordering::is_le),
            _ => None,
        };
        if let Some(accepts) = accepts.filter(|_| ordered) {
            return Ok(Self::Order { accepts, than: Operand::parse(kind, value)? });
        }
        let (plain, folds_case) =
            operator.strip_prefix('i').map_or((operator, false), |plain| (plain, true));
        let accepts: Option<fn(&str, &str) -> bool> = match plain {
            "contains" => Some(|whole, part| whole.contains(part)),
            "startswith" => Some(|whole, part| whole.starts_with(part)),
            "endswith" => Some(|whole, part| whole.ends_with(part)),
            "exact" if folds_case => Some(|whole, part| whole == part),
            _ => None,
        };
        match accepts.filter(|_| textual) {
            Some(accepts) => {
                let part = if folds_case { value.to_lowercase() } else { value.to_owned() };
                Ok(Self::Text { accepts, folds_case, part })
            }
            None => Err(format!("A field of this kind has no operator `{operator}`.")),
        }
    }

    fn holds(&self, kind: Kind, value: &Value) -> bool {
        let operands = Operand::of(kind, value);
        match self {
            Self::IsNull(wanted) => value.is_null() == *wanted,
            Self::Exact(wanted) => operands.contains(wanted),
            Self::In(wanted) => operands.iter().any(|operand| wanted.contains(operand)),
            Self::Order { accepts, than } => {
                operands.iter().any(|operand| operand.partial_cmp(than).is_some_and(accepts))
            }
            Self::Text { accepts, folds_case, part } => operands.iter().any(|operand| {
                let Operand::Text(text) = operand else { return false };
                if *folds_case { accepts(&text.to_lowercase(), part) } else { accepts(text, part) }
            }),
        }
    }
}

/// A value in a form that compares as the values of its kind.
#[derive(Debug, PartialEq, PartialOrd)]
enum Operand {
    Flag(bool),
    Number(i64),
    Moment(civil::DateTime),
    Text(String),
}

impl Operand {
    fn parse(kind: Kind, text: &str) -> Result<Self, String> {
        match kind {
            Kind::Flag => flag(text).map(Self::Flag),
            Kind::Number => {
                text.parse().map(Self::Number).map_err(|_| "A whole number is wanted.".to_owned())
            }
            Kind::Date | Kind::Moment => moment(text)
                .map(Self::Moment)
                .ok_or_else(|| "A date or a time is wanted.".to_owned()),
            Kind::Id | Kind::Relation | Kind::Many => uuid::Uuid::try_parse(text)
                .map(|id| Self::Text(id.to_string()))
                .map_err(|_| "A UUID is wanted.".to_owned()),
            Kind::Text(_) | Kind::Any | Kind::Structure => Ok(Self::Text(text.to_owned())),
        }
    }

    /// The operands of a stored value: none if it is null, several if it is an array.
    fn of(kind: Kind, value: &Value) -> Vec<Self> {
        let one = match (kind, value) {
            (_, Value::Array(items)) => {
                return items.iter().flat_map(|item| Self::of(kind, item)).collect();
            }
            (_, Value::Object(object)) => {
                object.get("id").and_then(Value::as_str).map(|id| Self::Text(id.to_lowercase()))
            }
            (Kind::Date | Kind::Moment, Value::String(text)) => moment(text).map(Self::Moment),
            (_, Value::String(text)) => Some(Self::Text(text.clone())),
            (Kind::Any, Value::Bool(set)) => Some(Self::Text(set.to_string())),
            (_, Value::Bool(set)) => Some(Self::Flag(*set)),
            (_, Value::Number(number)) => number.as_i64().map(Self::Number),
            (_, Value::Null) => None,
        };
        one.into_iter().collect()
    }
}

/// `true` or `false`, in any case, and `1` or `0`.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("`true` or `false` is wanted.".to_owned()),
    }
}

/// A date is its midnight, so that dates and times compare.
fn moment(text: &str) -> Option<civil::DateTime> {
    let timestamp = text.parse::<Timestamp>().map(|at| Offset::UTC.to_datetime(at));
    timestamp.or_else(|_| text.parse::<civil::Date>().map(civil::DateTime::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::store::Store;

    /// The communication names of the seeded subtenants that a filter matches.
    fn matching(name: &str, value: &str) -> Vec<String> {
        let filter = Filter::parse(Schema::of("subtenant"), name, value).unwrap();
        let store = Store::seeded();
        let matching = store.all("subtenant").iter().filter(|object| filter.matches(object));
        matching.map(|object| object["communication_name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_table_of_filters() {
        const MAJA: &str = "Maja";
        const ANDERS: &str = "Anders Provberg";
        const ASA: &str = "Åsa Demolund";
        const BOLAGET: &str = "Exempelbolaget AB";
        let anders = "5b1f0c52-7d34-4f0e-9a6b-3c2d1e0f4a02";
        let both = "5b1f0c52-7d34-4f0e-9a6b-3c2d1e0f4a02,5b1f0c52-7d34-4f0e-9a6b-3c2d1e0f4a03";
        let cases: &[(&str, &str, &[&str])] = &[
            ("first_name", "Maja", &[MAJA]),
            ("first_name", "maja", &[]),
            ("first_name!", "Maja", &[ANDERS, ASA, BOLAGET]),
            ("first_name__iexact", "mAJA", &[MAJA]),
            ("first_name__iexact", "åsa", &[ASA]),
            ("first_name__contains", "der", &[ANDERS]),
            ("first_name__contains", "DER", &[]),
            ("first_name__icontains", "DER", &[ANDERS]),
            ("last_name__startswith", "Test", &[MAJA]),
            ("last_name__istartswith", "TEST", &[MAJA]),
            ("last_name__endswith", "lund", &[ASA]),
            ("last_name__iendswith", "LUND", &[ASA]),
            ("first_name__in", "Maja,Anders", &[MAJA, ANDERS]),
            ("first_name__in!", "Maja,Anders", &[ASA, BOLAGET]),
            ("first_name__isnull", "true", &[BOLAGET]),
            ("first_name__isnull!", "true", &[MAJA, ANDERS, ASA]),
            ("first_name__isnull", "false", &[MAJA, ANDERS, ASA]),
            ("status", "2", &[ASA]),
            ("status!", "1", &[ASA, BOLAGET]),
            ("status__gt", "1", &[ASA]),
            ("status__gte", "1", &[MAJA, ANDERS, ASA]),
            ("status__lt", "1", &[BOLAGET]),
            ("status__lte", "1", &[MAJA, ANDERS, BOLAGET]),
            ("status__in", "0,2", &[ASA, BOLAGET]),
            ("birth_date__lt", "1978-01-01", &[ANDERS]),
            ("birth_date__lt!", "1978-01-01", &[MAJA, ASA, BOLAGET]),
            ("created_at__gte", "2022-09-15", &[ANDERS, BOLAGET]),
            ("created_at__gt", "2022-09-15T10:00:00Z", &[BOLAGET]),
            ("created_at", "2022-09-15T12:00:00+02:00", &[ANDERS]),
            ("is_active", "false", &[ASA]),
            ("is_active__in", "true", &[MAJA, ANDERS, BOLAGET]),
            ("is_company", "true", &[BOLAGET]),
            ("id", anders, &[ANDERS]),
            ("id__in", both, &[ANDERS, ASA]),
            ("id__in!", both, &[MAJA, BOLAGET]),
            ("organization", "0D6A4C1E-52B7-4C53-8F0A-7E1B2C3D4002", &[ASA]),
            ("realestates__in", "7a5c3e91-0b2d-4f6a-8c1e-9d8e7f604002", &[ANDERS]),
            ("previous_address__isnull", "false", &[MAJA]),
        ];
        for (name, value, expected) in cases {
            assert_eq!(matching(name, value), *expected, "{name}={value}");
        }
    }

    #[test]
    fn invalid_filters_are_errors() {
        for (name, value) in [
            ("no_such_field", "1"),
            ("first_name__like", "x"),
            ("first_name__exact", "x"),
            ("first_name__gt", "x"),
            ("status__contains", "1"),
            ("status", "one"),
            ("is_active__gt", "true"),
            ("is_active", "perhaps"),
            ("id", "7"),
            ("organization__icontains", "0d6a"),
            ("created_at__gte", "yesterday"),
            ("first_name__isnull", ""),
            ("!", ""),
        ] {
            assert!(Filter::parse(Schema::of("subtenant"), name, value).is_err(), "{name}={value}");
        }
    }
}
