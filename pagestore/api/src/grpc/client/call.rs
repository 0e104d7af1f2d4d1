//! One request, asked until a node answers: failing over, coming back, giving up.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Code, ConnectError, Request, Status};

use super::Client;
use super::nodes::{NodeIndex, Nodes};
use crate::StoreError;
use crate::grpc::proto;
use crate::grpc::proto::admin_client::AdminClient;
use crate::grpc::proto::error::{Kind, store};
use crate::grpc::status::{FromKind, kind_of, operation_error};

/// Between two rounds over all nodes.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Whether a request may be asked again when nobody knows what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It comes to the same.
    Safe,
    /// It comes to the same, and what an earlier attempt came to must not be forgotten over the
    /// failure of a later one.
    Tracked,
    /// It might do its work twice, or fail because it has done it.
    Unsafe,
}

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// A node answered with an error.
    Answered(Kind),
    /// A node refused to deal with the request.
    Refused(Status),
    /// No node took the request.
    Unreachable(String),
    /// A node may have done the work, and its answer was lost.
    Lost(String),
}

impl Failure {
    /// Of a request that an earlier attempt may have done: whether it tells what became of that.
    const fn tells_of_earlier_attempts(&self) -> bool {
        match self {
            // A lease ends, and an attempt that a node is stuck with may go on then.
            Self::Answered(kind) => !matches!(kind, Kind::Store(_) | Kind::Leased(_)),
            Self::Refused(_) | Self::Unreachable(_) | Self::Lost(_) => false,
        }
    }

    /// The error of an operation.
    pub(super) fn into_error<E: FromKind>(self, url: &str) -> E {
        let store = url.to_owned();
        match self {
            Self::Answered(kind) => operation_error(kind, url),
            Self::Refused(status) => refusal(&status, store).into(),
            Self::Unreachable(reason) | Self::Lost(reason) => {
                StoreError::Unreachable { store, reason }.into()
            }
        }
    }
}

/// What a refusal means, with what to do.
fn refusal(status: &Status, store: String) -> StoreError {
    let (code, message) = (status.code(), status.message());
    if code == Code::Unauthenticated {
        let reason =
            format!("{message}: set VERSO_TOKEN or VERSO_TOKEN_FILE to one that its nodes know");
        return StoreError::Denied { store, reason };
    }
    if code == Code::PermissionDenied {
        let reason = format!("{message}: use a token that may do this");
        return StoreError::Denied { store, reason };
    }
    let reason = if code == Code::Unimplemented {
        format!(
            "the node does not know this request ({message}): is it a Verso node, and as new as \
             this client?"
        )
    } else {
        format!("the node refused the request: {message} ({code:?})")
    };
    StoreError::Unavailable { store, reason }
}

/// What came of asking one node.
enum Attempt<T> {
    Answer(Result<T, Failure>),
    /// It can be asked again, of another node.
    Failed {
        status: Status,
        was_sent: bool,
    },
}

fn judge<T>(result: Result<T, Status>) -> Attempt<T> {
    let status = match result {
        Ok(answer) => return Attempt::Answer(Ok(answer)),
        Err(status) => status,
    };
    match kind_of(&status) {
        // Another node may do better.
        Some(Kind::Store(failure)) if failure.kind() == store::Kind::Unavailable => {
            return Attempt::Failed {
                status,
                was_sent: false,
            };
        }
        // The next attempt finds out.
        Some(Kind::Unknown(_)) => {
            return Attempt::Failed {
                status,
                was_sent: true,
            };
        }
        Some(kind) => return Attempt::Answer(Err(Failure::Answered(kind))),
        None => {}
    }
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => Attempt::Answer(Err(Failure::Refused(status))),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::ResourceExhausted => {
            let was_sent = !was_never_sent(&status);
            Attempt::Failed { status, was_sent }
        }
    }
}

