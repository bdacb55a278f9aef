//! Links to the status page that work once, and the sessions in browsers that they begin.
//!
//! Links and sessions are few: one more ends the oldest. Only digests are kept.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, header};
use parking_lot::Mutex;

use super::{Actor, Proof};
use crate::{admin::token::random_text, secret::TokenDigest};

/// The links and sessions of one process.
pub(super) struct Sessions {
    /// Browsers send a cookie to all ports of a host, so each process has a name of its own.
    cookie: String,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    links: VecDeque<Entry>,
    sessions: VecDeque<Entry>,
    last: u64,
}

/// Something that whoever brings the text may use until its end.
struct Entry {
    text: TokenDigest,
    end: Instant,
    actor: Arc<Actor>,
}

impl Sessions {
    pub(super) fn new() -> Self {
        let mut name = random_text().unwrap_or_default();
        name.truncate(8);
        Self { cookie: format!("pigello-gateway-{name}"), kept: Mutex::default() }
    }

    /// A link's text, for a session of that role; `None` if the system has no randomness.
    pub(super) fn link(&self, maker: Actor, now: Instant) -> Option<String> {
        let text = random_text()?;
        let mut kept = self.kept.lock();
        kept.links.retain(|link| link.end > now);
        add(&mut kept.links, &text, now + LINK_TIME, Arc::new(maker), MOST_LINKS);
        Some(text)
    }

    /// Uses a link up. Returns the session's cookie, and who is in it.
    pub(super) fn enter(&self, link: &str, now: Instant) -> Option<(String, Arc<Actor>)> {
        let text = random_text()?;
        let mut kept = self.kept.lock();
        let digest = TokenDigest::of(link);
        let at = kept.links.iter().position(|link| bool::from(link.text.same_as(&digest)))?;
        let maker = kept.links.remove(at).filter(|link| link.end > now)?.actor;
        kept.last += 1;
        let actor = Actor { role: maker.role, proof: Proof::Session(kept.last, maker) };
        let actor = Arc::new(actor);
        kept.sessions.retain(|session| session.end > now);
        add(&mut kept.sessions, &text, now + SESSION_TIME, Arc::clone(&actor), MOST_SESSIONS);
        // No `Domain`, so that it is for this host alone; no `Secure`, because a loopback address has no TLS.
        let cookie = format!(
            "{}={text}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}",
            self.cookie,
            SESSION_TIME.as_secs()
        );
        Some((cookie, actor))
    }

    /// Who is in the session of the request's cookie.
    pub(super) fn find(&self, headers: &HeaderMap) -> Option<Actor> {
        let cookies =
            headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok());
        let mut pairs =
            cookies.flat_map(|field| field.split(';')).filter_map(|pair| pair.split_once('='));
        let (_, text) = pairs.find(|(name, _)| name.trim_ascii() == self.cookie)?;
        self.session(text.trim_ascii(), Instant::now())
    }

    fn session(&self, text: &str, now: Instant) -> Option<Actor> {
        let digest = TokenDigest::of(text);
        let kept = self.kept.lock();
        let session =
            kept.sessions.iter().find(|session| bool::from(session.text.same_as(&digest)))?;
        (session.end > now).then(|| (*session.actor).clone())
    }
}

fn add(entries: &mut VecDeque<Entry>, text: &str, end: Instant, actor: Arc<Actor>, most: usize) {
    if entries.len() == most {
        entries.pop_front();
    }
    entries.push_back(Entry { text: TokenDigest::of(text), end, actor });
}

/// How long a link works.
pub(super) const LINK_TIME: Duration = Duration::from_mins(1);
/// How long a session lasts.
const SESSION_TIME: Duration = Duration::from_hours(8);
/// People who open the page at the same moment.
const MOST_LINKS: usize = 16;
/// People who have the page open.
const MOST_SESSIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{admin::access::Role, domain::Peer};

    fn somebody() -> Actor {
        let peer = Peer::Unix { uid: 1001, gid: 1001, pid: Some(42) };
        Actor { role: Role::Operate, proof: Proof::Peer(peer) }
    }

    fn text_of(cookie: &str) -> &str {
        cookie.split(['=', ';']).nth(1).unwrap()
    }

    #[test]
    fn a_link_works_once_and_for_a_minute() {
        let sessions = Sessions::new();
        let now = Instant::now();
        let link = sessions.link(somebody(), now).unwrap();
        assert!(
            sessions.enter("", now).is_none()
                && sessions.enter(link.get(1..).unwrap(), now).is_none()
        );
        let (cookie, who) = sessions.enter(&link, now + Duration::from_secs(59)).unwrap();
        assert_eq!(who.to_string(), "session=1 uid=1001 gid=1001 pid=42");
        for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=28800"] {
            assert!(cookie.split("; ").any(|part| part == attribute), "{cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
        assert!(sessions.enter(&link, now).is_none(), "used up");
        let late = sessions.link(somebody(), now).unwrap();
        assert!(sessions.enter(&late, now + LINK_TIME).is_none(), "too old");
        assert!(sessions.enter(&late, now).is_none(), "used up all the same");
    }

    #[test]
    fn a_session_ends_after_eight_hours_or_when_there_are_too_many() {
        let sessions = Sessions::new();
        let now = Instant::now();
        let enter = || sessions.enter(&sessions.link(somebody(), now).unwrap(), now).unwrap().0;
        let first = enter();
        assert!(sessions.session(text_of(&first), now + SESSION_TIME).is_none());
        assert!(sessions.session(text_of(&first), now).is_some());
        let others: Vec<_> = (0..MOST_SESSIONS).map(|_| enter()).collect();
        assert!(sessions.session(text_of(&first), now).is_none(), "the oldest gave way");
        assert!(others.iter().all(|cookie| sessions.session(text_of(cookie), now).is_some()));
        for _ in 0..2 * MOST_LINKS {
            sessions.link(somebody(), now).unwrap();
        }
        assert_eq!(sessions.kept.lock().links.len(), MOST_LINKS);
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let sessions = Sessions::new();
        let now = Instant::now();
        let link = sessions.link(somebody(), now).unwrap();
        let (cookie, _) = sessions.enter(&link, now).unwrap();
        let pair = cookie.split(';').next().unwrap();
        let find = |fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::COOKIE, field.parse().unwrap());
            }
            sessions.find(&headers).is_some()
        };
        assert!(find(&[pair]) && find(&[&format!("a=b; {pair}; c")]) && find(&["a=b", pair]));
        assert!(!find(&[]) && !find(&["a=b"]) && !find(&[&pair.replace('=', "x=")]));
        assert!(!find(&[pair.get(..pair.len() - 1).unwrap()]));
    }
}
