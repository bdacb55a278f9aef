//! Reads the event log of one profile, again and again.
//!
//! A reading asks page by page until a page is not full. Nobody knows how many events Pigello puts on one, whatever it
//! is asked for; a page with fewer than another page had cannot be full. Only then is it complete, and the chain of readings
//! proved from the time at which it began ([`Coherence`](crate::proxy::profile::Coherence)). A reading that fails
//! changes nothing: the next one asks from the same place.
//!
//! In a fleet, only who has the profile's lease reads, and a hub that is cut off. All others hear of the readings
//! ([`chain`](super::chain)). Who cannot read leaves it to others.
//!
//! An answer that the gateway does not understand stops the readings, because it would prove what is not so.
//! They are tried again after ten minutes.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::{
    event::{self, Event},
    feed::{Feed, Notices},
    stopped::Stopped,
};
use crate::{
    domain::RequestId,
    outbound::spread,
    proxy::{
        own::{OwnAnswer, OwnCalls},
        profile::Profile,
    },
};

/// Answers the readings.
pub(super) trait EventLog {
    /// A page of the events since then.
    fn page(
        &self,
        from: Timestamp,
        page: u32,
    ) -> impl Future<Output = Result<Page, Setback>> + Send;
}

/// A page of the event log.
#[derive(Debug)]
pub(super) struct Page {
    /// Pigello's time.
    pub(super) date: Timestamp,
    pub(super) events: Vec<Event>,
    /// The call that read it.
    pub(super) request_id: RequestId,
}

/// Why a reading is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setback {
    /// It failed. The next one may not.
    Failed,
    /// The chain cannot be continued: more has happened than is read at once, or Pigello's clock was put back.
    Lost,
    /// The log cannot be used.
    Stopped(Stopped),
}

/// The readings of one profile's event log.
pub(super) struct Poller<L> {
    notices: Arc<Notices>,
    feed: Arc<Feed>,
    log: L,
}

/// Reads the event log of a profile until it is dropped. The profile's notices must be taken.
pub async fn poll(notices: Arc<Notices>, profile: Arc<Profile>, calls: Arc<OwnCalls>) {
    let Some(feed) = notices.feed(&profile.name) else { return };
    let path = notices.settings().path.clone();
    Poller::new(notices, feed, LogAtPigello { calls, profile, path }).run().await;
}

impl<L: EventLog> Poller<L> {
    pub(super) fn new(notices: Arc<Notices>, feed: Arc<Feed>, log: L) -> Self {
        Self { notices, feed, log }
    }

    pub(super) async fn run(self) {
        loop {
            let began = Instant::now();
            let pause = if self.notices.may_read(&self.feed) { self.turn().await } else { LOOK };
            sleep_until(began + spread(pause)).await;
        }
    }

    /// Makes a reading, and returns when the next one is due.
    pub(super) async fn turn(&self) -> Duration {
        match self.read().await {
            Ok(()) => {}
            Err(Setback::Failed) => self.notices.note_failure(&self.feed),
            Err(Setback::Lost) => self.feed.chain.lock().lose(),
            Err(Setback::Stopped(why)) => {
                self.feed.chain.lock().lose();
                self.feed.coherence.restart();
                self.feed.stopped(why);
                self.notices.leave_to_others(&self.feed, STOPPED_FOR);
                return STOPPED_FOR;
            }
        }
        *self.notices.settings().interval
    }

    async fn read(&self) -> Result<(), Setback> {
        let mut cursor = self.feed.cursor.lock().await;
        let start = self.feed.chain.lock().start();
        cursor.follow(start.last);
        let began = Instant::now();
        let window = cursor.begin(began, Timestamp::now());
        if !window.continues {
            // Before the request: what is fetched from here on is part of the chain.
            self.feed.coherence.restart();
        }
        let mut date = None;
        for number in 1..=MOST_PAGES {
            let page = self.log.page(window.from, number).await?;
            check(&page.events, window.from)?;
            let received = page.events.len();
            let first_date = *date.get_or_insert(page.date);
            let mut events = page.events;
            events.retain(|event| cursor.is_new(event));
            let id = page.request_id;
            self.notices.take_events(&self.feed, received, &events, page.date, id);
            if window.continues && cursor.was_put_back(began, first_date) {
                tracing::warn!(profile = %self.feed.profile, "Pigello's clock was put back");
                return Err(Setback::Lost);
            }
            // The first reading of a chain has nothing to catch up with: it is there for the time.
            if cursor.is_last_page(received) || !window.continues {
                let to = cursor.finish(began, first_date);
                return self.notices.complete(&self.feed, start, window.continues, to);
            }
        }
        Err(Setback::Lost)
    }
}

