//! Frames per second through a pipe, beside a bounded channel of the same frames.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use purrr_core::{Frame, Limits, backend::Pipe};
use tokio::{runtime::Builder, sync::mpsc};

const BURST: u64 = 8;

fn relay(criterion: &mut Criterion) {
    let Ok(runtime) = Builder::new_current_thread().build() else { return };
    let frame = Frame::text("a message of about sixty-four bytes, as people write them......");
    let mut group = criterion.benchmark_group("relay");
    group.throughput(Throughput::Elements(BURST));
    group.bench_function("pipe", |bencher| {
        let (mut a, mut b) = Pipe::pair(&Limits::default(), || Box::new(|_| ()));
        bencher.iter(|| {
            runtime.block_on(async {
                for _ in 0..BURST {
                    a.send(frame.clone()).await.ok();
                }
                for _ in 0..BURST {
                    black_box(b.recv().await);
                }
            });
        });
    });
    group.bench_function("tokio mpsc", |bencher| {
        let (a, mut b) = mpsc::channel(256);
        bencher.iter(|| {
            runtime.block_on(async {
                for _ in 0..BURST {
                    a.send(frame.clone()).await.ok();
                }
                for _ in 0..BURST {
                    black_box(b.recv().await);
                }
            });
        });
    });
    group.finish();
}

criterion_group!(benches, relay);
criterion_main!(benches);
