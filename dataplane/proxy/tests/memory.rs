//! R39: what waits in the proxy is bounded by the memory it takes, whatever the pieces it came in.
//! Every allocation of this program is counted, and each test runs alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream, client, server};
use http::{Method, Request, Response};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tulle_proxy::connection::{Meter, Side, pump};
use tulle_proxy::tunnel::hbone::stream::{H2Sink, H2Source};
use tulle_proxy::tunnel::hbone::{CONNECTION_WINDOW, SEND_BUFFER, STREAM_WINDOW};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does it all; only sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller has promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller has promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs a measurement in a runtime of its own, and no other beside it: they would count each other's
/// memory.
fn alone(measurement: impl Future<Output = usize>) -> usize {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(measurement)
}

/// Nothing moves for so long: both sides wait for each other.
const STILL: Duration = Duration::from_millis(300);
/// What a stalled stream may take beside what waits in it, bytes.
const BESIDE: usize = 512 * 1024;

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    client.set_nodelay(true).unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Both ends of a stream over `wire`, with windows as in the mesh: of the client, and of the server.
/// The server's connection goes on until `stop`.
async fn stream(
    wire: (DuplexStream, DuplexStream),
    stop: oneshot::Receiver<()>,
) -> (
    (SendStream<Bytes>, RecvStream),
    (SendStream<Bytes>, RecvStream),
) {
    let (accepted, accept) = oneshot::channel();
    tokio::spawn(async move {
        let mut connection = server::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake::<_, Bytes>(wire.1)
            .await
            .unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let sink = respond.send_response(Response::new(()), false).unwrap();
        accepted.send((sink, request.into_body())).unwrap();
        tokio::select! {
            _ = connection.accept() => {}
            _ = stop => std::future::pending().await,
        }
    });
    let (mut send, connection) = client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake::<_, Bytes>(wire.0)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("10.0.0.1:80")
        .body(())
        .unwrap();
    let (answer, sink) = send.send_request(request, false).unwrap();
    let source = answer.await.unwrap().into_body();
    ((sink, source), accept.await.unwrap())
}

/// An application writes pieces of `size`, one after the other, into a stream whose tunnel takes no
/// more. Answers how much more memory is held when no more is taken.
async fn held_by_sending(size: usize) -> usize {
    let (stop, stopped) = oneshot::channel();
    let ((sink, _source), _far) = stream(duplex(64 * 1024), stopped).await;
    let (mut application, mut near) = tcp().await;
    let (meter, piece) = (Meter::default(), vec![7; size]);
    let counted = meter.clone();
    stop.send(()).unwrap();
    tokio::spawn(async move {
        let (mut source, _sink) = Side::split(&mut near);
        let mut sink = H2Sink::new(sink);
        pump(&mut source, &mut sink, &meter).await
    });
    let before = HELD.load(Ordering::Relaxed);
    let mut written = 0;
    let each_by_itself = async {
        loop {
            application.write_all(&piece).await.unwrap();
            written += size as u64;
            while counted.connection.get() < written {
                tokio::task::yield_now().await;
            }
        }
    };
    let most = Duration::from_secs(20);
    let still = async {
        let mut last = u64::MAX;
        while last != counted.connection.get() {
            last = counted.connection.get();
            tokio::time::sleep(STILL).await;
        }
    };
    tokio::select! {
        () = each_by_itself => {}
        ended = timeout(most, still) => ended.unwrap(),
    }
    HELD.load(Ordering::Relaxed).saturating_sub(before)
}

#[test]
fn r39_small_writes_that_wait_for_the_tunnel_take_the_memory_of_a_full_queue_at_most() {
    for size in [100, 10] {
        let held = alone(held_by_sending(size));
        println!("{size}-byte writes hold {} KiB", held / 1024);
        assert!(held < SEND_BUFFER + BESIDE, "{size}: {held}");
    }
}

/// A peer sends frames of `size` to an application that does not read. Answers how much more memory
/// is held when the stream takes no more.
async fn held_by_receiving(size: usize) -> usize {
    let (_running, stopped) = oneshot::channel();
    let ((_sink, source), (mut far, _far_source)) = stream(duplex(64 * 1024), stopped).await;
    let (mut near, _application) = tcp().await;
    let meter = Meter::default();
    let passed_on = meter.clone();
    tokio::spawn(async move {
        let (_source, mut sink) = Side::split(&mut near);
        pump(&mut H2Source::new(source), &mut sink, &meter).await
    });
    // The kernel's own buffers come first; what is in them is no longer ours.
    let mut full = 0;
    let large = Bytes::from(vec![1; 64 * 1024]);
    while room(&mut far, large.len()).await && full < passed_on.connection.get() + 128 * 1024 {
        full += large.len() as u64;
        far.send_data(large.clone(), false).unwrap();
    }
    drop(large);
    let before = HELD.load(Ordering::Relaxed);
    let small = Bytes::from(vec![1; size]);
    while room(&mut far, size).await {
        far.send_data(small.clone(), false).unwrap();
        tokio::task::yield_now().await;
    }
    HELD.load(Ordering::Relaxed).saturating_sub(before)
}

/// Whether the peer may send so much before long.
async fn room(sink: &mut SendStream<Bytes>, size: usize) -> bool {
    sink.reserve_capacity(size);
    while sink.capacity() < size {
        let more = std::future::poll_fn(|cx| sink.poll_capacity(cx));
        if timeout(STILL, more).await.is_err() {
            return false;
        }
    }
    true
}

#[test]
fn r39_small_frames_that_nobody_reads_take_the_memory_of_a_full_window_at_most() {
    for size in [100, 10] {
        let held = alone(held_by_receiving(size));
        println!("{size}-byte frames hold {} KiB", held / 1024);
        assert!(held < STREAM_WINDOW as usize + BESIDE, "{size}: {held}");
    }
}