/// Whether the node has not seen the request: there was no connection, or it had no room.
fn was_never_sent(status: &Status) -> bool {
    // A node's own words: HTTP/2 has none, and may cut off what was begun.
    if status.code() == Code::ResourceExhausted && status.source().is_none() {
        return true;
    }
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

impl Client {
    /// Asks the nodes for an answer, in the order of their rank for `key`, until one gives it.
    pub(super) fn call<T, F, R>(&self, key: u64, repeat: Repeat, ask: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Fn(Channel) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, Status>> + Send,
    {
        let pass = self.gate.enter();
        let connected = self.connected().map_err(Failure::Unreachable)?;
        let (nodes, patience) = (Arc::clone(&self.nodes), self.options.patience);
        let channels = connected.channels();
        let bearer = self.options.bearer.clone();
        let answer = connected.driver().run(async move {
            for node in nodes.rested() {
                if let Some(channel) = channels.get(node) {
                    let request = authorized(proto::NameOfRequest { database: 0 }, bearer.as_ref());
                    tokio::spawn(try_again(
                        Arc::clone(&nodes),
                        node,
                        channel.clone(),
                        request,
                    ));
                }
            }
            ask_in_turn(&nodes, key, repeat, patience, &channels, ask).await
        });
        // In this order: whoever waits until nobody is inside ends the connections then.
        drop(connected);
        drop(pass);
        answer.unwrap_or_else(|| Err(Failure::Lost("the client failed; this is a bug".into())))
    }
}

/// Finds out whether a node that failed answers again. Clients that need an answer ask another
/// one meanwhile: a node that stays silent would keep each of them waiting.
async fn try_again(
    nodes: Arc<Nodes>,
    node: NodeIndex,
    channel: Channel,
    request: Request<proto::NameOfRequest>,
) {
    match judge(AdminClient::new(channel).name_of(request).await) {
        Attempt::Answer(_) => nodes.answered(node),
        Attempt::Failed { .. } => nodes.failed(node),
    }
}

async fn ask_in_turn<T, R: Future<Output = Result<T, Status>>>(
    nodes: &Nodes,
    key: u64,
    repeat: Repeat,
    patience: Duration,
    channels: &[Channel],
    ask: impl Fn(Channel) -> R,
) -> Result<T, Failure> {
    let mut pause = SHORTEST_PAUSE;
    let mut may_be_done = false;
    if repeat == Repeat::Unsafe {
        // Nobody may have looked at the connections for a moment: one that has ended is seen first.
        tokio::task::yield_now().await;
    }
    loop {
        let mut last = "there is none".to_owned();
        for node in nodes.ranked(key) {
            let Some(channel) = channels.get(node) else {
                continue;
            };
            match judge(ask(channel.clone()).await) {
                Attempt::Answer(answer) => {
                    nodes.answered(node);
                    return match answer {
                        Err(failure)
                            if may_be_done
                                && repeat == Repeat::Tracked
                                && !failure.tells_of_earlier_attempts() =>
                        {
                            Err(Failure::Lost(format!("{failure:?}")))
                        }
                        answer => answer,
                    };
                }
                Attempt::Failed { status, was_sent } => {
                    nodes.failed(node);
                    last = describe(&status);
                    tracing::debug!(node, reason = last, "a node did not answer");
                    may_be_done |= was_sent;
                    if was_sent && repeat == Repeat::Unsafe {
                        return Err(Failure::Lost(format!(
                            "the answer of a node was lost ({last}): look whether it was done"
                        )));
                    }
                }
            }
        }
        // In a long outage a request asks once: whoever waits goes on waiting elsewhere.
        let outage = nodes.none_answered(patience);
        if outage >= patience {
            let reason = format!("no node answered for {} s ({last})", outage.as_secs());
            return Err(if may_be_done {
                Failure::Lost(reason)
            } else {
                Failure::Unreachable(reason)
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The message, and the innermost reason.
fn describe(status: &Status) -> String {
    let mut innermost = None;
    let mut source = status.source();
    while let Some(error) = source {
        innermost = Some(error.to_string());
        source = error.source();
    }
    match innermost {
        Some(reason) if reason != status.message() => format!("{}: {reason}", status.message()),
        _ => status.message().to_owned(),
    }
}

/// A request message with a token.
pub(super) fn authorized<M>(
    message: M,
    bearer: Option<&tonic::metadata::MetadataValue<tonic::metadata::Ascii>>,
) -> Request<M> {
    let mut request = Request::new(message);
    if let Some(bearer) = bearer {
        request
            .metadata_mut()
            .insert("authorization", bearer.clone());
    }
    request
}
