//! The memcached store against real servers, servers that are down, and servers that are something else.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cachesweeper_core::face::Face as _;
use cachesweeper_core::store::memcached::{AsyncMemcachedStore, MemcachedOptions, MemcachedStore};
use cachesweeper_core::store::{Action, AsyncStore, Op, Reply, Store};
use cachesweeper_core::{RecordKey, Sweeper, Ttl, blocking};
use cachesweeper_tests::Memcached;
use cachesweeper_tests::site::quick;

const DAY: Ttl = Ttl::days(1);

fn options(servers: &[String]) -> MemcachedOptions {
    MemcachedOptions { servers: servers.to_vec(), timeout: Duration::from_secs(5) }
}

/// Runs a batch on the blocking and on the async store; both must answer alike.
async fn both(servers: &[String], batch: impl Fn() -> Vec<Op>) -> Vec<Reply> {
    let options = options(servers);
    let blocking = MemcachedStore::new(&options);
    let ops = batch();
    let count = ops.len();
    let from_blocking = tokio::task::spawn_blocking(move || blocking.run(&ops)).await.expect("joined");
    let from_async = AsyncMemcachedStore::new(&options).run(&batch()).await;
    assert_eq!((from_blocking.len(), from_async.len()), (count, count));
    for (left, right) in from_blocking.iter().zip(&from_async) {
        assert_eq!(format!("{left:?}"), format!("{right:?}"));
    }
    from_async
}

fn op(key: &str, action: Action) -> Op {
    Op { node: 0, key: key.into(), action }
}

#[tokio::test]
async fn operations_do_what_they_say_on_a_real_memcached() {
    let Some(server) = Memcached::start(&["-m", "64"]) else { return };
    let servers = [server.address()];
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let store = AsyncMemcachedStore::new(&options(&servers));
    let run = async |action| store.run(&[op("k", action)]).await.remove(0);
    assert!(matches!(run(Action::Append(bytes("x"), DAY)).await, Reply::No));
    assert!(matches!(run(Action::Add(bytes("a"), DAY)).await, Reply::Done));
    assert!(matches!(run(Action::Add(bytes("b"), DAY)).await, Reply::No));
    assert!(matches!(run(Action::Append(bytes("c"), DAY)).await, Reply::Done));
    assert!(matches!(run(Action::Replace(bytes("a"), bytes("z"), DAY)).await, Reply::No));
    assert!(matches!(run(Action::Get).await, Reply::Value(value) if &value[..] == b"ac"));
    assert!(matches!(run(Action::Replace(bytes("ac"), bytes("z"), Ttl::days(90))).await, Reply::Done));
    assert!(matches!(run(Action::Get).await, Reply::Value(value) if &value[..] == b"z"), "90 days are no date in 1970");
    assert!(matches!(run(Action::Set(bytes("long"), Ttl::MAX)).await, Reply::Done));
    assert!(matches!(run(Action::Get).await, Reply::Value(value) if &value[..] == b"long"));
    assert!(matches!(run(Action::Delete).await, Reply::Done));
    assert!(matches!(run(Action::Delete).await, Reply::No));
    assert!(matches!(run(Action::Set(vec![b'x'; 2 << 20].into(), DAY)).await, Reply::TooLarge));
    assert!(matches!(run(Action::Set(Bytes::new(), DAY)).await, Reply::Done));
    assert!(matches!(run(Action::Get).await, Reply::Value(value) if value.is_empty()));
    // Binary values, with everything that a protocol could trip over.
    let binary: Vec<u8> = (0..=255).cycle().take(70_000).chain(*b"\r\nEN\r\nVA 3\r\n").collect();
    run(Action::Set(binary.clone().into(), DAY)).await;
    assert!(matches!(run(Action::Get).await, Reply::Value(value) if value == binary));
}

#[tokio::test]
async fn an_append_renews_the_ttl() {
    let Some(server) = Memcached::start(&[]) else { return };
    let store = AsyncMemcachedStore::new(&options(&[server.address()]));
    let short = Ttl::new(Duration::from_secs(30)).expect("a TTL");
    store.run(&[op("k", Action::Add(Bytes::from_static(b"a"), short)), op("k", Action::Append(Bytes::from_static(b"b"), DAY))]).await;
    let meta = server.command("mg k t");
    let left: u32 = meta.strip_prefix("HD t").expect("a TTL").parse().expect("a number");
    assert!(left > 80_000, "{meta}");
}

