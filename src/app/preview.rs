//! The parts of a listener's path that decide, for a prediction: nothing is read, opened or loaded.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    parts::{cache_settings, listener_settings, policy, request_limits},
    profiles::{NewManager, ProfileParts},
};
use crate::{
    config::{Settings, types::Listener},
    credentials::{CredentialManager, Sources},
    proxy::{
        cache::Cache,
        call::ConcurrencyLimits,
        http_policy::HostRules,
        preview::PreviewParts,
        profile::Profiles,
        stages::{
            authorize::{self, Policy},
            identify::Schemes,
            receive,
        },
    },
    telemetry::Metrics,
};

/// The parts of a listener's path that decide about a request, for a prediction. How often a caller may call is
/// no part of it.
pub fn preview_parts(settings: &Settings, listener: &Listener) -> PreviewParts {
    let limits = authorize::CallerLimiters::default();
    PreviewParts {
        server: listener_settings(settings),
        rules: Arc::new(receive::ListenerRules {
            hosts: HostRules::new(&listener.address, &listener.allowed_hosts),
            limits: request_limits(settings),
            may_name_profile: listener.profile.is_none(),
        }),
        profiles: Arc::new(preview_profiles(settings)),
        profile: listener.profile.clone(),
        schemes: Arc::new(Schemes::new(listener.caller.clone(), &settings.callers)),
        policy: Arc::new(Policy { limits, ..policy(settings) }),
        concurrency: ConcurrencyLimits::new(settings.limits.in_flight),
        cache: Cache::new(cache_settings(settings)),
    }
}

/// The profiles, of which none is ever loaded.
fn preview_profiles(settings: &Settings) -> Profiles {
    let managers = settings.credentials.iter();
    let sources = Sources::default();
    let manager = |set| CredentialManager::new(set, &sources);
    let managers = managers.map(|(name, set)| (name.clone(), manager(set.clone())));
    let (loading, _nobody) = mpsc::unbounded_channel();
    let parts = ProfileParts {
        settings,
        managers: &managers.collect(),
        loading: &loading,
        new_manager: &(Arc::new(move |set| CredentialManager::new(set, &Sources::default()))
            as NewManager),
        sources: &sources,
        metrics: &Metrics::new(0),
        fleet: None,
        kept: None,
    };
    parts.assemble()
}
