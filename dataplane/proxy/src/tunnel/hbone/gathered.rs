//! What has come on a stream whose application does not read, in as much memory as it has bytes.
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Pieces smaller than this are copied together, bytes.
const SMALL: usize = 64 * 1024;

#[derive(Default)]
pub struct Gathered {
    pieces: VecDeque<Bytes>,
    /// The last ones, copied together; they come after all others.
    copied: BytesMut,
    /// Nothing more will come.
    pub ended: bool,
}

impl Gathered {
    pub fn add(&mut self, piece: Bytes) {
        if piece.len() >= SMALL {
            self.close();
            self.pieces.push_back(piece);
        } else {
            // Grows by doubling, so that it is at most twice as large as what is in it.
            self.copied.extend_from_slice(&piece);
            if self.copied.len() >= SMALL {
                self.close();
            }
        }
    }

    /// The next piece, if there is any.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.close();
        }
        self.pieces.pop_front()
    }

    fn close(&mut self) {
        if !self.copied.is_empty() {
            self.pieces
                .push_back(std::mem::take(&mut self.copied).freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_gathered_comes_out_as_it_came() {
        let mut gathered = Gathered::default();
        assert!(gathered.take().is_none());
        let mut expected = Vec::new();
        for (index, size) in [1, 100, SMALL, 7, SMALL - 1, 3, 2 * SMALL, 5]
            .into_iter()
            .enumerate()
        {
            let piece = vec![u8::try_from(index).unwrap(); size];
            expected.extend_from_slice(&piece);
            gathered.add(piece.into());
        }
        let mut out = Vec::new();
        while let Some(piece) = gathered.take() {
            out.extend_from_slice(&piece);
        }
        assert!(out == expected);
    }
}
