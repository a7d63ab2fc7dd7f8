//! What a message costs from the bytes that come in to the bytes that go out, in each dialect.
//!
//! `message` has 64 bytes of text, `picture` is one of 48 KiB as the page of the dialect sends it,
//! with the receipt that the native dialect owes for it.

use std::io;

use benches::client::{Client, DIALECTS};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::{io::AsyncWriteExt, runtime::Builder};

/// Little enough to go out in one frame.
const PICTURE: usize = 48 * 1024;

fn codec(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime without sockets needs nothing that could be missing");
    let mut group = criterion.benchmark_group("codec");
    for dialect in &DIALECTS {
        let text = "a message of about sixty-four bytes, as people write them......";
        let sealed = "c2VhbGVk".repeat(PICTURE / 8);
        for (what, said, heard, bytes) in [
            ("message", (dialect.message)(text), text, text.len()),
            ("picture", (dialect.picture)(&sealed), "c2VhbGVkc2Vh", PICTURE),
        ] {
            let confirmed = dialect.name == "native" && what == "picture";
            let paired = async {
                let [mut ann, mut bob] = Client::pair(dialect).await?;
                // The first time shows how much there is to read in all.
                ann.pipe.write_all(&said).await?;
                let mut length = if confirmed { bob.hear("image").await? } else { 0 };
                length += bob.hear(heard).await?;
                if confirmed {
                    ann.hear("delivered").await?;
                }
                io::Result::Ok((ann, bob, length))
            };
            let (mut ann, mut bob, length) =
                runtime.block_on(paired).expect("two people are paired in memory");
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(BenchmarkId::new(dialect.name, what), |bencher| {
                bencher.iter(|| {
                    runtime.block_on(async {
                        ann.pipe.write_all(&said).await.expect("the server reads");
                        bob.read_payload(length).await.expect("what was said arrives");
                        if confirmed {
                            ann.read().await.expect("its sender is told");
                        }
                    });
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
