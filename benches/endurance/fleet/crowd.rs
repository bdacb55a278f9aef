//! Members that are nothing but members: the gateway's own client of the bus, hundreds of them in this process,
//! each with a connection of its own, and what each of them heard when.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::Mutex;
use pigello_gateway::fleet::{
    Change, Hearing, Key, KeyRing, KeySource, Member, Noted, Pause, Position, Record, Role,
    Settings, Written,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::store::Way;

/// The members, which end with this value.
pub struct Crowd {
    members: Vec<Arc<Member>>,
    ears: Vec<Arc<Ear>>,
    ending: CancellationToken,
    running: JoinSet<()>,
}

/// What one member heard: the path of a write, the object of an event, or the operation of a pause, and when.
#[derive(Debug, Default)]
struct Ear(Mutex<HashMap<Box<str>, Instant>>);

impl Hearing for Ear {
    fn hear(&self, _: Position, changes: Vec<Change>) {
        let now = Instant::now();
        for change in changes {
            let what = match change {
                Change::Written(Written { path: what, .. })
                | Change::Pause(Pause { operation: Some(what), .. }) => what,
                Change::Event(Noted { object: Some(object), .. }) => object.to_string().into(),
                _ => continue,
            };
            self.0.lock().entry(what).or_insert(now);
        }
    }

    fn silent(&self) {}

    fn missed(&self) {}
}

impl Crowd {
    /// So many members of the fleet whose key is in that file.
    pub fn start(count: usize, fleet: &str, key_file: &Path, way: &Way) -> Self {
        let (ending, mut running) = (CancellationToken::new(), JoinSet::new());
        let (mut members, mut ears) = (Vec::new(), Vec::new());
        for number in 0..count {
            let settings = Settings {
                name: fleet.to_owned(),
                role: Role::Member,
                instance: Some(format!("member-{number}")),
                key: KeySource::default(),
                store: way.settings(),
            };
            let ring = KeyRing::new();
            ring.put(Key::of_file(&fs::read(key_file).unwrap()).unwrap());
            let (member, ear) = (Member::open(settings, ring).unwrap(), Arc::<Ear>::default());
            member.hear_for(Arc::clone(&ear));
            member.describe_by(Arc::new(move || record(number)));
            running.spawn(Arc::clone(&member).run(ending.clone()));
            members.push(member);
            ears.push(ear);
        }
        Self { members, ears, ending, running }
    }

    /// How many of them hear everything.
    pub fn hearing(&self) -> usize {
        self.members.iter().filter(|member| member.is_hearing()).count()
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// When each of them heard of that. Those that have not within the time are missing.
    pub async fn heard(&self, what: &str, within: Duration) -> Vec<Instant> {
        self.heard_by(self.len(), what, within).await
    }

    /// The same, once so many have heard of it.
    pub async fn heard_by(&self, count: usize, what: &str, within: Duration) -> Vec<Instant> {
        let begun = Instant::now();
        loop {
            let heard: Vec<_> =
                self.ears.iter().filter_map(|ear| ear.0.lock().get(what).copied()).collect();
            if heard.len() >= count || begun.elapsed() > within {
                return heard;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Forgets what was heard of that.
    pub fn forget(&self, what: &str) {
        for ear in &self.ears {
            ear.0.lock().remove(what);
        }
    }

    pub async fn end(self) {
        self.ending.cancel();
        self.running.join_all().await;
    }
}

/// What a member says of itself.
fn record(number: usize) -> Record {
    Record {
        instance: format!("member-{number:04}"),
        role: Role::Member,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        configuration: "made-up".to_owned(),
        started: Timestamp::UNIX_EPOCH,
        trail: None,
        event_log: "off".to_owned(),
        credentials: Vec::new(),
        more: 0,
    }
}
