//! A store that page-store nodes serve, as a [`PageStore`].
//!
//! Every request goes to the node that its database prefers, and to others if that one does not
//! answer. What may be repeated is repeated until a node answers.

mod call;
mod connected;
mod connector;
mod driver;
mod nodes;
mod options;
mod store;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use xxhash_rust::xxh3::xxh3_64;

use self::call::{Repeat, authorized};
use self::connected::Connected;
use self::nodes::Nodes;
pub use self::options::{
    ClientOptions, TOKEN_ENVIRONMENT_VARIABLE, TOKEN_FILE_ENVIRONMENT_VARIABLE,
};
use self::watch::Watches;
use super::InvalidMessage;
use super::status::FromKind;
use crate::{
    CommitError, CommitRequest, DatabaseId, DatabaseName, Gate, NodesUrl, PageStore, StoreError,
};

/// Most pages in one read.
const MOST_PAGES: usize = 1024;

/// Most bytes of pages in one message to a node. What is larger is sent in parts.
const MOST_BYTES: usize = 4 << 20;

/// Most bytes of one message from a node.
const MOST_BYTES_OF_REPLY: usize = 32 << 20;

/// Most names whose databases are remembered.
const MOST_NAMES: usize = 10_000;

/// Connects to the nodes of a store. Nothing is sent before the first request.
///
/// # Errors
/// If a file of the options does not hold what it should.
pub fn connect(url: &NodesUrl, options: ClientOptions) -> Result<Arc<dyn PageStore>, StoreError> {
    let refused = |reason| StoreError::Unavailable {
        store: url.to_string(),
        reason,
    };
    options.check(url).map_err(refused)?;
    let client = Client {
        url: url.clone(),
        nodes: Arc::new(Nodes::new(url.nodes())),
        options,
        gate: Arc::default(),
        connected: Mutex::default(),
        ids: Mutex::default(),
        watches: Arc::default(),
    };
    // So that a certificate that cannot be read is found now.
    client.connected().map_err(refused)?;
    Ok(Arc::new(client))
}

struct Client {
    url: NodesUrl,
    nodes: Arc<Nodes>,
    options: ClientOptions,
    gate: Arc<Gate>,
    connected: Mutex<Option<Arc<Connected>>>,
    /// What names stood for when they were last looked up: the node that a database prefers is
    /// found by its id.
    ids: Mutex<HashMap<DatabaseName, DatabaseId>>,
    watches: Arc<Watches>,
}

impl Client {
    fn connected(&self) -> Result<Arc<Connected>, String> {
        let mut connected = self.connected.lock();
        if let Some(connected) = &*connected {
            return Ok(Arc::clone(connected));
        }
        let new = Arc::new(Connected::new(&self.url, &self.options)?);
        *connected = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Which node is asked about the database of a name.
    fn key(&self, name: &DatabaseName) -> u64 {
        let id = self.ids.lock().get(name).map(|id| id.get());
        id.unwrap_or_else(|| xxh3_64(name.as_str().as_bytes()))
    }

    fn remember(&self, name: &DatabaseName, id: DatabaseId) {
        let mut ids = self.ids.lock();
        if ids.get(name) != Some(&id) {
            if ids.len() >= MOST_NAMES {
                ids.clear();
            }
            ids.insert(name.clone(), id);
        }
    }

    fn valid<T>(&self, converted: Result<T, InvalidMessage>) -> Result<T, StoreError> {
        converted.map_err(|error| StoreError::Io {
            store: self.url.to_string(),
            reason: format!("a node answered in a form that this client does not know: {error}"),
        })
    }

    /// Asks a node, by one of the service's methods.
    fn ask<M, A, E, F, R>(&self, key: u64, repeat: Repeat, message: M, method: F) -> Result<A, E>
    where
        M: Clone + Send + Sync + 'static,
        A: Send + 'static,
        E: FromKind,
        F: Fn(Channel, Request<M>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Response<A>, Status>> + Send,
    {
        let bearer = self.options.bearer.clone();
        let answer = self.call(key, repeat, move |channel| {
            let answer = method(channel, authorized(message.clone(), bearer.as_ref()));
            async move { Ok(answer.await?.into_inner()) }
        });
        answer.map_err(|failure| failure.into_error(&self.url.to_string()))
    }

    /// Sends pages that are too many for the message of their commit ahead of it. The answer is
    /// what is left to send.
    fn stage_much(&self, request: &CommitRequest) -> Result<Option<CommitRequest>, CommitError> {
        let sizes = request.participants.iter().filter_map(|participant| {
            let change = participant.change.as_ref()?;
            Some(change.writes.len() * change.page_size.length())
        });
        if sizes.sum::<usize>() <= MOST_BYTES {
            return Ok(None);
        }
        let mut smaller = request.clone();
        for participant in &mut smaller.participants {
            let database = participant.snapshot.database;
            let Some(change) = &mut participant.change else {
                continue;
            };
            let writes = std::mem::take(&mut change.writes);
            let most = (MOST_BYTES / change.page_size.length()).max(1);
            for part in writes.chunks(most) {
                self.stage(request.id, database, part)?;
            }
            change
                .staged
                .extend(writes.iter().map(|write| write.number.get()));
        }
        Ok(Some(smaller))
    }
}
