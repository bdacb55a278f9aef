//! Replaces the configuration of a serving gateway, all of it or nothing.
//!
//! Everything that can fail happens first: certificates are read, new credential sets loaded, sockets
//! bound. Then the acceptors pause, every worker applies the new generation, connection by connection
//! and request by request, and new acceptors continue. Meanwhile connections wait in the kernel's queue.
//! Calls in flight finish under the rules they began with.

use std::{sync::Arc, time::Duration};

use super::{
    CALLERS, Ending, Running, acceptors,
    certificates::warn_if_anyone_can_call,
    generation,
    parts::Shared,
    reloader::{ControlRequest, ReloadError},
    revisions::{self, ReloadCause},
    supervisor::Supervisor,
};
use crate::{
    audit::ChangedKey,
    config::{Settings, types::Listener},
    credentials::CredentialManager,
    error::Chain,
    proxy::server::{Acceptor, BindError, Bound},
};

/// Everything that another configuration needs.
struct Prepared {
    settings: Settings,
    shared: Shared,
    listeners: Vec<(Listener, Bound)>,
    acceptors: Vec<Acceptor>,
}

impl Running {
    /// Carries out a request. A reload is given up when the gateway is told to stop, unless it has begun to
    /// take effect.
    pub(super) async fn carry_out(
        &mut self,
        request: ControlRequest,
        supervisor: &mut Supervisor,
        ending: &Ending,
    ) {
        let (settings, cause, done) = match request {
            ControlRequest::Reload { settings, cause, done } => (settings, cause, done),
            ControlRequest::Try { settings, done } => {
                // The requester may be gone.
                let _not_awaited = done.send(self.try_out(&settings));
                return;
            }
            ControlRequest::Refused { cause, reason } => {
                return self.refuse(supervisor, cause, reason);
            }
            ControlRequest::Reread { done } => return supervisor.reread(&self.shared, done),
        };
        let prepared = tokio::select! {
            biased;
            () = ending.now.cancelled() => return,
            () = ending.drain.cancelled() => return,
            prepared = self.prepare(*settings) => prepared,
        };
        let before = Arc::clone(&self.settings.revision);
        let result = match prepared {
            Ok(prepared) => self.apply(prepared, supervisor).await,
            Err(error) => Err(error),
        };
        let result = match result {
            Ok(()) => {
                let now = &self.settings.revision;
                let changes = now.changes_since(&before);
                revisions::applied(&self.shared.trail, cause, &before, now, changes.clone());
                Ok(changes)
            }
            Err(error) => {
                self.refuse(supervisor, cause, Chain(&error).to_string());
                Err(error)
            }
        };
        // The requester may be gone.
        let _not_awaited = done.send(result);
    }

    /// Records and shows that a configuration was refused.
    fn refuse(&self, supervisor: &Supervisor, cause: ReloadCause, reason: String) {
        supervisor.show_refused(&reason);
        revisions::refused(&self.shared.trail, cause, self.settings.revision.hash(), reason);
    }

    /// What a reload would change. It reads the files that the settings name, and opens nothing.
    fn try_out(&self, settings: &Settings) -> Result<Vec<ChangedKey>, ReloadError> {
        self.check_restart(settings)?;
        self.shared.renew(&self.settings, settings)?;
        Ok(settings.revision.changes_since(&self.settings.revision))
    }

    fn check_restart(&self, settings: &Settings) -> Result<(), ReloadError> {
        let keys = needs_restart(&self.settings, settings);
        if keys.is_empty() { Ok(()) } else { Err(ReloadError::Restart { keys }) }
    }

    async fn prepare(&self, settings: Settings) -> Result<Prepared, ReloadError> {
        self.check_restart(&settings)?;
        let shared = self.shared.renew(&self.settings, &settings)?;
        self.load_new(&shared).await?;
        // Last, because callers can connect from here on.
        let listeners = self.sockets(&settings.listeners)?;
        let acceptors = acceptors(&settings, &shared, &listeners, &self.workers)?;
        Ok(Prepared { settings, shared, listeners, acceptors })
    }

    /// Only a dead worker can make it fail, and then nothing can be saved.
    async fn apply(
        &mut self,
        prepared: Prepared,
        supervisor: &mut Supervisor,
    ) -> Result<(), ReloadError> {
        let Prepared { settings, shared, listeners, acceptors } = prepared;
        self.end_acceptors(&listeners).await;
        for worker in &self.workers {
            worker.apply(generation(&shared, &listeners)).await?;
        }
        self.accept(acceptors)?;
        for listener in &settings.listeners {
            if !self.settings.listeners.contains(listener) {
                warn_if_anyone_can_call(listener);
            }
        }
        self.shared.profiles.hand_over(&shared.profiles);
        supervisor.keep(&shared.managers);
        supervisor.watch(&shared.certificates);
        supervisor.maintain(&shared);
        supervisor.follow(&shared);
        supervisor.show(&settings, &shared, &listeners);
        (self.settings, self.shared, self.listeners) = (settings, shared, listeners);
        Ok(())
    }

    /// Binds the sockets of the new listeners; a listener with an unchanged address keeps its open
    /// socket.
    fn sockets(&self, wanted: &[Listener]) -> Result<Vec<(Listener, Bound)>, BindError> {
        let open = |listener: &Listener| {
            let same = self.listeners.iter().find(|(old, _)| old.address == listener.address);
            match same {
                Some((_, bound)) => bound.share(),
                None => Bound::bind(&listener.address, CALLERS),
            }
        };
        wanted.iter().map(|listener| Ok((listener.clone(), open(listener)?))).collect()
    }

    /// Loads new credential sets first, so that no call finds one missing.
    async fn load_new(&self, shared: &Shared) -> Result<(), ReloadError> {
        for (name, manager) in &shared.managers {
            if self.shared.managers.get(name).is_some_and(|kept| kept.same(manager)) {
                continue;
            }
            let refused = |reason| ReloadError::Credentials { name: name.clone(), reason };
            match tokio::time::timeout(LOADING, CredentialManager::refresh(manager)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(refused(Chain(&*error).to_string())),
                Err(_) => return Err(refused("its source does not answer".to_owned())),
            }
        }
        Ok(())
    }
}

/// Changed keys that take effect only at a start.
pub fn needs_restart(old: &Settings, new: &Settings) -> Vec<String> {
    let sections = [
        ("admin", old.admin != new.admin),
        ("metrics", old.metrics != new.metrics),
        ("audit", old.audit != new.audit),
        ("runtime", old.runtime != new.runtime),
        ("telemetry", old.telemetry != new.telemetry),
        ("fleet", old.fleet != new.fleet),
        ("notices", old.notices.webhook != new.notices.webhook),
    ];
    let changed: Vec<_> = new.revision.changes_since(&old.revision);
    let changed: Vec<_> = changed.into_iter().map(|change| change.key).collect();
    let keys = |section: &str| -> Vec<String> {
        let is_in = |key: &&String| key.split('.').next() == Some(section) && *key != TOKENS;
        let keys: Vec<_> = changed.iter().filter(is_in).cloned().collect();
        if keys.is_empty() { vec![section.to_owned()] } else { keys }
    };
    sections.into_iter().filter(|(_, changed)| *changed).flat_map(|(name, _)| keys(name)).collect()
}

/// The key of `[admin]` that a reload applies.
const TOKENS: &str = "admin.token_file";

/// Time limit for loading a new credential set.
const LOADING: Duration = Duration::from_secs(10);
