//! std::future::poll_fn(), which Debian's compiler does not have yet.
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pub struct PollFn<F>(F);

pub fn poll_fn<T, F: FnMut(&mut Context) -> Poll<T> + Unpin>(f: F) -> PollFn<F> {
    PollFn(f)
}

impl<T, F: FnMut(&mut Context) -> Poll<T> + Unpin> Future for PollFn<F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<T> {
        (self.0)(cx)
    }
}
