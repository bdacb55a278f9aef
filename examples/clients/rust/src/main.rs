//! Lists subtenants through the gateway.

use std::time::Duration;

use reqwest::{Client, header::CONTENT_TYPE, redirect::Policy};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::var("PIGELLO_URL").unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned());
    // One client for all calls: it keeps its connections open. A proxy of the environment is not for
    // this machine.
    let client = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        // Longer than the gateway's own limit, so that it is the one that tells why.
        .timeout(Duration::from_secs(35))
        .build()?;

    let url = format!("{base}/accounts/users/customer/subtenant/list/?_page=1&_page_size=10");
    let answer = client.get(url).send().await?;
    let status = answer.status();
    let field = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let problem = field(CONTENT_TYPE.as_str()) == Some("application/problem+json");
    let id = field("x-request-id").unwrap_or_default().to_owned();
    let body: Value = answer.json().await?;
    if problem {
        return Err(format!("{}: {} (request {id})", body["title"], body["detail"]).into());
    }
    if !status.is_success() {
        return Err(format!("Pigello answers {status}").into());
    }
    println!("{} subtenants (request {id})", body.as_array().map_or(0, Vec::len));
    Ok(())
}
