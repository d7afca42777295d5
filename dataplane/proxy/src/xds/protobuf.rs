//! Protobuf's wire format field by field (protobuf.dev, "Encoding"), for what generated code does
//! not tell: fields it drops because it does not know them, and what is left of a message it
//! cannot decode. Never panics, whatever the bytes.

/// One field's number and value.
pub type Field<'a> = (u32, Value<'a>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Varint(u64),
    /// A string, bytes, or another message.
    Bytes(&'a [u8]),
    Fixed,
}

/// Where a message stops making sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut<'a> {
    /// The field whose value is longer than what is left, where that is what is wrong.
    pub field: Option<u32>,
    /// What is left of its value.
    pub rest: &'a [u8],
}

/// The fields of a message in their order; the last may be where it is cut.
pub struct Fields<'a>(&'a [u8]);

pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Cut<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<Field<'a>, Cut<'a>> {
        const NOWHERE: Cut<'static> = Cut {
            field: None,
            rest: &[],
        };
        let tag = self.varint().ok_or(NOWHERE)?;
        let number = u32::try_from(tag >> 3).map_err(|_| NOWHERE)?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint().ok_or(NOWHERE)?),
            1 => self.take(8).map(|_| Value::Fixed).ok_or(NOWHERE)?,
            2 => {
                let length = self.varint().ok_or(NOWHERE)?;
                let cut = Cut {
                    field: Some(number),
                    rest: self.0,
                };
                let length = usize::try_from(length).map_err(|_| cut)?;
                Value::Bytes(self.take(length).ok_or(cut)?)
            }
            5 => self.take(4).map(|_| Value::Fixed).ok_or(NOWHERE)?,
            // Groups, which proto3 does not have, and types there are not.
            _ => return Err(NOWHERE),
        };
        Ok((number, value))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// At most ten bytes, seven bits each, the least significant first.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for (index, byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(index + 1..).unwrap_or_default();
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;

    #[test]
    fn fields_are_told_in_order() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 1, 2, 3, 4];
        let all: Vec<_> = fields(&bytes).collect();
        assert_eq!(
            all,
            [
                Ok((1, Value::Varint(150))),
                Ok((2, Value::Bytes(b"hi"))),
                Ok((3, Value::Fixed)),
            ]
        );
    }

    #[test]
    fn a_cut_says_what_is_left_and_is_the_last() {
        let all: Vec<_> = fields(&[0x08, 1, 0x12, 9, b'h', b'i']).collect();
        let cut = Cut {
            field: Some(2),
            rest: b"hi",
        };
        assert_eq!(all, [Ok((1, Value::Varint(1))), Err(cut)]);
        for broken in [&[0xff; 12][..], &[0x08], &[0x0b], &[0x09, 1, 2], &[0x0f]] {
            assert!(fields(broken).last().is_some_and(|field| field.is_err()));
        }
    }

    #[test]
    fn r28_random_messages_never_panic() {
        fuzz::rounds(50_000, |random| {
            let length = random.usize(..48);
            let mut bytes = vec![0; length];
            random.fill(&mut bytes);
            assert!(fields(&bytes).count() <= length);
        });
    }
}
