//! Watching a database: its new versions go to the client as they come, and each probe of the
//! client is answered with a state that is at least as new as the probe.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Status, Streaming};
use verso_pagestore::grpc::proto;
use verso_pagestore::{Begun, Changes, DatabaseName, Since};

use crate::access::Caller;
use crate::auth::Right;
use crate::look::{Lookers, Seen, position};
use crate::operations::watches::OpenWatch;
use crate::service::{bounded, name};
use crate::work::Work;

/// How often a watch checks whether its client may still watch.
const CHECK: Duration = Duration::from_millis(100);

/// Replies that a client has not taken yet. A slow client is told nothing more until it takes them.
const MOST_REPLIES: usize = 4;

/// More bytes of changes than this are not listed. There may be many watches, of clients that read
/// slowly.
const MOST_BYTES_OF_CHANGES: usize = 16 << 10;

/// The replies to a watch.
pub(crate) type Replies = Pin<Box<dyn Stream<Item = Result<proto::WatchReply, Status>> + Send>>;

/// One client that watches one database.
struct Watcher {
    work: Work,
    caller: Caller,
    name: DatabaseName,
    since: Option<Since>,
    /// What is seen of the database, for all who watch it.
    seen: watch::Receiver<Seen>,
    replies: mpsc::Sender<Result<proto::WatchReply, Status>>,
    _open: OpenWatch,
}

/// Begins a watch, whose first message says of which database.
pub(crate) async fn watch(
    work: &Work,
    lookers: &Arc<Lookers>,
    caller: Caller,
    mut requests: Streaming<proto::WatchRequest>,
) -> Result<Replies, Status> {
    let first = requests.next().await.transpose()?;
    let first = first.ok_or_else(|| Status::invalid_argument("a watch begins with a name"))?;
    let (replies, receiver) = mpsc::channel(MOST_REPLIES);
    let name = name(first.name)?;
    caller.may(Right::Read, &name)?;
    let mut watcher = Watcher {
        seen: lookers.look_at(&name, work).ok_or_else(ending)?,
        work: work.clone(),
        caller,
        name,
        since: first.since.map(TryInto::try_into).transpose()?,
        replies,
        _open: OpenWatch::new(),
    };
    tokio::spawn(async move {
        if let Err(status) = watcher.run(first.probe, requests).await {
            // Nobody is left to be told if the client has gone.
            let _ = watcher.replies.send(Err(status)).await;
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

fn ending() -> Status {
    Status::unavailable("the node is shutting down")
}

impl Watcher {
    /// Goes on until the client ends the watch, or the database cannot be looked at.
    async fn run(
        &mut self,
        probe: u64,
        mut requests: Streaming<proto::WatchRequest>,
    ) -> Result<(), Status> {
        self.tell(Some(probe)).await?;
        let mut checks = interval(CHECK);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = requests.next() => match request.transpose()? {
                    Some(request) => self.tell(Some(request.probe)).await?,
                    None => return Ok(()),
                },
                // The token may be taken away meanwhile.
                _ = checks.tick() => self.caller.may(Right::Read, &self.name)?,
                seen = self.seen.changed() => {
                    seen.map_err(|_| ending())?;
                    self.tell_seen().await?;
                }
            }
            if self.replies.is_closed() {
                return Ok(());
            }
        }
    }

    /// Tells what was seen, if the client does not know it yet.
    async fn tell_seen(&mut self) -> Result<(), Status> {
        let seen = self.seen.borrow_and_update().clone();
        match seen {
            Seen::News(news) if Some(news.newest()) == self.since => Ok(()),
            Seen::News(news) if news.since.is_some() && news.since == self.since => {
                self.caller.may(Right::Read, &self.name)?;
                self.reply(&news.begun, None).await;
                Ok(())
            }
            // It has missed something.
            Seen::News(_) | Seen::Nothing | Seen::Failure => self.tell(None).await,
        }
    }

    /// Looks at the store, and tells what is new, or what was probed.
    async fn tell(&mut self, probe: Option<u64>) -> Result<(), Status> {
        // The token may be taken away meanwhile.
        self.caller.may(Right::Read, &self.name)?;
        let begun = self.work.begin(self.name.clone(), self.since).await?;
        let is_news = begun.changes != Changes::Commits(Vec::new());
        if probe.is_some() || is_news {
            self.reply(&begun, probe).await;
        }
        Ok(())
    }

    async fn reply(&mut self, begun: &Begun, probe: Option<u64>) {
        self.since = Some(position(begun));
        let changes = bounded(begun.changes.clone(), MOST_BYTES_OF_CHANGES);
        let reply = proto::WatchReply {
            snapshot: Some(begun.snapshot.into()),
            changes: Some(changes.into()),
            probe: probe.unwrap_or_default(),
        };
        // The next look finds out that the client has gone.
        let _ = self.replies.send(Ok(reply)).await;
    }
}
