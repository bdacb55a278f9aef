//! A model of members, a store and an upstream, in any order of what can happen: what a member takes from the shared
//! cache is never older than a change that it knows of.

use std::{collections::HashSet, sync::Arc};

use proptest::prelude::*;

use super::horizon::{Horizon, Position};

const MEMBERS: usize = 3;
const OBJECTS: u32 = 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A write through a member, or a change that it is the first to learn of.
    Write {
        member: usize,
        object: u32,
    },
    /// A member publishes its next notice, or an empty message. The answer may be lost, and it tells it again then.
    Publish {
        member: usize,
        is_answered: bool,
    },
    /// A member hears the next message.
    Hear {
        member: usize,
    },
    /// A member reads the stream to its end. Others may do something before it has the answer.
    CatchUp {
        member: usize,
        meanwhile: Option<u32>,
    },
    /// A member has lost its place, and begins at the end.
    Break {
        member: usize,
    },
    /// A member purges what it has.
    Purge {
        member: usize,
    },
    FetchBegins {
        member: usize,
        object: u32,
    },
    /// One of the fetches under way is stored.
    FetchEnds {
        number: usize,
    },
    /// The store shows any entry that it ever had.
    Replay {
        number: usize,
    },
    Read {
        member: usize,
        object: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (member, object) = (0..MEMBERS, 0..OBJECTS);
    let both = (member.clone(), object);
    prop_oneof![
        2 => both.clone().prop_map(|(member, object)| Step::Write { member, object }),
        3 => (member.clone(), prop::bool::weighted(0.8))
            .prop_map(|(member, is_answered)| Step::Publish { member, is_answered }),
        4 => member.clone().prop_map(|member| Step::Hear { member }),
        2 => (member.clone(), prop::option::of(0..OBJECTS))
            .prop_map(|(member, meanwhile)| Step::CatchUp { member, meanwhile }),
        1 => member.clone().prop_map(|member| Step::Break { member }),
        1 => member.prop_map(|member| Step::Purge { member }),
        3 => both.clone().prop_map(|(member, object)| Step::FetchBegins { member, object }),
        3 => (0..8_usize).prop_map(|number| Step::FetchEnds { number }),
        1 => (0..32_usize).prop_map(|number| Step::Replay { number }),
        6 => both.prop_map(|(member, object)| Step::Read { member, object }),
    ]
}

/// What a notice is about: an object, and its version after the change.
type Change = (u32, u64);

#[derive(Clone, Copy, Debug)]
struct Entry {
    object: u32,
    version: u64,
    asof: Position,
    /// What had happened when its fetch began.
    began: u64,
}

struct Member {
    horizon: Arc<Horizon>,
    /// How many messages it has heard.
    heard: usize,
    outbox: Vec<Change>,
    known: HashSet<Change>,
    /// It takes nothing that was fetched before that.
    purged: u64,
}

struct World {
    versions: [u64; OBJECTS as usize],
    /// The messages, with their publishers.
    stream: Vec<(usize, Option<Change>)>,
    members: Vec<Member>,
    under_way: Vec<Entry>,
    entries: [Option<Entry>; OBJECTS as usize],
    ever: Vec<Entry>,
    clock: u64,
}

fn position(number: usize) -> Position {
    Position::new(1_800_000_000_000, number as u64)
}

impl World {
    fn new() -> Self {
        let member = |_| {
            let horizon = Horizon::new();
            horizon.begin(position(0));
            let (outbox, known) = (Vec::new(), HashSet::new());
            Member { horizon, heard: 0, outbox, known, purged: 0 }
        };
        Self {
            versions: [0; OBJECTS as usize],
            stream: Vec::new(),
            members: (0..MEMBERS).map(member).collect(),
            under_way: Vec::new(),
            entries: [None; OBJECTS as usize],
            ever: Vec::new(),
            clock: 0,
        }
    }

    fn write(&mut self, member: usize, object: u32) {
        let version = &mut self.versions[object as usize];
        *version += 1;
        let change = (object, *version);
        let member = &mut self.members[member];
        member.horizon.changed(object, None);
        member.outbox.push(change);
        member.known.insert(change);
    }

