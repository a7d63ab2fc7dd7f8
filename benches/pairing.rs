//! Pairs per second through the in-memory lobby, beside the plainest queue that does the same job.

use std::{
    collections::VecDeque,
    hint::black_box,
    sync::{Arc, Mutex, PoisonError},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use purrr_core::{Anyone, Lobby, MemoryLobby, PeerId, Ticket};
use tokio::{runtime::Builder, sync::oneshot};

/// What one would write without this crate: first come, first served, one channel each.
#[derive(Default)]
struct PlainQueue(Mutex<VecDeque<oneshot::Sender<u128>>>);

impl PlainQueue {
    fn enter(&self, chat: u128) -> oneshot::Receiver<u128> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(partner) = waiting.pop_front() {
            partner.send(chat).ok();
            tell.send(chat).ok();
        } else {
            waiting.push_back(tell);
        }
        told
    }
}

fn pairing(criterion: &mut Criterion) {
    let Ok(runtime) = Builder::new_current_thread().enable_time().build() else { return };
    let mut group = criterion.benchmark_group("pairing");
    group.throughput(Throughput::Elements(1));
    group.bench_function("lobby, anyone", |bencher| {
        let lobby = MemoryLobby::default();
        let rule = Arc::new(Anyone);
        let mut peer = 0;
        bencher.to_async(&runtime).iter(|| {
            peer += 2;
            let [a, b] = [peer, peer + 1].map(|peer| Ticket::new(PeerId::from_bits(peer)));
            let (lobby, rule) = (&lobby, &rule);
            async move {
                let a = lobby.enter(a, rule.clone()).await;
                let b = lobby.enter(b, rule.clone()).await;
                let (Ok(a), Ok(b)) = (a, b) else { return };
                black_box((a.await.ok(), b.await.ok()));
            }
        });
    });
    group.bench_function("plain queue", |bencher| {
        let queue = PlainQueue::default();
        bencher.to_async(&runtime).iter(|| async {
            let (a, b) = (queue.enter(1), queue.enter(2));
            black_box((a.await.ok(), b.await.ok()));
        });
    });
    group.finish();
}

criterion_group!(benches, pairing);
criterion_main!(benches);
