//! `GET /common/eventlog/list/`: the list of events, and the ways in which it fails.

use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};
use serde_json::{Value, json};

use crate::{
    objects::{ListQuery, Schema},
    operations::list_response,
    response,
    world::{LogAnswer, Visit},
};

/// The response to a request for the event log with the right credentials.
pub(crate) fn respond(visit: &Visit<'_>, head: &Parts) -> Response<Bytes> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return response::method_not_allowed(&[Method::GET, Method::HEAD]);
    }
    let answer = visit.log_answer();
    match answer {
        LogAnswer::Rows | LogAnswer::Envelope | LogAnswer::Renamed => {}
        LogAnswer::Forbidden => {
            let detail = "You do not have permission to perform this action.";
            return response::error(StatusCode::FORBIDDEN, detail);
        }
        LogAnswer::Missing => return response::error(StatusCode::NOT_FOUND, "Not found."),
        LogAnswer::Failing => {
            let page = "<h1>Server Error (500)</h1>";
            return response::typed(StatusCode::INTERNAL_SERVER_ERROR, "text/html", page);
        }
        LogAnswer::Garbage => {
            return response::typed(StatusCode::OK, "application/json", "[{\"id\": \"0");
        }
    }
    let query = head.uri.query().unwrap_or_default();
    let query = match ListQuery::parse(Schema::of("eventlog"), query) {
        Ok(query) => query,
        Err(errors) => return response::json(StatusCode::BAD_REQUEST, &errors.to_json()),
    };
    let json_lines = query.json_lines();
    let rows = visit.events(query);
    match answer {
        LogAnswer::Envelope => {
            let page = json!({
                "count": rows.len(), "next": null, "previous": null, "results": rows,
            });
            response::json(StatusCode::OK, &page)
        }
        LogAnswer::Renamed => {
            let rows: Vec<_> = rows.into_iter().map(renamed).collect();
            list_response(&rows, json_lines)
        }
        _ => list_response(&rows, json_lines),
    }
}

fn renamed(row: Value) -> Value {
    let Value::Object(row) = row else { return row };
    row.into_iter().map(|(name, value)| (format!("log_{name}"), value)).collect()
}
