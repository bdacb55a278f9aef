//! Looking into a running mock and driving it, from inside the process.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::Value;

use crate::domain::Catalog;

use super::{
    auth::Accepted,
    data::Data,
    faults::{Fault, FaultQueue},
    record::{Recorded, Records},
};

/// What all connections of a mock share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) catalog: Catalog,
    pub(super) accepted: ArcSwap<Accepted>,
    pub(super) data: Mutex<Data>,
    pub(super) faults: Mutex<FaultQueue>,
    pub(super) records: Records,
    pub(super) latency: Duration,
    connections: AtomicU64,
    panic: Mutex<Option<String>>,
}

impl Shared {
    pub(super) fn new(catalog: Catalog, accepted: Accepted, latency: Duration) -> Self {
        Self {
            catalog,
            accepted: ArcSwap::from_pointee(accepted),
            data: Mutex::new(Data::seeded()),
            faults: Mutex::default(),
            records: Records::new(),
            latency,
            connections: AtomicU64::new(0),
            panic: Mutex::default(),
        }
    }

    pub(super) fn reset(&self) {
        *self.data.lock() = Data::seeded();
        self.faults.lock().clear();
        self.records.forget();
    }

    pub(super) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn panicked(&self, payload: &(dyn Any + Send)) {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "without a message".to_owned());
        self.panic.lock().get_or_insert(text);
    }

    pub(super) fn first_panic(&self) -> Option<String> {
        self.panic.lock().clone()
    }
}

/// Looks into a running mock and drives it. Clones are for the same mock.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) Arc<Shared>);

impl Handle {
    /// The requests that arrived, oldest first: the last 2,000, with at most 64 MiB of bodies.
    pub fn requests(&self) -> Vec<Arc<Recorded>> {
        self.0.records.all()
    }

    /// How many requests arrived.
    pub fn request_count(&self) -> u64 {
        self.0.records.count()
    }

    /// Waits until so many requests have arrived. A request has arrived when its body has, and
    /// before it is answered.
    pub async fn wait_for_requests(&self, count: u64) {
        self.0.records.wait_for(count).await;
    }

    /// Forgets the requests that arrived.
    pub fn forget_requests(&self) {
        self.0.records.forget();
    }

    /// How many connections were accepted, whatever became of them.
    pub fn connections(&self) -> u64 {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Adds a fault behind those that wait already.
    pub fn fault(&self, fault: Fault) {
        self.0.faults.lock().push(fault);
    }

    /// Forgets the faults that wait.
    pub fn clear_faults(&self) {
        self.0.faults.lock().clear();
    }

    /// Changes which credential values are let in, from the next request on.
    pub fn accept(&self, accepted: Accepted) {
        self.0.accepted.store(Arc::new(accepted));
    }

    /// An object as it stands: `object("subtenant", EXAMPLE_SUBTENANT)`.
    pub fn object(&self, entity: &str, id: &str) -> Option<Value> {
        self.0.data.lock().get(entity, id).cloned().map(Value::Object)
    }

    /// Changes one field of an object, unchecked and behind the API's back. Says whether there is
    /// such an object.
    pub fn set_field(&self, entity: &str, id: &str, field: &str, value: Value) -> bool {
        let mut data = self.0.data.lock();
        let Some(mut object) = data.get(entity, id).cloned() else { return false };
        object.insert(field.to_owned(), value);
        data.put(entity, object);
        true
    }

    /// Objects, faults and requests as at the start.
    pub fn reset(&self) {
        self.0.reset();
    }
}
