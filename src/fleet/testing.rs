//! A store in process, for models: it speaks as much of the protocol as members use, on tokio's clock, and loses,
//! repeats and delays what it is told to.

use std::{collections::HashMap, fmt, io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream},
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{bus::PUBLISH, error::StoreError, lease, members};

/// The store. Clones share it.
#[derive(Clone)]
pub(crate) struct FakeStore(Arc<Shared>);

struct Shared {
    began: Instant,
    state: Mutex<State>,
    /// Whether it answers.
    hangs: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// By id: milliseconds, and a number.
    stream: Vec<((u64, u64), Vec<u8>)>,
    leases: HashMap<Vec<u8>, (Vec<u8>, Instant)>,
    is_down: bool,
    /// How far its clock is put back, in milliseconds.
    behind: u64,
    clients: HashMap<usize, Client>,
    connections: Vec<Open>,
    /// The messages that whoever runs it keeps back from now on.
    to_keep_back: usize,
    doubles: bool,
}

/// How the network treats a member.
#[derive(Default)]
struct Client {
    is_cut: bool,
    /// How late it hears the channel.
    push_delay: Duration,
    /// The messages that the channel does not bring it from now on.
    to_lose: usize,
    /// How long its next message is under way. Its connection has broken by then.
    next_late: Option<Duration>,
    /// The answer to its next message is lost.
    is_next_unanswered: bool,
}

struct Open {
    client: usize,
    end: CancellationToken,
    pushes: mpsc::UnboundedSender<(Instant, Vec<u8>)>,
    is_subscribed: bool,
}

/// The way of a member to the store.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) store: FakeStore,
    pub(crate) client: usize,
}

impl Way {
    pub(super) fn open(&self) -> Result<DuplexStream, StoreError> {
        let mut state = self.store.0.state.lock();
        let is_cut = state.clients.entry(self.client).or_default().is_cut;
        if state.is_down || is_cut {
            return Err(StoreError::Connect(io::ErrorKind::ConnectionRefused.into()));
        }
        let (near, far) = tokio::io::duplex(1 << 20);
        let (pushes, pushed) = mpsc::unbounded_channel();
        let end = CancellationToken::new();
        let (client, is_subscribed) = (self.client, false);
        state.connections.retain(|open| !open.end.is_cancelled());
        state.connections.push(Open { client, end: end.clone(), pushes, is_subscribed });
        drop(state);
        let (store, client) = (self.store.clone(), self.client);
        tokio::spawn(async move {
            let served = store.serve(client, &end, far, pushed);
            drop(end.run_until_cancelled(served).await);
            end.cancel();
        });
        Ok(near)
    }
}

impl FakeStore {
    pub(crate) fn new() -> Self {
        let (hangs, _) = watch::channel(false);
        Self(Arc::new(Shared { began: Instant::now(), state: Mutex::default(), hangs }))
    }

    /// It is away.
    pub(crate) fn stop(&self) {
        let mut state = self.0.state.lock();
        state.is_down = true;
        state.end_all();
    }

    /// It is back, with all or nothing of what it had.
    pub(crate) fn start(&self, keeps: bool) {
        let mut state = self.0.state.lock();
        state.is_down = false;
        if !keeps {
            state.stream.clear();
            state.leases.clear();
        }
    }

    /// A replica takes over that does not have the last messages, and whose clock may be behind.
    pub(crate) fn fail_over(&self, lost: usize, behind: u64) {
        let mut state = self.0.state.lock();
        let kept = state.stream.len().saturating_sub(lost);
        state.stream.truncate(kept);
        // Those that it has were renewed a while ago.
        if lost > 1 {
            state.leases.clear();
        }
        state.behind = behind;
        state.end_all();
    }

    /// Nothing is wrong any more, with it and with the network. It has what it has.
    pub(crate) fn mend(&self) {
        let mut state = self.0.state.lock();
        (state.is_down, state.doubles, state.to_keep_back) = (false, false, 0);
        for (client, way) in std::mem::take(&mut state.clients) {
            // What is still to come late would hold up what comes after it.
            if !way.push_delay.is_zero() {
                state.end(client);
            }
        }
        drop(state);
        self.hang(false);
    }

    /// It does not answer, or goes on.
    pub(crate) fn hang(&self, hangs: bool) {
        self.0.hangs.send_replace(hangs);
    }

    /// A member is cut off, or no longer.
    pub(crate) fn cut(&self, client: usize, is_cut: bool) {
        let mut state = self.0.state.lock();
        state.clients.entry(client).or_default().is_cut = is_cut;
        if is_cut {
            state.end(client);
        }
    }

