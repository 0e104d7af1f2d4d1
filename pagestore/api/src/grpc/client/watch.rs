//! Watched databases: what a node pushes of them lets a transaction begin without a request, on a
//! snapshot whose age is bounded.
//!
//! No clock of two machines is compared. The client probes; a node answers a probe with a state
//! that is at least as new; so the state is no older than the moment at which the probe was sent.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use super::call::authorized;
use super::{Client, store};
use crate::grpc::convert::required;
use crate::grpc::proto;
use crate::{Begun, Bound, Changes, CommitPages, DatabaseName, Recent, Since, Snapshot};

/// A watch ends when nobody has asked for so long.
const IDLE: Duration = Duration::from_secs(10);

/// The shortest and the longest time between two probes.
const SHORTEST_PERIOD: Duration = Duration::from_millis(2);
const LONGEST_PERIOD: Duration = Duration::from_secs(1);

/// After a watch was cut off.
const PAUSE: Duration = Duration::from_millis(100);

/// Most commits that are remembered.
const MOST_COMMITS: usize = 1000;

/// The watched databases of a client.
#[derive(Default)]
pub(super) struct Watches(Mutex<HashMap<DatabaseName, Arc<Watch>>>);

/// A watched database.
struct Watch {
    name: DatabaseName,
    state: Mutex<State>,
}

struct State {
    /// When somebody last wanted to know, and how old it might be.
    asked: Instant,
    age: Duration,
    tail: Option<Tail>,
}

/// What is known of a database: its newest state, and the commits that led there.
struct Tail {
    snapshot: Snapshot,
    /// The state is no older than this.
    as_of: Instant,
    /// All commits after this version are known.
    oldest: crate::Version,
    commits: VecDeque<CommitPages>,
}

impl Tail {
    /// What happened since then, as far as it is remembered.
    fn changes(&self, since: Option<Since>) -> Changes {
        match since {
            Some(since)
                if since.database == self.snapshot.database && since.version >= self.oldest =>
            {
                let is_new = |commit: &&CommitPages| commit.version > since.version;
                Changes::Commits(self.commits.iter().filter(is_new).cloned().collect())
            }
            _ => Changes::Unknown,
        }
    }

    /// The state after a push; `as_of` if it answers a probe that was sent then.
    fn advanced(before: Option<Self>, pushed: Begun, as_of: Option<Instant>) -> Option<Self> {
        let Begun { snapshot, changes } = pushed;
        let before = before.filter(|before| before.snapshot.database == snapshot.database);
        let Some(as_of) = as_of.or_else(|| before.as_ref().map(|before| before.as_of)) else {
            // Nobody knows how old it is.
            return None;
        };
        let mut tail = match (before, changes) {
            (Some(before), Changes::Commits(commits)) => {
                let mut tail = before;
                tail.commits.extend(commits);
                tail
            }
            (_, Changes::Commits(_) | Changes::Unknown | Changes::Diverged) => Self {
                snapshot,
                as_of,
                oldest: snapshot.version,
                commits: VecDeque::new(),
            },
        };
        tail.snapshot = snapshot;
        tail.as_of = as_of.max(tail.as_of);
        while tail.commits.len() > MOST_COMMITS {
            if let Some(commit) = tail.commits.pop_front() {
                tail.oldest = commit.version;
            }
        }
        Some(tail)
    }
}

impl Watches {
    /// The state of a database, if it is known to be new enough.
    pub(super) fn recent(
        &self,
        name: &DatabaseName,
        since: Option<Since>,
        bound: Bound,
    ) -> Option<Recent> {
        let watch = Arc::clone(self.0.lock().get(name)?);
        let mut state = watch.state.lock();
        state.asked = Instant::now();
        state.age = bound.age;
        let tail = state.tail.as_ref()?;
        let age = tail.as_of.elapsed();
        let is_new_enough = age <= bound.age && tail.snapshot.version >= bound.at_least;
        is_new_enough.then(|| Recent {
            begun: Begun {
                snapshot: tail.snapshot,
                changes: tail.changes(since),
            },
            age,
        })
    }

