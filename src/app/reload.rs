//! Replaces the configuration of a serving gateway, all of it or nothing.
//!
//! Everything that can fail happens first: certificates are read, sockets bound, new credential
//! sets loaded. Then the acceptors pause, every worker applies the new generation, connection by connection
//! and request by request, and new acceptors continue. Meanwhile connections wait in the kernel's queue.
//! Calls in flight finish under the rules they began with.

use std::time::Duration;

use super::{
    Running, SOCKET_MODE, acceptors,
    certificates::warn_if_anyone_can_call,
    generation,
    parts::Shared,
    reloader::{ControlRequest, ReloadError},
    supervisor::Supervisor,
};
use crate::{
    config::{Settings, types::Listener},
    credentials::CredentialManager,
    error::Chain,
    proxy::server::{BindError, Bound},
};

impl Running {
    pub(super) async fn carry_out(&mut self, request: ControlRequest, supervisor: &mut Supervisor) {
        match request {
            ControlRequest::Reload { settings, done } => {
                let result = self.reload(*settings, supervisor).await;
                // The requester may be gone.
                let _not_awaited = done.send(result);
            }
            ControlRequest::Reread { done } => supervisor.reread(&self.shared, done),
        }
    }

    async fn reload(
        &mut self,
        settings: Settings,
        supervisor: &mut Supervisor,
    ) -> Result<(), ReloadError> {
        let keys = needs_restart(&self.settings, &settings);
        if !keys.is_empty() {
            return Err(ReloadError::Restart { keys });
        }
        let shared = self.shared.renew(&self.settings, &settings)?;
        let listeners = self.sockets(&settings.listeners)?;
        self.load_new(&shared).await?;
        let acceptors = acceptors(&settings, &shared, &listeners, &self.workers)?;
        // From here on only a dead worker can fail the reload, and then nothing can be saved.
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
        supervisor.keep(&shared.managers);
        supervisor.watch(&shared.certificates);
        supervisor.maintain(shared.cache.clone());
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
                None => Bound::bind(&listener.address, SOCKET_MODE),
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
fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let changed = [
        ("admin", old.admin != new.admin),
        ("audit", old.audit != new.audit),
        ("runtime", old.runtime != new.runtime),
        ("telemetry", old.telemetry != new.telemetry),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

/// Time limit for loading a new credential set.
const LOADING: Duration = Duration::from_secs(10);
