//! The routes of the admin listener, each with what a request must show to use it.
//!
//! The router is made from this one list, so no route can be without a rule.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State,
    handler::Handler,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use tower_http::set_header::SetResponseHeaderLayer;

use super::{
    AdminState, GatewayView, Routes,
    access::{Access, enter, make_link, require},
    actions, fleet, guard, health, life, page, profiles, reload, status,
};
use crate::{
    proxy::http_policy::HostRules,
    telemetry::{self, TextFormat},
};

/// A route: method, path, and what a request must show.
struct Route {
    method: Method,
    path: &'static str,
    access: Access,
    handler: MethodRouter<AdminState>,
}

fn route<H, T>(
    filter: MethodFilter,
    method: Method,
    path: &'static str,
    access: Access,
    handler: H,
) -> Route
where
    H: Handler<T, AdminState>,
    T: 'static,
{
    Route { method, path, access, handler: on(filter, handler) }
}

fn get<H: Handler<T, AdminState>, T: 'static>(
    path: &'static str,
    access: Access,
    handler: H,
) -> Route {
    route(MethodFilter::GET, Method::GET, path, access, handler)
}

fn post<H: Handler<T, AdminState>, T: 'static>(
    path: &'static str,
    access: Access,
    handler: H,
) -> Route {
    route(MethodFilter::POST, Method::POST, path, access, handler)
}

fn delete<H: Handler<T, AdminState>, T: 'static>(
    path: &'static str,
    access: Access,
    handler: H,
) -> Route {
    route(MethodFilter::DELETE, Method::DELETE, path, access, handler)
}

/// All routes.
fn table() -> Vec<Route> {
    vec![
        get("/livez", Access::Health, health::live),
        get("/readyz", Access::Health, health::ready),
        get("/metrics", Access::Health, metrics),
        get("/errors", Access::Open, page::errors::index),
        get("/errors/{label}", Access::Open, page::errors::one),
        get("/session/enter", Access::Open, enter),
        get("/", Access::Read, page::page),
        get("/status", Access::Read, status::status),
        get("/profiles", Access::Read, profiles::states),
        get("/profiles/{name}", Access::Read, page::profiles::one),
        get("/access", Access::Read, page::permissions::page),
        get("/access.json", Access::Read, page::permissions::json),
        get("/log", Access::Read, log),
        get("/cache", Access::Read, life::life),
        get("/fleet", Access::Read, fleet::members),
        get("/fleet/members", Access::Read, page::fleet::page),
        post("/session/link", Access::Read, make_link),
        post("/page/purge", Access::Operate, actions::purge_form),
        post("/page/verify", Access::Operate, actions::verify_form),
        delete("/cache", Access::Operate, actions::purge),
        post("/fleet/purge", Access::Operate, actions::purge_fleet),
        post("/fleet/cache-key", Access::Operate, actions::tell_of_cache_key),
        post("/fleet/acknowledge", Access::Operate, actions::acknowledge),
        post("/credentials/refresh", Access::Operate, actions::refresh),
        post("/reload", Access::Operate, reload::reload),
        post("/probe", Access::Operate, actions::probe),
    ]
}

/// Every route with what a request must show to use it.
pub fn routes() -> impl Iterator<Item = (Method, &'static str, Access)> {
    table().into_iter().map(|route| (route.method, route.path, route.access))
}

/// The router for a listener with those hosts.
pub(super) fn router(state: AdminState, routes: Routes, hosts: HostRules) -> Router {
    let table = table().into_iter();
    let served = table.filter(|route| routes == Routes::All || route.access == Access::Health);
    let router = served.fold(Router::new(), |router, route| {
        let rule = from_fn_with_state((route.access, state.clone()), require);
        router.route(route.path, route.handler.layer(rule))
    });
    router
        .layer(Extension(routes))
        .layer(from_fn_with_state(Arc::new(hosts), guard::guard))
        // Responses describe one moment and must not be stored.
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ))
        .layer(SetResponseHeaderLayer::overriding(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .with_state(state)
}

/// `GET /metrics`: all metrics, in the text format that the scraper prefers.
async fn metrics(State(view): State<Arc<GatewayView>>, headers: HeaderMap) -> Response {
    let format = TextFormat::negotiate(&headers);
    let Ok(text) = view.metrics.encode() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let fields = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "Accept")];
    (fields, format.of_open_metrics(text)).into_response()
}

/// `GET /log`: the newest lines of the log.
async fn log() -> String {
    telemetry::recent_log_lines()
}
