//! What the scenarios of the fleet need: a mock of Pigello with objects, a store, and gateways.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use pigello_mock::{
    Activation, ActivationHandle, Handle, MockPigello, Options, Webhook, WebhookHandle,
};
use tokio::time::{Instant, sleep};

use super::store::{Store, StoreKind, Way};
use crate::{
    Common,
    gateway::{Gateway, Setup},
    noticed::{Person, TOKEN, people_of},
};

/// All of it.
pub struct World {
    mock: MockPigello,
    pub activation: ActivationHandle,
    pub people: Arc<[Person]>,
    pub gateways: Vec<Gateway>,
}

impl World {
    /// Pigello with so many objects, and no gateway yet.
    pub async fn new(people: usize) -> Self {
        let mock = MockPigello::start(Options::new()).await.unwrap();
        let activation = mock.handle().activation(Activation::BUILT_IN).unwrap();
        let people = people_of(&activation, people);
        Self { mock, activation, people, gateways: Vec::new() }
    }

    pub fn pigello(&self) -> &Handle {
        self.mock.handle()
    }

    /// Starts a gateway that reaches the store that way, with these tables. The first two are hubs.
    pub async fn add(&mut self, common: &Common, way: &Way, tables: &str) {
        let number = self.gateways.len();
        let role = if number < HUBS { "hub" } else { "member" };
        let fleet = fleet_tables(role, &format!("gateway-{number:02}"), way);
        let text = format!(
            "[profiles.p]\nupstream = \"{}\"\nca_file = \"ca.pem\"\ncredentials = \"p\"\n\
             cache_key = {{ source = \"file\", path = \"fleet-key\" }}\n\
             [cache.shared]\nenabled = true\n\
             [credentials.p]\nsource = \"directory\"\npath = \"credentials\"\n\
             [[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\nprofile = \"p\"\n\
             {fleet}{tables}",
            self.mock.origin(),
        );
        let setup = Setup::with_tables(common, self.mock.ca_pem().unwrap(), &text)
            .set("RUNTIME__WORKERS", "1");
        for (scheme, value) in self.activation.credentials().unwrap().values() {
            setup.write_secret(&format!("credentials/{}", scheme.key()), value.to_str().unwrap());
        }
        setup.write_secret("fleet-key", &format!("{KEY}\n"));
        setup.write_secret("hooks", &format!("{TOKEN}\n"));
        self.gateways.push(setup.start().await);
    }

    pub fn key_file(&self) -> PathBuf {
        self.gateways[0].path("fleet-key")
    }

    pub fn main(&self, gateway: usize) -> SocketAddr {
        self.gateways[gateway].address("main")
    }

    /// How many gateways hear everything that the fleet tells.
    pub async fn hearing(&self) -> usize {
        let mut hearing = 0;
        for gateway in &self.gateways {
            hearing += usize::from(gateway.status().await["fleet"]["hearing"] == true);
        }
        hearing
    }

    /// Waits until all gateways hear everything.
    pub async fn until_hearing(&self) {
        let begun = Instant::now();
        while self.hearing().await < self.gateways.len() {
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "the gateways do not hear each other"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until every gateway knows that the event log was read.
    pub async fn until_log_is_read(&self) {
        let begun = Instant::now();
        for gateway in &self.gateways {
            while gateway.status().await["notices"][0]["event_log"] != "complete" {
                assert!(begun.elapsed() < Duration::from_mins(1), "nobody reads the event log");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Has Pigello send its webhooks to the first hub.
    pub fn ask_for_webhooks(&self) -> WebhookHandle {
        let url = format!("http://{}/hooks/{TOKEN}", self.gateways[0].address("webhook"));
        self.pigello().webhook(Webhook::new(&url, None).unwrap())
    }

    /// Ends all gateways in order.
    pub async fn drain(&mut self) {
        for gateway in &mut self.gateways {
            gateway.drain().await;
        }
    }
}

/// A store for it.
pub fn store(kind: StoreKind) -> Store {
    // A command that takes longer than 100 ms is noted.
    Store::start(kind, &["--slowlog-log-slower-than", "100000"])
}

/// `[fleet]` of a gateway, whose file `fleet-key` has the key.
pub fn fleet_tables(role: &str, instance: &str, way: &Way) -> String {
    format!(
        "[fleet]\nname = \"{FLEET}\"\nrole = \"{role}\"\ninstance = \"{instance}\"\n\
         key = {{ source = \"file\", path = \"fleet-key\" }}\n{}reconnect = \"5s\"\n",
        way.toml(),
    )
}

/// The fleet's name.
pub const FLEET: &str = "bench";
/// How many of the gateways are hubs.
pub const HUBS: usize = 2;
/// A made-up key: 32 bytes.
pub const KEY: &str = "bWFkZS11cC1rZXktb2YtdGhlLWVuZHVyYW5jZS1iZW4=";
