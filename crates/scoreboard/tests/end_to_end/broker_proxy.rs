//! A way to the broker on which everything can be made to lie where it is, as in a partition.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct BrokerProxy {
    /// The broker's URL by way of this proxy.
    pub(crate) url: String,
    frozen: watch::Sender<bool>,
}

impl BrokerProxy {
    pub(crate) async fn start() -> Self {
        let url = std::env::var("SCOREBOARD_TEST_AMQP_URL").expect("./scripts/test sets it");
        let authority = url.split_once("://").expect("a URL").1.split('/').next().expect("an authority");
        let broker = authority.rsplit('@').next().expect("an address").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = listener.local_addr().expect("an address").to_string();
        let url = url.replacen(&broker, &own, 1);
        let frozen = watch::Sender::new(false);
        let state = frozen.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&broker).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pump(from_client, to_server, state.clone()));
                tokio::spawn(pump(from_server, to_client, state.clone()));
            }
        });
        Self { url, frozen }
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut frozen: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
