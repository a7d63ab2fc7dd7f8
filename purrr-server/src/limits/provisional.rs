//! A limit on polling sessions whose client has sent nothing yet: [`ProvisionalSessions`].
//!
//! A handshake is one request, so it costs a client next to nothing to begin sessions. Until its
//! client has sent a packet or has upgraded, a session is provisional: few are held, for a short
//! time.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use super::{
    lock,
    permits::{LimitReached, Permit, Permits},
};
use crate::{config::Config, net::client_address::scopes};

/// Sessions that are looked at to find one of a network with a large share.
const SAMPLES: usize = 8;

/// The provisional sessions of a server.
///
/// If all slots are taken, a session of a network with a large share is evicted for a client of a
/// network with a smaller one. So clients of many networks cannot keep out another client.
///
/// Worst case: [`Config::provisional_sessions`] connections, for [`Config::provisional_timeout`]
/// each.
#[derive(Debug)]
pub(crate) struct ProvisionalSessions {
    /// Sessions in all. 0 sets no limit.
    limit: usize,
    each: Arc<Permits>,
    prefix_factor: u32,
    timeout: Duration,
    slots: Mutex<Slots>,
    evicted: AtomicU64,
    expired: AtomicU64,
}

/// One provisional session, until this is dropped.
pub(crate) struct ProvisionalPermit {
    sessions: Arc<ProvisionalSessions>,
    id: u64,
    _permit: Permit,
    /// Resolves when the session must end.
    end: Pin<Box<dyn Future<Output = End> + Send>>,
}

/// Why a provisional session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Evicted,
    Expired,
}

#[derive(Debug, Default)]
struct Slots {
    taken: Vec<Slot>,
    /// The index of each slot in `taken`, by id.
    index: HashMap<u64, usize>,
    /// The number of slots of each network. None for clients of unknown address.
    shares: HashMap<Option<IpNet>, usize>,
    last_id: u64,
}

#[derive(Debug)]
struct Slot {
    id: u64,
    network: Option<IpNet>,
    eviction: CancellationToken,
}

impl ProvisionalSessions {
    pub(super) fn new(config: &Config) -> Self {
        let each = if config.rate_limits { config.provisional_sessions_per_address } else { 0 };
        let prefix_factor = config.ipv6_prefix_factor;
        Self {
            limit: config.provisional_sessions,
            each: Arc::new(Permits::new(usize::MAX, each, prefix_factor)),
            prefix_factor,
            timeout: config.provisional_timeout,
            slots: Mutex::default(),
            evicted: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        }
    }

