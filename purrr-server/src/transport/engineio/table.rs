//! The table of polling sessions: [`SessionTable`].

use std::{
    collections::HashMap,
    mem::take,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use tokio::{runtime::Handle, time::sleep};

use super::polling::Polling;
use crate::limits::lock;

/// The sessions that poll, or were upgraded from polling, by id. Clones are the same table.
#[derive(Clone, Debug, Default)]
pub(super) struct SessionTable(Arc<Mutex<HashMap<String, Arc<Polling>>>>);

/// A session's entry in the table. Dropping it removes the entry and closes the session.
pub(super) struct Record {
    sid: String,
    polling: Arc<Polling>,
    table: SessionTable,
}

/// How long a session that its client has closed stays for the poll that was sent before.
const GOODBYE: Duration = Duration::from_secs(1);

impl SessionTable {
    /// Returns the session with this id.
    pub(super) fn get(&self, sid: &str) -> Option<Arc<Polling>> {
        lock(&self.0).get(sid).map(Arc::clone)
    }

    /// Adds a session under a new id.
    pub(super) fn insert(&self, polling: Polling) -> Record {
        let (sid, polling) = (new_sid(), Arc::new(polling));
        lock(&self.0).insert(sid.clone(), Arc::clone(&polling));
        Record { sid, polling, table: self.clone() }
    }

    fn remove(&self, sid: &str) {
        lock(&self.0).remove(sid);
    }
}

impl Record {
    pub(super) fn sid(&self) -> &str {
        &self.sid
    }

    pub(super) fn polling(&self) -> &Polling {
        &self.polling
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.polling.close();
        if self.polling.is_noop_due()
            && let Ok(runtime) = Handle::try_current()
        {
            let (table, sid) = (self.table.clone(), take(&mut self.sid));
            runtime.spawn(async move {
                sleep(GOODBYE).await;
                table.remove(&sid);
            });
        } else {
            self.table.remove(&self.sid);
        }
    }
}

/// Returns an unguessable id: 120 random bits in 20 characters.
pub(super) fn new_sid() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 15]>())
}