    /// The connection of a member breaks.
    pub(crate) fn disconnect(&self, client: usize) {
        self.0.state.lock().end(client);
    }

    /// The channel does not bring a member the next messages.
    pub(crate) fn lose(&self, client: usize, messages: usize) {
        self.0.state.lock().clients.entry(client).or_default().to_lose = messages;
    }

    /// Whoever runs it answers the next messages as if it had them, and shows them to nobody.
    pub(crate) fn keep_back(&self, messages: usize) {
        self.0.state.lock().to_keep_back = messages;
    }

    /// The channel brings each message twice.
    pub(crate) fn double(&self, doubles: bool) {
        self.0.state.lock().doubles = doubles;
    }

    /// The channel is late for a member.
    pub(crate) fn delay(&self, client: usize, by: Duration) {
        self.0.state.lock().clients.entry(client).or_default().push_delay = by;
    }

    /// The next message of a member is late, and its connection breaks.
    pub(crate) fn make_late(&self, client: usize, by: Duration) {
        self.0.state.lock().clients.entry(client).or_default().next_late = Some(by);
    }

    /// The next message of a member arrives, and its connection breaks before the answer.
    pub(crate) fn leave_unanswered(&self, client: usize) {
        self.0.state.lock().clients.entry(client).or_default().is_next_unanswered = true;
    }

    async fn serve(
        &self,
        client: usize,
        end: &CancellationToken,
        stream: DuplexStream,
        mut pushed: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
    ) -> io::Result<()> {
        let (read, mut write) = tokio::io::split(stream);
        let (answers, mut answered) = mpsc::unbounded_channel::<Vec<u8>>();
        let writing = async move {
            while let Some(bytes) = answered.recv().await {
                write.write_all(&bytes).await?;
            }
            Ok(())
        };
        let channel = answers.clone();
        let pushing = async move {
            while let Some((due, bytes)) = pushed.recv().await {
                sleep_until(due).await;
                drop(channel.send(bytes));
            }
            Ok(())
        };
        let reading = async move {
            let (mut read, mut hangs) = (BufReader::new(read), self.0.hangs.subscribe());
            loop {
                let command = command(&mut read).await?;
                drop(hangs.wait_for(|hangs| !hangs).await);
                let Some(answer) = self.answer(client, end, &command) else { return Ok(()) };
                drop(answers.send(answer));
            }
        };
        tokio::select! {
            result = reading => result,
            result = writing => result,
            result = pushing => result,
        }
    }

    /// The answer to a command; none if the connection breaks.
    fn answer(
        &self,
        client: usize,
        end: &CancellationToken,
        command: &[Vec<u8>],
    ) -> Option<Vec<u8>> {
        let word = |at: usize| command.get(at).map(Vec::as_slice).unwrap_or_default();
        Some(match word(0) {
            b"HELLO" => {
                let said = ["server", "valkey", "version", "9.0.0", "role", "master"];
                let said: Vec<_> = said.iter().map(|text| bulk(text.as_bytes())).collect();
                [b"%3\r\n".to_vec(), said.concat()].concat()
            }
            b"SUBSCRIBE" => {
                let mut state = self.0.state.lock();
                let own = state
                    .connections
                    .iter_mut()
                    .find(|open| open.client == client && !open.end.is_cancelled());
                own.unwrap().is_subscribed = true;
                [b">3\r\n".to_vec(), bulk(b"subscribe"), bulk(word(1)), b":1\r\n".to_vec()].concat()
            }
            b"TIME" => {
                let now = self.now();
                let parts = [now / 1000, now % 1000 * 1000];
                list(&parts.map(|part| bulk(part.to_string().as_bytes())))
            }
            b"XRANGE" => {
                let from = id(word(2));
                self.entries(|all| {
                    all.iter().filter(|(id, _)| *id >= from).take(100).cloned().collect()
                })
            }
            b"XREVRANGE" => self.entries(|all| all.last().cloned().into_iter().collect()),
            b"ZREM" => b":1\r\n".to_vec(),
            b"EVAL" if word(1) == members::WRITE.as_bytes() => b":1\r\n".to_vec(),
            b"EVAL" if word(1) == PUBLISH.as_bytes() => {
                return self.publish_for(client, end, word(3).to_vec(), word(4).to_vec());
            }
            b"EVAL" => {
                let count: usize = str::from_utf8(word(2)).unwrap().parse().unwrap();
                let (keys, owner) = (&command[3..3 + count], &command[3 + count]);
                let is_taking = word(1) == lease::TAKE.as_bytes();
                let taken: Vec<_> =
                    keys.iter().map(|key| self.lease(key, owner, is_taking)).collect();
                if is_taking {
                    list(
                        &taken
                            .iter()
                            .map(|taken| format!(":{}\r\n", u8::from(*taken)).into())
                            .collect::<Vec<_>>(),
                    )
                } else {
                    format!(":{}\r\n", taken.len()).into()
                }
            }
            other => panic!("{}", String::from_utf8_lossy(other)),
        })
    }

