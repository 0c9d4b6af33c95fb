//! A connection whose request asks for another protocol. Actix would carry it on as an answer that never ends, with the
//! buffers of a connection that serves requests: 16 KiB for each, 8 KiB of it touched. Here the same application answers,
//! but what follows a `101` are the bytes of its body and nothing else, and the connection keeps no buffer at all.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use actix_codec::{Framed, FramedParts};
use actix_http::body::{BoxBody, MessageBody};
use actix_http::h1::{Codec, Message};
use actix_http::{ConnectionType, HttpMessage as _, Payload, Request, Response};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::codec::Encoder as _;

use crate::guarded_stream::GuardedStream;
use crate::shared_stream::SharedStream;

/// For how long, and for how many bytes, the other side is still listened to after the last byte: closing on unread bytes
/// would reset the connection and take that byte away.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 256 * 1024;

/// How a connection ended: well, or because the other side had gone or a body failed.
type Ended = Result<(), Box<dyn Error>>;

/// Lets the application answer, and serves the connection to its end.
pub(crate) async fn serve<E: Into<Response<BoxBody>>, F: Future<Output = Result<Response<BoxBody>, E>>>(
    mut request: Request,
    connection: Framed<GuardedStream<SharedStream>, Codec>,
    application: impl FnOnce(Request) -> F,
) {
    let FramedParts { io, codec, read_buf, .. } = connection.into_parts();
    let io = io.into_inner();
    *request.payload() = Payload::Stream { payload: Box::pin(io.incoming(read_buf.freeze())) };
    request.extensions_mut().insert(io.direct_writer());
    let response = match application(request).await {
        Ok(response) => response,
        Err(error) => error.into(),
    };
    let ended =
        if response.head().upgrade() { carry(io, codec, response).await } else { refuse(io, codec, response).await };
    if let Err(error) = ended {
        tracing::debug!(error, "an upgraded connection ended early");
    }
}

/// The body's bytes as they are, until it ends.
async fn carry(mut io: SharedStream, mut codec: Codec, response: Response<BoxBody>) -> Ended {
    let (head, mut body) = response.into_parts();
    let mut bytes = BytesMut::new();
    codec.encode(Message::Item((head, body.size())), &mut bytes)?;
    drop(codec);
    io.write_all(&std::mem::take(&mut bytes)).await?;
    io.flush().await?;
    while let Some(bytes) = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {
        io.write_all(&bytes?).await?;
        // From now on the body may write by itself.
        io.flush().await?;
    }
    // Its place is free now, though its last bytes may still be under way.
    drop(body);
    Box::pin(end(io)).await
}

/// An ordinary answer, the last on its connection: where the next request would begin nobody knows.
async fn refuse(mut io: SharedStream, mut codec: Codec, response: Response<BoxBody>) -> Ended {
    let (mut head, mut body) = response.into_parts();
    head.head_mut().set_connection_type(ConnectionType::Close);
    let mut bytes = BytesMut::new();
    codec.encode(Message::Item((head, body.size())), &mut bytes)?;
    while let Some(chunk) = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {
        codec.encode(Message::Chunk(Some(chunk?)), &mut bytes)?;
        io.write_all(&bytes.split()).await?;
    }
    codec.encode(Message::Chunk(None), &mut bytes)?;
    io.write_all(&bytes).await?;
    Box::pin(end(io)).await
}

async fn end(mut io: SharedStream) -> Ended {
    io.shutdown().await?;
    let mut rest = io.take(LINGER_BYTES);
    // Whoever takes longer has had its time.
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    Ok(())
}
