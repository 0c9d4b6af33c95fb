//! Readers that stop reading.

use std::time::Duration;

use realtime_fanout::FanoutSettings;
use testkit::waiting::{eventually, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::node::Node;
use crate::watcher::Watcher;

/// A node that ticks as often as it can, with a hundred players on its board.
async fn busy_node() -> Node {
    let node = Node::start_with(FanoutSettings { tick: Duration::from_millis(1), ..FanoutSettings::default() }).await;
    for player in 0..100 {
        node.score(player, 1000 - i64::try_from(player).unwrap()).await;
    }
    node
}

/// A client that reads the answer to its handshake and then nothing, with a small buffer.
async fn stalled(node: &Node) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(([127, 0, 0, 1], node.port).into()).await.unwrap();
    let handshake = format!(
        "GET /ws/scoreboard?board={}&limit=100 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        node.board
    );
    stream.write_all(handshake.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    stream
}

/// Everything that is still in flight to a stalled client.
async fn drain(stream: &mut TcpStream, until: &str) -> (usize, String) {
    let (mut bytes, mut text, mut chunk) = (0, String::new(), vec![0; 65_536]);
    while !text.contains(until) {
        let read = within(Duration::from_secs(10), until, stream.read(&mut chunk)).await.unwrap();
        assert!(read > 0, "the connection ended before {until}");
        bytes += read;
        text.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    (bytes, text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_the_newest_state_and_the_others_wait_for_nobody() {
    let node = busy_node().await;
    let mut slow = stalled(&node).await;
    let mut quick = Watcher::open(&node.url("&limit=100")).await;
    quick.state_at(100).await;
    let mut last = 100;
    for round in 0..400 {
        last = node.score(round % 100, 7).await.version.0;
        within(Duration::from_secs(1), "the quick reader's frame", quick.state_at(last)).await;
    }
    // What was sent one by one would be 400 frames of about 17 KB.
    let (bytes, text) = drain(&mut slow, &format!("\"version\":{last},")).await;
    assert!(bytes < 2_000_000, "{bytes} bytes were kept for a reader that had stopped");
    let frames = text.matches("\"event\":\"score").count();
    assert!(frames < 100, "{frames} frames were kept");
    node.ended().await;
}

/// Takes the whole WebSocket frames (texts of 126 bytes to 64 KB) off the front of what came.
fn whole_frames(came: &mut Vec<u8>) -> Vec<serde_json::Value> {
    let mut frames = Vec::new();
    while let [0x81, 126, high, low, rest @ ..] = came.as_slice() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(text) = rest.get(..length) else { break };
        frames.push(serde_json::from_slice(text).expect("one whole JSON text"));
        came.drain(..4 + length);
    }
    frames
}

/// The kernel takes parts of frames from such a reader's socket: what one tick leaves, another must not get in front of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_trickles_gets_whole_frames_in_order() {
    let node = busy_node().await;
    let mut slow = stalled(&node).await;
    let (mut came, mut chunk) = (Vec::new(), vec![0; 3_000]);
    while !came.windows(4).any(|window| window == b"\r\n\r\n") {
        came.push(slow.read_u8().await.unwrap());
    }
    came.clear();
    let (mut shown, mut last, mut skipped) = (0, 100, 0);
    for round in 0..600 {
        if round < 500 {
            last = node.score(round % 100, 7).await.version.0;
        } else if shown == last {
            break;
        }
        let read = within(Duration::from_secs(10), "some bytes", slow.read(&mut chunk)).await.unwrap();
        came.extend_from_slice(&chunk[..read]);
        for frame in whole_frames(&mut came) {
            let version = frame["data"]["version"].as_u64().expect("a version");
            assert!(version > shown, "{version} after {shown}");
            skipped += version - shown - 1;
            shown = version;
        }
        assert!(came.is_empty() || came[0] == 0x81, "a frame begins where the last one ended");
    }
    assert_eq!(shown, last, "the newest state");
    assert!(skipped > 200, "it was slow enough to be given parts of frames: {skipped} versions were skipped");
    node.ended().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_without_progress_is_gone_after_ten_seconds() {
    let node = busy_node().await;
    let _slow = stalled(&node).await;
    let mut quick = Watcher::open(&node.url("")).await;
    quick.expect("scoreboard:snapshot").await;
    for round in 0..200 {
        node.score(round % 100, 7).await;
    }
    assert_eq!(node.state.open_sockets(), 2);
    eventually(Duration::from_secs(20), "the eviction", || async { node.state.open_sockets() == 1 }).await;
    node.ended().await;
}
