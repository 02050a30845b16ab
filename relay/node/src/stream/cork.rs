//! Collects what TLS writes record by record, so that a batch of records leaves in one system call.
//!
//! Each frame has a record of its own: there are clients, coturn's among them, that take what one read
//! returns for one message.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::budget::Share;

/// Bytes that gather before they are written unasked.
const CORK_BYTES_MAX: usize = 64 * 1024;

/// A stream whose writes wait for a flush, or for [`CORK_BYTES_MAX`].
#[derive(Debug)]
pub(super) struct Cork<T> {
    stream: T,
    /// Empty and without memory while nothing waits, so that an idle connection holds none.
    waiting: Vec<u8>,
    /// How much of `waiting` is written.
    written: usize,
    /// What `waiting` takes of the node's budget. It bounds itself, and is counted only.
    share: Share,
}

impl<T> Cork<T> {
    pub(super) fn new(stream: T, share: Share) -> Self {
        Self {
            stream,
            waiting: Vec::new(),
            written: 0,
            share,
        }
    }
}

impl<T: AsyncWrite + Unpin> Cork<T> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            let rest = &self.waiting[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.waiting = Vec::new();
        self.written = 0;
        self.share.set(0);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Cork<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Cork<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() >= CORK_BYTES_MAX {
            ready!(self.poll_drain(context))?;
        }
        self.waiting.extend_from_slice(bytes);
        let memory = self.waiting.capacity();
        self.share.set(memory);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::stream::budget::QueueBudget;
    use crate::stream::test_limits;

    fn share() -> Share {
        Share::of(&Arc::new(QueueBudget::new(&test_limits())))
    }

    #[tokio::test]
    async fn what_was_written_arrives_with_the_flush_and_no_memory_stays() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut cork = Cork::new(near, share());
        cork.write_all(b"one").await.unwrap();
        cork.write_all(b"two").await.unwrap();
        assert_eq!(cork.waiting, b"onetwo");
        let budget = Arc::clone(cork.share.budget());
        assert_eq!(budget.taken(), cork.waiting.capacity());
        cork.flush().await.unwrap();
        assert_eq!((cork.waiting.capacity(), budget.taken()), (0, 0));
        let mut arrived = [0; 6];
        far.read_exact(&mut arrived).await.unwrap();
        assert_eq!(&arrived, b"onetwo");
    }

    #[tokio::test]
    async fn a_reader_that_is_behind_holds_the_writer_up() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut cork = Cork::new(near, share());
        cork.write_all(&[7; CORK_BYTES_MAX]).await.unwrap();
        let writing = tokio::spawn(async move {
            cork.write_all(&[8; 10]).await.unwrap();
            cork.shutdown().await.unwrap();
        });
        let mut arrived = Vec::new();
        far.read_to_end(&mut arrived).await.unwrap();
        writing.await.unwrap();
        assert_eq!(arrived.len(), CORK_BYTES_MAX + 10);
        assert_eq!(&arrived[CORK_BYTES_MAX..], &[8; 10]);
    }
}
