//! The table of polling sessions: [`SessionTable`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

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
        lock(&self.table.0).remove(&self.sid);
    }
}

/// Returns an unguessable id: 120 random bits in 20 characters.
pub(super) fn new_sid() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 15]>())
}