#[tokio::test]
async fn a_batch_far_larger_than_any_socket_buffer_comes_through_in_order() {
    let (Some(one), Some(two)) = (Memcached::start(&["-m", "512"]), Memcached::start(&["-m", "512"])) else { return };
    let servers = [one.address(), two.address()];
    let key = |id: usize| format!("a/key/of/ordinary/length/for/a/fragment/comment.html/comment:{id}");
    let value = |id: usize| Bytes::from(vec![u8::try_from(id % 251).unwrap_or(0); 30_000]);
    let set = || (0..2_000).map(|id| Op { node: id % 2, key: key(id).into(), action: Action::Set(value(id), DAY) }).collect();
    assert!(both(&servers, set).await.iter().all(|reply| matches!(reply, Reply::Done)));
    let get = || (0..4_000).map(|id| Op::get(id % 2, key(id))).collect();
    for (id, reply) in both(&servers, get).await.into_iter().enumerate() {
        match reply {
            Reply::Value(found) => assert!(id < 2_000 && found == value(id), "{id}"),
            Reply::No => assert!(id >= 2_000, "{id}"),
            other => panic!("{id}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_crowd_of_tasks_takes_no_more_connections_than_the_server_has() {
    let Some(server) = Memcached::start(&["-c", "100"]) else { return };
    let store = AsyncMemcachedStore::new(&options(&[server.address()]));
    let one = async |id: usize| {
        let action = if id.is_multiple_of(2) { Action::Set(Bytes::from_static(b"x"), DAY) } else { Action::Get };
        store.run(&[op(&format!("k{id}"), action)]).await.remove(0)
    };
    for _ in 0..3 {
        let replies = futures_util::future::join_all((0..3_000).map(one)).await;
        let failed = replies.iter().find(|reply| !matches!(reply, Reply::Done | Reply::No));
        assert!(failed.is_none(), "{failed:?}");
    }
}

#[tokio::test]
async fn names_that_do_not_resolve_and_servers_that_are_down_are_no_reason_not_to_start() {
    for server in ["no-such-host.invalid:11211", "127.0.0.1:1"] {
        let sweeper = quick(Sweeper::builder()).memcached([server]).build().expect("it starts");
        for _ in 0..50 {
            let key = RecordKey::new("setting", 1);
            let page = sweeper.fragment(&key, "f").get_or_render(async || Ok::<_, std::convert::Infallible>("page")).await;
            assert_eq!(page.expect("rendered"), "page");
        }
        let failed = sweeper.stats();
        assert!(failed.bypasses_node_down == 50 && failed.store_errors >= 50, "{failed:?}");
    }
}

/// A server that answers every connection with one line, and counts them.
fn impostor(line: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming().take(100) {
            let mut stream = stream.expect("a connection");
            count.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 64];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(line.as_bytes());
            open.push(stream);
        }
    });
    (address, connections)
}