    /// A watch to be run, if the database is not watched yet.
    fn begin(&self, name: &DatabaseName, age: Duration) -> Option<Arc<Watch>> {
        let mut watches = self.0.lock();
        if watches.contains_key(name) {
            return None;
        }
        let watch = Arc::new(Watch {
            name: name.clone(),
            state: Mutex::new(State {
                asked: Instant::now(),
                age,
                tail: None,
            }),
        });
        watches.insert(name.clone(), Arc::clone(&watch));
        Some(watch)
    }

    /// Forgets a watch that has ended.
    fn end(&self, watch: &Arc<Watch>) {
        let mut watches = self.0.lock();
        if watches
            .get(&watch.name)
            .is_some_and(|known| Arc::ptr_eq(known, watch))
        {
            watches.remove(&watch.name);
        }
    }

    /// Forgets all of them: their tasks are gone.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}

impl Watch {
    fn is_idle(&self) -> bool {
        self.state.lock().asked.elapsed() > IDLE
    }

    fn period(&self) -> Duration {
        (self.state.lock().age / 2).clamp(SHORTEST_PERIOD, LONGEST_PERIOD)
    }

    /// Watches until the stream is cut off, or nobody wants to know.
    async fn follow(
        &self,
        channel: Channel,
        bearer: Option<&tonic::metadata::MetadataValue<tonic::metadata::Ascii>>,
    ) -> Result<(), Status> {
        let (probes, requests) = mpsc::channel(1);
        let first = proto::WatchRequest {
            name: self.name.to_string(),
            since: None,
            probe: 1,
        };
        let mut sent = Instant::now();
        let mut number = 1;
        // There is room for the first one.
        let _ = probes.send(first).await;
        let request = authorized(ReceiverStream::new(requests), bearer);
        let mut replies = store::transactions(channel)
            .watch(request)
            .await?
            .into_inner();
        let mut is_answered = false;
        let pause = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                reply = replies.next() => {
                    let Some(reply) = reply.transpose()? else {
                        return Ok(());
                    };
                    let answers = reply.probe == number;
                    self.learn(reply, answers.then_some(sent))?;
                    if answers {
                        is_answered = true;
                        pause.as_mut().reset(tokio::time::Instant::now() + self.period());
                    }
                }
                () = &mut pause, if is_answered => {
                    if self.is_idle() {
                        return Ok(());
                    }
                    is_answered = false;
                    number += 1;
                    sent = Instant::now();
                    let probe = proto::WatchRequest {
                        probe: number,
                        ..proto::WatchRequest::default()
                    };
                    if probes.send(probe).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn learn(&self, reply: proto::WatchReply, as_of: Option<Instant>) -> Result<(), Status> {
        let snapshot = required("snapshot", reply.snapshot)?.try_into()?;
        let changes = required("changes", reply.changes)?.try_into()?;
        let mut state = self.state.lock();
        let before = state.tail.take();
        state.tail = Tail::advanced(before, Begun { snapshot, changes }, as_of);
        Ok(())
    }

    /// What was known is not kept up to date any more.
    fn cut_off(&self) {
        self.state.lock().tail = None;
    }
}

impl Client {
    /// Watches a database from now on, as long as somebody wants to know.
    pub(super) fn watch(&self, name: &DatabaseName, age: Duration) {
        let _pass = self.gate.enter();
        let Ok(connected) = self.connected() else {
            return;
        };
        let Some(watch) = self.watches.begin(name, age) else {
            return;
        };
        let (key, nodes) = (self.key(name), Arc::clone(&self.nodes));
        let (channels, watches) = (connected.channels(), Arc::clone(&self.watches));
        let bearer = self.options.bearer.clone();
        connected.driver().spawn(async move {
            while !watch.is_idle() {
                let node = nodes.ranked(key).into_iter().next();
                if let Some(channel) = node.and_then(|node| channels.get(node)) {
                    let followed = watch.follow(channel.clone(), bearer.as_ref()).await;
                    if let Err(status) = followed {
                        tracing::debug!(database = %watch.name, %status, "a watch was cut off");
                    }
                }
                watch.cut_off();
                tokio::time::sleep(PAUSE).await;
            }
            watches.end(&watch);
        });
    }
}
