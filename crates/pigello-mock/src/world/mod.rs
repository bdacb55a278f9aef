//! What one activation sees of Pigello: objects, the log of their changes, and a replica that may lag.
//!
//! Each call works on a [`Visit`]: reads come from the replica if there is one, writes go to the
//! objects and the log at once.

mod event_log;
mod replica;

use std::time::Duration;

use serde_json::Value;

use crate::{
    clock::Now,
    objects::{ListQuery, Object, Store, id_of},
};

use event_log::EventLog;
use replica::{Replica, Step};

pub use event_log::{Change, EventLogFaults, LogAnswer};

/// The data of one activation.
#[derive(Debug)]
pub(crate) struct World {
    store: Store,
    log: EventLog,
    replica: Option<Replica>,
    unannounced: Vec<Object>,
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// The integration, by a call.
    Integration,
    /// Somebody at Pigello's own pages.
    OrganizationUser,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Created,
    Updated,
    Deleted,
}

impl World {
    /// `name` is that of the activation.
    pub(crate) fn new(name: &str, store: Store) -> Self {
        Self { store, log: EventLog::new(name), replica: None, unannounced: Vec::new() }
    }

    pub(crate) fn visit(&mut self, now: Now, writer: Writer) -> Visit<'_> {
        Visit { world: self, now, writer }
    }

    /// Reads show the objects as they were that long ago; zero ends that.
    pub(crate) fn set_lag(&mut self, lag: Duration) {
        match &mut self.replica {
            _ if lag.is_zero() => self.replica = None,
            Some(replica) => replica.lag = lag,
            None => self.replica = Some(Replica::new(self.store.clone(), lag)),
        }
    }

    pub(crate) fn lag(&self) -> Duration {
        self.replica.as_ref().map_or(Duration::ZERO, |replica| replica.lag)
    }

    pub(crate) fn log_faults(&self) -> &EventLogFaults {
        &self.log.faults
    }

    pub(crate) fn set_log_faults(&mut self, faults: EventLogFaults) {
        self.log.faults = faults;
    }

    /// The writes after that number, of those that the log has, oldest first.
    pub(crate) fn changes(&self, after: u64) -> Vec<Change> {
        self.log.changes(after)
    }

    /// The events that no webhook has got yet.
    pub(crate) fn take_unannounced(&mut self) -> Vec<Object> {
        std::mem::take(&mut self.unannounced)
    }
}

/// One call's view of a world.
#[derive(Debug)]
pub(crate) struct Visit<'a> {
    world: &'a mut World,
    now: Now,
    writer: Writer,
}

