//! Opens a store by its URL, of whatever kind it is: the one place that knows all of them.

use std::sync::Arc;

use verso_pagestore::grpc::{self, ClientOptions};
use verso_pagestore::{PageStore, StoreError, StoreUrl};

/// Opens the store that a URL names, and creates an embedded one that does not exist yet.
///
/// # Errors
/// If it cannot be opened, is not a store, or was made by a newer version. Nodes are asked only
/// by the first request.
pub fn open(url: &StoreUrl) -> Result<Arc<dyn PageStore>, StoreError> {
    match url {
        StoreUrl::Nodes(nodes) => {
            let options = ClientOptions::from_environment();
            let options = options.map_err(|reason| StoreError::Unavailable {
                store: url.to_string(),
                reason,
            })?;
            grpc::connect(nodes, options)
        }
        StoreUrl::Sqlite(_) | StoreUrl::FoundationDb(_) | StoreUrl::Memory(_) => {
            verso_engine::open(url)
        }
    }
}