    fn publish(&mut self, number: usize, is_answered: bool) {
        let member = &mut self.members[number];
        let round = member.horizon.round();
        self.stream.push((number, member.outbox.first().copied()));
        if is_answered {
            round.end(position(self.stream.len()));
            if !member.outbox.is_empty() {
                member.outbox.remove(0);
            }
        }
    }

    fn hear(&mut self, number: usize) {
        let member = &mut self.members[number];
        let Some((publisher, change)) = self.stream.get(member.heard) else { return };
        member.heard += 1;
        if *publisher != number
            && let Some(change) = change
        {
            member.horizon.changed(change.0, Some(position(member.heard)));
            member.known.insert(*change);
        }
    }

    fn catch_up(&mut self, number: usize, meanwhile: Option<u32>) {
        let round = self.members[number].horizon.round();
        let end = self.stream.len();
        if let Some(object) = meanwhile {
            self.write(number, object);
            self.publish((number + 1) % MEMBERS, true);
        }
        while self.members[number].heard < end {
            self.hear(number);
        }
        round.end(position(self.members[number].heard.max(end)).next());
    }

    fn lose(&mut self, number: usize) {
        let end = self.stream.len();
        let member = &mut self.members[number];
        member.horizon.everything_changed(Some(position(end)));
        member.known.extend(self.stream.iter().filter_map(|(_, change)| *change));
        member.heard = end;
    }

    fn step(&mut self, step: Step) {
        self.clock += 1;
        match step {
            Step::Write { member, object } => self.write(member, object),
            Step::Publish { member, is_answered } => self.publish(member, is_answered),
            Step::Hear { member } => self.hear(member),
            Step::CatchUp { member, meanwhile } => self.catch_up(member, meanwhile),
            Step::Break { member } => self.lose(member),
            Step::Purge { member } => {
                let member = &mut self.members[member];
                member.horizon.everything_changed(None);
                member.purged = self.clock;
            }
            Step::FetchBegins { member, object } => {
                let asof = position(self.members[member].heard);
                let version = self.versions[object as usize];
                let began = self.clock;
                self.under_way.push(Entry { object, version, asof, began });
            }
            Step::FetchEnds { number } => {
                if number < self.under_way.len() {
                    let entry = self.under_way.swap_remove(number);
                    self.entries[entry.object as usize] = Some(entry);
                    self.ever.push(entry);
                }
            }
            Step::Replay { number } => {
                if let Some(entry) = self.ever.get(number) {
                    self.entries[entry.object as usize] = Some(*entry);
                }
            }
            Step::Read { member, object } => self.read(member, object),
        }
    }

    fn is_usable(&self, member: usize, entry: &Entry) -> bool {
        let least = self.members[member].horizon.least([entry.object]);
        least.is_some_and(|least| entry.asof >= least)
    }

    fn read(&self, number: usize, object: u32) {
        let Some(entry) = self.entries[object as usize] else { return };
        if !self.is_usable(number, &entry) {
            return;
        }
        let member = &self.members[number];
        let newest =
            member.known.iter().filter(|(of, _)| *of == object).map(|(_, version)| *version);
        assert!(
            newest.max().unwrap_or_default() <= entry.version,
            "{entry:?} is too old for {number}"
        );
        assert!(entry.began >= member.purged, "{entry:?} is from before the purge of {number}");
    }

    /// After everything is told and heard, and one more message, what any member fetches is of use to all.
    fn settles(&mut self) {
        for number in 0..MEMBERS {
            while !self.members[number].outbox.is_empty() {
                self.publish(number, true);
            }
        }
        for number in 0..MEMBERS {
            self.catch_up(number, None);
        }
        let end = position(self.stream.len());
        if self.members.iter().any(|member| member.horizon.is_ahead_of(end)) {
            self.publish(0, true);
        }
        for number in 0..MEMBERS {
            while self.members[number].heard < self.stream.len() {
                self.hear(number);
            }
        }
        for (fetcher, object) in (0..MEMBERS).flat_map(|it| (0..OBJECTS).map(move |of| (it, of))) {
            let asof = position(self.members[fetcher].heard);
            let version = self.versions[object as usize];
            let entry = Entry { object, version, asof, began: self.clock };
            assert!((0..MEMBERS).all(|member| self.is_usable(member, &entry)), "{entry:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_is_older_than_a_change_that_is_known(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settles();
    }
}
