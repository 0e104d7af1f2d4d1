//! What the clients of a turn ask of nodes, and send.

use crate::protocol::Turn;
use crate::session::Client;
use crate::traffic::{self, Traffic};

/// What was asked of nodes, and sent.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sent {
    requests: Option<i64>,
    traffic: Option<Traffic>,
}

impl Sent {
    /// What some clients have asked, and this process has sent.
    pub(crate) fn by<'a>(
        clients: impl IntoIterator<Item = &'a mut Box<dyn Client>>,
    ) -> anyhow::Result<Self> {
        let mut requests = None;
        for client in clients {
            if let Some(more) = client.requests()? {
                requests = Some(requests.unwrap_or_default() + more);
            }
        }
        Ok(Self {
            requests,
            traffic: traffic::of_this_process(),
        })
    }

    /// Writes into a turn what was added since it began.
    pub(crate) fn count(self, before: Self, turn: &mut Turn) {
        let added = |after: i64| after - before.requests.unwrap_or_default();
        let requests = self.requests.map(added);
        turn.requests = requests.and_then(|added| u64::try_from(added).ok());
        turn.traffic = self.traffic.and_then(|after| after.since(before.traffic));
    }
}