#[tokio::test]
async fn a_server_that_is_no_memcached_or_too_old_is_named() {
    for (line, hint) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "no memcached"),
        ("VERSION 1.4.15\r\n", "too old"),
        ("-ERR unknown command\r\n", "no memcached"),
    ] {
        let (address, _) = impostor(line);
        let replies = both(std::slice::from_ref(&address), || vec![Op::get(0, "k")]).await;
        let Reply::Failed(error) = &replies[0] else { panic!("{replies:?}") };
        let message = error.to_string();
        assert!(message.contains(hint) && message.contains(&address) && error.down, "{message}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_waited_for_once_per_retry_interval() {
    let (address, connections) = impostor("");
    let builder = quick(Sweeper::builder()).store_timeout(Duration::from_millis(50)).retry_interval(Duration::from_secs(60));
    let sweeper = builder.memcached([address]).build().expect("a sweeper");
    for id in 0..200 {
        let key = RecordKey::new("setting", id);
        sweeper.fragment(&key, "f").get_or_render(async || Ok::<_, std::convert::Infallible>("page")).await.expect("rendered");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[test]
fn wrong_addresses_are_refused_when_the_sweeper_is_built() {
    for wrong in ["cache1", "cache1:", ":11211", "cache1:port", "cache1:99999", ""] {
        let error = Sweeper::builder().memcached([wrong]).build().expect_err(wrong).to_string();
        assert!(error.contains("host:port"), "{error}");
    }
    let twice = Sweeper::builder().memcached(["a:1", "b:1", "a:1"]).build().expect_err("twice").to_string();
    assert!(twice.contains("a:1 is named twice"), "{twice}");
    let none = Sweeper::builder().build().expect_err("no store").to_string();
    assert!(none.contains(".memory(") && none.contains(".memcached("), "{none}");
}

#[tokio::test]
async fn both_faces_share_fragments_and_sweeps() {
    let Some(server) = Memcached::start(&[]) else { return };
    let name = cachesweeper_tests::database::unique("faces");
    let faces = || quick(Sweeper::builder()).namespace(&name).memcached([server.address()]).build().expect("a sweeper");
    let one = faces();
    let two = blocking::Sweeper::builder()
        .namespace(&name)
        .hold(Duration::from_millis(700))
        .plain_hold(Duration::from_millis(700))
        .max_clock_skew(Duration::from_millis(20))
        .memcached([server.address()])
        .build()
        .expect("a sweeper");
    let key = RecordKey::new("setting", 1);
    let from_async =
        async || one.fragment(&key, "f").get_or_render(async || Ok::<_, std::convert::Infallible>("async")).await.expect("rendered");
    let from_blocking = || two.fragment(&key, "f").get_or_render(|| Ok::<_, std::convert::Infallible>("blocking")).expect("rendered");
    while from_async().await.outcome().word() == "bypass" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(from_blocking(), "async");
    two.invalidate_records(std::slice::from_ref(&key));
    assert_eq!(from_async().await.outcome().word(), "miss");
    one.invalidate_records(std::slice::from_ref(&key)).await;
    assert_eq!(from_blocking().outcome().word(), "miss");
    assert_eq!(from_async().await, "blocking");
}

/// Waits until the quarantine of a new server is over.
async fn warm_up(sweeper: &Sweeper) {
    let on = || sweeper.fragment(RecordKey::new("warmup", 1), "f");
    while on().get_or_render(async || Ok::<_, std::convert::Infallible>("x")).await.expect("infallible").outcome().word() == "bypass" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn sealed_fragments_are_read_by_both_faces_and_others_are_overwritten() {
    let Some(server) = Memcached::start(&[]) else { return };
    let secret = [7; 32];
    let builder = || quick(Sweeper::builder()).memcached([server.address()]).namespace("sealed");
    let (sealed, plain) = (builder().secret(secret).build().expect("built"), builder().build().expect("built"));
    let blocking =
        quick(blocking::Sweeper::builder()).memcached([server.address()]).namespace("sealed").secret(secret).build().expect("built");
    warm_up(&sealed).await;
    let word = async |sweeper: &Sweeper| {
        let fragment = sweeper.fragment(RecordKey::new("note", 1), "f");
        fragment.get_or_render(async || Ok::<_, std::convert::Infallible>("body")).await.expect("infallible").outcome().word()
    };
    assert_eq!((word(&sealed).await, word(&sealed).await), ("miss", "hit"));
    let from_blocking = tokio::task::spawn_blocking(move || {
        let fragment = blocking.fragment(RecordKey::new("note", 1), "f");
        fragment.get_or_render(|| Ok::<_, std::convert::Infallible>("body")).expect("infallible").outcome().word()
    });
    assert_eq!(from_blocking.await.expect("joined"), "hit");
    assert_eq!((word(&plain).await, word(&sealed).await, sealed.stats().forged), ("miss", "miss", 1));
    assert_eq!((word(&sealed).await, sealed.stats().forged), ("hit", 1));
}

#[tokio::test]
async fn a_fragment_that_fits_compressed_is_kept_and_is_read_by_both_faces() {
    let Some(server) = Memcached::start(&["-m", "64"]) else { return };
    let builder = || quick(Sweeper::builder()).memcached([server.address()]).namespace("compressed");
    let (compressing, plain) = (builder().build().expect("built"), builder().compress_above(u64::MAX).build().expect("built"));
    let blocking = quick(blocking::Sweeper::builder()).memcached([server.address()]).namespace("compressed").build().expect("built");
    // More than an item may have, until it is compressed.
    let page: String = (0..40_000).map(|id| format!("<li id=\"comment-{id}\">{}</li>\n", "First! ".repeat(5))).collect();
    warm_up(&compressing).await;
    let served = async |sweeper: &Sweeper, key: i32| {
        let fragment = sweeper.fragment(RecordKey::new("page", key), "f");
        let shown = fragment.get_or_render(async || Ok::<_, std::convert::Infallible>(page.clone())).await.expect("infallible");
        assert!(*shown == *page);
        shown.outcome()
    };
    assert!(page.len() > 1 << 21);
    use cachesweeper_core::Outcome::{Hit, Miss, TooLarge};
    assert_eq!((served(&plain, 1).await, served(&plain, 1).await), (TooLarge, TooLarge));
    assert_eq!((served(&compressing, 2).await, served(&compressing, 2).await, served(&plain, 2).await), (Miss, Hit, Hit));
    let from_blocking = tokio::task::spawn_blocking(move || {
        let fragment = blocking.fragment(RecordKey::new("page", 2), "f");
        let shown = fragment.get_or_render(|| Ok::<_, std::convert::Infallible>("not rendered")).expect("infallible");
        (shown.len(), shown.outcome())
    });
    assert_eq!(from_blocking.await.expect("joined"), (page.len(), Hit));
    assert_eq!((compressing.stats().compressed, plain.stats().compressed), (1, 0));
}

/// Whatever users type: on a real server every text keeps to its own item, and none becomes a command.
#[tokio::test]
async fn no_text_of_a_users_becomes_a_command() {
    let Some(server) = Memcached::start(&["-m", "64"]) else { return };
    let sweeper = quick(Sweeper::builder()).memcached([server.address()]).namespace("t\r\nset n 0 0 1\r\nx\r\n").build().expect("built");
    let texts = [
        "a",
        "",
        " ",
        "\r\n",
        "a\r\nset injected 0 0 1\r\nx\r\n",
        "a\r\nflush_all\r\n",
        "\0",
        "a b",
        "%",
        "%20",
        "/",
        "+",
        "~/",
        "#",
        "é",
        "🦀",
        "\u{202e}",
    ];
    let texts: Vec<String> = texts.map(String::from).into_iter().chain(["x".repeat(251), "\r\n".repeat(1_000)]).collect();
    let all = async |word: &str| {
        for (number, text) in texts.iter().enumerate() {
            let body = format!("{number}");
            let by_vary = sweeper.fragment(RecordKey::new("note", 7), "f").vary(text);
            let by_id = sweeper.fragment(RecordKey::new("note", text), "by id");
            let by_name = sweeper.fragment(RecordKey::new("note", 7), text);
            let by_table = sweeper.fragment(RecordKey::new(&format!("t{text}"), 7), "by table");
            for fragment in [by_vary, by_id, by_name, by_table] {
                let shown = fragment.get_or_render(async || Ok::<_, std::convert::Infallible>(body.clone())).await.expect("infallible");
                assert_eq!(*shown, *body, "{:?}", &text[..text.len().min(20)]);
                assert_eq!(shown.outcome().word(), word);
            }
        }
    };
    warm_up(&sweeper).await;
    all("miss").await;
    all("hit").await;
    // A whole key of 30 MB is more than an item may have: it is rendered, and the store is none the worse.
    let huge = sweeper.fragment(RecordKey::new("note", 7), "f").vary("\r\n".repeat(5 << 20));
    let huge = huge.get_or_render(async || Ok::<_, std::convert::Infallible>("huge")).await.expect("infallible");
    assert_eq!((&*huge, huge.outcome()), ("huge", cachesweeper_core::Outcome::TooLarge));
    all("hit").await;
    assert_eq!((server.command("mg injected v").as_str(), server.command("mg n v").as_str()), ("EN", "EN"));
}