impl Visit<'_> {
    pub(crate) fn now(&self) -> Now {
        self.now
    }

    /// The objects as reads show them.
    pub(crate) fn shown(&mut self) -> &Store {
        match &mut self.world.replica {
            Some(replica) => replica.at(self.now.instant),
            None => &self.world.store,
        }
    }

    /// The objects as they are.
    pub(crate) fn current(&self) -> &Store {
        &self.world.store
    }

    /// The identifier for the next created object.
    pub(crate) fn next_id(&mut self) -> String {
        self.world.store.next_id()
    }

    /// Creates the object, or replaces the one with the same `id`, and logs that.
    pub(crate) fn put(&mut self, entity: &'static str, object: Object) {
        let id = id_of(&object).to_owned();
        let known = self.world.store.get(entity, &id).is_some();
        self.put_unlogged(entity, object);
        self.log(entity, &id, if known { EventKind::Updated } else { EventKind::Created });
    }

    /// The same without an event.
    pub(crate) fn put_unlogged(&mut self, entity: &'static str, object: Object) {
        self.follow(|| Step::Put(entity, object.clone()));
        self.world.store.put(entity, object);
    }

    /// Removes an object and logs that. Returns `false` if there is none.
    pub(crate) fn remove(&mut self, entity: &'static str, id: &str) -> bool {
        let Some(removed) = self.world.store.remove(entity, id) else { return false };
        // As it was stored: a path may have capitals.
        let id = id_of(&removed);
        self.follow(|| Step::Remove(entity, id.to_owned()));
        self.log(entity, id, EventKind::Deleted);
        true
    }

    fn follow(&mut self, step: impl FnOnce() -> Step) {
        if let Some(replica) = &mut self.world.replica {
            replica.follow(self.now.instant, step());
        }
    }

    fn log(&mut self, entity: &str, id: &str, kind: EventKind) {
        let (now, lag, writer) = (self.now, self.world.lag(), self.writer);
        let event = self.world.log.append(now, lag, writer, entity, id, kind);
        self.world.unannounced.push(event);
    }

    /// How the log answers.
    pub(crate) fn log_answer(&self) -> LogAnswer {
        self.world.log.faults.answer
    }

    /// The rows of the event log that a query selects.
    pub(crate) fn events(&self, query: ListQuery) -> Vec<Value> {
        self.world.log.select(query, self.now.instant)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::objects::EXAMPLE_SUBTENANT;

    /// A world, and the moment that many milliseconds after its start.
    fn world() -> (World, impl Fn(u64) -> Now) {
        let (instant, shown) =
            (Instant::now(), "2026-11-30T04:00:00Z".parse::<Timestamp>().unwrap());
        let at = move |millis| {
            let passed = Duration::from_millis(millis);
            Now { instant: instant + passed, shown: shown.checked_add(passed).unwrap() }
        };
        (World::new("acme", Store::seeded()), at)
    }

    fn rename(world: &mut World, now: Now, name: &str) {
        let mut visit = world.visit(now, Writer::Integration);
        let mut object = visit.current().get("subtenant", EXAMPLE_SUBTENANT).unwrap().clone();
        object.insert("first_name".into(), json!(name));
        visit.put("subtenant", object);
    }

    fn name_shown(world: &mut World, now: Now) -> Option<String> {
        let mut visit = world.visit(now, Writer::Integration);
        let object = visit.shown().get("subtenant", EXAMPLE_SUBTENANT)?;
        object["first_name"].as_str().map(str::to_owned)
    }

    fn rows(world: &mut World, now: Now) -> Vec<Value> {
        world.visit(now, Writer::Integration).events(ListQuery::default())
    }

    #[test]
    fn every_write_is_logged_and_announced() {
        let (mut world, at) = world();
        rename(&mut world, at(0), "Nils");
        let mut visit = world.visit(at(1), Writer::OrganizationUser);
        let id = visit.next_id();
        visit.put("tenant", json!({ "id": id }).as_object().unwrap().clone());
        assert!(visit.remove("tenant", &id.to_uppercase()) && !visit.remove("tenant", &id));
        let rows = rows(&mut world, at(2));
        let column = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
        assert_eq!(column("object_id"), [json!(EXAMPLE_SUBTENANT), json!(id), json!(id)]);
        assert_eq!(
            column("event_identifier"),
            [
                "accounts.subtenant.instanceupdated",
                "accounts.tenant.instancecreated",
                "accounts.tenant.instancedeleted"
            ]
        );
        assert_eq!(column("content_type")[0], "accounts.subtenant");
        assert_eq!(column("created_at")[1], "2026-11-30T04:00:00.001000Z");
        assert!(rows[0]["triggered_by_integration"]["id"].is_string());
        assert!(rows[1]["triggered_by_integration"].is_null());
        assert!(rows[1]["triggered_by_organization_user"]["id"].is_string());
        let announced: Vec<_> = world.take_unannounced().into_iter().map(Value::Object).collect();
        assert_eq!(announced, rows);
        assert!(world.take_unannounced().is_empty());
        assert_ne!(rows[0]["id"], rows[1]["id"]);
    }

    #[test]
    fn a_lagging_replica_shows_the_past_while_the_log_is_immediate() {
        let (mut world, at) = world();
        world.set_lag(Duration::from_millis(100));
        rename(&mut world, at(0), "Nils");
        rename(&mut world, at(50), "Olle");
        let named = |world: &mut World, millis| name_shown(world, at(millis)).unwrap();
        assert_eq!(rows(&mut world, at(50)).len(), 2);
        assert_eq!(named(&mut world, 99), "Maja");
        assert_eq!(named(&mut world, 100), "Nils");
        assert_eq!(named(&mut world, 149), "Nils");
        assert_eq!(named(&mut world, 150), "Olle");

        assert!(world.visit(at(200), Writer::Integration).remove("subtenant", EXAMPLE_SUBTENANT));
        assert_eq!(named(&mut world, 299), "Olle");
        assert_eq!(name_shown(&mut world, at(300)), None);
    }

    #[test]
    fn a_write_sees_the_objects_as_they_are() {
        let (mut world, at) = world();
        world.set_lag(Duration::from_hours(1));
        rename(&mut world, at(0), "Nils");
        let visit = world.visit(at(1), Writer::Integration);
        let current = visit.current().get("subtenant", EXAMPLE_SUBTENANT).unwrap();
        assert_eq!(current["first_name"], "Nils");
        assert_eq!(name_shown(&mut world, at(1)).unwrap(), "Maja");
        world.set_lag(Duration::ZERO);
        assert_eq!(name_shown(&mut world, at(1)).unwrap(), "Nils");
    }

    #[test]
    fn a_lag_changes_while_it_runs() {
        let (mut world, at) = world();
        world.set_lag(Duration::from_hours(1));
        rename(&mut world, at(0), "Nils");
        world.set_lag(Duration::from_millis(10));
        assert_eq!(name_shown(&mut world, at(9)).unwrap(), "Maja");
        assert_eq!(name_shown(&mut world, at(10)).unwrap(), "Nils");
        assert_eq!(world.lag(), Duration::from_millis(10));
    }

    #[test]
    fn rows_can_be_late_doubled_and_tied() {
        let (mut world, at) = world();
        let ids = |rows: &[Value]| -> Vec<String> {
            rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
        };
        let late = Duration::from_secs(10);
        let faults =
            EventLogFaults { seed: 7, late: 0.3, late_by: late, ..EventLogFaults::default() };
        world.set_log_faults(faults);
        for millis in 0..100 {
            rename(&mut world, at(millis), "Nils");
        }
        let early = ids(&rows(&mut world, at(100)));
        assert!((15..=45).contains(&(100 - early.len())), "{}", early.len());
        // What is late was decided when it was written.
        world.set_log_faults(EventLogFaults { double: 1.0, ..EventLogFaults::default() });
        assert_eq!(early, ids(&rows(&mut world, at(101))));
        let all = ids(&rows(&mut world, at(10_099)));
        assert_eq!(all.len(), 100);
        // Only the newest fifty that are late are still missing.
        let later = ids(&rows(&mut world, at(10_049)));
        assert_eq!(later[..50], all[..50]);
        assert!(later.len() < 100);

        rename(&mut world, at(100), "Olle");
        let doubled = ids(&rows(&mut world, at(10_100)));
        assert_eq!((doubled.len(), &doubled[100]), (102, &doubled[101]));

        let tick = Duration::from_secs(1);
        world.set_log_faults(EventLogFaults { tick, ..EventLogFaults::default() });
        for millis in [1_100, 1_900, 2_000] {
            rename(&mut world, at(millis), "Olle");
        }
        let rows = rows(&mut world, at(11_000));
        let created: Vec<_> =
            rows[102..].iter().map(|row| row["created_at"].as_str().unwrap()).collect();
        assert_eq!(
            created,
            [
                "2026-11-30T04:00:01.000000Z",
                "2026-11-30T04:00:01.000000Z",
                "2026-11-30T04:00:02.000000Z"
            ]
        );
    }

    #[test]
    fn a_change_says_from_when_on_it_can_be_seen() {
        let (mut world, at) = world();
        rename(&mut world, at(0), "Nils");
        world.set_lag(Duration::from_millis(300));
        world.set_log_faults(EventLogFaults {
            late: 1.0,
            late_by: Duration::from_millis(500),
            double: 1.0,
            ..EventLogFaults::default()
        });
        rename(&mut world, at(100), "Olle");
        let changes = world.changes(0);
        let [first, second] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((first.number, first.id.as_str()), (1, EXAMPLE_SUBTENANT));
        assert_eq!([first.made, first.readable, first.logged], [at(0).instant; 3]);
        assert_eq!((first.doubled, first.created_at), (false, at(0).shown));
        let times = [second.made, second.readable, second.logged];
        assert_eq!(times, [at(100).instant, at(400).instant, at(600).instant]);
        assert_eq!((second.number, second.doubled), (2, true));
        assert_eq!(world.changes(1), changes[1..]);
        // They are as it says.
        assert_eq!(name_shown(&mut world, at(399)).as_deref(), Some("Nils"));
        assert_eq!(name_shown(&mut world, at(400)).as_deref(), Some("Olle"));
        assert_eq!(rows(&mut world, at(599)).len(), 1);
        assert_eq!(rows(&mut world, at(600)).len(), 3);
    }

    #[test]
    fn the_log_and_the_replica_are_bounded() {
        let (mut world, at) = world();
        world.set_lag(Duration::from_millis(5));
        for millis in 0..=event_log::KEPT_ROWS as u64 {
            rename(&mut world, at(millis), "Nils");
        }
        world.take_unannounced();
        assert_eq!(rows(&mut world, at(20_000)).len(), event_log::KEPT_ROWS);
        assert_eq!(world.changes(0).len(), event_log::KEPT_ROWS);
        assert!(world.replica.unwrap().behind() <= 5);
    }
}