    /// Its time in milliseconds.
    fn now(&self) -> u64 {
        let behind = self.0.state.lock().behind;
        10_000_000 + u64::try_from(self.0.began.elapsed().as_millis()).unwrap() - behind
    }

    fn entries(
        &self,
        some: impl Fn(&[((u64, u64), Vec<u8>)]) -> Vec<((u64, u64), Vec<u8>)>,
    ) -> Vec<u8> {
        let entry = |((time, number), message): ((u64, u64), Vec<u8>)| {
            let id = bulk(format!("{time}-{number}").as_bytes());
            list(&[id, list(&[bulk(b"m"), bulk(&message)])])
        };
        list(&some(&self.0.state.lock().stream).into_iter().map(entry).collect::<Vec<_>>())
    }

    fn lease(&self, key: &[u8], owner: &[u8], is_taking: bool) -> bool {
        let mut state = self.0.state.lock();
        let now = Instant::now();
        let held = state.leases.get(key).filter(|(_, until)| now < *until);
        let is_own = held.is_some_and(|(known, _)| known == owner);
        if is_taking && (held.is_none() || is_own) {
            state.leases.insert(key.to_vec(), (owner.to_vec(), now + lease::LEASE));
            return true;
        }
        if !is_taking && is_own {
            state.leases.remove(key);
        }
        false
    }

    fn publish_for(
        &self,
        client: usize,
        end: &CancellationToken,
        key: Vec<u8>,
        message: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let mut state = self.0.state.lock();
        let way = state.clients.entry(client).or_default();
        let (late, is_unanswered) =
            (way.next_late.take(), std::mem::take(&mut way.is_next_unanswered));
        drop(state);
        if let Some(late) = late {
            let store = self.clone();
            tokio::spawn(async move {
                sleep(late).await;
                store.publish(&key, &message);
            });
            end.cancel();
            return None;
        }
        let id = self.publish(&key, &message);
        if is_unanswered {
            end.cancel();
            return None;
        }
        Some(bulk(id.as_bytes()))
    }

    fn publish(&self, key: &[u8], message: &[u8]) -> String {
        let now = self.now();
        let mut state = self.0.state.lock();
        let last = state.stream.last().map(|(id, _)| *id);
        let id = match last {
            Some((time, number)) if time >= now => (time, number + 1),
            _ => (now, 0),
        };
        let text = |(time, number): (u64, u64)| format!("{time}-{number}");
        if state.to_keep_back > 0 {
            state.to_keep_back -= 1;
            return text(id);
        }
        state.stream.push((id, message.to_vec()));
        let before = last.map(text).unwrap_or_default();
        let payload = [format!("{} {before} ", text(id)).as_bytes(), message].concat();
        let push = [b">3\r\n".to_vec(), bulk(b"message"), bulk(key), bulk(&payload)].concat();
        let times = if state.doubles { 2 } else { 1 };
        let State { connections, clients, .. } = &mut *state;
        for open in connections.iter().filter(|open| open.is_subscribed) {
            let way = clients.entry(open.client).or_default();
            if way.to_lose > 0 {
                way.to_lose -= 1;
                continue;
            }
            for _ in 0..times {
                drop(open.pushes.send((Instant::now() + way.push_delay, push.clone())));
            }
        }
        text(id)
    }
}

impl State {
    fn end_all(&mut self) {
        self.connections.drain(..).for_each(|open| open.end.cancel());
    }

    fn end(&mut self, client: usize) {
        let own = self.connections.iter().filter(|open| open.client == client);
        own.for_each(|open| open.end.cancel());
        self.connections.retain(|open| open.client != client);
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Way({})", self.client)
    }
}

/// Reads a command: a list of texts.
async fn command(read: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> io::Result<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    for _ in 0..length(read).await? {
        let mut word = vec![0; length(read).await? + 2];
        read.read_exact(&mut word).await?;
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Ok(words)
}

async fn length(read: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> io::Result<usize> {
    let mut line = String::new();
    read.read_line(&mut line).await?;
    let digits = line.trim_end().get(1..).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(digits.parse().unwrap())
}

fn bulk(text: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [format!("*{}\r\n", items.len()).into_bytes(), items.concat()].concat()
}

fn id(text: &[u8]) -> (u64, u64) {
    let (time, number) = str::from_utf8(text).unwrap().split_once('-').unwrap();
    (time.parse().unwrap(), number.parse().unwrap())
}