/// Whether events are of the window and in order. If they are not, pages do not show all of them.
fn check(events: &[Event], from: Timestamp) -> Result<(), Setback> {
    let from = Timestamp::from_second(from.as_second()).unwrap_or(from);
    let mut last = from;
    for event in events {
        let created_at = event.created_at.ok_or(Setback::Stopped(Stopped::NoTime))?;
        if created_at < last {
            return Err(Setback::Stopped(Stopped::Unordered));
        }
        last = created_at;
    }
    Ok(())
}

/// The event log at Pigello, read by calls of the gateway's own.
struct LogAtPigello {
    calls: Arc<OwnCalls>,
    profile: Arc<Profile>,
    path: String,
}

impl EventLog for LogAtPigello {
    async fn page(&self, from: Timestamp, page: u32) -> Result<Page, Setback> {
        let target = target(&self.path, from, page);
        let answer = self.calls.get(&self.profile, &target).await.ok_or(Setback::Failed)?;
        let OwnAnswer { request_id, status, headers, body } = answer;
        let events = judge(status, &body, page)?;
        let date = pigello_time(&headers).ok_or(Setback::Stopped(Stopped::NoDate))?;
        Ok(Page { date, events, request_id })
    }
}

/// The target of a page.
pub fn target(path: &str, from: Timestamp, page: u32) -> String {
    let from = from.strftime("%Y-%m-%dT%H:%M:%SZ");
    format!("{path}?created_at__gte={from}&_order_by=created_at&_page={page}&_page_size={PAGE}")
}

/// The events of an answer.
pub(super) fn judge(status: StatusCode, body: &[u8], page: u32) -> Result<Vec<Event>, Setback> {
    match status {
        StatusCode::OK => event::read(body).map_err(|_| Setback::Stopped(Stopped::Form)),
        // A page behind the last one.
        StatusCode::NOT_FOUND if page > 1 => Ok(Vec::new()),
        StatusCode::NOT_FOUND => Err(Setback::Stopped(Stopped::Missing)),
        StatusCode::FORBIDDEN => Err(Setback::Stopped(Stopped::Forbidden)),
        _ => Err(Setback::Failed),
    }
}

/// What an answer to the question for the first page says of the log, for a check of it.
pub fn try_answer(
    status: StatusCode,
    headers: &http::HeaderMap,
    body: &[u8],
    from: Timestamp,
) -> Option<Result<usize, Stopped>> {
    let judged = judge(status, body, 1).and_then(|events| {
        check(&events, from)?;
        pigello_time(headers).ok_or(Setback::Stopped(Stopped::NoDate))?;
        Ok(events.len())
    });
    match judged {
        Ok(events) => Some(Ok(events)),
        Err(Setback::Stopped(why)) => Some(Err(why)),
        Err(Setback::Failed | Setback::Lost) => None,
    }
}

/// `Date`, unless the answer has been kept by a cache on the way: then it is of another time.
fn pigello_time(headers: &http::HeaderMap) -> Option<Timestamp> {
    if headers.get(http::header::AGE).is_some_and(|age| age != "0") {
        return None;
    }
    let date = headers.get(http::header::DATE)?.to_str().ok()?;
    Timestamp::try_from(httpdate::parse_http_date(date).ok()?).ok()
}

/// The events that a page is asked to have. Pigello's own guides ask for as many.
const PAGE: usize = 500;
/// The pages of one reading. Who has more to catch up with begins anew.
const MOST_PAGES: u32 = 50;
/// How soon a gateway reads that is to read from now on.
const LOOK: Duration = Duration::from_secs(1);
/// The pause before a log that cannot be used is tried again.
const STOPPED_FOR: Duration = Duration::from_mins(10);
