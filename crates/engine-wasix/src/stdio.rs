//! Standard input, output and error of a guest.

use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};

use virtual_fs::{AsyncRead, AsyncSeek, AsyncWrite, FsError, ReadBuf, VirtualFile};
use w3bstream_engine::abi::price;

use crate::book::Shared;

/// One of the three streams.
#[derive(Debug)]
pub(crate) enum Stream {
    /// The event's payload, and how far it was read.
    In { payload: Vec<u8>, at: usize },
    /// The answer.
    Out(Shared),
    /// The log.
    Err(Shared),
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Self::In { payload, at } = &mut *self {
            let rest = payload.get(*at..).unwrap_or_default();
            let part = rest.get(..into.remaining()).unwrap_or(rest);
            into.put_slice(part);
            *at += part.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = match &*self {
            Self::In { .. } => Err(io::ErrorKind::PermissionDenied.into()),
            Self::Out(shared) => {
                let mut book = shared.lock();
                book.cost += price::OUTPUT_BYTE * bytes.len() as u64;
                if book.answer(bytes) { Ok(bytes.len()) } else { Err(io::ErrorKind::StorageFull.into()) }
            }
            Self::Err(shared) => {
                shared.lock().print(bytes);
                Ok(bytes.len())
            }
        };
        Poll::Ready(taken)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for Stream {
    fn start_seek(self: Pin<&mut Self>, _: SeekFrom) -> io::Result<()> {
        Err(io::ErrorKind::NotSeekable.into())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(0))
    }
}

impl VirtualFile for Stream {
    fn last_accessed(&self) -> u64 {
        0
    }

    fn last_modified(&self) -> u64 {
        0
    }

    fn created_time(&self) -> u64 {
        0
    }

    fn size(&self) -> u64 {
        0
    }

    fn set_len(&mut self, _: u64) -> Result<(), FsError> {
        Err(FsError::PermissionDenied)
    }

    fn unlink(&mut self) -> Result<(), FsError> {
        Err(FsError::PermissionDenied)
    }

    fn poll_read_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(match &*self {
            Self::In { payload, at } => payload.len().saturating_sub(*at),
            _ => 0,
        }))
    }

    fn poll_write_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }
}
