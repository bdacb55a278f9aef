//! A gateway that takes notices, in front of the mock of Pigello, and objects whose `first_name` says which
//! version they are.

use std::{net::SocketAddr, sync::Arc};

use http::{Method, StatusCode};
use pigello_mock::{
    Activation, ActivationHandle, EXAMPLE_SUBTENANT, Handle, MockPigello, Options, Webhook,
    WebhookHandle,
};
use serde_json::{Map, Value, json};

use super::{
    Common,
    gateway::{Gateway, Setup},
};

/// Pigello and the gateway.
pub struct Noticed {
    mock: MockPigello,
    pub activation: ActivationHandle,
    pub gateway: Gateway,
    pub people: Arc<[Person]>,
}

/// An object.
#[derive(Clone, Debug)]
pub struct Person {
    pub id: String,
    pub path: String,
}

impl Noticed {
    /// So many objects, and a gateway with these tables; `[notices.webhook]` must be the last of them.
    pub async fn start(common: &Common, tables: &str, people: usize) -> Self {
        let mock = MockPigello::start(Options::new()).await.unwrap();
        let activation = mock.handle().activation(Activation::BUILT_IN).unwrap();
        let people = people_of(&activation, people);
        let text = format!(
            "[profiles.p]\nupstream = \"{}\"\nca_file = \"ca.pem\"\ncredentials = \"p\"\n\
             [credentials.p]\nsource = \"directory\"\npath = \"credentials\"\n\
             [[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\nprofile = \"p\"\n\
             {tables}[notices.webhook]\nlistener = \"127.0.0.1:0\"\ntokens_file = \"hooks\"\n",
            mock.origin(),
        );
        let setup = Setup::with_tables(common, mock.ca_pem().unwrap(), &text);
        for (scheme, value) in activation.credentials().unwrap().values() {
            let file = format!("credentials/{}", scheme.key());
            setup.write_secret(&file, value.to_str().unwrap());
        }
        setup.write_secret("hooks", &format!("{TOKEN}\n"));
        let gateway = setup.start().await;
        Self { mock, activation, gateway, people }
    }

    pub fn pigello(&self) -> &Handle {
        self.mock.handle()
    }

    pub fn main(&self) -> SocketAddr {
        self.gateway.address("main")
    }

    /// Has Pigello send its webhooks to the gateway.
    pub fn ask_for_webhooks(&self) -> WebhookHandle {
        let url = format!("http://{}/hooks/{TOKEN}", self.gateway.address("webhook"));
        self.pigello().webhook(Webhook::new(&url, None).unwrap())
    }

    /// What `/status` says of the event log.
    pub async fn event_log(&self) -> String {
        let status = self.gateway.status().await;
        status["notices"][0]["event_log"].as_str().unwrap_or_default().to_owned()
    }
}

/// Version 0 of so many subtenants, and of a tenant for each tenth of them.
pub fn people_of(activation: &ActivationHandle, count: usize) -> Arc<[Person]> {
    let example = activation.object("subtenant", EXAMPLE_SUBTENANT).unwrap();
    let mut subtenant: Map<_, _> = example.as_object().unwrap().clone();
    subtenant.retain(|name, _| {
        name.starts_with("allow_") || name == "add_connection_description_on_invoice"
    });
    subtenant.insert("first_name".to_owned(), json!(version_text(0)));
    let tenant = json!({ "first_name": version_text(0) });
    let kinds = [("subtenant", Value::Object(subtenant), count), ("tenant", tenant, count / 10)];
    let create = |(entity, body, count): (&str, Value, usize)| {
        let path = format!("/accounts/users/customer/{entity}/");
        let people = (0..count).map(|_| {
            let (status, made) = activation.elsewhere(Method::POST, &path, &body);
            assert_eq!(status, StatusCode::CREATED, "{made}");
            let id = made["id"].as_str().unwrap().to_owned();
            Person { path: format!("{path}{id}/"), id }
        });
        people.collect::<Vec<_>>()
    };
    kinds.into_iter().flat_map(create).collect()
}

/// The `first_name` of a version.
pub fn version_text(version: u32) -> String {
    format!("v{version}")
}

/// The version that a `first_name` says.
pub fn version_of(text: &str) -> Option<u32> {
    text.strip_prefix('v')?.parse().ok()
}

/// A made-up token for webhooks.
pub const TOKEN: &str = "made-up-token-for-webhooks-of-the-endurance-bench";