    /// Admits a session, until its permit is dropped.
    pub(super) fn admit(
        this: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Result<ProvisionalPermit, LimitReached> {
        let permit = Permits::take(&this.each, address)?;
        let widest = address.and_then(|address| scopes(address, this.prefix_factor).next_back());
        let network = widest.map(|scope| scope.net);
        let mut slots = lock(&this.slots);
        let evicted = if this.limit > 0 && slots.taken.len() >= this.limit {
            Some(slots.evict_for(network).ok_or(LimitReached::Total)?)
        } else {
            None
        };
        let (id, eviction) = slots.take(network);
        drop(slots);
        if let Some(evicted) = evicted {
            this.evicted.fetch_add(1, Ordering::Relaxed);
            // Wakes a task, so no lock may be held.
            evicted.cancel();
        }
        let timeout = this.timeout;
        let end = async move {
            match tokio::time::timeout(timeout, eviction.cancelled_owned()).await {
                Ok(()) => End::Evicted,
                Err(_) => End::Expired,
            }
        };
        Ok(ProvisionalPermit {
            sessions: Arc::clone(this),
            id,
            _permit: permit,
            end: Box::pin(end),
        })
    }

    /// Returns the number of provisional sessions.
    pub(crate) fn count(&self) -> usize {
        lock(&self.slots).taken.len()
    }

    /// Returns the number of provisional sessions that ended, by reason.
    pub(crate) fn ended(&self) -> [(&'static str, u64); 2] {
        [("evicted", &self.evicted), ("expired", &self.expired)]
            .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }
}

impl Slots {
    fn take(&mut self, network: Option<IpNet>) -> (u64, CancellationToken) {
        self.last_id += 1;
        let (id, eviction) = (self.last_id, CancellationToken::new());
        self.index.insert(id, self.taken.len());
        self.taken.push(Slot { id, network, eviction: eviction.clone() });
        *self.shares.entry(network).or_default() += 1;
        (id, eviction)
    }

    fn release(&mut self, id: u64) -> Option<CancellationToken> {
        let index = self.index.remove(&id)?;
        let slot = self.taken.swap_remove(index);
        if let Some(moved) = self.taken.get(index) {
            self.index.insert(moved.id, index);
        }
        if let Entry::Occupied(mut share) = self.shares.entry(slot.network) {
            *share.get_mut() -= 1;
            if *share.get() == 0 {
                share.remove();
            }
        }
        Some(slot.eviction)
    }

    /// Releases the slot of a network that has more of them than this one, if there is any.
    ///
    /// Only some slots are looked at, at random. A network with many slots is among them.
    fn evict_for(&mut self, network: Option<IpNet>) -> Option<CancellationToken> {
        let share = |network| self.shares.get(&network).copied().unwrap_or(0);
        let samples = (0..SAMPLES).map(|_| &self.taken[fastrand::usize(..self.taken.len())]);
        let victim = samples.max_by_key(|slot| share(slot.network))?;
        let (id, larger) = (victim.id, share(victim.network) > share(network));
        if larger { self.release(id) } else { None }
    }
}

impl ProvisionalPermit {
    /// Polls for the end of the session, if its client stays silent.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if ready!(self.end.as_mut().poll(cx)) == End::Expired {
            self.sessions.expired.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(())
    }
}

impl Drop for ProvisionalPermit {
    fn drop(&mut self) {
        lock(&self.sessions.slots).release(self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn sessions(change: impl FnOnce(&mut Config)) -> Arc<ProvisionalSessions> {
        let mut config = Config::default();
        change(&mut config);
        Arc::new(ProvisionalSessions::new(&config))
    }

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(number.into()))
    }

    fn ended(permit: &mut ProvisionalPermit) -> bool {
        std::future::poll_fn(|cx| permit.poll_end(cx)).now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn provisional_session_expires() {
        let sessions = sessions(|_| {});
        let mut permit = ProvisionalSessions::admit(&sessions, address(1)).unwrap();
        tokio::time::advance(Config::default().provisional_timeout / 2).await;
        assert!(!ended(&mut permit));
        tokio::time::advance(Config::default().provisional_timeout).await;
        assert!(ended(&mut permit));
        assert_eq!(sessions.ended(), [("evicted", 0), ("expired", 1)]);
        drop(permit);
        assert_eq!(sessions.count(), 0);
    }

    #[tokio::test]
    async fn address_has_a_limit_that_rate_limits_off_lifts() {
        for (rate_limits, admitted) in [(true, 3), (false, 10)] {
            let sessions = sessions(|config| {
                (config.rate_limits, config.provisional_sessions_per_address) = (rate_limits, 3);
            });
            let admit = |_| ProvisionalSessions::admit(&sessions, address(1)).ok();
            assert_eq!((0..10).filter_map(admit).collect::<Vec<_>>().len(), admitted);
            assert_eq!(lock(&sessions.slots).shares.len(), 0);
        }
    }

    #[tokio::test]
    async fn largest_share_gives_way() {
        let sessions = sessions(|config| {
            config.provisional_sessions = 100;
            config.provisional_sessions_per_address = 0;
        });
        let admit = |from| ProvisionalSessions::admit(&sessions, address(from));
        let mut few: Vec<_> = (1..=10).map(|from| admit(from).unwrap()).collect();
        let mut many: Vec<_> = (0..90).map(|_| admit(99).unwrap()).collect();
        assert_eq!(admit(99).map(drop), Err(LimitReached::Total), "no share is larger");
        few.extend((11..=40).map(|from| admit(from).unwrap()));
        assert_eq!(sessions.count(), 100);
        assert_eq!(few.iter_mut().filter_map(|permit| ended(permit).then_some(())).count(), 0);
        assert_eq!(many.iter_mut().filter_map(|permit| ended(permit).then_some(())).count(), 30);
        assert_eq!(sessions.ended(), [("evicted", 30), ("expired", 0)]);
        drop((few, many));
        let slots = lock(&sessions.slots);
        assert_eq!((slots.taken.len(), slots.index.len(), slots.shares.len()), (0, 0, 0));
    }
}
