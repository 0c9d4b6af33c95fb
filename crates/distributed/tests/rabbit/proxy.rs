//! A proxy before the broker whose connections can be cut, refused, frozen and spoken into.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};

pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    cut: broadcast::Sender<()>,
    frozen: watch::Sender<bool>,
    refusing: AtomicBool,
    connections: AtomicUsize,
    /// Bytes that every client hears from the broker.
    said: broadcast::Sender<Vec<u8>>,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            cut: broadcast::Sender::new(1),
            frozen: watch::Sender::new(false),
            refusing: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            said: broadcast::Sender::new(16),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { port, shared }
    }

    /// The broker's URL by way of the proxy.
    pub(crate) fn url(&self) -> String {
        super::broker::url().replace(&super::broker::address(), &format!("127.0.0.1:{}", self.port))
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        // An error says that there are none.
        let _ = self.shared.cut.send(());
    }

    /// Whether new connections are closed at once.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::SeqCst);
    }

    /// Whether bytes lie where they are, both ways, as in a partition.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.shared.frozen.send_replace(frozen);
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Says `connection.blocked` to all clients, as the broker does in a memory or disk alarm. Only while nothing
    /// else travels: the frame must not fall into another one.
    pub(crate) fn block(&self) {
        self.say(&[0, 10, 0, 60, 4, b't', b'e', b's', b't']);
    }

    /// Says `connection.unblocked` to all clients.
    pub(crate) fn unblock(&self) {
        self.say(&[0, 10, 0, 61]);
    }

    fn say(&self, method: &[u8]) {
        let mut frame = vec![1, 0, 0];
        frame.extend(u32::try_from(method.len()).unwrap().to_be_bytes());
        frame.extend(method);
        frame.push(0xCE);
        self.shared.said.send(frame).expect("a client");
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if shared.refusing.load(Ordering::SeqCst) {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut cut = shared.cut.subscribe();
            shared.connections.fetch_add(1, Ordering::SeqCst);
            tokio::select! {
                _ = cut.recv() => {}
                _ = relay(client, &shared) => {}
            }
            shared.connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn relay(client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let broker = TcpStream::connect(super::broker::address()).await?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (client, broker) = (client.into_split(), broker.into_split());
    let mut said = shared.said.subscribe();
    let up = copy(client.0, broker.1, shared.frozen.subscribe(), None);
    let down = copy(broker.0, client.1, shared.frozen.subscribe(), Some(&mut said));
    tokio::try_join!(up, down).map(|_| ())
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
    mut said: Option<&mut broadcast::Receiver<Vec<u8>>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let injected = async {
            match &mut said {
                Some(said) => said.recv().await.expect("the proxy lives"),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = from.read(&mut buffer) => {
                let count = read?;
                frozen.wait_for(|frozen| !frozen).await.expect("the proxy lives");
                if count == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                to.write_all(&buffer[..count]).await?;
            }
            frame = injected => to.write_all(&frame).await?,
        }
    }
}
