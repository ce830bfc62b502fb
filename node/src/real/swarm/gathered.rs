//! A writer that gathers what is written in full frames before it goes on: the muxer flushes after each frame, though the
//! next one is there already.
//!
//! Must never keep a byte for whose frame nothing follows: it is written at the latest when its task is polled again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use forgemesh_protocol::limits;
use libp2p::futures::io::BufWriter;
use libp2p::futures::{AsyncRead, AsyncWrite};

/// So many at a flush, a frame of the muxer's, and more is likely to follow at once: three find room.
const FULL: usize = 16 << 10;

/// Gathers.
#[derive(Debug)]
pub(super) struct Gathered<S> {
    inner: BufWriter<S>,
    /// A flush was put off, and nothing was written since.
    put_off: bool,
}

impl<S: AsyncWrite> Gathered<S> {
    pub fn new(inner: S) -> Self {
        Gathered { inner: BufWriter::with_capacity(limits::GATHERED, inner), put_off: false }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.put_off = false;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.put_off && self.inner.buffer().len() >= FULL {
            self.put_off = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    /// The lengths of what was written.
    #[derive(Default)]
    struct Writes(Vec<usize>);

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn full_frames_go_together_and_the_last_one_waits_for_one_more_poll() {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let cx = &mut Context::from_waker(&waker);
        let mut gathered = Gathered::new(Writes::default());
        let mut frame = |gathered: &mut Gathered<Writes>, length: usize| {
            let written = Pin::new(&mut *gathered).poll_write(cx, &vec![7; length]);
            assert!(matches!(written, Poll::Ready(Ok(count)) if count == length));
            Pin::new(gathered).poll_flush(cx).is_ready()
        };
        assert!(frame(&mut gathered, 100), "a small one goes at once");
        assert_eq!(gathered.inner.get_ref().0, [100]);
        assert!((0..3).all(|_| !frame(&mut gathered, 12 + FULL)));
        assert_eq!((gathered.inner.get_ref().0.len(), wakes.0.load(Ordering::Relaxed)), (1, 3));
        assert!(!frame(&mut gathered, 12 + FULL), "there is no room for a fourth");
        assert_eq!(gathered.inner.get_ref().0, [100, 3 * (12 + FULL)]);
        let cx = &mut Context::from_waker(&waker);
        assert!(Pin::new(&mut gathered).poll_flush(cx).is_ready(), "nothing followed");
        assert_eq!(gathered.inner.get_ref().0[2..], [12 + FULL]);
    }
}
